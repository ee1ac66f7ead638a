"""Validation of a model on the val splits: retrieval by each score, gap and collapse measures.

Keys are `val/<corpus>/<direction>/<score>/<measure>`, means over corpora and directions `val/mean/<score>/<measure>`
(what models are compared and tuned by), `val/<corpus>/<measure>/<modality>`. Ties by the rule of `geometry.ranking`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.collapse import collapse
from pipeline.geometry import SCORES, dense_ranks
from pipeline.models.heads import Heads
from pipeline.pooled import Pooled


@torch.no_grad()
def validate(heads: Heads, splits: Mapping[str, Pooled], label: str = "") -> dict[str, float]:
    """Measures of all corpora; a UserError if the embeddings of a modality are constant."""
    values: dict[str, float] = {}
    for corpus, split in splits.items():
        embeddings, fused = heads(split.features())
        values |= {f"val/{corpus}/{key}": value for key, value in collapse(embeddings, label).items()}
        hits = split.hits()
        for score, matrix in scored(embeddings, fused).items():
            for direction, square, truth in (("T2VA", matrix, hits), ("VA2T", matrix.mT, hits.mT)):
                asked = truth.any(1)  # a clip without captions asks nothing
                rank = dense_ranks(square[asked], truth[asked]).rank.double()
                values[f"val/{corpus}/{direction}/{score}/R1"] = float((rank == 1).double().mean())
                values[f"val/{corpus}/{direction}/{score}/MRR"] = float(rank.reciprocal().mean())
    for score in (*SCORES, "fused"):
        for measure in ("R1", "MRR"):
            found = [value for key, value in values.items() if key.endswith(f"/{score}/{measure}")]
            if found:
                values[f"val/mean/{score}/{measure}"] = sum(found) / len(found)
    return values


def scored(embeddings: Mapping[str, Tensor], fused: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scores [C, n] of all captions and clips; `fused` by the condition of most modalities."""
    items = torch.stack([z for name, z in embeddings.items() if name != "text"])
    matrices = {name: score(embeddings["text"], items) for name, score in SCORES.items()}
    if fused:
        matrices["fused"] = embeddings["text"] @ fused[max(fused, key=len)].mT
    return matrices
