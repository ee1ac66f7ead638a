"""What every frozen tower is: a module with `encode`, made by `load(settings)` of its module."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Tower(Protocol):
    """A frozen encoder of one modality."""

    width: int

    def encode(self, batch: Tensor) -> Tensor:
        """Features of a raw batch (uint8 frames, int16 waveforms or log-mel slices); shapes are each tower's own."""
        ...
