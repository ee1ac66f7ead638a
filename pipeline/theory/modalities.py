"""M = 2 … 10 on real modalities: do the conflicts, the divergence and the gap grow with M, and does T→V suffer?

Figure 1 of the paper is a drawing; this is its claim as a measurement. Picture and caption are always there, languages
are added by random subsets; clips, steps, seeds, the query pair (T→V) and its gallery stay the same. Linear heads on
frozen features by each objective; the test captions' concepts occur in no training. zeta and chi with the text as
anchor at the objective's own temperature scale 0.07; `bound` is Corollary 2's with the measured mean cosine of the
pairs without the anchor, as its proof has it, `bound_stated` over all pairs. All of it on the captions trained on, of
whose forces Eq. 3 and 4 speak, and on unseen ones. The divergence's estimate is the log of a mean of products of M − 1
factors, which the best-matched tuple decides at width 0.07: `holder_term`, a share of it, is no mean over terms.

A seed is an order of the languages whose first ones are added: sets grow, and no two seeds share one where there are
enough of them. Growth is judged in two ways: the paired difference between most and fewest modalities (pairs share a
seed), and Spearman's correlation with M along each seed's order; for chi from M = 3, since it is 0 for one positive.
What retrieval changes by is resampled over seeds and captions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations, count
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pipeline import figures, paths
from pipeline.digests import code_digest, digest
from pipeline.errors import UserError
from pipeline.estimates import estimate, resampled
from pipeline.files import load_metadata, load_tensors, sha256, write_json
from pipeline.geometry import SCORES, conflict, conflict_bound, holder_divergence, modality_gap, ranks
from pipeline.loop import batch_indices, fit, generator
from pipeline.models.heads import Heads
from pipeline.objectives import OBJECTIVES, parse
from pipeline.settings import Method, Run, Settings
from pipeline.theory.corollaries import assumption

#: (run, M) → measure of retrieval → seeds → captions.
Searched = dict[tuple[str, int], dict[str, list[list[float]]]]
TEMPERATURE = 0.07
WIDE = 0.5
BASE = ("text", "vision")
#: Measure → title and the ends of its axis: intervals by Student reach beyond what a measure can be.
MEASURES: dict[str, tuple[str, float | None, float | None]] = {
    "train/zeta": ("ζ as printed, trained on", None, 1.0),
    "train/zeta_without_self": ("ζ, k ≠ i, trained on", None, 1.0),
    "train/chi": ("χ (dotted: bound), trained on", 0.0, 1.0),
    "train/gap": ("mean gap, trained on", 0.0, None),
    "test/zeta": ("ζ as printed, unseen", None, 1.0),
    "test/zeta_without_self": ("ζ, k ≠ i, unseen", None, 1.0),
    "test/chi": ("χ (dotted: bound), unseen", 0.0, 1.0),
    "test/gap": ("mean gap, unseen", 0.0, None),
    "test/holder_term": ("Hölder divergence / (M − 1), width 0.07, unseen", None, None),
    "test/holder_wide": ("Hölder divergence, width 0.5, unseen", None, None),
    "T2V/R1": ("R@1 text → picture", 0.0, None),
    "T2V/MRR": ("MRR text → picture", 0.0, None),
}


def modalities(settings: Settings) -> None:
    """Train heads for each M, subset and run; write theory/modalities.json and figure1."""
    options = settings.theory.modalities
    source = paths.polyglot_features(settings)
    if not source.is_file():
        raise UserError(f"{source}: missing; run: python -m pipeline polyglot-features")
    features, about = load_tensors(source), load_metadata(source)
    languages = [name for name in about["modalities"] if name not in BASE]
    if max(options.counts) > len(languages) + len(BASE) or min(options.counts) < len(BASE):
        raise UserError(
            f"params: theory.modalities.counts: {options.counts} must lie in 2 … {len(languages) + len(BASE)}"
        )
    stamp = [sha256(source), code_digest("pipeline.theory.modalities"), options.model_dump()]
    trainings: list[dict[str, Any]] = []
    searched: Searched = defaultdict(dict)
    added = [number - len(BASE) for number in options.counts]
    orders = distinct_orders(languages, added, options.subsets, settings.seed)
    for run in options.runs:
        for more in added:
            for number, order in enumerate(orders):
                names = [*BASE, *sorted(order[:more], key=languages.index)]
                key = digest([stamp, [each.model_dump() for each in _entry(settings, run)], names, number])
                state = paths.state(settings, "modalities", run, key)
                model = train(settings, run, names, features, state, number)
                values, found = measured(model, names, features, options.test)
                trainings.append({"run": run, "M": len(names), "seed": number, "modalities": names, "values": values})
                for key, one in found.items():
                    searched[run, len(names)].setdefault(key, []).append(one)
    keys = list(trainings[0]["values"])
    records = [
        {"run": run, "M": number, "measure": key} | estimate(_values(trainings, run, number, key), options.subsets)
        for run in options.runs
        for key in keys
        for number in options.counts
    ]
    retrieval = list(searched[options.runs[0], options.counts[0]])
    changes = [growth(trainings, run, key) for run in options.runs for key in keys if key not in retrieval]
    changes += [_recalled(settings, trainings, searched, run, key) for run in options.runs for key in retrieval]
    write_json(
        paths.theory(settings, "modalities"),
        {
            "records": records,
            "growth": changes,
            "trainings": trainings,
            "notes": {
                "real": about["real"],
                "train_captions": len(about["captions"]["train"]),
                "test_captions": min(len(about["captions"]["test"]), options.test),
                "temperature": TEMPERATURE,
                "intervals": "Student's 95 % over seeds, each with its own sets of languages (M = 2 and all: one set); "
                "of the change of R@1 and MRR a bootstrap's over seeds and captions",
                "query": "text to picture, the same clips for every M",
                "chance_R1": 1 / min(len(about["captions"]["test"]), options.test),
            },
        },
    )
    _figure(settings, records, about["real"])


def distinct_orders(languages: list[str], sizes: list[int], number: int, seed: int) -> list[list[str]]:
    """Random orders of the languages whose first `size` are a set of their own, for each size with enough sets."""
    checked = [size for size in sizes if comb(len(languages), size) >= number]
    found: list[list[str]] = []
    draws = count(seed)
    while len(found) < number:
        draw = next(draws)
        order = [languages[at] for at in torch.randperm(len(languages), generator=generator(draw, 7)).tolist()]
        if all(set(order[:size]) != set(other[:size]) for other in found for size in checked):
            found.append(order)
    return found


def _entry(settings: Settings, run: str) -> tuple[Run, Method]:
    row = settings.run(run)
    return row, settings.methods[row.method]


def train(settings: Settings, run: str, names: list[str], features: dict[str, Tensor], state: Path, seed: int) -> Heads:
    """Heads of the modalities `names`, trained from random ones by the objective and the constants of a run."""
    options, (row, entry) = settings.theory.modalities, _entry(settings, run)
    objective, how = OBJECTIVES[entry.objective], parse(entry.objective, entry.settings | row.settings)
    data = {name: features[f"{name}-train"] for name in names}
    clips = len(data["text"])
    size = min(options.optimisation.batch, clips)
    # Widths in a fixed order: text's and vision's first weights do not depend on the languages.
    model = Heads({name: x.shape[1] for name, x in data.items()}, options.width, options.adapter, generator(seed))
    model.raw_temperature.data.fill_(row.temperature or entry.temperature)
    model.raw_temperature.requires_grad_(entry.learn_temperature)

    def loss(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        rows = batch_indices(clips, size, seed, step)
        embeddings, _ = model({name: x[rows] for name, x in data.items()}, False)
        return objective(embeddings, {}, model.temperature, how)  # type: ignore[no-any-return]

    optimisation = options.optimisation.model_copy(update={"batch": size})
    fit(model, loss, optimisation, state=state, seed=seed, label=f"{run} M={len(names)} seed {seed}")
    return model


@torch.no_grad()
def measured(
    model: Heads, names: list[str], features: dict[str, Tensor], limit: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Conflicts, what Assumption 1 says of them, divergences, gap and retrieval, on train and on unseen test concepts.

    Values by measure, and those of retrieval by test caption.
    """
    found: dict[str, float] = {}
    searched: dict[str, list[float]] = {}
    for split in ("train", "test"):
        z = torch.stack(list(model({name: features[f"{name}-{split}"][:limit] for name in names}, False)[0].values()))
        zeta, chi = conflict(z, 0, TEMPERATURE)
        pairs = list(combinations(range(len(z)), 2))
        cosine = {(a, b): float((z[a] * z[b]).sum(-1).mean()) for a, b in pairs}
        whole, others = _mean(cosine.values()), _mean(value for (a, _), value in cosine.items() if a)
        holder = float(holder_divergence(z, TEMPERATURE))
        found |= {
            f"{split}/zeta": float(zeta.mean()),
            f"{split}/zeta_without_self": float(conflict(z, 0, TEMPERATURE, exclude_self=True)[0].mean()),
            f"{split}/chi": float(chi.mean()),
            f"{split}/bound": float(conflict_bound(len(z), max(others, 0.0))),
            f"{split}/bound_stated": float(conflict_bound(len(z), max(whole, 0.0))),
            f"{split}/mean_cosine": whole,
            f"{split}/cosine_text_vision": cosine[0, 1],
            f"{split}/holder": holder,
            f"{split}/holder_term": holder / (len(z) - 1),
            f"{split}/holder_wide": float(holder_divergence(z, WIDE)),
            f"{split}/gap": sum(float(modality_gap(z[a], z[b])) for a, b in pairs) / len(pairs),
            f"{split}/gap_text_vision": float(modality_gap(z[0], z[1])),
            **{f"{split}/{key}": value for key, value in assumption(z, 0).items()},
        }
    own = torch.arange(z.shape[1])
    for direction, queries, items in (("T2V", z[0], z[1]), ("V2T", z[1], z[0])):
        rank = ranks(queries, items[None], SCORES["cosine"], own).rank
        searched |= {f"{direction}/R1": (rank <= 1).double().tolist(), f"{direction}/MRR": (1 / rank.double()).tolist()}
    return found | {key: _mean(values) for key, values in searched.items()}, searched


def _mean(values: Iterable[float]) -> float:
    """The mean of any number of values, 0 of none."""
    every = list(values)
    return sum(every) / max(len(every), 1)


def growth(trainings: list[dict[str, Any]], run: str, key: str) -> dict[str, Any]:
    """How a measure changes from the fewest to the most modalities, and its rank correlation with M."""
    from scipy.stats import spearmanr

    counts = sorted({one["M"] for one in trainings if one["M"] > 2 or not key.endswith("/chi")})
    columns = [_values(trainings, run, number, key) for number in counts]
    change = estimate([b - a for a, b in zip(columns[0], columns[-1], strict=True)], len(columns[0]))
    series = list(zip(*columns, strict=True))
    rho = [float(spearmanr(counts, values).statistic) if len(set(values)) > 1 else 0.0 for values in series]
    about = {"run": run, "measure": key, "from": counts[0], "to": counts[-1], "spearman": estimate(rho, len(rho))}
    return _judged(about | change)


def recalled(before: ArrayLike, after: ArrayLike, draws: int, seed: int) -> dict[str, Any]:
    """The change of R@1 or MRR from values [seeds, captions] of the same captions, with a bootstrap's interval."""
    change = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    return _judged(resampled(change, draws, seed))


def _recalled(
    settings: Settings, trainings: list[dict[str, Any]], searched: Searched, run: str, key: str
) -> dict[str, Any]:
    counts = sorted(settings.theory.modalities.counts)
    before, after = (searched[run, number][key] for number in (counts[0], counts[-1]))
    return growth(trainings, run, key) | recalled(before, after, settings.retrieval.bootstrap, settings.seed)


def _judged(change: dict[str, Any]) -> dict[str, Any]:
    low, high = change["ci_low"], change["ci_high"]
    verdict = "unclear" if low is None or low <= 0 <= high else ("grows" if change["value"] > 0 else "falls")
    return change | {"verdict": verdict}


def _values(trainings: list[dict[str, Any]], run: str, number: int, key: str) -> list[float]:
    chosen = [one for one in trainings if one["run"] == run and one["M"] == number]
    return [one["values"][key] for one in chosen]


def _figure(settings: Settings, records: list[dict[str, Any]], real: bool) -> None:
    figure, panels = figures.canvas(3, 4, width=3.2, height=2.6)
    options = settings.theory.modalities
    for axes, (measure, (title, bottom, top)) in zip(panels, MEASURES.items(), strict=True):
        for run, colour in zip(options.runs, figures.COLOURS, strict=False):
            points = [row for row in records if row["run"] == run and row["measure"] == measure]
            figures.curve(axes, options.counts, points, colour, run)
            if measure.endswith("/chi"):
                named = measure.replace("chi", "bound")
                bound = [row["value"] for row in records if row["run"] == run and row["measure"] == named]
                axes.plot(options.counts, bound, color=colour, linestyle=":", linewidth=1)
        axes.set(title=title, xlabel="modalities M")
        axes.set_ylim(bottom, top)
        axes.title.set_fontsize(9)
        if measure == "T2V/R1":
            figures.percent(axes)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", fontsize=8, ncols=len(labels), frameon=False)
    material = "real stamps" if real else "procedural stand-ins"
    figure.suptitle(f"{material}: captions trained on, and captions of unseen concepts", fontsize=9)
    figures.save(settings, "figure1", figure)
