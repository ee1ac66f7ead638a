"""Training of a run: the heads from the initial model on, by the run's objective, all seeds in one process.

Everything a training depends on — settings, code, pooled features, initial heads, threads — is in the digest that
names its state folder, so that a state is continued by the very same training or by none.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import loop, paths
from pipeline.digests import code_digest, digest
from pipeline.errors import Diverged, UserError
from pipeline.files import atomic, read_json, save_tensors, sha256, write_json
from pipeline.models.heads import FLOOR, Heads, start
from pipeline.objectives import FUSED, OBJECTIVES, parse
from pipeline.objectives.settings import Objective
from pipeline.pooled import read
from pipeline.settings import Optimisation, Settings
from pipeline.training.data import TrainSet, load
from pipeline.training.validation import validate


@dataclass(frozen=True)
class Recipe:
    """A run's settings, resolved: the method's constants under the run's changes."""

    objective: str
    settings: Objective
    temperature: float
    learn_temperature: bool
    optimisation: Optimisation
    modalities: tuple[str, ...]
    corpora: tuple[str, ...]
    adapter: int
    width: int
    shuffle: bool

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"settings": asdict(self.settings), "optimisation": self.optimisation.model_dump()}


def recipe(settings: Settings, run: str) -> Recipe:
    """Resolve a run; a UserError names the file and key of a wrong objective setting."""
    row = settings.run(run)
    if row.method == "vast":
        raise UserError(f"params/runs.yaml: runs.{run}: the initial model is trained by the stage vast, not train")
    if "text" not in row.modalities or len(row.modalities) < 2:
        raise UserError(f"params/runs.yaml: runs.{run}.modalities: text and at least one more are needed")
    method = settings.methods[row.method]
    try:
        objective = parse(method.objective, {**method.settings, **row.settings})
    except ValueError as error:
        raise UserError(f"params/methods.yaml: {row.method} (or runs.yaml: runs.{run}.settings): {error}") from None
    changes = {"learning_rate": row.learning_rate, "steps": row.steps}
    known = {key: value for key, value in changes.items() if value is not None}
    how = Recipe(
        objective=method.objective,
        settings=objective,
        temperature=row.temperature or method.temperature,
        learn_temperature=method.learn_temperature,
        optimisation=Optimisation.model_validate(settings.training.optimisation.model_dump() | known),
        modalities=tuple(row.modalities),
        corpora=tuple(settings.train_corpora(run)),
        adapter=settings.training.adapter,
        width=settings.vast.width,
        shuffle=row.shuffle_text,
    )
    return changed(how, winner(settings, row.method)) if row.tuned else how


def changed(how: Recipe, changes: Mapping[str, float | str]) -> Recipe:
    """A recipe with other values: of `learning_rate`, `temperature` and `settings.<key>` of its objective."""
    values = dict(changes)
    rate = float(values.pop("learning_rate", how.optimisation.learning_rate))
    temperature = float(values.pop("temperature", how.temperature))
    if how.learn_temperature and temperature < FLOOR:
        raise UserError(f"params/spaces.yaml: temperature {temperature} is below the floor of a learnt one, {FLOOR}")
    inner = {key.removeprefix("settings."): value for key, value in values.items()}
    try:
        objective = parse(how.objective, asdict(how.settings) | inner)
    except ValueError as error:
        raise UserError(f"params/spaces.yaml: {error}") from None
    optimisation = how.optimisation.model_copy(update={"learning_rate": rate})
    return replace(how, settings=objective, temperature=temperature, optimisation=optimisation)


def winner(settings: Settings, method: str) -> dict[str, float | str]:
    """What a method's tuning has chosen; a UserError says how to tune it."""
    file = paths.tuning(settings, method)
    if not file.is_file():
        raise UserError(f"{file}: missing; run: python -m pipeline tune --method {method}")
    chosen: dict[str, float | str] = read_json(file)["winner"]["values"]
    return chosen


def train(settings: Settings, run: str, seeds: list[int]) -> None:
    """Train the seeds of a run; each writes weights.safetensors, metrics.jsonl and run.json to its model folder."""
    how = recipe(settings, run)
    first = settings.initial(run)
    files = {corpus: paths.pooled(settings, corpus, first) for corpus in how.corpora}
    data = load(list(files.values()), how.modalities)
    validation = {corpus: read(file, "val", how.modalities) for corpus, file in files.items()}
    weights = paths.model(settings, first, 0) / "weights.safetensors"
    initial = {} if how.shuffle else initial_heads(weights)
    digests = {
        "code": code_digest("pipeline.training.train"),
        "data": {corpus: sha256(file)[:12] for corpus, file in files.items()},
        "initial": sha256(weights)[:12] if initial else "",
    }

    def measure(heads: Heads) -> dict[str, float]:
        return validate(heads, validation, run)

    for seed in seeds:
        begun = time.monotonic()
        about = {"scale": settings.scale, "run": run, "seed": seed, "threads": torch.get_num_threads()}
        about |= {"settings": how.plain(), "digests": digests}
        state = paths.state(settings, run, str(seed), digest(about))
        heads = fit(how, data, initial, measure, state, seed, f"{run} seed {seed}")

        folder = paths.model(settings, run, seed)
        save_tensors(folder / "weights.safetensors", heads.tensors(), {"run": run})
        with atomic(folder / loop.METRICS) as temporary:
            shutil.copyfile(state / loop.METRICS, temporary)
        about |= {"clips": len(data.first), "incomplete_clips": data.incomplete, "validation": final(state)}
        about |= {"host": platform.node(), "torch": torch.__version__, "wall_seconds": time.monotonic() - begun}
        write_json(folder / "run.json", about)


def fit(
    how: Recipe,
    data: TrainSet,
    initial: Mapping[str, Tensor],
    measure: Callable[[Heads], dict[str, float]],
    state: Path,
    seed: int,
    label: str,
) -> Heads:
    """One training: from the initial heads (new adapters by `seed`) to the final ones; `measure` is its validation."""
    data = data.dealt(seed) if how.shuffle else data
    heads = begin(how, data, initial, seed)
    objective, masked = OBJECTIVES[how.objective], how.settings.equal_captions == "masked"

    def loss(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        features, equal = data.batch(how.optimisation.batch, seed, step)
        embeddings, fused = heads(features, how.objective in FUSED)
        same = equal[:, None] == equal if masked else None
        temperature = heads.temperature
        total, terms = objective(embeddings, fused, temperature, how.settings, same)
        return total, {**terms, "temperature": temperature}

    try:
        loop.fit(
            heads, loss, how.optimisation, state=state, seed=seed, label=label,
            validate=lambda: measure(heads),
        )  # fmt: skip
    except ValueError as error:  # an objective without meaning on this batch
        raise Diverged(f"{label}: {error}") from None
    return heads


def begin(how: Recipe, data: TrainSet, initial: Mapping[str, Tensor], seed: int) -> Heads:
    """The heads before the first step."""
    heads = start(initial, data.widths(), how.width, how.adapter, loop.generator(seed))
    heads.raw_temperature.data.fill_(how.temperature)
    heads.raw_temperature.requires_grad_(how.learn_temperature)
    return heads


def initial_heads(file: Path) -> dict[str, Tensor]:
    """The heads of the initial model's weights, without its temperature (a setting of each method)."""
    from safetensors import safe_open

    if not file.is_file():
        raise UserError(f"{file}: missing; run the stage vast first")
    with safe_open(file, framework="pt") as stream:
        names = [name for name in stream.keys() if name.startswith("heads.")]  # noqa: SIM118 (not a dict)
        return {name: stream.get_tensor(name).float() for name in names if name != "heads.temperature"}


def lines(state: Path) -> list[dict[str, float]]:
    """All lines of a training's metrics."""
    return [json.loads(line) for line in (state / loop.METRICS).read_text().splitlines()]


def final(state: Path) -> dict[str, float]:
    """The last validation of a training's metrics."""
    last = [line for line in lines(state) if any(key.startswith("val/") for key in line)][-1]
    return {key: value for key, value in last.items() if key != "step"}
