"""What carries no content: noise under the sound, clutter in the picture, and the draws that decide them.

Difficulty is set here and only here. `noise` n in [0, 1] mixes pink noise at 20 − 30 n dB of signal to noise (n = 0:
none); `clutter` c in [0, 1] draws up to 14 coloured bodies behind and 4 before the subject and adds pixel noise.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw

LOUDNESS = 0.1
"""Root mean square of every clip's sound, full scale being 1: loudness is no cue."""
BANK, GRAIN = 1 << 18, 1 << 20
"""Samples of the loops of noise that clips cut their own from."""


@cache
def _pink() -> np.ndarray:
    """A loop of pink noise with unit power."""
    rng = np.random.default_rng(7)
    spectrum = np.fft.rfft(rng.standard_normal(BANK))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)) / 256.0 + 0.2)
    wave = np.fft.irfft(spectrum, BANK)
    return (wave / wave.std()).astype(np.float32)


@cache
def _grain(deviation: float) -> np.ndarray:
    """A loop of pixel noise, int16."""
    return np.round(np.random.default_rng(8).standard_normal(GRAIN) * deviation).astype(np.int16)


def mix(signal: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """`signal` [T] under noise, as int16 [T]; silence stays a signal of power 1e-6."""
    power = np.sqrt(np.mean(signal[signal != 0] ** 2)) if np.any(signal) else 1e-3
    wave = signal / power
    if noise > 0:
        places = int(rng.integers(BANK)) + np.arange(len(wave))
        wave = wave + 10 ** (-(20 - 30 * noise) / 20) * _pink().take(places, mode="wrap")
    wave = wave * (LOUDNESS / np.sqrt(np.mean(wave**2)))
    return (np.clip(wave, -1, 1) * 32767).astype(np.int16)


def colour(rng: np.random.Generator, low: int = 30, high: int = 226) -> tuple[int, int, int]:
    """A random colour."""
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _bodies(image: Image.Image, count: int, largest: float, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(image)
    side = image.width
    for _ in range(count):
        x, y = rng.uniform(0, side, 2)
        fill = (*colour(rng, 0, 256), 255)[: len(image.getbands())]
        if rng.random() < 0.4:
            width, height = rng.uniform(0.05, largest, 2) * side
            draw.ellipse((x - width / 2, y - height / 2, x + width / 2, y + height / 2), fill=fill)
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            radius = rng.uniform(0.05, largest) * side / 2
            points = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
            draw.polygon([(float(a), float(b)) for a, b in points], fill=fill)


def ground(base: tuple[int, int, int], side: int, clutter: float, rng: np.random.Generator) -> Image.Image:
    """RGB picture [side, side] of the base colour with clutter on it."""
    image = Image.new("RGB", (side, side), base)
    _bodies(image, round(14 * clutter), 0.3, rng)
    return image


def veil(side: int, clutter: float, rng: np.random.Generator) -> Image.Image | None:
    """RGBA picture to lay over the subject, or none without clutter."""
    count = round(4 * clutter)
    if not count:
        return None
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    _bodies(image, count, 0.16, rng)
    return image


def grain(frames: np.ndarray, clutter: float, rng: np.random.Generator) -> np.ndarray:
    """uint8 frames with pixel noise of a deviation of up to 8 grey levels added."""
    if clutter <= 0:
        return frames
    start = int(rng.integers(GRAIN))
    places = np.arange(start, start + frames.size, dtype=np.int64)
    noise = _grain(8 * clutter).take(places, mode="wrap").reshape(frames.shape)
    return np.clip(noise + frames, 0, 255).astype(np.uint8)
