"""A planned clip, and the reading of plans."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas

from pipeline.errors import UserError


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


def read_plan(path: Path) -> pandas.DataFrame:
    """The plan of a corpus; a UserError says how to make it."""
    if not path.is_file():
        raise UserError(f"{path}: missing; make it with `snakemake --cores all {path}`")
    return pandas.read_parquet(path)
