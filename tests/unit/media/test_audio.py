"""Waveforms out of files, and fbank against the towers' published constants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi

from pipeline.ffmpeg_process import FfmpegError
from pipeline.media.audio import NoAudio, fbank, read_waves
from tests.unit.media import clips


def wave(seconds: float, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(int(seconds * 16000), generator=torch.Generator().manual_seed(seed))


def frames_of(samples: int) -> int:
    return 1 + (samples - 400) // 160


def test_vast_constants_and_padding() -> None:
    sound = wave(1.0)
    made = fbank(sound, "vast")
    assert made.shape == (1, 1024, 64)
    raw = kaldi.fbank(sound[None] * 2**15, num_mel_bins=64, sample_frequency=16000)
    expected = (raw - 15.41663) / (2 * 6.55582)
    torch.testing.assert_close(made[0, : len(raw)], expected)
    assert (made[0, len(raw) :] == 0).all()  # zeros after normalisation


def test_vast_adds_an_empty_slice_to_a_full_one() -> None:
    exact = 400 + 1023 * 160
    assert frames_of(exact) == 1024
    made = fbank(wave(exact / 16000)[:exact], "vast")
    assert made.shape == (2, 1024, 64)
    assert (made[1] == 0).all()
    assert fbank(wave(1.0), "vast", groups=3).shape == (3, 1024, 64)


def test_beats_has_128_mel_and_its_own_length() -> None:
    sound = wave(2.5)
    made = fbank(sound, "beats")
    assert made.shape == (1, frames_of(40000), 128)
    raw = kaldi.fbank(sound[None] * 2**15, num_mel_bins=128, sample_frequency=16000)
    torch.testing.assert_close(made[0], (raw - 15.41663) / 13.11164)


@pytest.mark.parametrize("seconds", [0.5, 2.0, 10.0])
def test_imagebind_takes_three_clips(seconds: float) -> None:
    sound = wave(seconds) + 0.3
    made = fbank(sound, "imagebind")
    assert made.shape == (3, 204, 128)
    last = sound[-32000:]
    raw = kaldi.fbank(
        (last - last.mean())[None],
        htk_compat=True,
        sample_frequency=16000,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=128,
        dither=0.0,
        frame_length=25,
        frame_shift=10,
    )
    torch.testing.assert_close(made[2, : len(raw)], (raw + 4.268) / 9.138)
    assert torch.allclose(made[:, len(raw) :], torch.tensor(4.268 / 9.138))  # padded with zeros before normalisation


def test_short_and_empty_sounds_are_filled_up() -> None:
    assert fbank(torch.zeros(0), "vast").eq(0).all()
    one = fbank(0.1 * torch.ones(100), "vast")
    assert one.shape == (1, 1024, 64)
    assert one[0, 1:].eq(0).all()
    assert one[0, 0].abs().sum() > 0
    assert fbank(torch.zeros(100), "beats").shape == (1, 1, 128)
    assert fbank(torch.zeros(0), "imagebind").isfinite().all()


def test_fbank_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="unknown tower"):
        fbank(wave(1.0), "clap")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="waveform"):
        fbank(torch.zeros(2, 16000), "vast")


def test_sound_of_a_clip(tmp_path: Path) -> None:
    made = read_waves([clips.clip(tmp_path / "a.mp4")], 16000, 20)[0]
    assert isinstance(made, np.ndarray)
    assert made.dtype == np.int16
    assert 40000 <= len(made) < 42000
    spectrum = np.abs(np.fft.rfft(made[4000:36000].astype(float)))
    assert abs(np.argmax(spectrum) / 2 - 440) < 2


def test_channel_policy(tmp_path: Path) -> None:
    stereo = clips.clip(tmp_path / "s.mp4", channels="0.5*sin(2764*t)|0")
    first, mean = (read_waves([stereo], 16000, 20, policy)[0] for policy in ("first", "mean"))
    assert isinstance(first, np.ndarray)
    assert isinstance(mean, np.ndarray)
    ratio = np.abs(first[8000:32000].astype(float)).mean() / np.abs(mean[8000:32000].astype(float)).mean()
    assert 1.9 < ratio < 2.1


def test_long_sounds_are_cut_and_stay_on_disk(tmp_path: Path) -> None:
    made = read_waves([clips.clip(tmp_path / "a.mp4")], 16000, 20, longest=1.5)[0]
    assert isinstance(made, np.memmap)
    assert len(made) == 24000
    assert np.abs(made).max() > 10000  # its file is gone, the samples are not


def test_a_bad_file_costs_only_itself(tmp_path: Path) -> None:
    good = clips.clip(tmp_path / "good.mp4")
    silent = clips.clip(tmp_path / "silent.mp4", audio=False)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(good.read_bytes()[:900])
    made = read_waves([good, silent, broken, tmp_path / "none.mp4"], 16000, 20)
    assert isinstance(made[0], np.ndarray)
    assert len(made[0]) >= 40000
    assert isinstance(made[1], NoAudio)
    assert isinstance(made[2], FfmpegError)
    assert isinstance(made[3], FfmpegError)
