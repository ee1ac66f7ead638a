"""Captions without their padding: what a layer computes a word piece is computed for words alone.

Captions of 5 pieces stand beside one of 24, so that a grid [B, L] is padding by up to three quarters. Linear layers,
norms and activations see the words in a row, [T, width]; attention alone sees the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Words:
    """T pieces of B captions in a grid [B, L].

    `places` [T], ascending, in the flattened grid (None: all of it); `rows` [T]: which rows of the words that they were
    taken from (None: of none); `mask` bool, broadcast to [B, heads, L, L]: what a piece sees (None: everything).
    """

    grid: tuple[int, int]
    places: Tensor | None
    rows: Tensor | None = None
    mask: Tensor | None = None

    @staticmethod
    def of(lengths: Tensor, longest: int, *, causal: bool = False) -> Words:
        """The first pieces of each caption, by lengths [B]; a piece sees its caption, `causal`: up to itself."""
        kept = torch.arange(longest, device=lengths.device) < lengths[:, None]
        whole = bool(kept.all())
        mask = None if whole else kept[:, None, None]
        if causal:
            # What follows a caption comes after all of its pieces, so that none sees padding.
            mask = torch.ones(longest, longest, dtype=torch.bool, device=lengths.device).tril()
        return Words((len(lengths), longest), None if whole else _where(kept), mask=mask)

    def first(self) -> Words:
        """The first piece of each caption, in a grid [B, 1]."""
        starts = torch.arange(self.grid[0]) * self.grid[1]
        rows = starts if self.places is None else torch.searchsorted(self.places, starts.to(self.places.device))
        return Words((self.grid[0], 1), None, rows)

    def at(self, chosen: Tensor) -> Words:
        """Those of the pieces that are chosen, bool [B, L]."""
        places = _where(chosen)
        return Words(self.grid, places, places if self.places is None else torch.searchsorted(self.places, places))

    def taken(self, captions: Tensor) -> Words:
        """The pieces of some captions [P] of these, which may repeat, in a grid [P, L]."""
        number = torch.arange(self.grid[0] * self.grid[1], device=captions.device)
        if self.places is not None:
            number = torch.full_like(number, -1).index_copy(0, self.places, number[: len(self.places)])
        number = number.view(self.grid)[captions].flatten()
        places = None if self.places is None else _where(number >= 0)
        mask = self.mask if self.mask is None or self.mask.ndim < 4 else self.mask[captions]
        return Words((len(captions), self.grid[1]), places, number if places is None else number[places], mask)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Their rows [T, width] among those of the words that they were taken from."""
        assert self.rows is not None
        return rows.index_select(0, self.rows)

    def packed(self, grid: Tensor) -> Tensor:
        """[B, L, width] -> [T, width]."""
        flat = grid.flatten(0, 1)
        return flat if self.places is None else flat.index_select(0, self.places)

    def padded(self, rows: Tensor) -> Tensor:
        """[T, width] -> [B, L, width], 0 at padding."""
        if self.places is not None:
            captions, longest = self.grid
            rows = rows.new_zeros(captions * longest, rows.shape[1]).index_copy(0, self.places, rows)
        return rows.unflatten(0, self.grid)


def _where(kept: Tensor) -> Tensor:
    return kept.flatten().nonzero()[:, 0]
