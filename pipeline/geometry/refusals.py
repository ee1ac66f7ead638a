"""What cannot be ranked is refused in one line that names the query and the item: a score that is not a number compares
false with everything, so that it would count as worse than the truth and flatter a broken model.
"""

import torch
from torch import Tensor

from pipeline.geometry.scores import LONGEST, SHORTEST, Prepared, Score
from pipeline.geometry.volume import check_pairs


def check_shapes(queries: Tensor, items: Tensor, score: Score) -> None:
    """ValueError unless `queries` and `items` hold vectors of one width, of as many dimensions as `score` wants."""
    for what, side in (("queries", queries), ("items", items)):
        if side.dim() in (2, 3) and 0 in side.shape:
            raise ValueError(f"there are no {what}: they are {list(side.shape)}")
    if isinstance(score, Prepared):
        check_pairs(queries, items)
    if queries.dim() not in (2, 3) or items.dim() not in (2, 3) or queries.shape[-1] != items.shape[-1]:
        shapes = f"{list(queries.shape)}, {list(items.shape)}"
        raise ValueError(f"need queries [N, D] or [K, N, D] and items [N', D] or [K, N', D], got {shapes}")


def finite_lengths(what: str, vectors: Tensor) -> Tensor:
    """Lengths `[..., N]` in float64 of `vectors [..., N, D]`, right where squares leave the range of their format too.

    ValueError that names the first `what` ("query", "item") whose length is not a number or infinite.
    """
    found = torch.linalg.vector_norm(vectors, dim=-1).double()
    odd = ~((found >= SHORTEST) & (found <= LONGEST))
    if bool(odd.any()):
        found[odd] = torch.linalg.vector_norm(vectors[odd].double(), dim=-1)
        broken = ~found.isfinite()
        if bool(broken.any()):
            number = int(broken.view(-1, broken.shape[-1]).any(0).nonzero()[0])
            raise ValueError(f"{what} {number}: its vector is not a number or infinite; check the embeddings")
    return found


def check_pair_scores(scores: Tensor, query: Tensor, item: Tensor) -> None:
    """ValueError that names the first of pairs `[P]` whose score is not a number or infinite."""
    if bool((broken := ~scores.isfinite()).any()):
        first = int(broken.nonzero()[0])
        raise ValueError(
            f"the score of query {int(query[first])} and item {int(item[first])} is {float(scores[first])}, "
            "not a number to rank by; check the embeddings and the score"
        )


def check_scores(scores: Tensor, query: int = 0, item: int = 0) -> None:
    """The same for a block of scores `[n, n']` that begins at (`query`, `item`); one pass over it."""
    if scores.numel() and not bool(torch.stack(scores.aminmax()).isfinite().all()):
        row, column = (~scores.isfinite()).nonzero(as_tuple=True)
        check_pair_scores(scores[row, column], row + query, column + item)
