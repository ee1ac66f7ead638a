"""VAST at its real size (Chen et al., arXiv 2305.18500): EVA-CLIP ViT-g, BEATs and BERT-base, with heads and matching.

Facts kept: pooled vision is the mean over frames of [CLS], pooled audio the mean over tokens and slices, pooled text
[CLS]; single heads are bias-free, fused heads (on concatenated pooled features) have a bias; condition tokens are all
tokens of all frames, projected, with frame and type embeddings; the temperature is a plain learnable divisor.
Deviation: no half-precision cast inside; autocast is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models import beats, bert, checkpoint, eva_clip, key_map

FUSED = {"va": ("vision", "audio"), "vs": ("vision", "subtitle"), "vas": ("vision", "audio", "subtitle")}


@dataclass(frozen=True)
class Config:
    """Sizes of the parts and of what joins them."""

    vision: eva_clip.Config = eva_clip.REAL
    audio: Mapping[str, Any] = field(default_factory=lambda: beats.REAL)
    text: bert.Config = bert.REAL
    frames: int = 8
    slices: int = 1
    embedding: int = 512
    temperature: float = 0.07


REAL = Config()
TINY = Config(vision=eva_clip.TINY, audio=beats.TINY, text=bert.TINY, frames=4, embedding=16)


class VastFull(nn.Module):
    """Clips and captions to embeddings, matching scores and words."""

    def __init__(self, config: Config = REAL) -> None:
        super().__init__()
        self.config = config
        self.vision = eva_clip.WholeEvaClip(config.vision)
        self.audio = beats.Beats(config.audio)
        self.text = bert.Bert(config.text)
        width = config.text.width
        widths = {"vision": self.vision.width, "audio": self.audio.width, "subtitle": width}
        self.temperature = nn.Parameter(torch.tensor(config.temperature))
        self.heads = nn.ModuleDict(
            {name: nn.Linear(size, config.embedding, bias=False) for name, size in {"text": width, **widths}.items()}
        )
        self.fused = nn.ModuleDict(
            {key: nn.Linear(sum(widths[name] for name in names), config.embedding) for key, names in FUSED.items()}
        )
        self.project = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(size, width), nn.LayerNorm(width, 1e-12)) for name, size in widths.items()}
        )
        self.frames = nn.ParameterDict(
            {name: _small(1, count, width) for name, count in (("vision", config.frames), ("audio", config.slices))}
        )
        self.types = nn.ParameterDict({name: _small(1, 1, width) for name in widths})
        self.matching = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, 1e-12), nn.Linear(width, 2)
        )

    def encode(
        self,
        *,
        vision: Tensor | None = None,
        audio: Tensor | None = None,
        text: tuple[Tensor, Tensor] | None = None,
        subtitle: tuple[Tensor, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Tokens of what is given.

        vision [B, F, 3, S, S] → [B, F, 1 + patches, Dv]; audio [B, slices, frames, bins] → [B, slices, T, Da];
        text and subtitle (ids, mask) [B, L] each → [B, L, width].
        """
        tokens = {}
        if vision is not None:
            tokens["vision"] = self.vision(vision.flatten(0, 1)).unflatten(0, vision.shape[:2])
        if audio is not None:
            tokens["audio"] = self.audio(audio.flatten(0, 1)).unflatten(0, audio.shape[:2])
        if text is not None:
            tokens["text"] = self.text.encode(*text)
        if subtitle is not None:
            tokens["subtitle"] = self.text.encode(*subtitle)
        return tokens

    def pool(self, tokens: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Pooled features [B, D] of tokens as `encode` gives them."""
        pooling = {
            "vision": lambda value: value[:, :, 0].mean(1),
            "audio": lambda value: value.mean((1, 2)),
            "text": lambda value: value[:, 0],
            "subtitle": lambda value: value[:, 0],
        }
        return {name: pooling[name](value) for name, value in tokens.items()}

    def embed(self, pooled: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Unit embeddings [B, embedding] of each pooled modality, and `fused_<key>` of every present combination."""
        embedded = {name: F.normalize(self.heads[name](value), dim=-1) for name, value in pooled.items()}
        for key, names in FUSED.items():
            if all(name in pooled for name in names):
                joined = torch.cat([pooled[name] for name in names], dim=-1)
                embedded[f"fused_{key}"] = F.normalize(self.fused[key](joined), dim=-1)
        return embedded

    def condition(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Condition tokens [B, N, width]: vision, then audio, then subtitle, of those given."""
        parts = []
        for name in ("vision", "audio", "subtitle"):
            if name not in tokens:
                continue
            projected = self.project[name](tokens[name]) + (self.types[name] if name == "subtitle" else 0)
            if name != "subtitle":
                frames = key_map.stretch(self.frames[name], projected.shape[1])
                projected = (projected + frames[:, :, None] + self.types[name][:, :, None]).flatten(1, 2)
            parts.append(projected)
        if not parts:
            raise ValueError("a condition needs vision, audio or subtitle tokens")
        return torch.cat(parts, dim=1)

    def match(self, ids: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """Matching logits [B, 2] (class 1: they belong together) of texts [B, L] and conditions [B, N, width]."""
        logits: Tensor = self.matching(self.text.encode(ids, mask, condition)[:, 0])
        return logits

    def caption(self, ids: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """Vocabulary scores [B, L, vocabulary] at every place under a causal mask."""
        return self.text.predict(self.text.encode(ids, mask, condition, causal=True))


def load(path: Path, sha256: str = "", config: Config = REAL) -> VastFull:
    """VAST with a released VAST or GRAM checkpoint; a UserError names missing, unexpected and reshaped tensors.

    Frame embeddings are stretched to `config.frames`; the decoder is tied to the word embeddings if it is in the file.
    """
    released = key_map.current(checkpoint.read(path, sha256), str(path))
    decoder, words = (released.get(f"multimodal_encoder.{name}") for name in key_map.TIED)
    if decoder is not None and words is not None and decoder.shape == words.shape:
        config = replace(config, text=replace(config.text, tied=torch.equal(decoder, words)))
    model = VastFull(config)
    state = key_map.ours(released, model, str(path))
    if (temperature := state["temperature"].item()) <= 0:
        raise UserError(f"{path}: contra_temp is {temperature}; a divisor must be positive")
    checkpoint.assign(model, state, str(path))
    return model.eval()


def _small(*shape: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(shape))
