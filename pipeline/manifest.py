"""The clip table that every stage speaks: one row a clip, whatever became of it.

A bad clip keeps its row with a status and a reason; nothing is dropped or replaced. `read` and `write` both validate,
so that a stage can trust what it gets. pandas is imported lazily: the Snakefile's process never needs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pipeline import parquet
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

Status = Literal["ok", "no_audio", "gone", "render_error", "decode_error"]
STATUSES: tuple[str, ...] = get_args(Status)
#: Statuses of clips that can be used: a clip without sound has a picture and a caption.
USABLE = ("ok", "no_audio")

#: Column → (python type of a value, meaning).
COLUMNS: dict[str, tuple[type, str]] = {
    "clip_id": (str, "unique in the corpus"),
    "split": (str, "train, val or test"),
    "captions": (list, "exact strings; equal strings are equal captions; none: the initial model writes them"),
    "media": (str, "file of the clip"),
    "tracks": (str, "JSON: modality → file"),
    "language": (str, "of the speech in the sound; empty: none"),
    "modalities": (list, "modalities that are present, text among them"),
    "duration": (float, "seconds"),
    "status": (str, ", ".join(STATUSES)),
    "reason": (str, "why the status is not ok"),
    "source": (str, "where the material comes from"),
    "licence": (str, "of the material"),
    "sha256": (str, "of the media file; empty: there is none"),
    "shard": (str, "shard of decoded frames and waveforms"),
    "row": (int, "row in the shard; -1: not decoded"),
    "concepts": (list, "what the clip shows or says; its class comes last"),
    "group": (str, "cluster of clips that the bootstrap draws together"),
}


def frame(rows: Iterable[dict[str, Any]]) -> DataFrame:
    """Rows as a table with the columns of the contract, in their order."""
    import pandas

    return pandas.DataFrame(list(rows), columns=list(COLUMNS))


def validate(table: DataFrame, source: Path) -> None:
    """Raise a UserError that names `source` and the clip, if the table breaks the contract."""
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise UserError(f"{source}: no column '{missing[0]}'; delete the file and run its stage again")
    if not len(table):
        raise UserError(f"{source}: holds no clip; check the corpus's sizes in params/")
    repeated = table["clip_id"][table["clip_id"].duplicated()]
    if len(repeated):
        raise UserError(f"{source}: clip '{repeated.iloc[0]}' appears twice; clip_id must be unique")
    for name, allowed in (("status", STATUSES), ("split", ("train", "val", "test"))):
        wrong = table[~table[name].isin(allowed)]
        if len(wrong):
            first = wrong.iloc[0]
            raise UserError(
                f"{source}: clip '{first.clip_id}': unknown {name} '{first[name]}'; one of {', '.join(allowed)}"
            )
    usable = table["status"].isin(USABLE)
    for flaw, problem in (
        (usable & (table["row"] < 0), "is usable but has no row in a shard"),
        (~usable & (table["reason"] == ""), "is not usable but has no reason"),
        ((table["captions"].map(len) == 0) & (table["concepts"].map(len) == 0), "has neither caption nor class"),
        (usable & ~(table["duration"] > 0), "has no duration"),
    ):
        if flaw.any():
            raise UserError(f"{source}: clip '{table['clip_id'][flaw].iloc[0]}' {problem}; run its stage again")


def write(path: Path, table: DataFrame) -> None:
    """Validate and write a manifest."""
    validate(table, path)
    parquet.write(path, table)


def read(path: Path) -> DataFrame:
    """Read and validate a manifest; list columns hold Python lists."""
    table = parquet.read(path)
    validate(table, path)
    for name, (kind, _) in COLUMNS.items():
        if kind is list:
            table[name] = table[name].map(list)
    return table


def usable(table: DataFrame, split: str) -> DataFrame:
    """The split's clips that can be used, in the order of the table, with a fresh index."""
    return table[(table["split"] == split) & table["status"].isin(USABLE)].reset_index(drop=True)
