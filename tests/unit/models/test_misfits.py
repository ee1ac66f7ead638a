"""A file with a renamed, missing, reshaped or foreign tensor is refused; the message has the file's own name of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.models import beats, bert, clip, eva_clip, imagebind_audio, languagebind
from pipeline.models.checkpoint import part
from tests.unit.released_models import write_languagebind

State = dict[str, Tensor]
TEXT = {"text_projection": torch.ones(2, 2), "logit_scale": torch.ones([]), "transformer.resblocks.0.x": torch.ones(1)}


def eva() -> State:
    """The whole CLIP, as `EVA01_CLIP_g_14_psz14_s11B.pt` is one."""
    return eva_clip.WholeEvaClip(eva_clip.TINY).state_dict()


def beats_file() -> State:
    state = beats.Beats(beats.TINY).state_dict() | {"predictor.weight": torch.ones(2, 2)}
    for mine, theirs in beats.WEIGHT_NORM:
        state = {name.replace(mine, theirs): value for name, value in state.items()}
    return state


def bert_file() -> State:
    """As `bert-base-uncased` of old: no cross-attention, its decoder is the word embeddings."""
    state = {name: value for name, value in bert.Bert(bert.TINY).state_dict().items() if bert.CROSS not in name}
    for name in bert.TIED:
        del state[name]
    for mine, theirs in bert.NORM:
        state = {name.replace(mine, theirs): value for name, value in state.items()}
    beside = {"bert.pooler.dense.weight": torch.ones(2, 2), "cls.seq_relationship.bias": torch.ones(2)}
    return state | beside | {"bert.embeddings.position_ids": torch.arange(bert.TINY.length)[None]}


def transformers_clip() -> State:
    from transformers import CLIPConfig, CLIPModel

    tiny = clip.TINY
    vision = {"hidden_size": tiny.width, "intermediate_size": tiny.hidden, "num_hidden_layers": tiny.layers,
              "num_attention_heads": tiny.heads, "image_size": tiny.image, "patch_size": tiny.patch}  # fmt: skip
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    made = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=tiny.embedding))
    return made.state_dict() | {"vision_model.embeddings.position_ids": torch.arange(17)[None]}


def imagebind_file() -> State:
    state = imagebind_audio.ImageBindAudio(imagebind_audio.TINY).state_dict()
    beside = ("modality_trunks.vision.blocks.0.norm_1.weight", "modality_heads.imu.0.weight")
    released = {imagebind_audio.theirs(name): value for name, value in state.items()}
    return released | {name: torch.ones(3) for name in (*beside, imagebind_audio.THEIR_SCALE)}


def languagebind_file(folder: Path) -> State:
    state: State = torch.load(write_languagebind(folder)[0], weights_only=True)
    return state


#: loader: what a file holds, how it is loaded, a tensor of it
LOADERS: dict[str, tuple[Callable[[Path], State], Callable[[Path], Any], str]] = {
    "EVA-CLIP": (
        lambda _: eva(), lambda path: eva_clip.load(path, config=eva_clip.TINY), "visual.blocks.1.attn.qkv.weight"
    ),
    "EVA-CLIP's visual half": (
        lambda _: part(eva(), "visual."), lambda path: eva_clip.load(path, config=eva_clip.TINY),
        "blocks.1.attn.qkv.weight",
    ),
    "BEATs": (lambda _: beats_file(), beats.load, "encoder.pos_conv.0.weight_g"),
    "BERT": (
        lambda _: bert_file(), lambda path: bert.load(path, config=bert.TINY),
        "bert.encoder.layer.1.output.LayerNorm.gamma",
    ),
    "BERT with cross-attention": (
        lambda _: bert.Bert(bert.TINY).state_dict(), lambda path: bert.load(path, config=bert.TINY),
        "bert.encoder.layer.1.crossattention.self.key.weight",
    ),
    "open_clip's CLIP": (
        lambda _: clip.ClipVision(clip.TINY).state_dict() | TEXT, lambda path: clip.load(path, clip.TINY),
        "visual.transformer.resblocks.1.attn.in_proj_weight",
    ),
    "transformers' CLIP": (
        lambda _: transformers_clip(), lambda path: clip.load(path, clip.TINY),
        "vision_model.encoder.layers.1.self_attn.k_proj.weight",
    ),
    "ImageBind's audio tower": (
        lambda _: imagebind_file(), lambda path: imagebind_audio.load(path, config=imagebind_audio.TINY),
        "modality_trunks.audio.blocks.1.mlp.fc1.weight",
    ),
    "LanguageBind's video tower": (
        languagebind_file, languagebind.load, "vision_model.encoder.layers.1.temporal_attn.q_proj.bias"
    ),
    "LanguageBind's text tower": (languagebind_file, languagebind.load, "text_model.final_layer_norm.bias"),
}  # fmt: skip


def renamed(state: State, name: str) -> str:
    state[f"{name}_old"] = state.pop(name)
    return f"missing 1: {name}; unexpected 1: {name}_old"


def missing(state: State, name: str) -> str:
    del state[name]
    return f"missing 1: {name}"


def reshaped(state: State, name: str) -> str:
    shape, state[name] = list(state[name].shape), torch.ones(7, 3)
    return f"reshaped 1: {name} [7, 3] instead of {shape}"


def foreign(state: State, name: str) -> str:
    state["strange.audio.weight"] = torch.ones(1)
    return "unexpected 1: strange.audio.weight"


@pytest.mark.parametrize("change", [renamed, missing, reshaped, foreign])
@pytest.mark.parametrize("loader", LOADERS)
def test_misfits_are_named_as_the_file_has_them(
    loader: str, change: Callable[[State, str], str], tmp_path: Path
) -> None:
    made, load, name = LOADERS[loader]
    torch.manual_seed(0)
    state = made(tmp_path)
    path = tmp_path / ("video/pytorch_model.bin" if "LanguageBind" in loader else "weights.pt")

    def save() -> None:
        torch.save({"cfg": beats.TINY, "model": state} if loader == "BEATs" else state, path)

    save()
    assert load(path)
    message = change(state, name)
    save()
    with pytest.raises(UserError, match=re.escape(f"{path}: not this model's weights: {message}") + "$"):
        load(path)
