"""Captions without their padding: what a layer does to each token is done to word pieces alone.

Captions of 5 pieces stand beside one of 24, so that a grid [B, L] is padding by up to three quarters. Linear layers,
norms and activations see the pieces in a row, [T, width]; attention alone sees the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pieces:
    """T pieces of B captions in a grid [B, L].

    `places` [T], ascending, in the flattened grid (None: all of it); `rows` [T]: rows of the pieces that they were
    selected from (None: of none); `mask` bool, broadcast to [B, heads, L, L]: what a piece sees (None: everything).
    """

    grid: tuple[int, int]
    device: torch.device
    places: Tensor | None
    rows: Tensor | None = None
    mask: Tensor | None = None

    @staticmethod
    def of(lengths: Tensor, longest: int, *, causal: bool = False) -> Pieces:
        """The first pieces of each caption, by lengths [B]; a piece sees its caption, `causal`: up to itself."""
        kept = torch.arange(longest, device=lengths.device) < lengths[:, None]
        whole = bool(kept.all())
        mask = None if whole else kept[:, None, None]
        if causal:
            # What follows a caption comes after all of its pieces, so that none sees padding.
            mask = torch.ones(longest, longest, dtype=torch.bool, device=lengths.device).tril()
        return Pieces((len(lengths), longest), lengths.device, None if whole else _where(kept), mask=mask)

    def first(self) -> Pieces:
        """The first piece of each caption, in a grid [B, 1]."""
        starts = torch.arange(self.grid[0], device=self.device) * self.grid[1]
        return Pieces((self.grid[0], 1), self.device, None, self._rows(starts))

    def at(self, chosen: Tensor) -> Pieces:
        """Those that are chosen, bool [B, L]; ValueError if padding is."""
        places = _where(chosen)
        return Pieces(self.grid, self.device, places, self._rows(places))

    def captions(self, which: Tensor) -> Pieces:
        """Those of some captions [P], which may repeat, in a grid [P, L]; a mask must be one a caption (not causal)."""
        number = torch.arange(self.grid[0] * self.grid[1], device=self.device)
        if self.places is not None:
            number = torch.full_like(number, -1).index_copy_(0, self.places, number[: len(self.places)])
        number = number.view(self.grid)[which].flatten()
        places = None if self.places is None else _where(number >= 0)
        rows = number if places is None else number[places]
        mask = None if self.mask is None else self.mask[which]
        return Pieces((len(which), self.grid[1]), self.device, places, rows, mask)

    def gather(self, rows: Tensor) -> Tensor:
        """Their rows [T, width] among those of the pieces that they were selected from."""
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
            rows = rows.new_zeros(captions * longest, rows.shape[1]).index_copy_(0, self.places, rows)
        return rows.unflatten(0, self.grid)

    def _rows(self, places: Tensor) -> Tensor:
        if self.places is None:
            return places
        rows = torch.searchsorted(self.places, places)
        if not torch.equal(self.places[rows.clamp_max(len(self.places) - 1)], places):
            raise ValueError("padding has no row: choose among the captions' own pieces")
        return rows


def _where(kept: Tensor) -> Tensor:
    return kept.flatten().nonzero()[:, 0]
