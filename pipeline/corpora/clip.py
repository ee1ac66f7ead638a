"""A planned clip, and the reading of plans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Clip:
    """A clip to be; the plan gives it its name."""

    split: str
    caption: str
    """Empty: the initial model is to write it."""
    group: str
    concepts: list[str]
    recipe: dict[str, Any]
    language: str = ""
    components: list[int] = field(default_factory=list)
    """Connected components of the stamps in the clip; empty for procedural clips."""
