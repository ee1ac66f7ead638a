"""The paper's towers: published sizes on the meta device, outputs against independent ones on random weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models import beats, bert, clip, eva_clip, imagebind_audio
from pipeline.models.checkpoint import parameters
from pipeline.models.pixels import MEAN, STD

NEAR: Any = {"rtol": 1e-5, "atol": 1e-5}


def randomise(module: nn.Module, seed: int = 0) -> Any:
    """Every parameter random, so that no zero hides an error."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(
                0.2 * torch.randn(parameter.shape, generator=generator) + (0.5 if parameter.ndim == 1 else 0)
            )
    return module.eval()


@pytest.mark.parametrize(
    ("build", "millions"),
    [
        (eva_clip.EvaClip, 1012.6),
        (beats.Beats, 90.3),
        (lambda: clip.ClipVision(clip.VIT_H_14), 632.1),
        (lambda: clip.ClipVision(clip.VIT_BIGG_14), 1844.9),
    ],
)
def test_published_sizes(build: Any, millions: float) -> None:
    with torch.device("meta"):
        module = build()
    assert round(parameters(module) / 1e6, 1) == millions


def test_eva_is_timms_eva_giant() -> None:
    import timm

    with torch.device("meta"):
        theirs = timm.create_model("eva_giant_patch14_224", num_classes=1024, global_pool="token").state_dict()
        ours = eva_clip.visual().state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


def naive_eva(state: dict[str, Tensor], config: eva_clip.Config, pixels: Tensor) -> Tensor:
    """EVA written out from the published description, without timm."""
    size, heads = config.patch, config.heads
    grid = pixels.unfold(2, size, size).unfold(3, size, size).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    tokens = grid @ state["patch_embed.proj.weight"].flatten(1).T + state["patch_embed.proj.bias"]
    tokens = torch.cat([state["cls_token"].expand(len(pixels), -1, -1), tokens], 1) + state["pos_embed"]
    for layer in range(config.layers):
        own = {name.removeprefix(f"blocks.{layer}."): value for name, value in state.items()}

        def norm(name: str, x: Tensor, own: dict[str, Tensor] = own) -> Tensor:
            return F.layer_norm(x, x.shape[-1:], own[f"{name}.weight"], own[f"{name}.bias"], 1e-6)

        q_bias, v_bias = own["attn.q_bias"], own["attn.v_bias"]
        joint = norm("norm1", tokens) @ own["attn.qkv.weight"].T + torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
        query, key, value = joint.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
        mixed = (weights @ value).transpose(1, 2).flatten(2)
        tokens = tokens + mixed @ own["attn.proj.weight"].T + own["attn.proj.bias"]
        hidden = F.gelu(norm("norm2", tokens) @ own["mlp.fc1.weight"].T + own["mlp.fc1.bias"])
        tokens = tokens + hidden @ own["mlp.fc2.weight"].T + own["mlp.fc2.bias"]
    return F.layer_norm(tokens, tokens.shape[-1:], state["norm.weight"], state["norm.bias"], 1e-6)


def test_eva_against_a_naive_one() -> None:
    tower = randomise(eva_clip.EvaClip(eva_clip.TINY)).double()
    pixels = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(tower(pixels), naive_eva(tower.visual.state_dict(), eva_clip.TINY, pixels), **NEAR)


def test_clip_against_transformers(tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    tiny = clip.TINY
    theirs = randomise(
        CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=tiny.width, intermediate_size=tiny.hidden, num_hidden_layers=tiny.layers, hidden_act="gelu",
                num_attention_heads=tiny.heads, image_size=tiny.image, patch_size=tiny.patch,
                projection_dim=tiny.embedding,
            )
        )
    )  # fmt: skip
    torch.save(theirs.state_dict(), tmp_path / "clip.pt")
    ours = clip.load(tmp_path / "clip.pt", tiny)
    pixels = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(pixels), theirs(pixel_values=pixels).image_embeds, **NEAR)


def test_clip_reads_open_clip_layout(tmp_path: Path) -> None:
    tower = randomise(clip.ClipVision(clip.TINY))
    torch.save(
        {**tower.state_dict(), "logit_scale": torch.ones([]), "text_projection": torch.ones(2, 2)}, tmp_path / "a.pt"
    )
    frames = torch.randint(0, 256, (2, 40, 50, 3), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(clip.load(tmp_path / "a.pt", clip.TINY).encode(frames), tower.encode(frames))


def test_clip_sees_what_open_clip_shows_it() -> None:
    """Pillow rounds (and clips, hence no extreme values) between its two passes."""
    from open_clip import image_transform
    from PIL import Image

    frames = torch.randint(64, 192, (2, 40, 50, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    shown = image_transform(32, is_train=False, mean=MEAN, std=STD)
    expected = torch.stack([shown(Image.fromarray(frame.numpy())) for frame in frames])
    seen: list[Tensor] = []
    tower = clip.ClipVision(clip.TINY)
    tower.visual.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        tower.encode(frames)
    assert (seen[0] - expected).abs().max() < 2 / 255 / min(STD)


def test_beats_leave_float32_products_what_they_are() -> None:
    code = (
        "import os; os.environ.pop('SB_DISABLE_QUIRKS', None); import torch; from pipeline.models import beats; "
        "beats.Beats(beats.TINY); print(torch.get_float32_matmul_precision())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split()[-1] == "highest"


def test_beats_against_speechbrain(tmp_path: Path) -> None:
    from speechbrain.lobes.models.beats import BEATs

    ours = randomise(beats.Beats(beats.TINY, bins=128))
    state = ours.state_dict()
    torch.save({"cfg": beats.TINY, "model": state}, tmp_path / "theirs.pt")
    theirs = BEATs(ckp_path=str(tmp_path / "theirs.pt"), freeze=False).eval()
    wave = 0.1 * torch.randn(2, 16000)
    from pipeline.models.spectrograms import beats_mel

    mel = torch.stack([beats_mel(one) for one in wave])
    with torch.no_grad():
        expected = theirs.extract_features(wave, torch.ones(2))[0]
        torch.testing.assert_close(ours(mel), expected, **NEAR)


def test_beats_released_names_and_config(tmp_path: Path) -> None:
    tower = randomise(beats.Beats(beats.TINY))
    released = tower.state_dict()
    for mine, theirs in beats.WEIGHT_NORM:
        released = {name.replace(mine, theirs): value for name, value in released.items()}
    path = tmp_path / "BEATs.pt"
    torch.save({"cfg": beats.TINY, "model": released}, path)
    wave = torch.randint(-3000, 3000, (1, 40000), dtype=torch.int16)
    with torch.no_grad():
        tokens = beats.load(path).encode(wave)
        torch.testing.assert_close(tokens, tower.encode(wave))
    assert tokens.shape == (1, 256, 24)
    torch.save(released, path)
    with pytest.raises(UserError, match="has no 'cfg'"):
        beats.load(path)


def test_beats_of_a_file_without_cfg_is_the_released_model() -> None:
    """Relative positions by distances up to 800, no dropout: what the cfg of BEATs_iter3_plus_AS2M.pt says."""
    with torch.device("meta"):
        tower = beats.Beats()
    attention = [layer.self_attn for layer in tower.encoder.layers]
    assert {(one.max_distance, one.num_buckets, one.gru_rel_pos) for one in attention} == {(800, 320, True)}
    assert {one.p for one in tower.modules() if isinstance(one, torch.nn.Dropout)} == {0.0}
    assert {layer.deep_norm for layer in tower.encoder.layers} == {True}
    assert (tower.encoder.layer_wise_gradient_decay_ratio, tower.encoder.layerdrop) == (0.6, 0.0)


def test_bert_without_condition_is_transformers_encoder() -> None:
    from transformers import BertConfig, BertModel

    tiny = bert.TINY
    ours = randomise(bert.Bert(tiny))
    theirs = BertModel(
        BertConfig(
            vocab_size=tiny.vocabulary, hidden_size=tiny.width, num_hidden_layers=tiny.layers,
            num_attention_heads=tiny.heads, intermediate_size=tiny.hidden, max_position_embeddings=tiny.length,
        ),
        add_pooling_layer=False,
    ).eval()  # fmt: skip
    theirs.load_state_dict(
        {name: value for name, value in ours.bert.state_dict().items() if "crossattention" not in name}
    )
    ids = torch.randint(0, tiny.vocabulary, (2, 6))
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(ours.encode(ids, mask), expected, **NEAR)


def test_bert_causal_and_conditioned() -> None:
    model = randomise(bert.Bert(bert.TINY))
    ids, mask, condition = torch.randint(0, 120, (2, 6)), torch.ones(2, 6), torch.randn(2, 5, bert.TINY.width)
    with torch.no_grad():
        whole = model.encode(ids, mask, condition, causal=True)
        cut = model.encode(ids[:, :3], mask[:, :3], condition, causal=True)
        torch.testing.assert_close(whole[:, :3], cut, **NEAR)
        library = model.bert(input_ids=ids, encoder_hidden_states=condition, use_cache=False).last_hidden_state
        torch.testing.assert_close(whole, library, **NEAR)
        assert (model.encode(ids, mask, condition) - whole)[:, 0].abs().max() > 1e-3  # later words are seen
        order = torch.randperm(5)
        torch.testing.assert_close(
            model.encode(ids, mask, condition[:, order]), model.encode(ids, mask, condition), **NEAR
        )


def test_bert_file(tmp_path: Path) -> None:
    model = randomise(bert.Bert(bert.TINY))
    state = {name: value for name, value in model.state_dict().items() if "crossattention" not in name}
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in state.items()}
    del old["cls.predictions.decoder.weight"], old["cls.predictions.decoder.bias"]
    old |= {"bert.pooler.dense.weight": torch.zeros(2, 2), "cls.seq_relationship.bias": torch.zeros(2)}
    torch.save(old, tmp_path / "bert.bin")
    ids, mask = torch.randint(0, 120, (2, 6)), torch.ones(2, 6)
    with torch.no_grad():
        found = bert.load(tmp_path / "bert.bin", config=bert.TINY)
        torch.testing.assert_close(
            found.predict(found.encode(ids, mask)), model.predict(model.encode(ids, mask)), **NEAR
        )


def test_imagebind_tokens_scale_and_file(tmp_path: Path) -> None:
    with torch.device("meta"):
        assert imagebind_audio.ImageBindAudio().positions.shape == (1, 229, 768)
    tower = randomise(imagebind_audio.ImageBindAudio(imagebind_audio.TINY))
    one = torch.randn(2, 1, 36, 46)
    with torch.no_grad():
        np.testing.assert_allclose(tower(one).norm(dim=1), 20, rtol=1e-5)
        torch.testing.assert_close(tower(one.expand(-1, 3, -1, -1)), tower(one), **NEAR)
        released = {
            imagebind_audio.NAMES.get(name, name.replace("layers.", "modality_trunks.audio.blocks.")): value
            for name, value in tower.state_dict().items()
        }
        released["modality_trunks.vision.blocks.0.norm_1.weight"] = torch.ones(3)
        torch.save(released, tmp_path / "imagebind.pth")
        again = imagebind_audio.load(tmp_path / "imagebind.pth", config=imagebind_audio.TINY)
        torch.testing.assert_close(again(one), tower(one))
