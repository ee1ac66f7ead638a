"""What a model has lost: variance and effective rank of each modality's embeddings, and the gaps between them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from torch import Tensor

from pipeline.errors import Diverged
from pipeline.geometry import effective_rank, modality_gap

#: Unit embeddings whose variance is below are one point: the model has lost everything.
CONSTANT = 1e-8


def collapse(embeddings: Mapping[str, Tensor], label: str = "") -> dict[str, float]:
    """Variance (1 - |mean|² of unit rows) and effective rank of each modality, distances of the modalities' means.

    Of a modality that fewer than two items have only the distances. Diverged if its embeddings are one point.
    """
    values: dict[str, float] = {}
    for name, z in embeddings.items():
        present = z[z.any(1)]
        if len(present) < 2:
            continue
        values[f"variance/{name}"] = variance = float(present.double().var(0, correction=0).sum())
        if variance < CONSTANT:
            raise Diverged(
                f"{label}: all {name} embeddings are one point; lower the learning rate or change the method"
            )
        values[f"effective_rank/{name}"] = float(effective_rank(present))
    gaps = {f"gap/{a}-{b}": float(modality_gap(x, y)) for (a, x), (b, y) in combinations(embeddings.items(), 2)}
    return values | gaps | {"gap/mean": sum(gaps.values()) / len(gaps)}
