"""Other people's numbers: the paper's and independent re-measurements, from the tables in params/.

They are quoted, never mixed with ours: a difference of ours and the paper's is made at paper scale only.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pipeline.errors import UserError
from pipeline.ranks import ITM
from pipeline.reporting.table import Grid, Record

PAPER = Path("params") / "paper_tables.csv"
INDEPENDENT = Path("params") / "independent.csv"
#: Version of the paper's text that is quoted as the paper; others are quoted beside it.
GIVEN = "given text"
BENCHMARKS = {"MSR-VTT": "msrvtt", "DiDeMo": "didemo", "ActivityNet": "activitynet"}
#: Our methods that are rows of the paper's Table 1.
ROWS = {"vast": "VAST", "gram": "GRAM", "gram-no-grad": "GRAM", "unialign": "UniAlign"}
#: In contrasts the control that the paper lacks stands for VAST, on whose loss it trains.
COMPARED = ROWS | {"vast-continued": "VAST"}
DIRECTIONS = {"t2va": "t2v", "va2t": "v2t"}
#: Our methods that others have measured again.
REMEASURED = {"gram": "GRAM", "gram-no-grad": "GRAM", "pmrl": "PMRL"}
#: The benchmarks that the paper's averages are over.
AVERAGED = set(BENCHMARKS.values())
#: Our sections that share the protocol of the paper's Table 1 or of a re-measurement → its stage.
STAGES = {"main": "first stage", "scores": "first stage", "reranked": "with ITM"}
#: The score of the re-measured first stages (GRAM's raw volume).
FIRST_STAGE = "volume"
#: Released models that are rows of the paper's Table 1 by vision alone.
VISION_ROWS = {"imagebind-released": "ImageBind", "languagebind-released": "LanguageBind"}
WHY = (
    "Quoted: the paper's rows from its Table 1 (UniAlign, the given text), the independent ones from Mehrish et al. "
    "(Query-Conditioned Spherical Centroid Aggregation) and their repository. The paper's other systems stay quoted: "
    "vision-language models of other makings, which no claim of the paper is about; running them would check theirs."
)
#: Tables with the rows of another of the paper.
SHOWN_IN = {"table1_all": "table1"}


@cache
def _rows(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        raise UserError(f"{file}: missing; restore it from the repository")
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def paper(table: str, row: str, column: str) -> float | None:
    """A number as the paper prints it, e.g. ("table1", "GRAM", "msrvtt.t2v")."""
    for one in _rows(PAPER):
        if (one["table"], one["row"], one["column"], one["version"]) == (table, row, column, GIVEN):
            return float(one["value"])
    return None


def independent(table: str, row: str, column: str, stage: str = "with ITM") -> float | None:
    """A re-measurement of a stage: with ITM, the paper's protocol, or the first stage."""
    for one in _rows(INDEPENDENT):
        if (one["table"], one["row"], one["column"], one["stage"]) == (table, row, column, stage):
            return float(one["value"])
    return None


def beside(table: str, method: str, section: str, column: str, score: str) -> dict[str, float | None]:
    """`paper` and `independent` of our method's row, each only under the protocol of a section's column and score.

    The paper's Table 1 is re-ranked by matching (its Table 2 says that this one is not), so it stands beside our
    re-ranked columns, e.g. `msrvtt.t2va.+itm`, and its rows by vision alone beside our single pathways. Re-measurements
    exist of both stages, of the first one by volume.
    """
    corpus, _, way = column.partition(".")
    way, _, step = way.partition(".")
    if section in STAGES and way in DIRECTIONS and step == (ITM if section == "reranked" else ""):
        theirs = f"{corpus}.{DIRECTIONS[way]}"
        again = REMEASURED.get(method) if section == "reranked" or score == FIRST_STAGE else None
        return {
            "paper": _whole(table, ROWS[method], theirs) if method in ROWS and section == "reranked" else None,
            "independent": independent(table, again, theirs, STAGES[section]) if again else None,
        }
    if section == "pathways" and method in VISION_ROWS and way in DIRECTIONS.values() and not step:
        return {"paper": _whole(table, VISION_ROWS[method], f"{corpus}.{way}")}
    return {}


def _whole(table: str, row: str, column: str) -> float | None:
    """`paper`, but no average of fewer benchmarks than ours."""
    corpus, _, way = column.partition(".")
    parts = [paper(table, row, f"{one}.{way}") for one in AVERAGED] if corpus == "average" else []
    return None if None in parts else paper(table, row, column)


def contrast(method: str, other: str, stands_for: Sequence[str], direction: str) -> float | None:
    """The paper's difference of two of our methods' rows, mean over the benchmarks that a corpus stands for."""
    if method not in COMPARED or other not in COMPARED:
        return None
    differences = []
    for benchmark in stands_for:
        values = [paper("table1", COMPARED[name], f"{benchmark}.{DIRECTIONS[direction]}") for name in (method, other)]
        if values[0] is None or values[1] is None:
            return None
        differences.append(values[0] - values[1])
    return sum(differences) / len(differences) if differences else None


def benchmarks(stands_for: str) -> list[str]:
    """`MSR-VTT, DiDeMo` → [msrvtt, didemo]; nothing for a benchmark that is not the paper's."""
    return [BENCHMARKS[part.strip()] for part in stands_for.split(",") if part.strip() in BENCHMARKS]


def why(table: str) -> list[str]:
    """Source of a table's quoted rows, and why they are not run; nothing for a table without."""
    return [WHY] if any(one["table"] == table for one in _rows(PAPER)) else []


def records(table: str) -> list[Record]:
    """All quoted rows of a table."""
    found = [
        Record(
            table, "quoted", one["row"], one["column"], None, paper=float(one["value"]),
            independent=independent(table, one["row"], one["column"]) if one["version"] == GIVEN else None,
            note=_note(one["version"], one["modality"], one["kind"], one["note"]),
        )
        for one in _rows(PAPER)
        if one["table"] == table
    ]  # fmt: skip
    found += [
        Record(
            table, "independent", one["row"], one["column"], None, independent=float(one["value"]),
            note=_note(one["source"], one["modality"], one["stage"], one["note"]),
        )
        for one in _rows(INDEPENDENT)
        if one["table"] == table
    ]  # fmt: skip
    return found


def _note(*parts: str) -> str:
    return "; ".join(part for part in ("quoted", *parts) if part)


def grids(table: str) -> list[Grid]:
    """The paper's rows in its shape, and the re-measurements."""
    columns = [f"{b}.{d}" for b in (*BENCHMARKS.values(), "average") for d in ("t2v", "v2t")]
    names = [f"{b} {d}" for b in (*BENCHMARKS, "average") for d in ("T2V", "V2T")]
    parts = []
    for title, file, extra in (
        ("The paper's rows, quoted", PAPER, "version"),
        ("Independent re-measurements, quoted", INDEPENDENT, "stage"),
    ):
        cells: dict[tuple[str, str, str], dict[str, str]] = {}
        for one in _rows(file):
            if one["table"] == table:
                cells.setdefault((one["row"], one["modality"], one[extra]), {})[one["column"]] = one["value"]
        if cells:
            rows = [[*key, *(values.get(column, "–") for column in columns)] for key, values in cells.items()]
            parts.append(Grid(title, ["method", "modality", extra, *names], rows))
    return parts
