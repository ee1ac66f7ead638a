"""Parts of a retrieval table beside the first stage on whole galleries: re-ranked, with audio alone, held out.

Re-ranking by matching, with what it adds (paired by query and seed): on the whole gallery by the run's own matching,
which is the protocol of the paper's Table 1 (section `reranked`), or on a fixed gallery by the initial model's
(`matched`).
"""

from __future__ import annotations

from pipeline.ranks import FULL, ITM, MATCHED, WITH_AUDIO, Key
from pipeline.reporting.measured import JOINT
from pipeline.reporting.rows import Rows
from pipeline.reporting.table import Record


def reranked(rows: Rows, run: str) -> list[Record]:
    """Re-ranked R@1 and the gain over the first stage, whole galleries and their average; none if not ranked so."""
    measured, score = rows.measured, rows.headline[run]
    first = Key("test", FULL, "", score)
    if not all(measured.has(run, c, first._replace(direction="T2VA", score=score + ITM)) for c in measured.corpora):
        return []
    found = rows.row("reranked", run, score + ITM, JOINT, f".{ITM}")
    for short, direction in JOINT.items():
        key = first._replace(direction=direction)
        keys = {corpus: (key._replace(score=score + ITM), key) for corpus in measured.corpora}
        found += rows.difference("reranked", run, score + ITM, f"{short}.gain", keys)
    return found


def matched(rows: Rows, run: str) -> list[Record]:
    """First stage, re-ranked and gain on the fixed galleries of the initial model's matching."""
    measured, score = rows.measured, rows.headline[run]
    found = []
    for corpus in measured.corpora:
        for short, direction in JOINT.items():
            first = Key("test", MATCHED, direction, score)
            second = first._replace(score=score + ITM)
            if not measured.has(run, corpus, second):
                continue
            for step, key in (("first", first), (ITM, second)):
                found.append(rows.one("matched", run, key, corpus, f"{short}.{step}"))
            found += rows.difference("matched", run, score + ITM, f"{short}.gain", {corpus: (second, first)})
    return found


def with_audio(rows: Rows, run: str) -> list[Record]:
    """R@1 among the items with audio alone, first stage and re-ranked, of corpora where some have none."""
    measured, score = rows.measured, rows.headline[run]
    found = []
    for corpus in measured.corpora:
        for short, direction in JOINT.items():
            for step in ("", ITM):
                key = Key("test", WITH_AUDIO, direction, score + step)
                if measured.has(run, corpus, key):
                    found.append(rows.one("with_audio", run, key, corpus, short + f".{step}" * bool(step)))
    return found


def held_out(rows: Rows, run: str) -> list[Record]:
    """R@1 on test clips of corpora that are no benchmarks: in no average, contrast or choice of a score."""
    measured, score = rows.measured, rows.headline[run]
    found = []
    for corpus in measured.beside:
        for short, direction in JOINT.items():
            found.append(rows.one("held_out", run, Key("test", FULL, direction, score), corpus, short))
    return found
