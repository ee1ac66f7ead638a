"""Anybody's embeddings under the protocol of Table 1: scores, both directions, intervals, gap, hubness, comparison.

No training and none of our models are needed: a file of embeddings (`pipeline.retrieval.gallery` says its format), the
manifest of the corpus they were made from and, to compare, a table (`results/<scale>/tables/table1.json`) whose runs'
stored ranks lie beside it. The headline score is chosen on validation if the file holds that split, else it is cosine.

A file is one training, and the comparison takes it as given: its intervals are those of the test captions and of the
stored method's seeds (`FIXED`), not of what another training like the given one would score.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline import ranks as stored
from pipeline import statistics
from pipeline.errors import UserError
from pipeline.files import load_metadata, read_json, sha256, write_json
from pipeline.geometry import SCORES, collinearity, effective_rank, hubness_both, modality_gap, unit
from pipeline.provenance import check
from pipeline.ranks import FULL, Key, Ranking
from pipeline.retrieval.gallery import Gallery, read_gallery
from pipeline.retrieval.rank import rankings
from pipeline.statistics import EQUIVALENCE_BAND, Bootstrap

MEASURES = (("R@1", 1), ("R@5", 5), ("R@10", 10))
DRAWS, BLOCK, SEED = 1000, 512, 1
#: Stands wherever given embeddings are compared with a stored method.
FIXED = (
    "The given embeddings are one training, taken as fixed: interval, p and draws ahead hold the variation of the test "
    "captions and of the stored method's seeds, none of the given training."
)


def evaluate(
    embeddings: Path,
    manifest: Path,
    reference: Path | None = None,
    output: Path | None = None,
    name: str = "mine",
) -> dict[str, Any]:
    """Evaluate the test split of `embeddings`, print the result, write it to `output` (json) and return it."""
    gallery = read_gallery(embeddings, manifest)
    found = dict(rankings(gallery, "test", BLOCK, SEED))
    joint = next(iter(gallery.conditions()))
    score, chosen = _headline(embeddings, manifest, joint, {key.score for key in found})
    draws = {
        side: Bootstrap(groups, 1, DRAWS, SEED)
        for side, groups in (("text", gallery.text_groups), ("item", gallery.item_groups))
    }
    result = {
        "name": name,
        "embeddings": str(embeddings),
        "manifest": sha256(manifest),
        "n_evaluated": len(gallery.ids),
        "n_protocol": gallery.expected,
        "texts": len(gallery.text_ids),
        "score": score,
        "score_chosen": chosen,
        "measures": [_measures(key, one, draws) for key, one in found.items()],
        "geometry": _geometry(gallery, joint),
        "comparison": _comparison(reference, manifest, gallery, found, joint, score) if reference else [],
    }
    if output is not None:
        write_json(output, result)
    _show(result, joint)
    return result


def _headline(embeddings: Path, manifest: Path, joint: str, scores: set[str]) -> tuple[str, str]:
    """The score of the table's row, one of the test split's `scores`, and why it is that."""
    about = load_metadata(embeddings)
    if "val" not in about.get("ids", {}):
        return "cosine", "the file has no val split to choose the score on"
    gallery = read_gallery(embeddings, manifest, "val")
    other = next(iter(gallery.conditions()))
    if other != joint:
        raise UserError(f"{embeddings}: split val holds the modalities {other}, split test {joint}; embed both alike")
    stale = about.get("stale") or []
    if not isinstance(stale, list):
        raise UserError(f"{embeddings}: metadata: stale is {stale!r}, expected a list of scores such as ['fused']")
    values: dict[str, list[float]] = {}
    for key, one in rankings(gallery, "val", BLOCK, SEED):
        if key.direction in (f"T2{joint}", f"{joint}2T") and key.score in scores.difference(stale):
            values.setdefault(key.score, []).append(float(one.reciprocal().mean()))
    return max(values, key=lambda name: sum(values[name])), "best validation MRR"


def _measures(key: Key, one: Ranking, draws: dict[str, Bootstrap]) -> dict[str, Any]:
    bootstrap = draws["text" if key.direction.startswith("T2") else "item"]
    row: dict[str, Any] = {"direction": key.direction, "score": key.score, "n": len(one.query), "items": one.items}
    row |= {"chance": 100 * one.chance(), "ties": int(one.ties.sum()), "median": float(np.median(one.rank))}
    row["mean"] = float(np.mean(one.rank))
    measured = {name: one.recall(k) for name, k in MEASURES} | {"MRR": one.reciprocal(), "mAP": one.precision}
    for name, values in measured.items():
        estimate = bootstrap(100 * values[None], least=0)
        low, high = (float(end) for end in estimate.interval())
        row[name] = float(estimate.value)
        row[f"{name}_ci"] = None if low != low else [low, high]
    return row


def _geometry(gallery: Gallery, joint: str) -> dict[str, Any]:
    """Gaps of the modalities' means, effective ranks, collinearity of whole tuples, hubness in both directions.

    None where a modality that no clip has would be needed.
    """
    names = gallery.conditions()[joint]
    texts = unit(gallery.text)
    sets = {"text": texts} | {name: unit(gallery.items[name]) for name in names}
    present = {name: z[z.any(1)] for name, z in sets.items()}
    stack = torch.stack([gallery.items[name] for name in names])
    whole = unit(gallery.tuples(names))
    pairs = [(a, b) for index, a in enumerate(present) for b in list(present)[index + 1 :]]
    k = min(10, len(gallery.ids), len(texts))
    hubs = {}
    for name, score in SCORES.items():
        sides = hubness_both(gallery.text.double(), stack.double(), score, k, BLOCK)
        for direction, found in zip((f"T2{joint}", f"{joint}2T"), sides, strict=True):
            hubs[f"{direction} {name}"] = {
                "winner": found.winner,
                "skewness": found.skewness,
                "largest": found.largest,
                "orphans": found.orphans,
            }
    return {
        "gap": {
            f"{a}-{b}": float(modality_gap(present[a], present[b])) if len(present[a]) and len(present[b]) else None
            for a, b in pairs
        },
        "effective_rank": {name: float(effective_rank(z)) if len(z) else None for name, z in present.items()},
        "collinearity": float(collinearity(whole).mean()) if whole.shape[1] else None,
        "hubness_k": k,
        "hubness": hubs,
    }


def _comparison(
    reference: Path, manifest: Path, gallery: Gallery, found: dict[Key, Ranking], joint: str, score: str
) -> list[dict[str, Any]]:
    """Mine - theirs, R@1 points, each with its headline score, for every run of a stored table; see `FIXED`."""
    rows: list[dict[str, Any]] = []
    for run, theirs, files in _reference(reference, manifest):
        for direction in (f"T2{joint}", f"{joint}2T"):
            mine = found[Key("test", FULL, direction, score)]
            key = Key("test", FULL, direction, theirs)
            differences = []
            for file, ranking in files:
                if key not in ranking:
                    raise UserError(f"{file}: no ranks of {direction} by {theirs}; it holds other modalities")
                differences.append(mine.recall(1) - _aligned(ranking[key], mine, file))
            groups = gallery.text_groups if direction.startswith("T2") else gallery.item_groups
            bootstrap = Bootstrap(groups, len(files), DRAWS, SEED)
            values = 100 * np.stack(differences)
            estimate = bootstrap(values)
            low, high = (float(end) for end in estimate.interval())
            rows.append(
                {
                    "run": run,
                    "direction": direction,
                    "scores": [score, theirs],
                    "seeds": len(files),
                    "difference": float(estimate.value),
                    "ci": None if low != low else [low, high],
                    "p": float(estimate.p_value()),
                    "p_better": statistics.superiority(bootstrap.drawn(values)),
                    "note": FIXED,
                    "estimate": estimate,
                }
            )
    for direction in dict.fromkeys(row["direction"] for row in rows):
        members = [row for row in rows if row["direction"] == direction]
        for row, p in zip(members, statistics.holm([row["p"] for row in members]), strict=True):
            row["p_holm"] = float(p)
            row["verdict"] = statistics.verdict(row.pop("estimate"), EQUIVALENCE_BAND, float(p))
    return rows


def _reference(reference: Path, manifest: Path) -> list[tuple[str, str, list[tuple[Path, dict[Key, Ranking]]]]]:
    """Run, headline score and ranks of all seeds, on the corpus of the manifest, of a stored table's runs."""
    if not reference.is_file() or reference.suffix != ".json":
        raise UserError(f"{reference}: give a table's json, e.g. results/mini/tables/table1.json")
    runs, reference = _runs(reference), reference.absolute()
    if not runs or len(reference.parts) < 4:
        raise UserError(f"{reference}: holds no table of runs; give results/<scale>/tables/<table>.json")
    folder = reference.parents[3] / "ranks" / reference.parts[-3]
    digest = sha256(manifest)
    found = []
    for run, (score, seeds) in runs.items():
        files = []
        for seed in range(seeds):
            file = folder / run / str(seed) / f"{manifest.absolute().parent.name}.parquet"
            if not file.is_file():
                raise UserError(f"{file}: missing; rank the runs of {reference.name} first")
            ranking, about = stored.read(file)
            check(file, about, f"rank {run} again", run=run, seed=seed)
            if about.get("manifest") != digest:
                raise UserError(f"{file}: ranked on another manifest than {manifest}; rank the run again")
            files.append((file, ranking))
        found.append((run, score, files))
    return found


def _runs(reference: Path) -> dict[str, tuple[str, int]]:
    """Run → headline score and number of seeds, of the main part of a table; none if it is no table."""
    try:
        table = read_json(reference)
    except ValueError as error:  # of JSON or of its encoding
        raise UserError(f"{reference}: is no JSON ({error})") from None
    records = table.get("records") if isinstance(table, dict) else None
    rows = [row for row in (records if isinstance(records, list) else []) if isinstance(row, dict)]
    main = [row for row in rows if row.get("section") == "main" and {"run", "score", "seeds"} <= row.keys()]
    return {row["run"]: (row["score"], row["seeds"]) for row in main}


def _aligned(theirs: Ranking, mine: Ranking, file: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Their recall at 1 in the order of my queries; a UserError if queries or galleries differ."""
    if theirs.items != mine.items or len(theirs.query) != len(mine.query):
        raise UserError(
            f"{file}: ranks of {len(theirs.query)} queries among {theirs.items}, yours are {len(mine.query)} among "
            f"{mine.items}; embed the whole split"
        )
    order = np.argsort(theirs.query)
    place = np.searchsorted(theirs.query[order], mine.query).clip(max=len(order) - 1)
    if not np.array_equal(theirs.query[order][place], mine.query):
        raise UserError(f"{file}: ranks other queries than yours; embed the whole split")
    return theirs.recall(1)[order][place]


def _show(result: dict[str, Any], joint: str) -> None:
    part = "" if result["n_evaluated"] == result["n_protocol"] else " (NOT the whole split)"
    print(f"{result['name']}: {result['n_evaluated']} of {result['n_protocol']} clips{part}, {result['texts']} texts")
    rows = [
        [row["direction"], row["score"], *(_cell(row[m], row[f"{m}_ci"]) for m in ("R@1", "R@5", "R@10", "MRR", "mAP")),
         f"{row['median']:.0f}", f"{row['chance']:.2f}", str(row["ties"])]
        for row in result["measures"]
    ]  # fmt: skip
    _print(["direction", "score", "R@1", "R@5", "R@10", "MRR", "mAP", "median", "chance", "ties"], rows)
    geometry = result["geometry"]
    gaps = ", ".join(f"{pair} {_or_dash(value, 3)}" for pair, value in geometry["gap"].items())
    full = ", ".join(f"{name} {_or_dash(value, 1)}" for name, value in geometry["effective_rank"].items())
    print(f"gap: {gaps}; effective rank: {full}; collinearity: {_or_dash(geometry['collinearity'], 3)}")
    hubs = [
        [name, f"{one['skewness']:.2f}", str(one["largest"]), f"{100 * one['orphans']:.1f} %"]
        for name, one in geometry["hubness"].items()
    ]
    _print([f"hubness at {geometry['hubness_k']}", "skewness", "largest", "never found"], hubs)
    print("Items that tie count as found in the order of the file: of a collapsed gallery the first ones are hubs.")
    if result["comparison"]:
        rows = [
            [f"{result['name']} − {row['run']}", row["direction"], _cell(row["difference"], row["ci"], "+"),
             f"{row['p_better']:.2f}", f"{row['p_holm']:.3f}", row["verdict"]]
            for row in result["comparison"]
        ]  # fmt: skip
        _print(["R@1 points", "direction", "difference", "draws ahead", "p (Holm)", "verdict"], rows)
        print(FIXED)
    cells = [
        _cell(row["R@1"], row["R@1_ci"])
        for direction in (f"T2{joint}", f"{joint}2T")
        for row in result["measures"]
        if (row["direction"], row["score"]) == (direction, result["score"])
    ]
    print(f"Row for Table 1 ({result['score_chosen']}), {joint} as T2{joint} and {joint}2T:")
    print(f"| {result['name']} | {result['score']} | 1 | {' | '.join(cells)} |")


def _cell(value: float, interval: Sequence[float] | None, sign: str = "") -> str:
    return f"{value:{sign}.1f}" + (f" [{interval[0]:{sign}.1f}, {interval[1]:{sign}.1f}]" if interval else "")


def _or_dash(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _print(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*headings, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)
