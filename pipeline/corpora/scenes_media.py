"""Pictures and sounds of `scenes`: a body on a cluttered ground, tones under noise, both from a recipe."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from pipeline.corpora import nuisance
from pipeline.corpora.scenes import BODY, FACTORS
from pipeline.settings import Media

COLOURS = {
    "red": (220, 30, 30),
    "yellow": (240, 220, 30),
    "green": (30, 160, 50),
    "blue": (40, 70, 220),
    "purple": (130, 40, 160),
    "pink": (255, 140, 190),
    "white": (250, 250, 250),
    "black": (15, 15, 15),
}
OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)],
    "triangle": [(0.5, 0.05), (0.97, 0.93), (0.03, 0.93)],
    "star": [
        (0.5 + radius * np.sin(k * np.pi / 5), 0.5 - radius * np.cos(k * np.pi / 5))
        for k in range(10)
        for radius in ((0.5 if k % 2 == 0 else 0.2),)
    ],
    "heart": [
        (0.5 + 0.03 * 16 * np.sin(t) ** 3, 0.45 - 0.03 * (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t)))
        for t in np.linspace(0, 2 * np.pi, 40)
    ],
    "moon": [(0.5 + 0.48 * np.cos(t), 0.5 + 0.48 * np.sin(t)) for t in np.linspace(0.7, 5.58, 30)]
    + [(0.72 + 0.36 * np.cos(t), 0.5 + 0.36 * np.sin(t)) for t in np.linspace(5.2, 1.08, 30)],
    "cross": [
        (a, b)
        for a, b in zip(
            (0.35, 0.65, 0.65, 1, 1, 0.65, 0.65, 0.35, 0.35, 0, 0, 0.35),
            (0, 0, 0.35, 0.35, 0.65, 0.65, 1, 1, 0.65, 0.65, 0.35, 0.35),
            strict=True,
        )
    ],
    "arrow": [(0, 0.35), (0.5, 0.35), (0.5, 0.1), (1, 0.5), (0.5, 0.9), (0.5, 0.65), (0, 0.65)],
    "house": [
        (0.5, 0),
        (1, 0.42),
        (0.85, 0.42),
        (0.85, 1),
        (0.6, 1),
        (0.6, 0.65),
        (0.4, 0.65),
        (0.4, 1),
        (0.15, 1),
        (0.15, 0.42),
        (0, 0.42),
    ],
}
HARMONICS: dict[str, tuple[float, ...]] = {
    "flute": (1, 0.15, 0.05),
    "trumpet": (0.5, 0.9, 1, 0.8, 0.6, 0.5, 0.3),
    "clarinet": (1, 0, 0.75, 0, 0.5, 0, 0.3),
    "harp": (1, 0.6, 0.4, 0.25, 0.15),
    "bell": (1, 0.7, 0.6, 0.4),
    "drum": (1, 0.5),
    "siren": (1, 0.3),
    "organ": (1, 1, 0, 0.8, 0, 0, 0, 0.8),
}
REGISTERS = (175.0, 440.0, 1100.0)


@cache
def _mask(shape: str, side: int) -> Image.Image:
    """Mask "L" [side, side] of a shape, anti-aliased."""
    image = Image.new("L", (side * 4, side * 4), 0)
    ImageDraw.Draw(image).polygon([(x * side * 4, y * side * 4) for x, y in OUTLINES[shape]], fill=255)
    return image.resize((side, side), Image.Resampling.BOX)


def compose(recipe: dict[str, Any], media: Media) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [F, S, S, 3] and sound int16 [T] of a recipe."""
    rng = np.random.default_rng(recipe["seed"])
    return picture(recipe, media, rng), sound(recipe, media, rng)


def picture(recipe: dict[str, Any], media: Media, rng: np.random.Generator) -> np.ndarray:
    """The body in its motion; beyond three values, a row of marks tells the tones too."""
    side, clutter = media.size, recipe["clutter"]
    count = round(media.seconds * media.frames_per_second)
    shape, hue, motion = (
        FACTORS[name][value] for name, value in zip(("shape", "colour", "motion"), recipe["picture"], strict=False)
    )
    body = COLOURS[hue]
    edge = (0, 0, 0) if sum(body) > 330 else (255, 255, 255)  # a ground chosen for contrast would tell the colour
    ground = nuisance.ground(nuisance.colour(rng), side, clutter, rng)
    if len(recipe["picture"]) > BODY:
        _marks(ground, recipe["picture"][BODY:])
    veil = nuisance.veil(side, clutter, rng)
    size = side * rng.uniform(0.42, 0.55)
    x, y = rng.uniform(0.35, 0.65, 2) * side
    phase, direction = rng.integers(2), rng.choice([-1, 1])
    turn = rng.uniform(-15, 15)
    frames = np.empty((count, side, side, 3), dtype=np.uint8)
    for number in range(count):
        time = number / max(count - 1, 1)
        scale, angle, left, shown = 1.0, turn, x, True
        if motion == "growing":
            scale = 0.35 + 1.2 * time
        elif motion == "spinning":
            angle = turn + direction * 36 * number
        elif motion == "flashing":
            shown = number // 2 % 2 == phase
        elif motion == "crossing":
            left = side * (0.5 + direction * (time - 0.5) * 1.3)
        frame = ground.copy()
        if shown:
            pixels = max(int(size * scale), 4)
            mask = _mask(shape, 64).rotate(angle, Image.Resampling.BILINEAR, expand=True)
            for fill, span in ((edge, pixels + max(side // 12, 3)), (body, pixels)):
                frame.paste(fill, (int(left - span / 2), int(y - span / 2)), mask.resize((span, span)))
        if veil is not None:
            frame.paste(veil, (0, 0), veil)
        frames[number] = np.asarray(frame)
    return nuisance.grain(frames, clutter, rng)


def _marks(ground: Image.Image, tones: list[int]) -> None:
    """A row of marks: their number is the rhythm, their height the register, their form the timbre."""
    rhythm, register, timbre = tones
    side = ground.width
    size = max(side // 7, 4)
    mask = _mask(FACTORS["shape"][timbre], 96).resize((size, size))
    top = int(side * (0.84, 0.43, 0.02)[register])
    for number in range(rhythm + 1):
        ground.paste((255, 255, 255), (int(side * (0.04 + 0.24 * number)), top), mask)


def sound(recipe: dict[str, Any], media: Media, rng: np.random.Generator) -> np.ndarray:
    """The tones; beyond three values, a first voice tells the body too."""
    rate = media.sample_rate
    total = round(media.seconds * rate)
    wave = np.zeros(total, dtype=np.float32)
    values = recipe["sound"]
    start = rng.uniform(0.02, 0.12) * media.seconds
    if len(values) > BODY:
        shape, hue, motion = values[:BODY]
        pitch = 220 * 2 ** (hue / 4)
        for number, step in enumerate(((0, 0, 0), (0, 4, 8), (8, 4, 0), (0, 8, 0), (8, 0, 8))[motion]):
            note = _note(FACTORS["timbre"][shape], pitch * 2 ** (step / 12), 0.09 * media.seconds, rate)
            _add(wave, note, start + number * 0.1 * media.seconds, rate)
        start += 0.34 * media.seconds
    rhythm, register, timbre = values[-3:]
    room = 0.97 * media.seconds - start
    onsets, length = RHYTHMS[rhythm]
    stretch = room * rng.uniform(0.85, 1.0)
    pitch = REGISTERS[register] * 2 ** rng.uniform(-0.15, 0.15)
    note = _note(FACTORS["timbre"][timbre], pitch, length * stretch, rate)
    for onset in onsets:
        _add(wave, note, start + onset * stretch, rate)
    return nuisance.mix(wave, recipe["noise"], rng)


RHYTHMS: tuple[tuple[tuple[float, ...], float], ...] = (
    ((0.0, 0.5), 0.42),
    ((0.0, 0.25, 0.5, 0.75), 0.2),
    (tuple(k / 10 for k in range(10)), 0.08),
    ((0.0, 0.1, 0.34, 0.44, 0.68, 0.78), 0.08),
)
"""Onsets and length of the notes as shares of the time: slow, steady, fast, galloping."""


def _note(timbre: str, pitch: float, seconds: float, rate: int) -> np.ndarray:
    time = np.arange(int(seconds * rate), dtype=np.float32) / rate
    bend = np.zeros_like(time)
    decay = {"harp": 6.0, "bell": 3.0, "drum": 25.0}.get(timbre, 0.0)
    if timbre == "siren":
        bend = 0.06 * pitch / (2 * np.pi * 7) * np.sin(2 * np.pi * 7 * time) * 2 * np.pi
    wave = np.zeros_like(time)
    for number, strength in enumerate(HARMONICS[timbre], 1):
        ratio = (
            (1, 2.76, 5.4, 8.93)[number - 1]
            if timbre == "bell"
            else (1, 1.59)[number - 1]
            if timbre == "drum"
            else number
        )
        if strength and ratio * pitch < rate / 2:
            wave += strength * np.sin(ratio * (2 * np.pi * pitch * time + bend))
    if timbre == "drum":
        wave += np.random.default_rng(9).standard_normal(len(time)).astype(np.float32) * 0.6
    edge = np.minimum(1, np.minimum(time, time[-1] - time) * 100) if len(time) > 1 else 0
    return (wave * edge * np.exp(-decay * time)).astype(np.float32)


def _add(wave: np.ndarray, note: np.ndarray, seconds: float, rate: int) -> None:
    start = int(seconds * rate)
    part = note[: max(len(wave) - start, 0)]
    wave[start : start + len(part)] += part
