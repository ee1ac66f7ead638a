"""Waveforms to what the audio towers take, exact to the published constants (facts/methods §1.6, §3).

| | bins | window, hop | shape | scale |
|---|---|---|---|---|
| VAST, GRAM | 64 | 25 ms, 10 ms, Povey | slices of 1,024 frames | (x − 15.41663) / (2 · 6.55582), then zero padding |
| BEATs | 128 | the same | all frames | the same |
| ImageBind | 128 | 25 ms, 10 ms, Hann, HTK | 3 clips of 2 s, 204 frames | (x + 4.268) / 9.138, after padding |
| LanguageBind | 112 | the same | 3 clips of 1,036 frames as channels | its config's mean and deviation, after padding |

VAST pads by `max(target · n − length, target − length mod target)`: a whole empty slice if the length fits exactly.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

RATE = 16_000
BEATS_MEAN, BEATS_STD = 15.41663, 6.55582
SLICE = 1024
IMAGEBIND_MEAN, IMAGEBIND_STD = -4.268, 9.138
IMAGEBIND_SECONDS, IMAGEBIND_CLIPS, IMAGEBIND_FRAMES = 2, 3, 204
#: The kaldi front end needs one window: shorter sounds are padded to it.
WINDOW = RATE * 25 // 1000


def mono(wave: Tensor, channels: Literal["first", "mean"] = "first") -> Tensor:
    """One channel [samples] of [channels, samples]: VAST takes the first, GRAM the mean."""
    return wave[0] if channels == "first" else wave.float().mean(0)


def beats_mel(wave: Tensor, bins: int = 128) -> Tensor:
    """Normalised log-mel [frames, bins] of a waveform [samples] in −1–1 (or int16) at 16 kHz."""
    from torchaudio.compliance.kaldi import fbank

    scaled = _unit(wave) * 2**15
    mel: Tensor = fbank(scaled[None], num_mel_bins=bins, sample_frequency=RATE, frame_length=25, frame_shift=10)
    return (mel - BEATS_MEAN) / (2 * BEATS_STD)


def vast_slices(wave: Tensor, count: int, generator: torch.Generator | None = None, bins: int = 64) -> Tensor:
    """VAST's log-mel slices [count, 1024, bins] of a waveform [samples]; a silent or empty track gives zeros.

    The padded spectrogram's slices are split into `count` groups; evaluation takes the middle of each, training
    (`generator` given) a random one.
    """
    if wave.numel() == 0:
        return torch.zeros(count, SLICE, bins)
    mel = beats_mel(wave, bins)
    padding = max(SLICE * count - len(mel), SLICE - len(mel) % SLICE)
    slices = F.pad(mel, (0, 0, 0, padding)).view(-1, SLICE, bins)
    chosen = []
    for group in torch.tensor_split(torch.arange(len(slices)), count):
        middle = (len(group) + 1) // 2 - 1
        place = middle if generator is None else int(torch.randint(len(group), (1,), generator=generator))
        chosen.append(int(group[place]))
    return slices[chosen]


def imagebind_clips(wave: Tensor) -> Tensor:
    """ImageBind's clips [3, 128, 204] of a waveform [samples]: evenly spread, each 2 s, mean-subtracted."""
    wave = _unit(wave)
    length = IMAGEBIND_SECONDS * RATE
    spare = max(0, len(wave) - length)
    clips = []
    for number in range(IMAGEBIND_CLIPS):
        start = spare * number // (IMAGEBIND_CLIPS - 1)
        mel = _hann_mel(wave[start : start + length], 128)
        mel = F.pad(mel, (0, 0, 0, max(0, IMAGEBIND_FRAMES - len(mel))))[:IMAGEBIND_FRAMES]
        clips.append((mel.T - IMAGEBIND_MEAN) / IMAGEBIND_STD)
    return torch.stack(clips)


def languagebind_channels(wave: Tensor, bins: int, frames: int, mean: float, deviation: float) -> Tensor:
    """LanguageBind's image [3, bins, frames] of a waveform [samples].

    Of a longer sound the channels are the first `frames` of its log-mel, and those from a third and from two thirds of
    the possible starts on; a shorter one is repeated as often as it fits, then padded, and all channels are equal.
    """
    wave, length = _unit(wave), frames * RATE // 100
    if len(wave) < length:
        wave = wave.repeat(length // len(wave))
        wave = F.pad(wave, (0, length - len(wave)))
    mel = _hann_mel(wave, bins)
    starts = [0, 0, 0]
    if len(wave) > length:
        thirds = torch.arange(max(len(mel) - frames + 1, 1)).tensor_split(3)
        starts = [int(third[0]) if len(third) else 0 for third in thirds]
    chosen = [mel[start : start + frames] for start in starts]
    padded = torch.stack([F.pad(one, (0, 0, 0, frames - len(one))) for one in chosen])
    return (padded.mT - mean) / deviation


def _hann_mel(wave: Tensor, bins: int) -> Tensor:
    """Log-mel [frames, bins] of a waveform [samples] less its mean, as ImageBind and LanguageBind take it."""
    from torchaudio.compliance.kaldi import fbank

    wave = _unit(wave - wave.mean()) if len(wave) else torch.zeros(WINDOW)
    mel: Tensor = fbank(
        wave[None], htk_compat=True, sample_frequency=RATE, use_energy=False, window_type="hanning",
        num_mel_bins=bins, dither=0.0, frame_length=25, frame_shift=10,
    )  # fmt: skip
    return mel


def _unit(wave: Tensor) -> Tensor:
    """A float waveform in −1–1 of at least one window, from int16 or float."""
    unit = wave.float() / 2**15 if wave.dtype == torch.int16 else wave.float()
    return F.pad(unit, (0, max(0, WINDOW - len(unit))))
