"""What stands under a retrieval table: sizes, coverage, policies, selection, what is real and what the seeds share."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from pipeline import manifest as manifests
from pipeline import paths, statistics
from pipeline.manifest import USABLE
from pipeline.ranks import FULL, Key
from pipeline.reporting.contrasts import Contrast, uncompared
from pipeline.reporting.measured import JOINT, Measured
from pipeline.settings import Settings

#: What of a kind of corpus is real and what is made.
MATERIAL = {
    "stamps": "pictures, spoken descriptions, effects and captions are real; motion, ground and mixture are rendered",
    "stories": "pictures, voices and effects are real; their combination, order, noise and texts are composed",
    "scenes": "picture, sound and text are procedural",
    "sounds": "pictures and sounds are real, rendered in motion; captions are written by the initial model",
    "annotated": "videos, sound and captions are real",
}
HEADS = (
    "At this scale BERT is frozen after the initial model, so that the 0.1 · ITM terms that GRAM and PMRL publish are "
    "left out of every method and matching probabilities are the same for all rows."
)
OTHER = "No difference to the paper's numbers is shown: other data and models; contrasts are what can be compared."


def foot(settings: Settings, measured: Measured, found: list[Contrast]) -> list[str]:
    """Lines of the foot."""
    tables = {corpus: manifests.read(paths.manifest(settings, corpus)) for corpus in measured.corpora}
    lines = [_trained(settings, measured), *_sizes(settings, measured, tables, found)]
    for corpus, table in tables.items():
        lines += [_coverage(corpus, table), f"{corpus}: {MATERIAL[settings.corpora[corpus].kind]}; stands for "
                  f"{settings.corpora[corpus].stands_for}; {settings.corpora[corpus].source} "
                  f"({settings.corpora[corpus].licence})."]  # fmt: skip
    chosen = ", ".join(f"{run} {measured.headline(run)}" for run in measured.runs)
    lines += [
        "Selection: the headline score of a method is the one with the best validation MRR "
        f"({chosen}); weights are those of the last step; the test set chose nothing.",
        "Seeds share the initial model, its cached features, the data and the splits; they differ in the order of "
        "batches, the draws of frames and captions and the start of the adapters. Rows with one seed have intervals of "
        "the test captions alone.",
        f"Intervals: 95 %, bootstrap over seeds and caption clusters, {settings.retrieval.bootstrap} draws shared by "
        "all rows. Equivalent: the 90 % interval of the difference lies within ± 2 points. Holm over the contrasts of "
        "a column. P(A > B): one more training and test sample put A first.",
        "Ties: the truth takes a random place among items that score within 1e-7 of it. mAP counts all right answers "
        "of a query, each at its expected place among ties; R@k and MRR count the best.",
        "† not above chance: the interval's lower end does not exceed it.",
        _fused(settings, measured),
        *_matching(settings, measured),
    ]
    if alone := uncompared(measured):
        lines.append(f"Not compared, since the numbers of seeds differ: {', '.join(alone)}.")
    lines += [HEADS] if settings.training.trains == "heads" else []
    return lines + ([OTHER] if settings.scale != "paper" else [])


def _trained(settings: Settings, measured: Measured) -> str:
    """What the runs are trained on, and how that compares with the width of their embeddings."""
    concepts: set[str] = set()
    clips, width = 0, settings.vast.width
    trained = [run for run in measured.runs if settings.trained(run)]
    for corpus in dict.fromkeys(name for run in trained for name in settings.train_corpora(run)):
        train = manifests.usable(manifests.read(paths.manifest(settings, corpus)), "train")
        train = train[train["status"] == "ok"]  # no run trains on clips that lack a modality
        clips += len(train)
        concepts |= {f"{corpus}:{name}" if settings.corpus(corpus).kind == "scenes" else name
                     for names in train["concepts"] for name in names}  # fmt: skip
    return (
        f"Scale {settings.scale}: {clips} training clips with {len(concepts)} concepts; embedding width {width} "
        f"(training clips/width {clips / width:.1f})."
    )


def _matching(settings: Settings, measured: Measured) -> list[str]:
    """How `+itm` comes about."""
    first, how = f"+itm: the first {settings.retrieval.rerank}", {settings.matched_by(run) for run in measured.runs}
    lines = []
    if "own" in how:
        lines.append(
            f"{first} of each query, in both directions, re-ranked by the run's own matching on the whole gallery, as "
            "in GRAM's and VAST's evaluation; the others keep the first stage's order below them. The paper's Table 1 "
            "stands beside these columns; it does not say which score its first stage is by."
        )
    if "vast" in how:
        lines.append(
            f"{first} re-ranked by the initial model's matching, on a fixed gallery; "
            "its first stage stands beside it on the same gallery."
        )
    return lines


def _sizes(settings: Settings, measured: Measured, tables: dict[str, pd.DataFrame], found: list[Contrast]) -> list[str]:
    lines, width = [], settings.vast.width
    for corpus in measured.corpora:
        parts = []
        for short, direction in JOINT.items():
            key = Key("test", FULL, direction, measured.headline(measured.runs[0]))
            one = measured.ranking(measured.runs[0], corpus, key)[0]
            clusters = measured.bootstrap(measured.runs[0], corpus, key).clusters
            errors = [float(c.difference.standard_error) for c in found if (c.corpus, c.direction) == (corpus, short)]
            seen = statistics.smallest_visible_at(sorted(errors)[len(errors) // 2]) if errors else float("nan")
            plain = 100 * statistics.smallest_visible(len(one.query))
            visible = f"{plain:.1f} points at 15 % discordant pairs, were all independent" + (
                f", {seen:.1f} as measured" if seen == seen else ""
            )
            parts.append(
                f"{direction} n {len(one.query)} in {clusters} clusters among {one.items} (chance "
                f"{100 * one.chance():.2f} %; smallest visible difference at 80 % power {visible})"
            )
        n = len(manifests.usable(tables[corpus], "test"))
        lines.append(f"{corpus}: {'; '.join(parts)}; test clips/width {n / width:.1f}.")
    return lines


def _fused(settings: Settings, measured: Measured) -> str:
    stale = ", ".join(run for run in measured.runs if "fused" in settings.stale(run))
    excluded = f"; {stale} do not train it, so that it is stale and cannot be their headline" if stale else ""
    return f"fused: VAST's head of all modalities{excluded}."


def _coverage(corpus: str, table: pd.DataFrame) -> str:
    test = table[table["split"] == "test"]
    usable = int(test["status"].isin(USABLE).sum())
    lost = test[~test["status"].isin(USABLE)]
    reasons = Counter(zip(lost["status"], lost["reason"], strict=True))
    missing = "; ".join(f"{count} {status} ({why})" for (status, why), count in reasons.items()) or "none missing"
    silent = int((test["status"] == "no_audio").sum())
    policy = "none is without sound"
    if silent:
        policy = f"{silent} without sound stay in the gallery by their picture alone; a part shows it without them"
    return f"{corpus}: {usable} of {len(test)} test clips ({missing}); {policy}."
