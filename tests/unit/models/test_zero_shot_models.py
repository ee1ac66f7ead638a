"""ImageBind and LanguageBind: sizes of the published CLIPs, independent oracles on random weights, files by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import UserError
from pipeline.models import clip, imagebind, languagebind, spectrograms
from pipeline.models.checkpoint import parameters, shapes
from tests.unit.models.test_paper_towers import NEAR, randomise
from tests.unit.released_models import languagebind_config, write_languagebind

FRAMES = torch.randint(0, 256, (2, 4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
TEXT = clip.TextConfig(width=16, layers=2, heads=2, hidden=64, embedding=16)


def test_imagebind_is_open_clips_vit_h_with_a_stem_of_two_frames() -> None:
    import open_clip

    shipped = open_clip.get_model_config("ViT-H-14")
    with torch.device("meta"):
        model = imagebind.ImageBind()
        theirs = open_clip.CLIP(**{key: shipped[key] for key in ("embed_dim", "vision_cfg", "text_cfg")})
    plane = 3 * 14 * 14 * 1280
    assert parameters(model.visual) == parameters(theirs.visual) + plane
    assert round(parameters(theirs.visual) / 1e6, 1) == 632.1
    own, text = shapes(model.text.state_dict()), shapes(theirs.state_dict())
    assert {name: text[name] for name in own} == own
    assert round(parameters(model.text) / 1e6, 1) == 354.0
    released = shapes(imagebind.released(model))
    assert released["modality_preprocessors.vision.rgbt_stem.proj.1.weight"] == (1280, 3, 2, 14, 14)
    assert released["modality_preprocessors.vision.pos_embedding_helper.pos_embed"] == (1, 257, 1280)
    assert released["modality_heads.audio.2.weight"] == (1024, 768)


def test_imagebinds_stem_sees_both_frames_of_a_pair() -> None:
    model = randomise(imagebind.ImageBind(imagebind.TINY))
    plain = clip.ClipVision(imagebind.TINY.vision)
    state = dict(model.visual.state_dict())
    state["conv1.weight"] = state["conv1.weight"].sum(2)
    plain.visual.load_state_dict(state)
    still = FRAMES[:, :1]
    with torch.no_grad():
        from pipeline.models.pixels import prepare

        expected = F.normalize(plain(prepare(still.flatten(0, 1), 32)), dim=-1)
        torch.testing.assert_close(model.embed_vision(still), expected, **NEAR)
        torch.testing.assert_close(model.embed_vision(still.expand(-1, 4, -1, -1, -1)), expected, **NEAR)
        pairs = [F.normalize(model.embed_vision(FRAMES[:, start : start + 2]), dim=-1) for start in (0, 2)]
        torch.testing.assert_close(model.embed_vision(FRAMES), F.normalize(pairs[0] + pairs[1], dim=-1), **NEAR)
        model.visual.conv1.weight[:, :, 1] = 0  # the second frame of a pair does not matter now
        other = torch.cat([FRAMES[:, :1], FRAMES[:, 2:3]], 1)
        torch.testing.assert_close(model.embed_vision(FRAMES[:, :2]), model.embed_vision(other), **NEAR)


def test_text_and_rectangular_images_against_transformers() -> None:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    theirs = randomise(
        CLIPTextModelWithProjection(
            CLIPTextConfig(
                hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, projection_dim=16,
                hidden_act="quick_gelu",
            )
        )
    )  # fmt: skip
    ours = clip.textual(replace(TEXT, activation="quick_gelu")).eval()
    ours.load_state_dict(clip.from_transformers(theirs.state_dict(), ours.state_dict(), "text", "file"))
    ids = clip.tokens(["A lion.", "two words " * 60])
    assert ids.shape == (2, 77)
    assert ids[1, -1] == ids.max() == 49407
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).text_embeds, **NEAR)


def naive_time(layer: languagebind.TimeLayer, tokens: Tensor) -> Tensor:
    """The temporal part written out for [B, F, N, width]: each place attends over the frames."""
    attention, heads = layer.temporal_attn, layer.temporal_attn.num_heads
    out = torch.empty_like(tokens)
    for clip_number in range(tokens.shape[0]):
        for place in range(tokens.shape[2]):
            x = tokens[clip_number, :, place] + layer.temporal_embedding[0]
            joint = layer.temporal_layer_norm1(x) @ attention.in_proj_weight.T + attention.in_proj_bias
            query, key, value = (part.unflatten(-1, (heads, -1)) for part in joint.chunk(3, -1))
            mixed = [
                (query[:, h] @ key[:, h].T / query.shape[-1] ** 0.5).softmax(-1) @ value[:, h] for h in range(heads)
            ]
            out[clip_number, :, place] = x + attention.out_proj(torch.cat(mixed, -1))
    return out


def test_languagebinds_time_layer_against_a_naive_one() -> None:
    layer = randomise(languagebind.TimeLayer(clip.TINY, 3)).double()
    tokens = torch.randn(2, 3, 5, clip.TINY.width, dtype=torch.float64)
    plain = super(languagebind.TimeLayer, layer).forward
    with torch.no_grad():
        torch.testing.assert_close(layer(tokens.flatten(0, 1)), plain(naive_time(layer, tokens).flatten(0, 1)), **NEAR)


def test_languagebind_without_time_is_transformers_clip(tmp_path: Path) -> None:
    video, audio, theirs = write_languagebind(tmp_path)
    model = languagebind.load(video, audio)
    with torch.no_grad():
        for layer in model.video.visual.transformer.resblocks:
            for parameter in (layer.temporal_embedding, *layer.temporal_attn.out_proj.parameters()):
                parameter.zero_()
        from pipeline.models.pixels import prepare

        pixels = prepare(FRAMES.flatten(0, 1), 32)
        each = theirs.get_image_features(pixel_values=pixels).pooler_output.unflatten(0, (2, 4))
        torch.testing.assert_close(model.embed_vision(FRAMES), F.normalize(each.mean(1), dim=-1), **NEAR)
        texts = ["a lion", "a red drum"]
        expected = theirs.get_text_features(input_ids=clip.tokens(texts)).pooler_output
        torch.testing.assert_close(model.embed_text(texts), F.normalize(expected, dim=-1), **NEAR)
        with pytest.raises(UserError, match=r"media\.chunks: 2 frames a clip; this LanguageBind attends over 4"):
            model.embed_vision(FRAMES[:, :2])


def test_languagebinds_time_mixes_frames(tmp_path: Path) -> None:
    video, audio, _ = write_languagebind(tmp_path)
    model = languagebind.load(video, audio)
    with torch.no_grad():
        assert (model.embed_vision(FRAMES) - model.embed_vision(FRAMES.flip(1))).abs().max() > 1e-3


def test_released_sizes_of_languagebind(tmp_path: Path) -> None:
    """ViT-L/14 as their configs state it: 8 frames of video, 112 x 1,036 of sound, 593 places."""
    large = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
             "patch_size": 14, "image_size": 224, "hidden_act": "gelu", "lora_r": 0}  # fmt: skip
    sound = {"num_mel_bins": 112, "target_length": 1036, "audio_mean": -4.2677393, "audio_std": 4.5689974}
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "hidden_act": "gelu"}
    for name, vision in (("video", large | {"add_time_attn": True, "num_frames": 8}), ("audio", large | sound)):
        (tmp_path / name).mkdir()
        config = {"text_config": text, "vision_config": vision, "projection_dim": 768}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        model = languagebind.LanguageBind(
            languagebind.release(tmp_path / "video"), languagebind.release(tmp_path / "audio")
        )
    time = 24 * (8 * 1024 + 2 * 1024 + 4 * (1024**2 + 1024))
    assert parameters(model.video) == 303_966_208 + time  # open_clip's ViT-L-14
    assert parameters(model.text) == 123_650_304
    assert model.audio.visual.positional_embedding.shape == (593, 1024)


@pytest.mark.parametrize("change", ["missing", "unexpected", "reshaped"])
def test_files_that_do_not_fit_are_named_as_released(tmp_path: Path, change: str) -> None:
    torch.manual_seed(0)
    state = imagebind.released(imagebind.ImageBind(imagebind.TINY))
    state |= {"modality_postprocessors.text.1.log_logit_scale": torch.ones([])}
    state |= {"modality_preprocessors.text.mask": torch.ones(77, 77), "modality_trunks.imu.blocks.0.x": torch.ones(2)}
    name = "modality_heads.vision.2.weight"
    torch.save(state, tmp_path / "fits.pth")
    model = imagebind.load(tmp_path / "fits.pth", config=imagebind.TINY)
    with torch.no_grad():
        assert model.embed_text(["a lion"]).norm().item() == pytest.approx(1, abs=1e-5)
        assert model.embed_audio([torch.randn(40_000)]).shape == (1, 16)
    if change == "missing":
        del state[name]
    elif change == "unexpected":
        name = "modality_trunks.vision.blocks.7.norm_1.weight"
        state[name] = torch.ones(3)
    else:
        state[name] = torch.ones(16, 7)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(UserError, match=rf"{change}.*{name}"):
        imagebind.load(tmp_path / "other.pth", config=imagebind.TINY)


def test_languagebinds_folder_is_checked(tmp_path: Path) -> None:
    video, audio, _ = write_languagebind(tmp_path)
    state = torch.load(video, weights_only=True)
    torch.save(state | {"vision_model.encoder.base_model.x": torch.ones(1)}, video)
    with pytest.raises(UserError, match=r"unexpected 1: vision_model\.encoder\.base_model\.x"):
        languagebind.load(video, audio)
    torch.save(state | {"text_decoder.x": torch.ones(1)}, video)
    with pytest.raises(UserError, match=r"unexpected 1: text_decoder\.x"):
        languagebind.load(video, audio)
    config: dict[str, Any] = languagebind_config(vision={"lora_r": 16})
    (video.parent / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="a checkpoint with LoRA weights"):
        languagebind.load(video, audio)
    (video.parent / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json: not the config of a LanguageBind release"):
        languagebind.load(video, audio)


def test_languagebind_pairs_models_of_one_space_alone(tmp_path: Path) -> None:
    video, audio, _ = write_languagebind(tmp_path)
    deaf = languagebind.load(video)
    with torch.no_grad():
        assert not deaf.embed_audio([torch.ones(16_000)] * 2).any()
        torch.testing.assert_close(deaf.embed_vision(FRAMES), languagebind.load(video, audio).embed_vision(FRAMES))
    config = json.loads((audio.parent / "config.json").read_text()) | {"projection_dim": 12}
    (audio.parent / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"audio/pytorch_model\.bin: embeds to 12, .*video/pytorch_model\.bin to 16"):
        languagebind.load(video, audio)


@pytest.mark.parametrize("samples", [3_000, 16_000, 16_320, 90_000])
def test_languagebinds_channels(samples: int) -> None:
    """102 frames at 16 kHz are 16,320 samples."""
    from torchaudio.compliance.kaldi import fbank

    wave = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
    image = spectrograms.languagebind_channels(wave, bins=40, frames=102, mean=-4.0, deviation=4.5)
    assert image.shape == (3, 40, 102)
    whole = wave if samples >= 16_320 else F.pad(wave.repeat(16_320 // samples), (0, 16_320 % samples))
    mel = fbank((whole - whole.mean())[None], htk_compat=True, use_energy=False, window_type="hanning",
                num_mel_bins=40, dither=0.0, sample_frequency=16_000)  # fmt: skip
    padded = F.pad(mel, (0, 0, 0, max(0, 102 - len(mel))))
    starts = [0, 0, 0]
    if samples > 16_320:
        possible = len(mel) - 102 + 1
        starts = [0, -(-possible // 3), -(-possible // 3) + -(-(possible - 1) // 3)]
    for channel, start in enumerate(starts):
        torch.testing.assert_close(image[channel] * 4.5 - 4.0, padded[start : start + 102].T, rtol=1e-4, atol=1e-4)
