"""Captions that the initial model of mini writes, from cached features (layout: writing.py).

In single precision: so the decoder's cache changes no caption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline import files, paths
from pipeline.captions.writing import write
from pipeline.errors import UserError
from pipeline.models import vast as models
from pipeline.models.decoder import Decoder
from pipeline.provenance import check
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pandas import DataFrame


def caption(settings: Settings, corpus: str, splits: Sequence[str] = paths.SPLITS) -> None:
    """Write captions/<scale>/<corpus>.jsonl for the clips of `splits`."""
    model, tokenizer = models.load(settings)
    features = {name: _features(settings, name, corpus) for name in settings.captions.modalities}

    def begin(clips: DataFrame) -> Callable[[], Decoder]:
        condition = [
            model.condition[name](torch.stack([of[clip] for clip in clips["clip_id"]])) for name, of in features.items()
        ]
        return partial(Decoder, model.bert.body, model.bert.logits, torch.cat(condition, 1), tokenizer.mask)

    towers = [paths.tower_digest(settings, name) for name in features]
    write(settings, corpus, splits, begin, tokenizer, towers)


def _features(settings: Settings, modality: str, corpus: str) -> dict[str, Tensor]:
    """Clip -> its features [tokens, width], of vision the first stored frame of each chunk."""
    path = paths.features(settings, modality, corpus)
    remedy = f"run: python -m pipeline features --modality {modality} --corpus {corpus}"
    if not path.is_file():
        raise UserError(f"{path}: missing; {remedy}")
    metadata = files.load_metadata(path)
    check(path, metadata, remedy, manifest=files.sha256(paths.manifest(settings, corpus)))
    tensors, ids = files.load_tensors(path), metadata["ids"]
    return {
        clip: row[:, 0] if modality == "vision" else row
        for split in ids
        for clip, row in zip(ids[split], tensors[split], strict=True)
    }
