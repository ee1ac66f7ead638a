"""The one training loop: AdamW, warm-up and linear decay, clipping, validation, exact resume.

Order and draws are functions of (seed, step), never of what ran before: the loop seeds torch's global generator
before each step, `generator` and `batch_indices` derive their own. A training that was killed therefore ends with the
same tensors as one that was not, on the same kind of machine with the same number of threads. SIGTERM, which a cluster
sends some time before SIGKILL, is answered after the step: a checkpoint, one line, exit code 1.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipeline import checkpoints, low_precision
from pipeline.adamw import AdamW
from pipeline.digests import digest
from pipeline.errors import Diverged, UserError
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
    writes: bool = True,
    anybody: Callable[[bool], bool] = bool,
) -> None:
    """Train the parameters of `model` that require a gradient; on return it holds the final weights.

    `loss(step)` gives the scalar to minimise and named scalars to record; it must depend on nothing but the model and
    (seed, step). `state` holds checkpoints and metrics.jsonl; a finished state returns at once. Of several processes
    that train together one `writes`, all read, and `anybody(x)` tells all whether x is true for one of them. Raises
    UserError on a non-finite loss or gradient, and on a state of other settings; SystemExit after SIGTERM.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimiser = AdamW(parameters, optimisation)
    device = next(iter(parameters.values())).device
    shapes = {name: list(p.shape) for name, p in parameters.items()}
    settings = digest([optimisation.model_dump(), seed, shapes])
    arithmetic = f"{torch.get_num_threads()} threads in {low_precision.name(optimisation.precision, device)}"
    autocast = low_precision.autocast(device, optimisation.precision)

    # Kernels of width 0.07 underflow: arithmetic on subnormal numbers made UniAlign's steps four times as slow.
    torch.set_flush_denormal(True)
    state.mkdir(parents=True, exist_ok=True)
    start = 0
    if (found := checkpoints.latest(state, settings, arithmetic)) is not None:
        start = found[0]
        _restore(found[1], _tensors(model, optimiser))
    last = optimisation.steps
    with _metrics(state / METRICS, start) if writes else Path(os.devnull).open("a") as metrics, _sigterm() as asked:
        model.train()
        for step in tqdm(
            range(start, last), label, last, initial=start, unit="step", mininterval=1.0, disable=not writes
        ):
            _seed(device, _mix(seed, step))
            with autocast:
                total, terms = loss(step)
            optimiser.zero()
            total.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(parameters.values(), optimisation.clip)
            value, size = torch.stack((total.detach().float(), norm.float())).tolist()
            if not (math.isfinite(value) and math.isfinite(size)):
                what = f"loss {value}" if not math.isfinite(value) else f"gradient norm {size}"
                raise Diverged(
                    f"{label or state}: {what} at step {step + 1}; lower the learning rate or check the data"
                )
            rate = optimisation.learning_rate * _schedule(step, optimisation)
            optimiser.step(rate)

            done = step + 1
            if done % LOG_EVERY == 0 or done == last:
                named = {name: float(term.detach()) for name, term in terms.items()}
                _append(metrics, done, {"loss": value, "gradient_norm": size, "learning_rate": rate} | named)
            if validate is not None and (done % optimisation.validate_every == 0 or done == last):
                model.eval()
                with torch.no_grad():  # and without autocast: near scores would tie in bf16
                    _append(metrics, done, validate())
                model.train()
            stops = anybody(bool(asked))
            if writes and (done % optimisation.checkpoint_every == 0 or done == last or stops):
                os.fsync(metrics.fileno())
                checkpoints.save(state, done, _tensors(model, optimiser), settings, arithmetic)
            if stops:
                anybody(True)  # whoever ends first ends the others: not before the checkpoint is whole
                line = f"{label or state}: stopped by SIGTERM at step {done}; run again to continue"
                raise SystemExit(line if writes else 1)
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


@contextmanager
def _sigterm() -> Iterator[list[int]]:
    """While entered, SIGTERM ends nothing: it is noted in the list."""
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


def _mix(*key: int) -> int:
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest()) >> 1


def _seed(device: torch.device, value: int) -> None:
    """Seed the generators a step can use; `torch.manual_seed` formats a traceback for each idle kind of device."""
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(value)


def _schedule(step: int, optimisation: Optimisation) -> float:
    """Share of the learning rate: linear warm-up to 1, then linear decay that would reach 0 one step after the last."""
    warm = round(optimisation.warmup * optimisation.steps)
    if step < warm:
        return (step + 1) / warm
    return (optimisation.steps - step) / (optimisation.steps - warm)


def _tensors(model: nn.Module, optimiser: AdamW) -> dict[str, Tensor]:
    """All that training changes: trainable parameters, buffers, AdamW's moments (the very tensors)."""
    tensors = {f"parameter/{name}": parameter for name, parameter in optimiser.parameters.items()}
    return tensors | {f"buffer/{name}": buffer for name, buffer in model.named_buffers()} | optimiser.tensors()


def _restore(saved: dict[str, Tensor], current: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in current.items():
            tensor.copy_(saved[name])


def _metrics(file: Path, step: int) -> IO[str]:
    """Open metrics.jsonl for appending, without what was written after `step` or only in part."""
    file.touch()
    whole = 0
    for line in file.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n") or json.loads(line)["step"] > step:
            break
        whole += len(line)
    os.truncate(file, whole)
    return file.open("a")


def _append(metrics: IO[str], step: int, values: dict[str, float]) -> None:
    metrics.write(json.dumps({"step": step} | values) + "\n")
    metrics.flush()
