"""Re-ranking by matching: the first k items of a query are ordered by their matching probability.

As in VAST's and GRAM's evaluation, inside the first k the probability replaces the first stage's score. Deviation: the
others keep the order of the first stage below them (the releases set them all to 0, so that their ranks are arbitrary).
"""

from torch import Tensor


def rerank(first: Tensor, probability: Tensor, k: int) -> Tensor:
    """Scores `[N, N']` after re-ranking: `first [N, N']` of the first stage, `probability [N, N']` in [0, 1]."""
    if first.shape != probability.shape:
        raise ValueError(f"first stage {list(first.shape)} and matching {list(probability.shape)} differ in shape")
    first = first.double()
    top = first.topk(min(k, first.shape[1]), dim=1).indices
    below = first - first.amax(1, keepdim=True) - 1.0
    return below.scatter(1, top, probability.double().gather(1, top))
