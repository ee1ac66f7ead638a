"""The stamps that are spoken in all eight languages: picture, caption and eight recordings, up to ten real modalities.

One clip a caption (its first stamp). The split is that of concepts which all corpora share: captions of the stamps' val
and test components are `test` here, and occur in no training; the rest is `train`. Recordings are isolated, without
rendering or noise. A scale without stamps (smoke) gets procedural stand-ins of the same form: a coloured square, its
words, and tones whose timbre is the language.

Written: `picture-<split>` uint8 [n, H, W, 3], `<language>-<split>` int16 [n, samples]; metadata `captions` by split,
`languages`, `real`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import paths
from pipeline.corpora.stamps import split_concepts
from pipeline.corpora.stamps_source import LANGUAGES, ROOT, library, read_sounds, recording
from pipeline.errors import UserError
from pipeline.files import save_tensors
from pipeline.models.spectrograms import SLICE
from pipeline.settings import Settings

SPLITS = ("train", "test")
SLICE_SECONDS = SLICE / 100  # frames of 10 ms
GROUND = 160
COLOURS = {"red": (220, 30, 30), "green": (30, 160, 50), "blue": (40, 70, 220), "yellow": (240, 220, 30)}
PLACES = {"left": 0.25, "right": 0.75}
HEIGHTS = {"top": 0.25, "bottom": 0.75}
SIZES = ("small", "big")
Clips = tuple[list[str], NDArray[np.uint8], dict[str, list[NDArray[np.int16]]]]


def polyglot(settings: Settings) -> None:
    """Write pictures, captions and recordings; a UserError if fewer than two clips of a split have all languages."""
    real = any(entry.kind == "stamps" for entry in settings.corpora.values())
    found = stamps(settings) if real else procedural(settings)
    tensors, captions = {}, {}
    # The released VAST hears one slice of a long sound, its middle: these are short, and stand at the start of one.
    longest = SLICE_SECONDS if settings.vast.released else settings.media.seconds
    samples = int(min(settings.media.seconds, longest) * settings.media.sample_rate)
    for split, (names, pictures, sounds) in found.items():
        captions[split] = names
        tensors[f"picture-{split}"] = torch.from_numpy(pictures)
        for language, waves in sounds.items():
            tensors[f"{language}-{split}"] = torch.from_numpy(np.stack([padded(wave, samples) for wave in waves]))
    about = {"captions": captions, "languages": list(LANGUAGES), "real": real}
    save_tensors(paths.polyglot(settings), tensors, about)


def stamps(settings: Settings) -> dict[str, Clips]:
    """Clips by split out of the fetched stamps."""
    source = library()
    split = split_concepts(settings, source).captions
    unseen = {*split["val"], *split["test"]}
    chosen: dict[str, int] = {}
    for row, stamp in enumerate(source.stamps):
        recordings = [ROOT / "stamps" / recording(stamp.name, language) for language in LANGUAGES]
        if stamp.caption not in chosen and all(file.is_file() for file in recordings):
            chosen[stamp.caption] = row
    found = {}
    for name in SPLITS:
        rows = {caption: row for caption, row in chosen.items() if (caption in unseen) == (name == "test")}
        if len(rows) < 2:
            raise UserError(f"{ROOT}: {len(rows)} captions of split {name} are spoken in {', '.join(LANGUAGES)}")
        pictures = np.stack([flattened(source.pictures[row]) for row in rows.values()])
        sounds = {}
        for language in LANGUAGES:
            files = [ROOT / "stamps" / recording(source.stamps[row].name, language) for row in rows.values()]
            sounds[language] = read_sounds(files)
        found[name] = (list(rows), pictures, sounds)
    return found


def flattened(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA [H, W, 4] on a grey ground: [H, W, 3]."""
    opacity = picture[..., 3:].astype(np.float32) / 255
    return np.round(picture[..., :3] * opacity + GROUND * (1 - opacity)).astype(np.uint8)


def padded(wave: NDArray[np.int16], samples: int) -> NDArray[np.int16]:
    """A waveform [T] cut or filled with silence to [samples]."""
    return np.pad(wave[:samples], (0, max(samples - len(wave), 0)))


def procedural(settings: Settings) -> dict[str, Clips]:
    """Stand-ins: every combination of colour, place and size once, half of them in each split."""
    contents = [
        (colour, place, height, size)
        for colour in COLOURS
        for place in PLACES
        for height in HEIGHTS
        for size in range(len(SIZES))
    ]
    order = np.random.default_rng([settings.seed, 301]).permutation(len(contents))
    found = {}
    for name, rows in zip(SPLITS, (order[::2], order[1::2]), strict=True):
        chosen = [contents[row] for row in rows]
        words = [f"{SIZES[size]} {colour} square {height} {place}" for colour, place, height, size in chosen]
        pictures = np.stack([_square(settings.media.size, *content) for content in chosen])
        sounds = {
            language: [_tones(settings, number, *content) for content in chosen]
            for number, language in enumerate(LANGUAGES)
        }
        found[name] = (words, pictures, sounds)
    return found


def _square(side: int, colour: str, place: str, height: str, size: int) -> NDArray[np.uint8]:
    picture = np.full((side, side, 3), GROUND, np.uint8)
    half = side // (8 if size == 0 else 5)
    x, y = int(side * PLACES[place]), int(side * HEIGHTS[height])
    picture[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = COLOURS[colour]
    return picture


def _tones(settings: Settings, timbre: int, colour: str, place: str, height: str, size: int) -> NDArray[np.int16]:
    """A tone a word in turn, 0.2 s each, with the timbre's overtone."""
    words = (list(COLOURS).index(colour), list(PLACES).index(place), list(HEIGHTS).index(height), size)
    time = np.arange(settings.media.sample_rate // 5) / settings.media.sample_rate
    parts = []
    for place_, word in enumerate(words):
        pitch = 200 * 2 ** ((4 * place_ + word) / 6)
        parts.append(np.sin(2 * np.pi * pitch * time) + 0.5 * np.sin(2 * np.pi * pitch * (timbre + 2) * time))
    return np.asarray(8000 * np.concatenate(parts), np.int16)
