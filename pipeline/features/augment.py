"""Augmentation of mel power spectrograms: shift in time, gain, added noise and other recordings.

Measured for few steps: masking bands or stretches of time (SpecAugment) hurts, noise on isolated recordings helps.
"""

from __future__ import annotations

import torch
from torch import Tensor


def augment(power: Tensor, level: float, shift: int, generator: torch.Generator) -> Tensor:
    """Mel power [B, MELS, frames], altered; `level`: largest noise, relative to the clip's own mean power.

    The noise is stationary with a random slope over the bands (white to pink and beyond) or a stretch of the batch's
    next clip, each for half of the clips.
    """
    batch, mels, frames = power.shape
    shifts = torch.randint(-shift, shift + 1, (batch, 1, 1), generator=generator)
    places = (torch.arange(frames) - shifts) % frames
    power = power.gather(2, places.expand(batch, mels, frames))
    strength = power.mean((1, 2), keepdim=True)
    slope = torch.rand(batch, 1, 1, generator=generator) * 4
    colour = torch.exp(-slope * torch.linspace(0, 1, mels)[:, None])
    # Power of noise in a mel band and a short window: exponential, smoothed by the band's width.
    noise = colour * -torch.rand(batch, mels, frames, generator=generator).clamp_min(1e-6).log()
    other = power.roll(1, 0).roll(frames // 2, 2)
    noise = torch.where(torch.rand(batch, 1, 1, generator=generator) < 0.5, noise, other)
    noise = noise / noise.mean((1, 2), keepdim=True).clamp_min(1e-12)
    amount = level * torch.rand(batch, 1, 1, generator=generator).square()
    gain = torch.exp(torch.randn(batch, mels, 1, generator=generator) * 0.2)
    return gain * (power + amount * strength * noise)
