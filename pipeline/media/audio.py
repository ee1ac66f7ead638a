"""Waveforms by ffmpeg, and log-mel features with the constants of each tower (facts/methods §1.6, §2.6, §3).

`vast`: 64 mel, waveform × 2^15, (x − 15.41663) / (2 · 6.55582), zeros after normalisation, slices of 1024 frames (a
whole empty slice is added when the length is an exact multiple, as released). `beats`: 128 mel, same constants, one
slice of its own length. `imagebind`: 3 clips of 2 s, each less its mean, 128 mel, 204 frames, (x + 4.268) / 9.138.
Channels: GRAM mixes them (`mean`), VAST and PMRL take the first (`first`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import ffmpeg
import numpy as np

from pipeline.ffmpeg_process import FfmpegError, run

if TYPE_CHECKING:
    from torch import Tensor

Channels = Literal["first", "mean"]
Tower = Literal["vast", "beats", "imagebind"]
RATE = 16000
#: mean and deviation; of AudioSet for VAST and BEATs, of ImageBind's own training data
VAST_NORM = (15.41663, 2 * 6.55582)
IMAGEBIND_NORM = (-4.268, 9.138)
SLICE = 1024
IMAGEBIND_FRAMES, IMAGEBIND_CLIPS, IMAGEBIND_SECONDS = 204, 3, 2


class NoAudio(Exception):
    """The file has no audio stream."""


def read_waves(
    files: Sequence[Path], rate: int, seconds: float, channels: Channels = "mean"
) -> list[np.ndarray | Exception]:
    """Mono waveforms int16 [T] of files; in the place of a bad one, the exception that says what is wrong.

    All files go through one ffmpeg process under a limit of `seconds` a file; if that process complains, each is read
    by itself, so that a damaged file costs only itself.
    """
    if not files:
        return []
    with tempfile.TemporaryDirectory(prefix="waves-") as scratch:
        targets = [Path(scratch) / f"{number}.pcm" for number in range(len(files))]
        streams = [_stream(file, target, rate, channels) for file, target in zip(files, targets, strict=True)]
        try:
            run(streams, seconds * len(files))
            return [np.fromfile(target, dtype="<i2") for target in targets]
        except FfmpegError:
            return [_alone(stream, target, seconds) for stream, target in zip(streams, targets, strict=True)]


def _stream(file: Path, target: Path, rate: int, channels: Channels) -> Any:
    mix = {"af": "pan=mono|c0=c0"} if channels == "first" else {"ac": 1}
    return ffmpeg.output(ffmpeg.input(str(file), vn=None)["a:0"], str(target), format="s16le", ar=rate, **mix)


def _alone(stream: Any, target: Path, seconds: float) -> np.ndarray | Exception:
    target.unlink(missing_ok=True)
    try:
        run([stream], seconds)
    except FfmpegError as error:
        return NoAudio("no audio stream") if "matches no streams" in str(error) else error
    return np.fromfile(target, dtype="<i2")


def fbank(wave: Tensor, tower: Tower, groups: int = 1) -> Tensor:
    """Log-mel features [slices, frames, mel] of a 16 kHz waveform [T] in [-1, 1].

    `groups` (VAST's "audio clips a sample") only sets the least number of `vast` slices. Raises ValueError for an
    unknown tower or a waveform shorter than one 25 ms window.
    """
    import torch
    from torch.nn import functional
    from torchaudio.compliance import kaldi

    if wave.ndim != 1 or len(wave) < RATE // 40:
        raise ValueError(f"a waveform [T] of at least {RATE // 40} samples is needed, not {list(wave.shape)}")
    common: dict[str, Any] = {"sample_frequency": RATE, "frame_length": 25, "frame_shift": 10}
    if tower in ("vast", "beats"):
        mean, scale = VAST_NORM
        features = kaldi.fbank(wave[None].float() * 2**15, num_mel_bins=64 if tower == "vast" else 128, **common)
        features = (features - mean) / scale
        if tower == "beats":
            return features[None]
        length = len(features)
        padding = max(SLICE * groups - length, SLICE - length % SLICE)
        return functional.pad(features, (0, 0, 0, padding)).reshape(-1, SLICE, 64)
    if tower == "imagebind":
        mean, scale = IMAGEBIND_NORM
        length = IMAGEBIND_SECONDS * RATE
        whole = functional.pad(wave.float(), (0, max(length - len(wave), 0)))
        starts = np.linspace(0, len(whole) - length, IMAGEBIND_CLIPS).astype(int)
        made = []
        for start in starts:
            part = whole[start : start + length]
            features = kaldi.fbank(
                (part - part.mean())[None],
                htk_compat=True,
                use_energy=False,
                window_type="hanning",
                num_mel_bins=128,
                dither=0.0,
                **common,
            )[:IMAGEBIND_FRAMES]
            made.append(functional.pad(features, (0, 0, 0, IMAGEBIND_FRAMES - len(features))))
        return (torch.stack(made) - mean) / scale
    raise ValueError(f"unknown tower '{tower}'; there are vast, beats, imagebind")


def logmel(waves: Tensor, rate: int = RATE, mel: int = 64) -> Tensor:
    """Log-mel features [B, frames, mel] of waveforms [B, T] (int16, or floating in [-1, 1]), standardised a clip.

    The mini tower's own front end: one batched STFT, 25 ms Hann windows every 10 ms, no published constants.
    """
    import torch
    from torchaudio.functional import melscale_fbanks

    if waves.dtype == torch.int16:
        waves = waves.float() / 2**15
    window = rate // 40
    spectrum = torch.stft(waves, 512, rate // 100, window, torch.hann_window(window), return_complex=True)
    bank = melscale_fbanks(257, 50.0, rate / 2, mel, rate)
    energies = torch.log(spectrum.abs().square().transpose(1, 2) @ bank + 1e-6)
    mean = energies.mean(dim=(1, 2), keepdim=True)
    return (energies - mean) / (energies.std(dim=(1, 2), keepdim=True) + 1e-5)
