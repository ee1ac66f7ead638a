"""Fake stamps: a picture, a caption, descriptions in two languages, perhaps an effect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40pt" height="30pt">'
    '<rect width="40" height="30" fill="#c03020"/></svg>'
)


def add_stamp(folder: Path, name: str, caption: str, seed: int, effect: bool = False, svg: bool = False) -> None:
    """Write a stamp: picture, caption, French and Spanish descriptions, perhaps an effect."""
    rng = np.random.default_rng(seed)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if svg:
        path.with_suffix(".svg").write_text(SVG)
    else:
        pixels = np.kron(rng.integers(0, 256, (4, 4, 4)), np.ones((8, 8, 1))).astype(np.uint8)
        pixels[..., 3] = 255
        Image.fromarray(pixels).save(path.with_suffix(".png"))
    path.with_suffix(".txt").write_text(f"{caption}\nfr.utf8=Une chose.\n", encoding="utf-8")
    time = np.arange(6000) / 16000
    for language, base in (("fr", 300), ("es", 500)):
        tone = 0.4 * np.sin(2 * np.pi * (base + 40 * seed) * time)
        soundfile.write(folder / f"{name}_desc_{language}.ogg", tone, 16000, format="OGG", subtype="VORBIS")
    if effect:
        soundfile.write(path.with_suffix(".wav"), 0.4 * np.sin(2 * np.pi * (2000 + seed) * time), 16000)
