"""Groups of AdamW on the parameters of VAST, name by name, as its released training has them."""

from __future__ import annotations

import torch

from pipeline.adamw import AdamW
from pipeline.models import vast_full
from pipeline.settings import Optimisation

RATE, VISION_RATE, DECAY = 2e-5, 5e-7, 0.01


def groups(decay: str, vision: float | None = VISION_RATE) -> dict[str, tuple[float, float]]:
    """Decay and factor of the learning rate of each name of a tiny VAST."""
    optimisation = Optimisation.model_validate(
        {
            "steps": 2, "batch": 2, "learning_rate": RATE, "warmup": 0.1, "weight_decay": DECAY, "beta1": 0.9,
            "beta2": 0.98, "epsilon": 1e-6, "clip": 2.0, "precision": "fp32", "validate_every": 1,
            "checkpoint_every": 1, "decay": decay, "vision_learning_rate": vision,
        }
    )  # fmt: skip
    with torch.device("meta"):
        made = AdamW(dict(vast_full.VastFull(vast_full.TINY).named_parameters()), optimisation)
    return {name: key for key, names in made.groups.items() for name in names}


def test_vasts_decay_spares_biases_and_berts_norms_alone() -> None:
    """EVA's and BEATs' norms, VAST's own and what is 1-d beside decay, since their names hold neither word."""
    decays = {name: decay for name, (decay, _) in groups("vast").items()}
    expected = {
        "vision.visual.blocks.0.norm1.weight": DECAY,
        "vision.visual.norm.weight": DECAY,
        "vision.visual.cls_token": DECAY,
        "vision.visual.blocks.0.attn.qkv.weight": DECAY,
        "vision.visual.blocks.0.attn.q_bias": 0.0,
        "vision.visual.blocks.0.attn.v_bias": 0.0,
        "vision.visual.blocks.0.norm1.bias": 0.0,
        "vision.visual.patch_embed.proj.bias": 0.0,
        "audio.layer_norm.weight": DECAY,
        "audio.encoder.layers.0.self_attn_layer_norm.weight": DECAY,
        "audio.encoder.layers.0.self_attn.relative_attention_bias.weight": 0.0,
        "audio.encoder.layers.0.fc1.bias": 0.0,
        "text.bert.embeddings.LayerNorm.weight": 0.0,
        "text.bert.encoder.layer.0.output.LayerNorm.weight": 0.0,
        "text.bert.encoder.layer.0.output.dense.weight": DECAY,
        "text.bert.encoder.layer.0.output.dense.bias": 0.0,
        "text.bert.embeddings.word_embeddings.weight": DECAY,
        "text.cls.predictions.bias": 0.0,
        "heads.vision.weight": DECAY,
        "fused.va.bias": 0.0,
        "matching.2.weight": DECAY,
        "project.audio.1.weight": DECAY,
        "project.audio.1.bias": 0.0,
        "temperature": DECAY,
        "types.vision": DECAY,
    }
    assert {name: decays[name] for name in expected} == expected
    assert {name for name, decay in decays.items() if not decay} == {
        name for name in decays if "bias" in name or "LayerNorm.weight" in name
    }


def test_what_is_visual_has_a_rate_of_its_own() -> None:
    factors = {name: factor for name, (_, factor) in groups("vast").items()}
    expected = {
        "vision.visual.cls_token": VISION_RATE / RATE,
        "vision.visual.blocks.0.norm1.weight": VISION_RATE / RATE,
        "vision.visual.blocks.0.attn.q_bias": VISION_RATE / RATE,
        "vision.text.text_projection": 1.0,
        "heads.vision.weight": 1.0,
        "project.vision.0.weight": 1.0,
        "frames.vision": 1.0,
        "audio.encoder.layers.0.fc1.weight": 1.0,
        "text.bert.embeddings.word_embeddings.weight": 1.0,
    }
    assert {name: factors[name] for name in expected} == expected
    assert {name for name, factor in factors.items() if factor != 1} == {
        name for name in factors if name.startswith("vision.visual.")
    }
    assert {factor for _, factor in groups("vast", None).values()} == {1.0}


def test_the_other_rule_spares_all_that_is_1d() -> None:
    decays = {name: decay for name, (decay, _) in groups("matrices").items()}
    expected = {
        "vision.visual.blocks.0.norm1.weight": 0.0,
        "vision.visual.cls_token": DECAY,
        "audio.encoder.layers.0.self_attn.relative_attention_bias.weight": DECAY,
        "text.bert.embeddings.LayerNorm.weight": 0.0,
        "temperature": 0.0,
        "heads.vision.weight": DECAY,
    }
    assert {name: decays[name] for name in expected} == expected
