"""Captions dealt out anew: the control in which a clip's text says nothing of the clip."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.errors import UserError

ROUNDS = 1000


def deal(number: Tensor, clip: Tensor, generator: torch.Generator) -> Tensor:
    """An order [C] of captions in which no clip gets a caption that it had, itself or an equal one.

    `number` [C]: equal captions share one; `clip` [C]: the clip of each. Row i gets caption `order[i]`. Captions that
    stay are exchanged with random others until there is none; a UserError if most are equal.
    """
    kinds = int(number.max()) + 1
    had = clip * kinds + number
    order = torch.randperm(len(number), generator=generator)
    for _ in range(ROUNDS):
        stays = torch.isin(clip * kinds + number[order], had).nonzero().flatten()
        if not len(stays):
            return order
        others = torch.randint(len(number), (len(stays),), generator=generator)
        for row, other in zip(stays.tolist(), others.tolist(), strict=True):
            order[[row, other]] = order[[other, row]]
    raise UserError(f"{len(number)} captions, too many of them equal: they cannot be dealt to other clips")
