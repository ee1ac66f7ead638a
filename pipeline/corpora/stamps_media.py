"""Pictures and sounds of stamps, stories and sounds: stamps in turn on a ground, a voice and an effect under noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from pipeline.corpora import nuisance
from pipeline.corpora.stamps_source import RATE, ROOT, Library, library, read_sounds
from pipeline.errors import UserError
from pipeline.settings import Media


def compose(recipe: dict[str, Any], media: Media) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [F, S, S, 3] and sound int16 [T] of a recipe."""
    if media.sample_rate != RATE:
        raise UserError(f"params: media.sample_rate: stamps are stored at {RATE} Hz")
    source = library()
    rng = np.random.default_rng(recipe["seed"])
    return picture(recipe, media, source, rng), sound(recipe, media, source, rng)


def picture(recipe: dict[str, Any], media: Media, source: Library, rng: np.random.Generator) -> np.ndarray:
    """Each stamp has its share of the frames and moves along a line of its own."""
    side, clutter = media.size, recipe["clutter"]
    count = round(media.seconds * media.frames_per_second)
    ground = nuisance.ground(nuisance.colour(rng), side, clutter, rng)
    veil = nuisance.veil(side, clutter, rng)
    frames = np.empty((count, side, side, 3), dtype=np.uint8)
    for row, part in zip(recipe["shown"], np.array_split(np.arange(count), len(recipe["shown"])), strict=True):
        size = int(side * (rng.uniform(0.6, 0.85) - 0.15 * clutter))
        sprite = Image.fromarray(source.pictures[row]).resize((size, size), Image.Resampling.BILINEAR)
        ends = rng.uniform(-0.1, 1.1, (2, 2)) * (side - size)
        for number, where in zip(part, np.linspace(0, 1, max(len(part), 2)), strict=False):
            frame = ground.copy()
            left, top = ends[0] + (ends[1] - ends[0]) * where
            frame.paste(sprite, (int(left), int(top)), sprite)
            if veil is not None:
                frame.paste(veil, (0, 0), veil)
            frames[number] = np.asarray(frame)
    return nuisance.grain(frames, clutter, rng)


def sound(recipe: dict[str, Any], media: Media, source: Library, rng: np.random.Generator) -> np.ndarray:
    """The description at an offset and tempo of its own, then the effect in what time is left."""
    wave = np.zeros(round(media.seconds * RATE), dtype=np.float32)
    tempo = rng.uniform(0.92, 1.08)
    if "voice" in recipe:  # a recording that the library does not hold, of `sounds`
        spoken, after = read_sounds([ROOT / "stamps" / recipe["voice"]])[0], wave[:0]
    else:
        spoken, after = (source.sound(recipe["heard"], effect) for effect in (False, True))
    speech, effect = _at_tempo(spoken, tempo), _at_tempo(after, tempo)
    room = len(wave) - len(speech)
    start = int(rng.uniform(0, max(min(0.4 * RATE, room), 0)))
    _add(wave, speech, start)
    _add(wave, effect, start + len(speech) + RATE // 10)
    return nuisance.mix(wave, recipe["noise"], rng)


def _at_tempo(wave: np.ndarray, tempo: float) -> np.ndarray:
    """The wave played `tempo` times as fast (pitch moves with it), at unit power."""
    if not len(wave):
        return np.zeros(0, dtype=np.float32)
    places = np.arange(0, len(wave) - 1, tempo)
    played = np.interp(places, np.arange(len(wave)), wave.astype(np.float32)).astype(np.float32)
    return played / max(float(np.sqrt(np.mean(played**2, dtype=np.float64))), 1.0)


def _add(wave: np.ndarray, part: np.ndarray, start: int) -> None:
    part = part[: max(len(wave) - start, 0)]
    wave[start : start + len(part)] += part
