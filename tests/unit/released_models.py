"""Files as ImageBind and LanguageBind are released, of tiny random models. Shared by the tests of models and stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from pipeline.models import imagebind

#: What transformers' CLIP has no word for.
TIME = {"add_time_attn": True, "num_frames": 4, "lora_r": 0}
SOUND = {"num_mel_bins": 32, "target_length": 104, "audio_mean": -4.27, "audio_std": 4.57, "lora_r": 0}


def write_imagebind(path: Path) -> None:
    """A tiny ImageBind with what the file holds beside the three towers."""
    torch.manual_seed(0)
    state = imagebind.released(imagebind.ImageBind(imagebind.TINY))
    state |= {"modality_preprocessors.text.mask": torch.ones(77, 77), "modality_heads.depth.0.weight": torch.ones(2)}
    torch.save(state, path)


def languagebind_config(vision: dict[str, Any]) -> dict[str, Any]:
    """A released config.json."""
    own = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
           "image_size": 32, "patch_size": 8, "hidden_act": "gelu"}  # fmt: skip
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {"text_config": text | {"hidden_act": "gelu"}, "vision_config": own | vision, "projection_dim": 16}


def write_languagebind(folder: Path) -> tuple[Path, Path, Any]:
    """Tiny video and audio folders, and the transformers CLIP that is the video model without its temporal part."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    config = languagebind_config({})
    theirs = CLIPModel(CLIPConfig(text_config=config["text_config"], vision_config=config["vision_config"],
                                  projection_dim=16)).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape) + (0.5 if parameter.ndim == 1 else 0))
    state = theirs.state_dict() | {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
    time = {}
    for layer in range(2):
        prefix = f"vision_model.encoder.layers.{layer}."
        time[f"{prefix}temporal_embedding"] = torch.randn(1, 4, 24)
        for name in ("weight", "bias"):
            time[f"{prefix}temporal_layer_norm1.{name}"] = torch.randn(24)
            shape = (24, 24) if name == "weight" else (24,)
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                time[f"{prefix}temporal_attn.{part}.{name}"] = 0.3 * torch.randn(shape)
    sound = dict(state)
    places = 4 * 13 + 1
    sound["vision_model.embeddings.position_embedding.weight"] = torch.randn(places, 24)
    files = []
    for name, content, vision in (("video", state | time, TIME), ("audio", sound, SOUND)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(languagebind_config(vision)))
        files.append(folder / name / "pytorch_model.bin")
        torch.save(content, files[-1])
    return files[0], files[1], theirs
