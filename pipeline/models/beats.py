"""BEATs (Chen et al., arXiv 2212.09058), the audio tower of VAST and GRAM: speechbrain's class behind `load`, `encode`.

Facts: the class's own defaults are not the released model's; the checkpoint's `cfg` must be used (relative positions,
gated by a GRU, deep norm). iter3+ AS2M without "cpt" has no predictor: 768 features a token. It takes log-mel slices
of 128 bins (BEATs' own) or 64 (VAST's): patches of 16 × 16, 512 or 256 tokens for 1,024 frames.
Released files use torch's older weight-norm names: `weight_g`, `weight_v`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models.checkpoint import assign, fitted, read, read_raw, replaced
from pipeline.models.spectrograms import vast_slices

#: `cfg` of BEATs_iter3_plus_AS2M.pt where it is not the class's default, for files that hold none (VAST's and GRAM's).
#: Its layerdrop (.05) is left out: numpy draws it, so the two passes of gradient caching would drop different layers.
REAL: dict[str, Any] = {
    "relative_position_embedding": True, "gru_rel_pos": True, "deep_norm": True, "max_distance": 800,
    "dropout": 0.0, "attention_dropout": 0.0, "layer_wise_gradient_decay_ratio": 0.6,
}  # fmt: skip
TINY: dict[str, Any] = REAL | {
    "embed_dim": 16, "encoder_layers": 2, "encoder_embed_dim": 24, "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": 2, "conv_pos": 8, "conv_pos_groups": 2, "num_buckets": 16, "max_distance": 64,
}  # fmt: skip
#: ours (torch's parametrisation) and theirs
WEIGHT_NORM = (
    ("pos_conv.0.parametrizations.weight.original0", "pos_conv.0.weight_g"),
    ("pos_conv.0.parametrizations.weight.original1", "pos_conv.0.weight_v"),
)


class Beats(nn.Module):
    """Log-mel slices to tokens."""

    def __init__(self, config: Mapping[str, Any] = REAL, bins: int = 64) -> None:
        super().__init__()
        self.config = dict(config)
        self.bins = bins
        inner = _build(self.config)
        self.patch_embedding = inner.patch_embedding
        self.layer_norm = inner.layer_norm
        self.post_extract_proj = inner.post_extract_proj
        self.encoder = inner.encoder
        self.width: int = inner.cfg.encoder_embed_dim

    def encode(self, batch: Tensor) -> Tensor:
        """Tokens [N, 64 · bins/16, width] of one VAST slice (10.24 s) of each waveform [N, samples], int16 or −1–1."""
        return self(torch.stack([vast_slices(wave, 1, bins=self.bins)[0] for wave in batch]).to(batch.device))

    def forward(self, mel: Tensor) -> Tensor:
        """Tokens [N, frames/16 · bins/16, width] of normalised log-mel slices [N, frames, bins]."""
        # Its attention multiplies scores by 32 after subtracting the largest: too much for bf16 (seen: off by a third).
        exact = nullcontext() if mel.is_meta else torch.autocast(mel.device.type, enabled=False)
        with exact:
            mel = mel.to(self.patch_embedding.weight.dtype)
            patches = self.patch_embedding(mel[:, None]).flatten(2).transpose(1, 2)
            tokens = self.layer_norm(patches)
            if self.post_extract_proj is not None:
                tokens = self.post_extract_proj(tokens)
            encoded: Tensor = self.encoder(tokens, padding_mask=None)[0]
        return encoded


def load(path: Path, sha256: str = "") -> Beats:
    """The tower with a BEATs file's weights and its own `cfg`; a fine-tuned file's predictor is left out by name."""
    cfg = read_raw(path, sha256).get("cfg")
    if not isinstance(cfg, Mapping):
        raise UserError(
            f"{path}: has no 'cfg', and BEATs' defaults are not the released model's; use the original file"
        )
    state = read(path)
    present = any(mine in name for name in state for mine, _ in WEIGHT_NORM)  # written by a newer torch
    within = () if present else WEIGHT_NORM
    with torch.device("meta"):
        tower = Beats({**cfg, "finetuned_model": False})
    own = tower.state_dict()
    taken = fitted(state, own, str(path), lambda name: replaced(name, within), ("predictor.",))
    assign(tower, taken, str(path))
    return tower.eval()


def _build(config: Mapping[str, Any]) -> Any:
    # Else its import lets all float32 products of the process be TF32's.
    os.environ.setdefault("SB_DISABLE_QUIRKS", "allow_tf32")
    with torch.device("cpu"):  # torchaudio makes a constant when first imported, which must not land on meta
        from speechbrain.lobes.models import beats

    # speechbrain's class takes its configuration from a checkpoint alone, and its initialisation copies through the
    # CPU, which the meta device refuses: both are given for the moment of construction.
    with _replaced(beats, "BEATsConfig", _configured(beats.BEATsConfig, config)):
        if torch.get_default_device().type != "meta":
            return beats.BEATs(ckp_path=None, freeze=False)
        with _replaced(beats, "init_bert_params", _nothing):
            return beats.BEATs(ckp_path=None, freeze=False)


def _configured(base: Any, config: Mapping[str, Any]) -> Any:
    def make(_: object = None) -> Any:
        return base(dict(config))

    return make


def _nothing(_: nn.Module) -> None:
    """No initialisation."""


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    old = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, old)
