"""Front ends of the audio towers and pixels of the image towers: constants, slicing, padding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.compliance.kaldi import fbank

from pipeline.models.pixels import MEAN, STD, flipped, prepare
from pipeline.models.spectrograms import SLICE, beats_mel, heard, imagebind_clips, vast_slice, vast_slices

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


def test_geometry() -> None:
    frames = torch.randint(0, 256, (2, 30, 60, 3), dtype=torch.uint8, generator=GENERATOR)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    plain = (frames.movedim(-1, 1) / 255 - mean) / std
    torch.testing.assert_close(prepare(frames, 30, "crop"), plain[..., 15:45])
    assert prepare(frames, 20).shape == (2, 3, 20, 20)
    torch.testing.assert_close(prepare(frames[..., :30, :], 30), plain[..., :30])
    views = [flipped(plain, torch.Generator().manual_seed(seed)) for seed in range(20)]
    flips = [not torch.equal(view, plain) for view in views]
    assert 3 < sum(flips) < 17
    assert all(torch.equal(view.flip(-1), plain) for view, flip in zip(views, flips, strict=True) if flip)


# At 100 x 126 torchvision rounds a side of 100.4 down, so that now and then a crop fits: a hair beyond 5:4.
@pytest.mark.parametrize(("height", "width"), [(240, 320), (480, 270), (360, 640), (100, 128)])
def test_the_released_random_crop_is_the_centre_of_long_frames(height: int, width: int) -> None:
    from torchvision.transforms import RandomResizedCrop

    frame, side = torch.empty(3, height, width), min(height, width)
    for _ in range(20):
        crop = RandomResizedCrop.get_params(frame, scale=[0.8, 1.0], ratio=[1.0, 1.0])
        assert crop == ((height - side) // 2, (width - side) // 2, side, side)


@pytest.mark.parametrize(("seconds", "count", "middles"), [(10, 1, [0]), (31, 1, [1]), (125, 1, [6]), (125, 2, [3, 9])])
def test_long_sounds_are_heard_in_the_middle(seconds: int, count: int, middles: list[int]) -> None:
    """The slices that are read are those of the whole spectrogram: 10.24 s from the middle of each group."""
    sound = 0.1 * torch.randn(seconds * 16000, generator=GENERATOR)
    spans = heard(len(sound), count)
    assert [start for start, _ in spans] == [middle * 163_840 for middle in middles]
    assert all(end - start <= 164_080 for start, end in spans)
    mel = reference(sound, 64)
    for (start, end), middle in zip(spans, middles, strict=True):
        whole = mel[middle * SLICE : (middle + 1) * SLICE]
        torch.testing.assert_close(vast_slice(sound[start:end])[: len(whole)], whole)


def test_the_public_name_is_the_same_function() -> None:
    from pipeline.media import audio

    sound = wave(1500)
    every = audio.fbank(sound, "vast", 2)
    mel = F.pad(reference(sound, 64), (0, 0, 0, 2 * SLICE - 1500))
    torch.testing.assert_close(every, mel.view(2, SLICE, 64))
    torch.testing.assert_close(every, vast_slices(sound, 2))
    torch.testing.assert_close(audio.fbank(sound, "beats")[0], beats_mel(sound))
    torch.testing.assert_close(audio.fbank(sound, "imagebind").mT, imagebind_clips(sound))
