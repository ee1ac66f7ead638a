"""Which items answer which query: one each, or several (captions of a clip, clips of a caption)."""

from collections.abc import Sequence

import torch
from torch import Tensor

Correspondence = Tensor | Sequence[Sequence[int]]


def correct_pairs(correspondence: Correspondence, number: int, gallery: int) -> tuple[Tensor, Tensor]:
    """Query and item of each correct pair, `[P]` each; a pair that is named twice is one.

    ValueError unless each of `number` queries has an item, all of them among the `gallery` items.
    """
    if isinstance(correspondence, Tensor):
        if correspondence.dim() != 1:
            raise ValueError(f"a correspondence is [N] or a list of lists, not {list(correspondence.shape)}")
        owner, target = torch.arange(len(correspondence)), correspondence.cpu().long()
    else:
        distinct = [dict.fromkeys(int(one) for one in right) for right in correspondence]
        lengths = torch.tensor([len(right) for right in distinct], dtype=torch.int64)
        owner = torch.arange(len(lengths)).repeat_interleave(lengths)
        target = torch.tensor([one for right in distinct for one in right], dtype=torch.int64)
    if len(correspondence) != number:
        raise ValueError(f"{number} queries but a correspondence of {len(correspondence)}")
    wrong = torch.bincount(owner, minlength=number).eq(0)
    wrong[owner[(target < 0) | (target >= gallery)]] = True
    if bool(wrong.any()):
        query = int(wrong.nonzero()[0])
        right = target[owner == query].tolist()[:5]
        raise ValueError(f"query {query}: correct items {right} are not in a gallery of {gallery}")
    return owner, target
