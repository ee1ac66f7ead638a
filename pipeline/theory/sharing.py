"""Methods against how a caption's content is shared out between picture and sound: redundant, unique, synergistic.

`scenes` is rendered in three forms with the same contents and splits (pipeline/corpora/scenes.py); each method trains
on one form and is tested on it, by the score chosen on validation, with galleries of one size. The initial model and
the towers were trained on the unique form alone, which may favour it: compare methods within a form. `joint_gain` is
T→VA minus the single pathway that is better on validation: what only both modalities together tell. The methods of a
form answer the same captions: their differences are paired, with Holm's correction over the pairs of a measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline import figures, paths, tuples
from pipeline.errors import UserError
from pipeline.estimates import resampled
from pipeline.files import write_json
from pipeline.geometry import SCORES, mrr, ranks
from pipeline.settings import Settings
from pipeline.statistics import EQUIVALENCE_BAND, Array, Bootstrap, holm, verdict

TABLE = "sharing"
#: Pathway → rows of the tuple that stand for the clip.
PATHWAYS = {"T2VA": (1, 2), "T2V": (1,), "T2A": (2,)}


def sharing(settings: Settings) -> None:
    """Write theory/sharing.json and its figure from the embeddings of the table's runs, each on its own corpus."""
    entry, test, choices = settings.tables[TABLE], {}, {}
    for run in entry.runs:
        corpora, seeds = settings.run(run).corpora, range(min(settings.seeds(run), entry.seeds))
        if len(corpora) != 1:
            raise UserError(f"params/runs.yaml: runs.{run}.corpora: a run of the table sharing has one corpus")
        files = [paths.embeddings(settings, run, seed, corpora[0]) for seed in seeds]
        choices[run] = chosen([tuples.read(file, "val") for file in files])
        test[run] = [tuples.read(file) for file in files]
    gallery = min(z.shape[1] for stacks in test.values() for z in stacks)
    by_chance = {"R1": 1 / gallery, "MRR": sum(1 / (place + 1) for place in range(gallery)) / gallery, "joint_gain": 0}
    records: list[dict[str, Any]] = []
    answers: dict[tuple[str, str], dict[str, Array]] = {}
    for run, stacks in test.items():
        form = str(settings.corpus(settings.run(run).corpora[0]).options["sharing"])
        score, single = choices[run]
        about = {"run": run, "method": settings.run(run).method, "form": form, "score": score, "gallery": gallery}
        values = [measured(z[:, :gallery], score, single) for z in stacks]
        for key in values[0]:
            least = -1.0 if key == "joint_gain" else 0.0
            by_caption = np.array([one[key].tolist() for one in values])
            answers.setdefault((form, key), {})[run] = by_caption
            found = resampled(by_caption, settings.retrieval.bootstrap, settings.seed, least)
            chance = by_chance[key.rpartition("/")[2]]
            records.append(about | {"single": single, "measure": key, "chance": chance} | found)
    differences = [one for (form, key), by in answers.items() for one in compared(settings, form, key, by)]
    for record in records:
        record["rank"] = _rank(record, differences)
    notes = {"intervals": "95 %, bootstrap over seeds and captions", "unit": "share"}
    notes |= {"score": "chosen on validation by T2VA MRR; so is the single pathway that the gain is over"}
    notes |= {"rank": "1 + methods that are better by their difference; none where the interval reaches chance"}
    notes |= {"differences": "first minus second, paired by caption and seed; p after Holm over the pairs of a measure"}
    write_json(paths.theory(settings, TABLE), {"records": records, "differences": differences, "notes": notes})
    _figure(settings, records)


def compared(settings: Settings, form: str, measure: str, answers: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Paired differences of all pairs of runs, of which `answers` has a measure [seeds, captions], with verdicts."""
    pairs = list(combinations(answers, 2))
    gaps = [answers[first] - answers[second] for first, second in pairs]
    found = [
        Bootstrap(np.arange(gap.shape[1]), len(gap), settings.retrieval.bootstrap, settings.seed)(100 * gap)
        for gap in gaps
    ]
    adjusted = holm([float(one.p_value()) for one in found])
    records = []
    for (first, second), one, p in zip(pairs, found, adjusted.tolist(), strict=True):
        low, high = (float(end) / 100 for end in one.interval())
        about = {"form": form, "measure": measure, "first": first, "second": second, "value": float(one.value) / 100}
        about |= {"ci_low": low, "ci_high": high, "p_holm": p, "verdict": verdict(one, EQUIVALENCE_BAND, p)}
        records.append(about)
    return records


def _rank(record: dict[str, Any], differences: list[dict[str, Any]]) -> int | None:
    if record["ci_low"] <= record["chance"]:
        return None
    same = [one for one in differences if (one["form"], one["measure"]) == (record["form"], record["measure"])]
    lost = {("first", "worse"), ("second", "better")}
    return 1 + sum(any(one[side] == record["run"] and one["verdict"] == what for side, what in lost) for one in same)


def chosen(validation: list[Tensor]) -> tuple[str, str]:
    """The score with the best MRR of T→VA on validation, mean over seeds, and the better single pathway under it."""

    def quality(score: str, way: str) -> float:
        return sum(mrr(_ranks(z, PATHWAYS[way], score)) for z in validation) / len(validation)

    score = max(SCORES, key=lambda name: quality(name, "T2VA"))
    return score, max(("T2V", "T2A"), key=lambda way: quality(score, way))


def measured(z: Tensor, score: str, single: str) -> dict[str, Tensor]:
    """By caption of tuples `z [3, C, D]`, each [C]: hits a pathway, reciprocal ranks of the joint one, and the joint
    hit less that of the `single` pathway.
    """
    rank = {way: _ranks(z, rows, score).double() for way, rows in PATHWAYS.items()}
    found = {f"{way}/R1": (one == 1).double() for way, one in rank.items()}
    return found | {"T2VA/MRR": 1 / rank["T2VA"], "joint_gain": found["T2VA/R1"] - found[f"{single}/R1"]}


def _ranks(z: Tensor, rows: tuple[int, ...], score: str) -> Tensor:
    return ranks(z[0], z[list(rows)], SCORES[score], torch.arange(z.shape[1])).rank


def _figure(settings: Settings, records: list[dict[str, Any]]) -> None:
    measures = {"T2VA/R1": "R@1 text → clip", "T2V/R1": "R@1 text → picture", "joint_gain": "gain of joining"}
    forms = list(dict.fromkeys(record["form"] for record in records))
    figure, panels = figures.canvas(1, len(measures), width=3.4)
    for axes, (measure, title) in zip(panels, measures.items(), strict=True):
        methods = dict.fromkeys(record["method"] for record in records)
        for place, (method, colour) in enumerate(zip(methods, figures.COLOURS, strict=False)):
            points = [r for r in records if r["method"] == method and r["measure"] == measure]
            x = [forms.index(point["form"]) + 0.12 * (place - 1.5) for point in points]
            for at, point in zip(x, points, strict=True):
                axes.plot([at, at], [point["ci_low"], point["ci_high"]], color=colour, linewidth=1.4)
            axes.plot(x, [point["value"] for point in points], "o", color=colour, markersize=4, label=method)
        axes.set_xticks(range(len(forms)), forms)
        axes.set_title(title, fontsize=9)
        figures.percent(axes)
        axes.axhline(0, color="0.8", linewidth=0.8)
    panels[0].legend(fontsize=7)
    figures.save(settings, TABLE, figure)
