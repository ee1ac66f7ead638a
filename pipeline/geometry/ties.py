"""The one rule of ties: items whose scores lie within 1e-7 of a right answer's stand with it in a random order.

A rank is one seeded draw of that order, an average precision its expectation (McSherry and Najork 2008), so that a
collapsed model scores at chance by every measure. Counting tied items as won, as lost, by storage order or half would
flatter or punish it: half gives its mean rank at chance but no first hit at all.

Volumes of vectors that are not unit can be of any size. Where they are above 1e4, the tolerance is 1e-11 of the largest
(`scores.Prepared.precision`): with less, rounding would put the truth above itself.
"""

import torch
from torch import Tensor

TOLERANCE = 1e-7


def places(tied: Tensor, correct: Tensor, seed: int) -> Tensor:
    """Wrong items before the first of `correct` right ones in a random order of all tied ones, `[N]` each.

    At least k of t wrong items come before the first of g right ones with chance C(t + g - k, g) / C(t + g, g). The
    place is the largest k whose chance is above the query's uniform number, a function of seed and query number alone.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(len(tied), generator=generator, dtype=torch.float64).log()
    wrong, right = tied.cpu().double(), correct.cpu().double()
    low, high = torch.zeros_like(wrong), wrong
    for _ in range(int(wrong.max()).bit_length() if len(wrong) else 0):  # bisection: the chance falls with k
        middle = ((low + high + 1) / 2).floor()
        above = _log_ways(wrong + right - middle, right) - _log_ways(wrong + right, right) > uniform
        low, high = torch.where(above, middle, low), torch.where(above, high, middle - 1)
    return low.to(tied)


def _log_ways(n: Tensor, k: Tensor) -> Tensor:
    """log C(n, k), without the k! that a ratio of two of one k does not need."""
    return torch.lgamma(n + 1) - torch.lgamma(n - k + 1)


def average_precision(
    owner: Tensor, scores: Tensor, better: Tensor, reached: Tensor, number: int, tolerance: float = TOLERANCE
) -> Tensor:
    """Average precision `[number]` of queries from their right answers, every one of `P` pairs.

    `owner [P]`: query of each pair, `scores [P]`, `better [P]`: items whose score is above the pair's, `reached [P]`:
    not below it, right answers and the pair itself among them.
    """
    counts = torch.bincount(owner, minlength=number)
    order = owner.argsort(stable=True)
    value = torch.zeros(number, dtype=torch.float64, device=scores.device)
    for count in counts.unique().tolist():
        mine = order[counts[owner[order]] == count].view(-1, max(count, 1))
        ranked = scores[mine].sort(1).values
        above = count - torch.searchsorted(ranked, scores[mine] + tolerance, right=True)
        level = count - torch.searchsorted(ranked, scores[mine] - tolerance) - above
        misses = (better[mine] - above).clamp_min(0)
        tied = (reached[mine] - better[mine] - level).clamp_min(0)
        value[owner[mine[:, 0]]] = _precision(misses, above, tied, level).mean(1)
    return value


def _precision(misses: Tensor, hits: Tensor, tied_misses: Tensor, tied_hits: Tensor) -> Tensor:
    """Precision at a hit's place, expected over the random order of its ties; it is one of `tied_hits`.

    At place k of m tied items, g of them hits, (k - 1)(g - 1)/(m - 1) hits come before it on average; the sum over k is
    a difference of digamma functions.
    """
    before, group = (misses + hits).double(), (tied_misses + tied_hits).double()
    share = (tied_hits - 1) / (group - 1).clamp_min(1)
    mean = (torch.digamma(before + group + 1) - torch.digamma(before + 1)) / group
    expected = share + (hits + 1 - share - share * before) * mean
    return torch.where(group == 1, (hits + 1) / (before + 1), expected)
