"""The one training loop: AdamW, warm-up and linear decay, clipping, validation, exact resume.

Order and draws are functions of (seed, step), never of what ran before: the loop seeds torch's global generator
before each step, `generator` and `batch_indices` derive their own. A training that was killed therefore ends with the
same tensors as one that was not, on the same kind of machine with the same number of threads.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipeline import checkpoints
from pipeline.digests import digest
from pipeline.errors import UserError
from pipeline.settings import Optimisation

#: Steps between two lines of metrics.jsonl.
LOG_EVERY = 10
METRICS = "metrics.jsonl"


def fit(
    model: nn.Module,
    loss: Callable[[int], tuple[Tensor, dict[str, Tensor]]],
    optimisation: Optimisation,
    *,
    state: Path,
    seed: int,
    validate: Callable[[], dict[str, float]] | None = None,
    label: str = "",
) -> None:
    """Train the parameters of `model` that require a gradient; on return it holds the final weights.

    `loss(step)` gives the scalar to minimise and named scalars to record; it must depend on nothing but the model and
    (seed, step). `state` holds checkpoints and metrics.jsonl; a finished state returns at once. Raises UserError on a
    non-finite loss or gradient, and on a state of other settings.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimiser = _optimiser(list(parameters.values()), optimisation)
    settings = digest([optimisation.model_dump(), seed, {name: list(p.shape) for name, p in parameters.items()}])
    threads = torch.get_num_threads()
    device = next(iter(parameters.values())).device
    low = optimisation.precision == "bf16"
    autocast = torch.autocast(device.type, torch.bfloat16) if low else nullcontext()

    state.mkdir(parents=True, exist_ok=True)
    start = 0
    if (found := checkpoints.latest(state, settings, threads)) is not None:
        start = found[0]
        _restore(found[1], model, parameters, optimiser)
    last = optimisation.steps
    with _metrics(state / METRICS, start) as metrics:
        model.train()
        for step in tqdm(range(start, last), label, last, initial=start, unit="step", mininterval=1.0):
            torch.manual_seed(_mix(seed, step))
            with autocast:
                total, terms = loss(step)
            optimiser.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(parameters.values(), optimisation.clip)
            value, size = torch.stack((total.detach().float(), norm.float())).tolist()
            if not (math.isfinite(value) and math.isfinite(size)):
                what = f"loss {value}" if not math.isfinite(value) else f"gradient norm {size}"
                raise UserError(
                    f"{label or state}: {what} at step {step + 1}; lower the learning rate or check the data"
                )
            for group in optimiser.param_groups:
                group["lr"] = optimisation.learning_rate * _schedule(step, optimisation)
            optimiser.step()

            done = step + 1
            if done % LOG_EVERY == 0 or done == last:
                rate = optimiser.param_groups[0]["lr"]
                named = {name: float(term) for name, term in terms.items()}
                _append(metrics, done, {"loss": value, "gradient_norm": size, "learning_rate": rate} | named)
            if validate is not None and (done % optimisation.validate_every == 0 or done == last):
                model.eval()
                with torch.no_grad(), autocast:
                    _append(metrics, done, validate())
                model.train()
            if done % optimisation.checkpoint_every == 0 or done == last:
                os.fsync(metrics.fileno())
                checkpoints.save(state, done, _tensors(model, parameters, optimiser), settings, threads)
    model.eval()


def generator(seed: int, *key: int) -> torch.Generator:
    """A generator on the CPU whose draws are a function of (seed, *key)."""
    return torch.Generator().manual_seed(_mix(seed, *key))


def batch_indices(n: int, batch: int, seed: int, step: int) -> Tensor:
    """Rows [batch] of step `step`: each epoch is a permutation of range(n) by (seed, epoch), its rest is dropped."""
    if batch > n:
        raise UserError(f"batch {batch} is larger than the {n} rows to draw from; lower optimisation.batch")
    epoch, position = divmod(step, n // batch)
    return _permutation(n, seed, epoch)[position * batch : (position + 1) * batch]


@lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(n, generator=generator(seed, epoch))


def _mix(*key: int) -> int:
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest()) >> 1


def _schedule(step: int, optimisation: Optimisation) -> float:
    """Share of the learning rate: linear warm-up to 1, then linear decay that would reach 0 one step after the last."""
    warm = round(optimisation.warmup * optimisation.steps)
    if step < warm:
        return (step + 1) / warm
    return (optimisation.steps - step) / (optimisation.steps - warm)


def _optimiser(parameters: list[nn.Parameter], optimisation: Optimisation) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": optimisation.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},  # biases, norms, temperatures
    ]
    return torch.optim.AdamW(
        groups,
        lr=optimisation.learning_rate,
        betas=(optimisation.beta1, optimisation.beta2),
        eps=optimisation.epsilon,
        fused=True,
    )


def _tensors(model: nn.Module, parameters: dict[str, nn.Parameter], optimiser: torch.optim.AdamW) -> dict[str, Tensor]:
    """What training changes: trainable parameters, buffers, AdamW's moments."""
    tensors = {f"parameter/{name}": parameter.detach() for name, parameter in parameters.items()}
    tensors |= {f"buffer/{name}": buffer for name, buffer in model.named_buffers()}
    for name, parameter in parameters.items():
        tensors |= {f"{key}/{name}": value for key, value in optimiser.state[parameter].items()}
    return tensors


def _restore(
    tensors: dict[str, Tensor], model: nn.Module, parameters: dict[str, nn.Parameter], optimiser: torch.optim.AdamW
) -> None:
    targets: dict[str, dict[str, Any]] = {"parameter": parameters, "buffer": dict(model.named_buffers())}
    with torch.no_grad():
        for key, value in tensors.items():
            kind, name = key.split("/", 1)
            if kind in targets:
                targets[kind][name].copy_(value)
            else:
                optimiser.state[parameters[name]][kind] = value.to(parameters[name].device)


def _metrics(file: Path, step: int) -> IO[str]:
    """Open metrics.jsonl for appending, without what was written after `step` or only in part."""
    kept = b""
    for line in file.read_bytes().splitlines(keepends=True) if file.is_file() else []:
        if not line.endswith(b"\n") or json.loads(line)["step"] > step:
            break
        kept += line
    file.write_bytes(kept)
    return file.open("a")


def _append(metrics: IO[str], step: int, values: dict[str, float]) -> None:
    metrics.write(json.dumps({"step": step} | values) + "\n")
    metrics.flush()
