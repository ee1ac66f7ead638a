"""Waveforms to what the audio towers take, exact to the published constants.

| | bins | window, hop | shape | scale |
|---|---|---|---|---|
| VAST, GRAM | 64 | 25 ms, 10 ms, Povey | slices of 1,024 frames | (x − 15.41663) / (2 · 6.55582), then zero padding |
| BEATs | 128 | the same | all frames | the same |
| ImageBind | 128 | 25 ms, 10 ms, Hann, HTK | 3 clips of 2 s, 204 frames | (x + 4.268) / 9.138, after padding |
| LanguageBind | 112 | the same | 3 clips of 1,036 frames as channels | its config's mean and deviation, after padding |

VAST pads by `max(target · n − length, target − length mod target)`: a whole empty slice if the length fits exactly.
Its slices cover the *whole* sound, however long; it hears one slice of each of `n` equal groups of them (`heard`).
Channels: GRAM mixes them, VAST, PMRL and ImageBind take the first; that is a setting of decoding (`media.channels`).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Tower = Literal["vast", "beats", "imagebind"]
RATE = 16_000
#: Samples of a window and of a hop.
WINDOW, HOP = RATE * 25 // 1000, RATE * 10 // 1000
#: mean and deviation; of AudioSet for VAST and BEATs, of ImageBind's own training data
BEATS_MEAN, BEATS_STD = 15.41663, 6.55582
IMAGEBIND_MEAN, IMAGEBIND_STD = -4.268, 9.138
#: Frames of one of VAST's slices (10.24 s).
SLICE = 1024
IMAGEBIND_SECONDS, IMAGEBIND_CLIPS, IMAGEBIND_FRAMES = 2, 3, 204


def fbank(wave: Tensor, tower: Tower, groups: int = 1) -> Tensor:
    """Normalised log-mel features [slices, frames, mel] of a 16 kHz waveform [T], int16 or in −1–1, for a tower.

    `vast`: every slice, at least `groups` of them; `beats`: one slice of all frames; `imagebind`: three clips. Sounds
    shorter than one window (25 ms) are filled up with zeros. Raises ValueError for another tower or shape.
    """
    if wave.ndim != 1:
        raise ValueError(f"a waveform [T] is needed, not {list(wave.shape)}")
    if tower == "vast":
        return torch.stack([vast_slice(wave[start:end]) for start, end in vast_spans(len(wave), groups)])
    if tower == "beats":
        return beats_mel(wave)[None]
    if tower == "imagebind":
        return imagebind_clips(wave).mT
    raise ValueError(f"unknown tower '{tower}'; there are vast, beats, imagebind")


def beats_mel(wave: Tensor, bins: int = 128) -> Tensor:
    """Normalised log-mel [frames, bins] of a waveform [samples]."""
    from torchaudio.compliance.kaldi import fbank as kaldi

    scaled = _unit(wave) * 2**15
    mel: Tensor = kaldi(scaled[None], num_mel_bins=bins, sample_frequency=RATE, frame_length=25, frame_shift=10)
    return (mel - BEATS_MEAN) / (2 * BEATS_STD)


def vast_spans(samples: int, groups: int) -> list[tuple[int, int]]:
    """First and last sample (exclusive) of each slice of a sound of `samples`; an empty slice has an empty span.

    Frame i is made of samples 160 i to 160 i + 400 alone, so that a slice's features need no sample but its own.
    """
    frames = 0 if samples == 0 else 1 + max(samples - WINDOW, 0) // HOP
    padding = max(SLICE * groups - frames, SLICE - frames % SLICE)
    spans = []
    for first in range(0, frames + padding, SLICE):
        own = min(max(frames - first, 0), SLICE)
        start = min(first * HOP, samples)
        spans.append((start, min(start + (own - 1) * HOP + WINDOW, samples) if own else start))
    return spans


def heard(samples: int, count: int, generator: torch.Generator | None = None) -> list[tuple[int, int]]:
    """Spans of the `count` slices that VAST hears of a sound of `samples`.

    The slices are split into `count` groups; evaluation takes the middle of each, training (`generator` given) a
    random one.
    """
    spans = vast_spans(samples, count)
    chosen = []
    for group in torch.tensor_split(torch.arange(len(spans)), count):
        middle = (len(group) + 1) // 2 - 1
        place = middle if generator is None else int(torch.randint(len(group), (1,), generator=generator))
        chosen.append(spans[int(group[place])])
    return chosen


def vast_slice(part: Tensor, bins: int = 64) -> Tensor:
    """A slice's log-mel [1024, bins] of its samples: zeros after the sound's end, and for no sound at all."""
    if not len(part):
        return torch.zeros(SLICE, bins)
    mel = beats_mel(part, bins)
    return F.pad(mel, (0, 0, 0, SLICE - len(mel)))


def vast_slices(wave: Tensor, count: int, generator: torch.Generator | None = None, bins: int = 64) -> Tensor:
    """The log-mel slices [count, 1024, bins] that VAST hears of a waveform [samples]; see `heard`."""
    return torch.stack([vast_slice(wave[start:end], bins) for start, end in heard(len(wave), count, generator)])


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
    from torchaudio.compliance.kaldi import fbank as kaldi

    wave = _unit(wave - wave.mean()) if len(wave) else torch.zeros(WINDOW)
    mel: Tensor = kaldi(
        wave[None], htk_compat=True, sample_frequency=RATE, use_energy=False, window_type="hanning",
        num_mel_bins=bins, dither=0.0, frame_length=25, frame_shift=10,
    )  # fmt: skip
    return mel


def _unit(wave: Tensor) -> Tensor:
    """A float waveform in −1–1 of at least one window, from int16 or float."""
    unit = wave.float() / 2**15 if wave.dtype == torch.int16 else wave.float()
    return F.pad(unit, (0, max(0, WINDOW - len(unit))))
