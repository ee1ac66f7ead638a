"""Equal tuning: the same number of trials for every method, in spaces written down beforehand (params/spaces.yaml).

Trials are points of a scrambled Sobol sequence (the seed is the settings'), each one training with one seed and the
method's budget, on the train splits alone. The criterion is validation MRR, the mean over corpora and directions,
under the score that is best on validation (`fused` only where the objective trains that head); the test set is not
read here. Then every method has the same number of rounds of more trials: beyond the edge of a range where the winner
lies in its outer part, within the range where it does not. Every trial is kept: `curve` is the expected best of k of
the first trials (Dodge et al. 2019). Trials are resumable one by one: each has its own state folder and its outcome a
file.

Trials train the heads on pooled features. Where runs train everything (paper scale) that is a proxy, said in the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import comb, exp, log
from typing import Any

import torch

from pipeline import paths
from pipeline.digests import code_digest, digest
from pipeline.errors import Diverged, UserError, instead
from pipeline.files import read_json, sha256, write_json
from pipeline.models.heads import Heads
from pipeline.pooled import read
from pipeline.settings import Dimension, Settings
from pipeline.training.data import load
from pipeline.training.train import changed, final, fit, initial_heads, recipe
from pipeline.training.validation import validate

Values = dict[str, float | str]
#: The seed of all trials, which no run has: the winner is trained anew.
SEED = 10_000
MRR = "/MRR"


def tune(settings: Settings, method: str) -> None:
    """Search the method's space and write all trials, the curve and the winner to models/<scale>/tuning/."""
    if method not in settings.spaces:
        raise UserError(f"--method {method}: no such space in params/spaces.yaml; {instead(method, settings.spaces)}")
    trial = Trials(settings, method)
    space = dict(settings.spaces[method])
    done = [trial(values) for values in sobol(space, settings.tuning.trials, settings.seed)]
    spaces = [_plain(space)]
    for round_ in range(settings.tuning.rounds):
        best = max(done, key=lambda one: one["mrr"])
        beyond = extended(space, best["values"], settings.tuning.edge)
        done += [trial(values) for values in sobol(space | beyond, settings.tuning.extra, settings.seed + 1 + round_)]
        space = widened(space, beyond)
        spaces.append(_plain(space))
    best = max(done, key=lambda one: one["mrr"])
    if best["failure"]:
        raise UserError(
            f"params/spaces.yaml: {method}: none of {len(done)} trials ended; the first: {done[0]['failure']}"
        )
    write_json(
        paths.tuning(settings, method),
        {
            "method": method,
            "scale": settings.scale,
            "criterion": "validation MRR, mean over corpora and directions, by the score best on validation",
            "seed": SEED,
            "trials_train": "heads",
            "runs_train": settings.trains(f"{method}-tuned"),
            "spaces": spaces,
            "trials": done,
            "spent": len(done),
            "curve": curve([one["mrr"] for one in done[: settings.tuning.trials]]),
            "winner": best,
            "on_edge": sorted(extended(space, best["values"], settings.tuning.edge)),
        },
    )


class Trials:
    """Trainings of one method with other values; data are loaded once."""

    def __init__(self, settings: Settings, method: str) -> None:
        self.settings, self.method = settings, method
        published = _published(settings, method)
        self.how, self.stale = recipe(settings, published), settings.stale(published)
        files = {corpus: paths.pooled(settings, corpus) for corpus in self.how.corpora}
        self.data = load(list(files.values()), self.how.modalities)
        self.validation = {corpus: read(file, "val", self.how.modalities) for corpus, file in files.items()}
        weights = paths.model(settings, "vast", 0) / "weights.safetensors"
        self.initial = initial_heads(weights)
        self.stamp = [
            code_digest("pipeline.training.tune"),
            [sha256(file) for file in files.values()],
            sha256(weights),
        ]

    def __call__(self, values: Values) -> dict[str, Any]:
        """Values, MRR under the best score, that score, MRR by score; a training that breaks down scores 0."""
        how = changed(self.how, values)
        stamp = digest([how.plain(), self.stamp, torch.get_num_threads()])
        state = paths.state(self.settings, "tuning", self.method, stamp)
        if (outcome := state / "outcome.json").is_file():
            kept: dict[str, Any] = read_json(outcome)
            return kept
        label = f"{self.method} " + " ".join(f"{key} {_short(value)}" for key, value in values.items())
        found: dict[str, Any] = {"values": values, "mrr": 0.0, "score": None, "scores": {}, "failure": ""}
        try:
            fit(how, self.data, self.initial, self._measure, state, SEED, label)
            found |= judged(final(state), self.stale)
        except Diverged as error:
            found["failure"] = str(error)
        write_json(outcome, found)
        return found

    def _measure(self, heads: Heads) -> dict[str, float]:
        return validate(heads, self.validation, self.method)


def judged(validation: Mapping[str, float], stale: Collection[str] = ()) -> dict[str, Any]:
    """The best score on validation that is not `stale` and its MRR, of the keys `val/mean/<score>/MRR`."""
    head = "val/mean/"
    scores = {
        key[len(head) : -len(MRR)]: value
        for key, value in validation.items()
        if key.startswith(head) and key.endswith(MRR)
    }
    best = max((name for name in scores if name not in stale), key=lambda name: scores[name])
    return {"mrr": scores[best], "score": best, "scores": scores}


def sobol(space: Mapping[str, Dimension], trials: int, seed: int) -> list[Values]:
    """`trials` points of a scrambled Sobol sequence in `space`."""
    from scipy.stats import qmc

    unit = qmc.Sobol(len(space), scramble=True, seed=seed).random(trials)
    return [
        {key: at(dimension, float(u)) for (key, dimension), u in zip(space.items(), row, strict=True)} for row in unit
    ]


def at(dimension: Dimension, u: float) -> float | str:
    """The value at `u` in [0, 1): log-uniform between the bounds, or the choice it falls on."""
    if dimension.choices:
        return dimension.choices[int(u * len(dimension.choices))]
    low, high = dimension.bounds
    return low * (high / low) ** u


def extended(space: Mapping[str, Dimension], values: Values, edge: float) -> dict[str, Dimension]:
    """For each range whose outer share `edge` holds the value: that share and half a range (in logarithm) beyond it."""
    beyond = {}
    for key, dimension in space.items():
        if dimension.choices:
            continue
        low, high = dimension.bounds
        length = log(high / low)
        place = log(float(values[key]) / low) / length
        if place < edge:
            beyond[key] = Dimension(low=low / exp(length / 2), high=low * exp(length * edge))
        elif place > 1 - edge:
            beyond[key] = Dimension(low=high / exp(length * edge), high=high * exp(length / 2))
    return beyond


def widened(space: Mapping[str, Dimension], beyond: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """The space with its ranges grown to hold `beyond`."""
    grown = dict(space)
    for key, more in beyond.items():
        (low, high), (below, above) = space[key].bounds, more.bounds
        grown[key] = Dimension(low=min(low, below), high=max(high, above))
    return grown


def curve(values: list[float]) -> list[float]:
    """Expected best of k trials drawn without replacement, k = 1 … n."""
    ordered, n = sorted(values), len(values)
    return [sum(value * comb(i, k - 1) for i, value in enumerate(ordered)) / comb(n, k) for k in range(1, n + 1)]


def _published(settings: Settings, method: str) -> str:
    """The run that is the method as published."""
    for name, run in settings.runs.items():
        if run == type(run)(method=method):
            return name
    raise UserError(f"params/runs.yaml: no run of method '{method}' as published; add `{method}: {{method: {method}}}`")


def _plain(space: Mapping[str, Dimension]) -> dict[str, Any]:
    return {key: dimension.model_dump(exclude_defaults=True) for key, dimension in space.items()}


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
