"""Pooled features of every corpus by an initial model (layout: pipeline/pooled.py): what the runs train on."""

from __future__ import annotations

from torch import Tensor

from pipeline import files, paths
from pipeline.models import vast as models
from pipeline.pooled import origin
from pipeline.settings import Settings
from pipeline.vast import data, embed


def pool(settings: Settings, run: str = "vast") -> None:
    """Write models/<scale>/<run>/pooled/<corpus>.safetensors for all corpora; texts stand by their own clips."""
    model, tokenizer = models.load(settings, run)
    for corpus in settings.corpora:
        tensors: dict[str, Tensor] = {}
        ids: dict[str, list[str]] = {}
        for name in paths.SPLITS:
            split = data.read(settings, corpus, name, tokenizer)
            ids[name] = split.clips
            tensors[f"text-{name}"] = embed.text(model, split)
            tensors[f"text-clip-{name}"] = split.clip
            tensors[f"vision-{name}"] = split.vision
            tensors[f"audio-{name}"] = split.audio.float().mean(1)
        files.save_tensors(paths.pooled(settings, corpus, run), tensors, {"ids": ids, **origin(settings, corpus, run)})
