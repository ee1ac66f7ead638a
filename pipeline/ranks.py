"""Stored ranks: one row a query, direction, score and gallery; all retrieval measures follow from them without a model.

`rank` is the rank of the best hit among the gallery's misses, at a random place among tied ones (a collapsed model
scores at chance), `ties` their number, `precision` the average precision over all hits (`pipeline.geometry.ties`).
`items` is the size of the gallery and `relevant` the number of hits in it, so that chance is known; `group` is the
cluster of captions that the bootstrap keeps together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import parquet
from pipeline.errors import UserError

COLUMNS = ("split", "gallery", "direction", "score", "query", "group", "rank", "ties", "precision", "items", "relevant")
#: Whole galleries, their items with audio alone (where some have none), and the fixed ones whose pairs are all matched.
FULL, WITH_AUDIO, MATCHED = "full", "with-audio", "matched"
#: What a score is called whose first items matching has ordered anew.
ITM = "+itm"


def missing(share: float) -> str:
    """The gallery in which `share` of the clips has lost a modality."""
    return f"missing-{100 * share:g}"


class Key(NamedTuple):
    """What was ranked how."""

    split: str
    gallery: str
    direction: str
    score: str


@dataclass(frozen=True)
class Ranking:
    """Ranks of Q queries: ids, groups, rank, ties, average precision, hits in the gallery, [Q] each; gallery size."""

    query: NDArray[Any]
    group: NDArray[Any]
    rank: NDArray[np.float64]
    ties: NDArray[np.integer[Any]]
    precision: NDArray[np.float64]
    relevant: NDArray[np.integer[Any]]
    items: int

    def recall(self, k: int) -> NDArray[np.float64]:
        """[Q] 1 where a hit is among the first k."""
        return (self.rank <= k).astype(np.float64)

    def reciprocal(self) -> NDArray[np.float64]:
        """[Q] reciprocal ranks."""
        return np.asarray(1 / self.rank)

    def chance(self, k: int = 1) -> float:
        """Expected recall at k of a random order."""
        if k >= self.items:
            return 1.0
        counts, how_often = np.unique(self.relevant, return_counts=True)
        missed = [comb(self.items - int(count), k) / comb(self.items, k) for count in counts]
        return float(1 - np.average(missed, weights=how_often))


def write(path: Path, rankings: Iterable[tuple[Key, Ranking]], metadata: dict[str, Any]) -> None:
    """Write rankings as parquet with `metadata` (run, seed, corpus, digests) in its schema."""
    parts = []
    for key, ranking in rankings:
        n = len(ranking.query)
        columns = {name: _repeated(value, n) for name, value in key._asdict().items()}
        columns |= {"query": _dictionary(ranking.query), "group": _dictionary(ranking.group)}
        columns |= {"rank": pa.array(ranking.rank.astype(np.float32)), "ties": pa.array(ranking.ties.astype(np.int32))}
        columns |= {"precision": pa.array(ranking.precision.astype(np.float32))}
        columns |= {"items": pa.array(np.full(n, ranking.items, np.int32))}
        columns |= {"relevant": pa.array(ranking.relevant.astype(np.int32))}
        parts.append(pa.table(columns))
    table = pa.concat_tables(parts).unify_dictionaries()
    table = table.replace_schema_metadata({"pipeline": json.dumps(metadata)})
    parquet.write(path, table)


def read(path: Path) -> tuple[dict[Key, Ranking], dict[str, Any]]:
    """Read what `write` wrote; a UserError names a file that is no ranks file."""
    table = parquet.read_arrow(path, "rank the run again")
    lacking = [name for name in COLUMNS if name not in table.column_names]
    if lacking:
        raise UserError(f"{path}: no column '{lacking[0]}'; rank the run again")
    table = table.combine_chunks()
    columns = {name: table.column(name).to_numpy() for name in ("rank", "ties", "precision", "items", "relevant")}
    encoded = {name: _encoded(table, name) for name in ("query", "group", *Key._fields)}
    codes = [encoded[field][1] for field in Key._fields]
    changed = np.any([code[1:] != code[:-1] for code in codes], axis=0) if table.num_rows else np.zeros(0, bool)
    starts = [0, *(np.flatnonzero(changed) + 1).tolist()] if table.num_rows else []
    rankings = {}
    shared: dict[tuple[str, bytes], NDArray[Any]] = {}  # most rankings have the same queries: one array for all

    def strings(name: str, part: slice) -> NDArray[Any]:
        names, numbers = encoded[name]
        key = name, numbers[part].tobytes()
        if key not in shared:
            shared[key] = names[numbers[part]]
        return shared[key]

    for start, stop in zip(starts, [*starts[1:], table.num_rows], strict=True):
        part = slice(start, stop)
        rankings[Key(*(str(encoded[field][0][encoded[field][1][start]]) for field in Key._fields))] = Ranking(
            strings("query", part),
            strings("group", part),
            columns["rank"][part].astype(np.float64),
            columns["ties"][part],
            columns["precision"][part].astype(np.float64),
            columns["relevant"][part],
            int(columns["items"][start]),
        )
    return rankings, json.loads((table.schema.metadata or {}).get(b"pipeline", b"{}"))


def _encoded(table: pa.Table, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Distinct strings of a column, and which of them each row has."""
    column = table.column(name).dictionary_encode().combine_chunks()
    encoded = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(encoded.dictionary.to_pylist()), encoded.indices.to_numpy()


def _repeated(value: str, n: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), [value])


def _dictionary(values: NDArray[Any]) -> pa.DictionaryArray:
    codes, names = pd.factorize(np.asarray(values, dtype=object))
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), [str(name) for name in names])
