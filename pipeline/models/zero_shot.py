"""Other people's released models that are evaluated as they are, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from pipeline.models import imagebind
from pipeline.models.released import device
from pipeline.settings import ZeroShot

#: model of `zero_shot` → sizes
IMAGEBIND = {"imagebind-huge": imagebind.HUGE, "imagebind-tiny": imagebind.TINY}


class Model(Protocol):
    """Frames, sounds and texts to unit embeddings of one space, on the model's device."""

    def embed_vision(self, frames: Tensor) -> Tensor:
        """[B, D] of uint8 frames [B, F, H, W, 3]."""

    def embed_audio(self, waves: Sequence[Tensor]) -> Tensor:
        """[B, D] of int16 waveforms [samples] at 16 kHz, each of its own length."""

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """[N, D] of texts."""


def load(entry: ZeroShot) -> Model:
    """The model of an entry of `zero_shot` with its weights, on the first accelerator."""
    weights, audio = entry.weights, entry.audio_weights
    model: nn.Module
    if entry.model == "languagebind":
        from pipeline.models import languagebind

        heard = (Path(audio.path), audio.sha256) if audio else (None, "")
        model = languagebind.load(Path(weights.path), heard[0], weights.sha256, heard[1])
    else:
        model = imagebind.load(Path(weights.path), weights.sha256, IMAGEBIND[entry.model])
    placed: Model = model.to(device()).requires_grad_(False)  # type: ignore[assignment]
    return placed
