"""Front ends of the audio towers and pixels of the image towers: constants, slicing, padding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.compliance.kaldi import fbank

from pipeline.models.pixels import MEAN, STD, prepare, random_crop
from pipeline.models.spectrograms import SLICE, beats_mel, imagebind_clips, mono, vast_slices

GENERATOR = torch.Generator().manual_seed(0)


def wave(frames: int) -> Tensor:
    """A sound that gives exactly `frames` frames."""
    return 0.1 * torch.randn(400 + 160 * (frames - 1), generator=GENERATOR)


def reference(sound: Tensor, bins: int) -> Tensor:
    mel = fbank(sound[None] * 2**15, num_mel_bins=bins, sample_frequency=16000, frame_length=25, frame_shift=10)
    return (mel - 15.41663) / (2 * 6.55582)


def test_bins_and_integers() -> None:
    sound = wave(50)
    torch.testing.assert_close(beats_mel(sound, 64), reference(sound, 64))
    integers = (sound * 2**15).to(torch.int16)
    torch.testing.assert_close(beats_mel(integers), reference(integers / 2**15, 128))


@pytest.mark.parametrize(
    ("frames", "count", "slices"), [(500, 1, 1), (1024, 1, 2), (1500, 1, 2), (1500, 2, 2), (2048, 2, 3), (5000, 2, 5)]
)
def test_vast_padding_and_middle_slices(frames: int, count: int, slices: int) -> None:
    sound = wave(frames)
    mel = reference(sound, 64)
    padded = F.pad(mel, (0, 0, 0, SLICE * slices - frames)).view(slices, SLICE, 64)
    groups = torch.tensor_split(torch.arange(slices), count)
    chosen = [int(group[(len(group) + 1) // 2 - 1]) for group in groups]
    torch.testing.assert_close(vast_slices(sound, count), padded[chosen])


def test_vast_random_slice_and_silence() -> None:
    sound = wave(5000)
    generator = torch.Generator().manual_seed(0)
    every = [vast_slices(sound, 1, generator)[0] for _ in range(30)]
    assert len({round(float(one.sum()), 3) for one in every}) > 2
    assert vast_slices(torch.zeros(0), 2).eq(0).all()
    assert vast_slices(torch.zeros(10), 1).shape == (1, SLICE, 64)


def test_imagebind_clips() -> None:
    sound = wave(1000)
    clips = imagebind_clips(sound)
    assert clips.shape == (3, 128, 204)
    middle = sound[(len(sound) - 32000) // 2 :][:32000]
    mel = fbank(
        (middle - middle.mean())[None], htk_compat=True, sample_frequency=16000, use_energy=False,
        window_type="hanning", num_mel_bins=128, dither=0.0, frame_shift=10,
    )  # fmt: skip
    torch.testing.assert_close(clips[1, :, :198], (mel.T + 4.268) / 9.138)
    torch.testing.assert_close(clips[1, :, 198:], torch.full((128, 6), 4.268 / 9.138))
    assert imagebind_clips(torch.zeros(0)).isfinite().all()


def test_channels() -> None:
    both = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert mono(both, "first").tolist() == [1, 2]
    assert mono(both, "mean").tolist() == [2, 3]


def test_geometry() -> None:
    frames = torch.randint(0, 256, (2, 30, 60, 3), dtype=torch.uint8, generator=GENERATOR)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    plain = (frames.movedim(-1, 1) / 255 - mean) / std
    torch.testing.assert_close(prepare(frames, 30, "crop"), plain[..., 15:45])
    assert prepare(frames, 20).shape == (2, 3, 20, 20)
    torch.testing.assert_close(prepare(frames[..., :30, :], 30), plain[..., :30])
    views = [random_crop(frames, 16, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    torch.testing.assert_close(views[0], views[1])
    assert not torch.equal(views[0], views[2])


def test_the_media_stage_agrees() -> None:
    from pipeline.media import audio

    sound = wave(1500)
    torch.testing.assert_close(audio.fbank(sound, "vast", 2), vast_slices(sound, 2))
    torch.testing.assert_close(audio.fbank(sound, "beats")[0], beats_mel(sound))
    torch.testing.assert_close(audio.fbank(sound, "imagebind").mT, imagebind_clips(sound))
