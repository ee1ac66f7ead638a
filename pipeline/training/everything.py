"""Training of a run at paper scale: towers, BERT and heads together, from the released VAST, on one or more devices."""

from __future__ import annotations

import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline import encoded, files, loop, paths, written
from pipeline.digests import code_digest, digest
from pipeline.errors import UserError
from pipeline.models import released
from pipeline.models.heads import restore
from pipeline.models.vast_full import VastFull
from pipeline.settings import Settings
from pipeline.training.global_step import Data, Step
from pipeline.training.processes import Place, group, launch
from pipeline.training.train import Recipe, final, recipe
from pipeline.training.validation import validate

#: What a training leaves; the last is written last.
FILES = ("weights.safetensors", loop.METRICS, "run.json")
#: Parts of the released checkpoint that retrieval never runs.
UNUSED = ("vision.text.", "vision.logit_scale", "vision.visual.head.", "heads.subtitle.", "fused.vs.", "fused.vas.",
          "types.subtitle", "project.subtitle.", "text.cls.")  # fmt: skip


def train(settings: Settings, run: str, seeds: list[int]) -> None:
    """Train the seeds of a run; each writes weights.safetensors, metrics.jsonl and run.json to its model folder.

    A training whose files are written leaves no checkpoints (two are 30 GB at the paper's size) but links to its files:
    a workflow that was not there to record its end gets them back instead of hours of training.
    """
    wanted, there = settings.training.devices, torch.cuda.device_count()
    if there < wanted:
        raise UserError(
            f"run {run}: {there} accelerators here, training.devices asks for {wanted}; submit it with "
            "--profile workflow/profiles/slurm or lower training.devices"
        )
    if wanted > 1 and "WORLD_SIZE" not in os.environ:
        launch(settings, run, seeds, wanted)
        return
    with group() as (rank, world, device):
        how = recipe(settings, run)
        if how.shuffle:
            raise UserError(f"run {run}: captions are dealt out anew where heads alone are trained, not everything")
        data = Data(settings, how.corpora, released.tokenizer(settings))
        for seed in seeds:
            _train(settings, run, seed, how, data, Place(rank, world, device))


def _train(settings: Settings, run: str, seed: int, how: Recipe, data: Data, place: Place) -> None:
    begun = time.monotonic()
    model = released.stored(settings).to(place.device)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(UNUSED))
    model.temperature.data.fill_(how.temperature)
    model.temperature.requires_grad_(how.learn_temperature)
    weights = paths.model(settings, "vast", 0) / "weights.safetensors"
    manifests = {corpus: written.digest(settings, corpus) for corpus in how.corpora}
    about: dict[str, Any] = {"scale": settings.scale, "preset": settings.preset, "run": run, "seed": seed}
    about |= {"settings": how.plain() | {"trains": "everything", "matching_weight": settings.vast.matching_weight}}
    about |= {"frames": settings.training.frames, "processes": place.world, "threads": torch.get_num_threads()}
    about |= {
        "digests": {
            "code": code_digest("pipeline.training.everything"),
            "data": manifests,
            "initial": files.sha256(weights),
        }
    }
    state = paths.state(settings, run, str(seed), digest(about))
    folder, ended = paths.model(settings, run, seed), state / "ended"
    if all((ended / name).is_file() for name in FILES):
        if place.rank == 0:
            linked(ended, folder)
        return
    tables = {corpus: written.usable(settings, corpus, "val") for corpus in how.corpora}

    def measure() -> dict[str, float]:
        heads = restore({name: tensor.cpu() for name, tensor in released.heads(model).items()})
        splits = {
            corpus: encoded.pooled(model, data.words, settings, corpus, table) for corpus, table in tables.items()
        }
        return validate(heads, splits, run)

    first = place.rank == 0
    label = f"{run} seed {seed}"
    try:
        loop.fit(
            model,
            Step(settings, how, model, data, seed, place).loss,
            how.optimisation,
            state=state,
            seed=seed,
            label=label,
            validate=measure if first else None,
            writes=first,
            anybody=place.any,
        )
    except ValueError as error:  # an objective without meaning on this batch
        raise UserError(f"{label}: {error}") from None
    place.any(True)  # a process that finds the training finished may still read its checkpoint
    if first:
        _write(settings, run, seed, model)
        with files.atomic(folder / loop.METRICS) as temporary:
            shutil.copyfile(state / loop.METRICS, temporary)
        about |= {"clips": len(data.clips), "validation": final(state), "host": platform.node()}
        about |= {"torch": torch.__version__, "wall_seconds": time.monotonic() - begun}
        files.write_json(folder / "run.json", about)
        linked(folder, ended)
        for path in state.iterdir():
            if path != ended:
                path.unlink()
        for other in state.parent.iterdir():  # links to weights that others have replaced would keep their disk
            if other != state:
                shutil.rmtree(other / "ended", ignore_errors=True)


def linked(source: Path, target: Path) -> None:
    """Give a training's files in one folder a place in another too, at no cost of disk."""
    for name in FILES:
        with files.atomic(target / name) as temporary:
            temporary.unlink()
            os.link(source / name, temporary)


def _write(settings: Settings, run: str, seed: int, model: nn.Module) -> None:
    state = {f"{released.WHOLE}{name}": value.detach().cpu().clone() for name, value in model.state_dict().items()}
    assert isinstance(model, VastFull)
    heads = {name: value.cpu().clone() for name, value in released.heads(model).items()}
    files.save_tensors(paths.model(settings, run, seed) / "weights.safetensors", state | heads, {"run": run})
