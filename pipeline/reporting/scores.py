"""The study of the scores as a table (target `scores`): json, csv, md, a figure, and its answer in words."""

from __future__ import annotations

from statistics import fmean, median

from pipeline import statistics
from pipeline.ranks import FULL, Key
from pipeline.reporting import table
from pipeline.reporting.contrasts import AVERAGE
from pipeline.reporting.measured import JOINT
from pipeline.reporting.retrieval_table import cell, paths_of
from pipeline.reporting.scores_figure import draw
from pipeline.reporting.study import NAME, OTHERS, RESIDUAL, SCORES, Study
from pipeline.reporting.table import Grid, Record
from pipeline.settings import Settings
from pipeline.statistics import EQUIVALENCE_BAND

QUESTION = "Does the residual repair text→item search on trained models?"
VERDICTS = ("better", "worse", "equivalent", "unclear")


def scores(settings: Settings) -> None:
    """Write the table and its figure, print it."""
    study, title = Study(settings), settings.tables[NAME].title
    parts, lines = grids(study), foot(study)
    table.write(paths_of(settings, NAME), title, study.records, parts, lines)
    draw(study)
    table.show(title, parts, lines)


def grids(study: Study) -> list[Grid]:
    """The parts as printed: a row a method."""
    both = [(short, score) for short in JOINT for score in SCORES]
    found = []
    for corpus in (AVERAGE, *study.corpora):
        columns = [(f"{corpus}.{short}.R@1", score, f"{_way(short)} {score}") for short, score in both]
        found.append(_grid(study, f"R@1 % by score, {corpus}, 95 % interval", "retrieval", columns))
    columns = [(f"{AVERAGE}.{short}.MRR", score, f"{_way(short)} {score}") for short, score in both]
    found.append(_grid(study, f"MRR % by score, {AVERAGE}, 95 % interval", "retrieval", columns))
    for corpus in (AVERAGE, *study.corpora):
        columns = [
            (f"{corpus}.{short}", f"{RESIDUAL} − {other}", f"{_way(short)} {RESIDUAL} − {other}")
            for short in JOINT
            for other in OTHERS
        ]
        found.append(_grid(study, f"Paired differences, R@1 points, {corpus}", "differences", columns))
    for measure, shown in (("winner", "Queries % that the most frequent first hit wins"),
                           ("skewness", "Skewness of the k-occurrence")):  # fmt: skip
        columns = [(f"{AVERAGE}.{short}.{measure}", score, f"{_way(short)} {score}") for short, score in both]
        found.append(_grid(study, f"{shown}, {AVERAGE}, ± standard deviation over seeds", "hubness", columns))
    columns = [(f"{corpus}.collinearity", "", corpus) for corpus in (*study.corpora, AVERAGE)]
    found.append(_grid(study, "λ₁(G)/M of text and clip, ± standard deviation over seeds", "geometry", columns))
    for short in JOINT:
        columns = [
            (f"{AVERAGE}.{short}.{100 * share:g}", score, f"{score} {100 * share:g} %")
            for score in SCORES
            for share in study.shares
        ]
        title = f"{_way(short)} R@1 % where a share of the clips has lost one modality, {AVERAGE}"
        found.append(_grid(study, title, "missing", columns))
    share = 100 * study.settings.study.followed
    columns = [
        (f"{AVERAGE}.{measure}", score, f"{score} {shown}")
        for score in SCORES
        for measure, shown in (("won", "won by them %"), ("lessened", "R@1 theirs"), ("whole", "R@1 others'"))
    ]
    title = (
        f"Clips that lost a modality at {share:g} %: T→VA queries they win, R@1 of their texts and of others, {AVERAGE}"
    )
    return [*found, _grid(study, title, "fewer", columns)]


def foot(study: Study) -> list[str]:
    """The answer, then what has to be known to read the table."""
    settings = study.settings
    sizes = []
    for corpus in study.corpora:
        one = study.measured.ranking(study.runs[0], corpus, Key("test", FULL, "T2VA", RESIDUAL))[0]
        visible = 100 * statistics.smallest_visible(len(one.query))
        sizes.append(
            f"{corpus}: {len(one.query)} texts, {one.items} clips (chance {100 * one.chance():.2f} %, smallest visible "
            f"difference at 15 % discordant pairs, were all independent, {visible:.1f} points)"
        )
    few = max(study.lessened.seeds.values())
    return [
        *answer(study),
        *fewer(study),
        *settings.tables[NAME].notes,
        "; ".join(sizes) + ".",
        f"Retrieval, differences: up to {max(study.measured.seeds.values())} seeds (vast, the initial model, has "
        f"one); hubs, λ₁(G)/M and missing modalities: up to {few}.",
        "Intervals: 95 %, bootstrap over seeds and caption clusters, paired in differences; of hubs and λ₁(G)/M "
        f"Student's over seeds. Equivalent: the 90 % interval lies within ± {EQUIVALENCE_BAND:g} points. Holm over the "
        "methods of a column.",
        f"Hubs: k-occurrence at k {settings.study.neighbours}; first hits that tie count in the order of the gallery.",
        "Volume and residual ignore signs, cosine does not. In item→text search the clip's own volume is a constant of "
        "the query, so that volume and residual order alike.",
        "Numerical rank: a vector with |cos| > 1 − 1e-6 to the span of those before it adds nothing to the residual; "
        "the volume is 0 beyond 1 − 1e-14 alone.",
        "All methods as published; nothing here chose anything.",
    ]


def answer(study: Study) -> list[str]:
    """What the numbers say about the residual, in words."""
    volume = _verdicts(study, "volume")
    rows = sum(map(len, volume.values()))
    better, worse = len(volume["better"]), len(volume["worse"])
    if better == rows:
        short = f"Yes, volume is worse for all {rows} rows"
    elif better and not worse:
        short = f"In part: better than volume for {better} of {rows} rows, worse for none"
    elif better:
        short = f"Mixed: better than volume for {better} of {rows} rows, worse for {worse}"
    else:
        short = f"No: better than volume for none of {rows} rows, worse for {worse}"
    cosine = _verdicts(study, "cosine")
    lines = [
        f"T→VA R@1, {AVERAGE} of the benchmarks, {RESIDUAL} − {other}: {_listed(verdicts)}."
        for other, verdicts in (("volume", volume), ("cosine", cosine))
    ]
    beside = f"better than cosine for {len(cosine['better'])}, worse for {len(cosine['worse'])}"
    lines[0] = f"{QUESTION} {short}; it is {beside} of {rows} rows. {lines[0]}"
    back = study.find("differences", f"{AVERAGE}.va2t", f"{RESIDUAL} − volume").values()
    largest = max(abs(one.value or 0.0) for one in back)
    won = []
    for score in ("volume", RESIDUAL, "cosine"):
        found = study.find("hubness", f"{AVERAGE}.t2va.winner", score)
        most = max(found.values(), key=lambda one: one.value or 0.0)
        middle = median(one.value or 0.0 for one in found.values())
        won.append(f"{middle:.1f} % by {score} (at most {most.value:.1f} %, {most.row})")
    return [
        *lines,
        f"VA→T, {RESIDUAL} and volume differ by at most {largest:.2g} points.",
        f"Hubs, T→VA: the clip that wins most texts wins, median over rows, {', '.join(won)}.",
    ]


def fewer(study: Study) -> list[str]:
    """How clips with fewer modalities compare under each score: by definition, and as measured."""
    ends = (f"{100 * study.shares[0]:g}", f"{100 * study.shares[-1]:g}")
    held = _mean(study.find("fewer", f"{AVERAGE}.share"))
    won, falls = [], []
    for score in SCORES:
        found = [_mean(study.find("fewer", f"{AVERAGE}.{name}", score)) for name in ("won", "lessened", "whole")]
        won.append(f"by {score} {found[0]} % (R@1 of their texts {found[1]}, of others {found[2]})")
        levels = [_mean(study.find("missing", f"{AVERAGE}.t2va.{end}", score)) for end in ends]
        falls.append(f"{score} {levels[0]} → {levels[1]}")
    return [
        "Clips with fewer modalities: by volume the tuple is the text and what is there, and fewer vectors span a "
        "larger volume at equal angles; by residual a smaller span leaves more of the text, so that no clip gains by "
        "lacking a modality; by cosine the mean runs over what is there, so that a clip can gain.",
        f"Measured, mean over rows and benchmarks: where {held} % of the clips have lost one modality, those win "
        f"of the texts' first places {', '.join(won)}.",
        f"T→VA R@1 as {ends[0]} → {ends[1]} % of the clips lose a modality, mean over rows: {', '.join(falls)}. Which "
        "clip loses which is drawn once, the same for all rows, and nested.",
    ]


def _verdicts(study: Study, other: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in VERDICTS}
    for one in study.find("differences", f"{AVERAGE}.t2va", f"{RESIDUAL} − {other}").values():
        found[one.verdict].append(f"{one.row} {one.value:+.1f}")
    return found


def _listed(verdicts: dict[str, list[str]]) -> str:
    names = {"equivalent": f"equivalent within ± {EQUIVALENCE_BAND:g} points"}
    return "; ".join(
        f"{names.get(name, name)} for {len(rows)}" + (f" ({', '.join(rows)})" if rows else "")
        for name, rows in verdicts.items()
    )


def _mean(found: dict[str, Record]) -> str:
    values = [one.value for one in found.values() if one.value is not None]
    return f"{fmean(values):.1f}" if values else "–"


def _grid(study: Study, title: str, section: str, columns: list[tuple[str, str, str]]) -> Grid:
    found = [study.find(section, column, score) for column, score, _ in columns]
    rows = [[study.labels[run], *(_cell(section, by.get(run)) for by in found)] for run in study.runs]
    return Grid(title, ["method", *(shown for _, _, shown in columns)], rows)


def _cell(section: str, one: Record | None) -> str:
    if one is None or one.value is None:
        return "–"
    if section == "differences":
        interval = "" if one.ci_low is None else f" [{one.ci_low:+.1f}, {one.ci_high:+.1f}]"
        return f"{one.value:+.1f}{interval} {one.verdict}"
    if section in ("hubness", "geometry", "fewer"):
        return f"{one.value:.3g}" + ("" if one.sd is None else f" ±{one.sd:.2g}")
    return cell(one, "bare" if section == "missing" else "interval")


def _way(short: str) -> str:
    return JOINT[short].replace("2", "→")
