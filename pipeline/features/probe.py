"""A probe that compares audio towers on equal terms: ridge regression from pooled features to caption embeddings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Ridge weights that are tried, relative to the mean eigenvalue; the best on validation counts, for every tower alike.
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)


def retrieval(train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> dict[str, float]:
    """R@1, R@5 and MRR (%) of sound -> caption on validation; pairs: (features [n, D], caption embeddings [n, E])."""
    x, y = (value.double() for value in train)
    centre, mean = x.mean(0), y.mean(0)
    gram = (x - centre).T @ (x - centre)
    cross = (x - centre).T @ (y - mean)
    found: list[dict[str, float]] = []
    for ridge in RIDGES:
        penalty = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        weight = torch.linalg.solve(gram + penalty, cross)
        predicted = (validation[0].double() - centre) @ weight
        found.append(_ranks(predicted, validation[1].double() - mean))
    return max(found, key=lambda figures: figures["MRR"])


def _ranks(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """Figures of retrieval by cosine; rows with the same truth are hits of each other, ties count half."""
    captions, owner = torch.unique(truth, dim=0, return_inverse=True)
    scores = functional.normalize(predicted, dim=1) @ functional.normalize(captions, dim=1).T
    own = scores.gather(1, owner[:, None])
    rank = 1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
    hits = {f"R@{k}": 100 * float((rank <= k).double().mean()) for k in (1, 5)}
    return hits | {"MRR": 100 * float((1 / rank).mean()), "captions": len(captions), "chance R@1": 100 / len(captions)}
