"""Stored frames to what a CLIP-like tower takes: geometry, then CLIP's mean and standard deviation.

Facts: MSR-VTT is trained with a random crop and flip and evaluated with resize and centre crop, DiDeMo and ActivityNet
are squashed to a square, both on float tensors without antialiasing; so the geometry is a setting of the corpus, and
decoding stores squares. The random crop is a square of at least 0.8 of the area, which no frame longer than 5:4 holds:
torchvision then takes the centre, so that training's view of a stored centre differs by the flip alone. (Deviation: of
videos between 1:1 and 5:4 too.)
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
Geometry = Literal["squash", "crop"]
#: `bilinear` without antialiasing, as VAST and GRAM; `bicubic` as Pillow's, antialiased and kept in range.
Resampling = Literal["bilinear", "bicubic"]


def prepare(frames: Tensor, size: int, geometry: Geometry = "squash", resampling: Resampling = "bilinear") -> Tensor:
    """Normalised float [N, 3, size, size] of uint8 frames [N, H, W, 3].

    `squash` resizes both sides to `size`; `crop` resizes the shorter side and takes the centre.
    """
    pixels = frames.movedim(-1, 1).float() / 255
    height, width = pixels.shape[-2:]
    if geometry == "squash":
        resized = _resize(pixels, size, size, resampling)
    else:
        scale = size / min(height, width)
        resized = _resize(pixels, max(size, int(height * scale)), max(size, int(width * scale)), resampling)
        top, left = (round((side - size) / 2) for side in resized.shape[-2:])
        resized = resized[..., top : top + size, left : left + size]
    return normalise(resized)


def flipped(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Pixels [N, 3, H, W] of a clip, mirrored in one half of the draws; one draw for all frames."""
    return pixels.flip(-1) if float(torch.rand((), generator=generator)) < 0.5 else pixels


def normalise(pixels: Tensor) -> Tensor:
    """Pixels in 0–1 [N, 3, H, W] by CLIP's constants."""
    mean, std = (
        torch.tensor(values, dtype=pixels.dtype, device=pixels.device)[:, None, None] for values in (MEAN, STD)
    )
    return (pixels - mean) / std


def _resize(pixels: Tensor, height: int, width: int, resampling: Resampling) -> Tensor:
    if pixels.shape[-2:] == (height, width):
        return pixels
    smooth = resampling == "bicubic"
    resized = F.interpolate(pixels, size=(height, width), mode=resampling, align_corners=False, antialias=smooth)
    return resized.clamp(0, 1) if smooth else resized  # bicubic overshoots at edges
