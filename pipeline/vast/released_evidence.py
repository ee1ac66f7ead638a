"""Evidence of the released model: what its heads find on validation.

Apart from `vast/released.py`, since it needs neither towers nor BERT, whose libraries take seconds to import.
"""

from __future__ import annotations

import torch

from pipeline import files, paths
from pipeline.models.heads import restore
from pipeline.pooled import read
from pipeline.settings import Settings
from pipeline.vast import measures


def evidence(settings: Settings) -> None:
    """Write R@1 of text to each fused condition on validation, beside chance."""
    model = restore(files.load_tensors(paths.model(settings, "vast", 0) / "weights.safetensors"))
    record: dict[str, dict[str, float]] = {}
    for corpus in settings.corpora:
        split = read(paths.pooled(settings, corpus), "val", ("text", "vision", "audio"))
        with torch.inference_mode():
            embeddings, fused = model(split.features())
        record[corpus] = {"clips": len(split.ids)}
        for name, label in (("va", "T2VA"), ("v", "T2V"), ("a", "T2A")):
            value, chance = measures.recall_at_1(embeddings["text"] @ fused[name].T, split.hits())
            record[corpus] |= {f"R@1 {label}": value, "R@1 chance": chance}
    files.write_json(paths.evidence(settings), {"split": "val", "corpora": record})
