"""Training of a run at paper scale: towers, BERT and heads together, from the released VAST, on one or more devices.

The objective sees the whole global batch whatever the memory (gradient caching, Gao et al., arXiv 2101.06983): the
embeddings of all clips are computed without gradient, the objective gives the gradient of each embedding, and a second
pass, a micro-batch at a time with the same random draws, carries it into the model. So the micro-batch changes the
draws of dropout at most. Several processes share the batch, gather embeddings and sum gradients. Matching (VAST's,
weight `vast.matching_weight`) mines its negatives within a process; a negative's condition tokens carry no gradient.
Deviations from GRAM's code: gradients flow into both sides of the contrast, and are summed exactly once.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import encoded, files, loop, manifest, paths
from pipeline.clips import Clips
from pipeline.digests import code_digest, digest
from pipeline.errors import UserError
from pipeline.models import released
from pipeline.models.heads import FLOOR, restore
from pipeline.models.tokenizer import Tokenizer
from pipeline.models.vast_full import VastFull
from pipeline.objectives import OBJECTIVES
from pipeline.pooled import Pooled
from pipeline.settings import Settings
from pipeline.training.train import Recipe, final, recipe
from pipeline.training.validation import validate

#: Parts of the released checkpoint that retrieval never runs.
UNUSED = ("vision.text.", "vision.logit_scale", "vision.visual.head.", "heads.subtitle.", "fused.vs.", "fused.vas.",
          "types.subtitle", "project.subtitle.", "text.cls.")  # fmt: skip
CPU = torch.device("cpu")
#: Even share of a mined negative's weight, so that no row is without one.
EVEN = 1e-4


def train(settings: Settings, run: str, seeds: list[int]) -> None:
    """Train the seeds of a run; each writes weights.safetensors, metrics.jsonl and run.json to its model folder."""
    wanted, there = settings.training.devices, torch.cuda.device_count()
    if there < wanted:
        raise UserError(
            f"run {run}: {there} accelerators here, training.devices asks for {wanted}; submit it with "
            "--profile workflow/profiles/slurm or lower training.devices"
        )
    if wanted > 1 and "WORLD_SIZE" not in os.environ:
        _launch(settings, run, seeds, wanted)
        return
    with _group() as (rank, world, device):
        how = recipe(settings, run)
        data = Data(settings, how.corpora, released.tokenizer(settings))
        for seed in seeds:
            _train(settings, run, seed, how, data, Place(rank, world, device))


@dataclass(frozen=True)
class Place:
    """A process among those that train together."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    def gather(self, tensor: Tensor) -> Tensor:
        """Rows of all processes in the order of their ranks."""
        if self.world == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.world)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Sum over processes, in place."""
        if self.world > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)


class Data:
    """Training clips that have all modalities, of all corpora in a row."""

    def __init__(self, settings: Settings, corpora: Sequence[str], words: Tokenizer) -> None:
        self.settings, self.words = settings, words
        tables = {}
        for corpus in corpora:
            table = manifest.usable(manifest.read(paths.manifest(settings, corpus)), "train")
            tables[corpus] = table[table["status"] == "ok"]
        self.clips = Clips(settings, tables)
        numbers: dict[str, int] = {}
        self.equal = [[numbers.setdefault(text, len(numbers)) for text in texts] for texts in self.clips.captions]
        self.pool = ThreadPoolExecutor(settings.threads)

    def captions(self, rows: Tensor, seed: int, epoch: int) -> list[int]:
        """Which caption of each clip a step reads."""
        draws = torch.rand(len(self.clips), generator=loop.generator(seed, epoch, 1, 0))[rows].tolist()
        return [int(draw * len(self.clips.captions[row])) for draw, row in zip(draws, rows.tolist(), strict=True)]

    def read(self, rows: list[int], seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Pixels and log-mel slices of clips."""
        frames = self.settings.training.frames
        parts = list(self.pool.map(lambda row: self.clips.inputs([row], frames, (seed, epoch)), rows))
        return torch.cat([vision for vision, _ in parts]), torch.cat([audio for _, audio in parts])


class Given(torch.autograd.Function):
    """A value whose gradients have been computed already: what the loop's `backward` puts into the parameters."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        """The value."""
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> Any:
        """The gradients, times that of the value."""
        return None, None, *(gradient * above[0] for gradient in ctx.gradients)


class Step:
    """The loss of a step as a function of the model and (seed, step)."""

    def __init__(self, settings: Settings, how: Recipe, model: VastFull, data: Data, seed: int, place: Place) -> None:
        self.settings, self.how, self.model, self.data, self.seed, self.place = settings, how, model, data, seed, place
        batch = how.optimisation.batch
        if batch % place.world:
            raise UserError(f"training.optimisation.batch: {batch} clips cannot be shared by {place.world} processes")
        self.local = batch // place.world
        self.micro = min(how.optimisation.micro_batch or self.local, self.local)
        self.objective = OBJECTIVES[how.objective]

    def loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The value on the global batch, with this batch's gradients, and its terms."""
        place, batch = self.place, self.how.optimisation.batch
        epoch = step // (len(self.data.clips) // batch)
        rows = loop.batch_indices(len(self.data.clips), batch, self.seed, step)
        captions = self.data.captions(rows, self.seed, epoch)
        everyone = rows.tolist()
        equal = torch.tensor([self.data.equal[row][which] for row, which in zip(everyone, captions, strict=True)])
        own = slice(place.rank * self.local, (place.rank + 1) * self.local)
        texts = [self.data.clips.captions[row][which] for row, which in zip(everyone[own], captions[own], strict=True)]
        ids, mask = encoded.tokens(self.data.words, texts, self.settings.vast.text.length)
        vision, audio = self.data.read(everyone[own], self.seed, epoch)
        inputs = [vision, audio, ids, mask]

        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        for parameter in parameters:
            parameter.grad = None
        embeddings, conditions = self._first(inputs, step)
        total, terms, gradients = self._objective(embeddings, equal)
        total = total + self._second(inputs, gradients, conditions, equal[own], embeddings, step, terms)
        trained = [parameter for parameter in parameters if parameter.grad is not None]
        found = [parameter.grad for parameter in trained if parameter.grad is not None]
        for parameter in trained:
            parameter.grad = None
        place.sum(found)
        value: Tensor = Given.apply(total, found, *trained)
        return value, terms

    def _parts(self) -> list[slice]:
        return [slice(start, start + self.micro) for start in range(0, self.local, self.micro)]

    def _encode(self, inputs: list[Tensor], part: slice, step: int) -> tuple[dict[str, Tensor], Tensor | None]:
        """Embeddings of a micro-batch and its condition tokens, with the draws of (seed, step, place in the batch)."""
        torch.manual_seed(loop.generator(self.seed, 5, step, self.place.rank, part.start).initial_seed())
        vision, audio, ids, mask = (tensor[part].to(self.place.device) for tensor in inputs)
        tokens = self.model.encode(vision=vision, audio=audio, text=(ids, mask))
        with torch.autocast(self.place.device.type, enabled=False):
            pooled = {name: value.float() for name, value in self.model.pool(tokens).items()}
            embedded = self.model.embed(pooled)
        return embedded, self.model.condition(tokens) if self.settings.vast.matching_weight else None

    @torch.no_grad()
    def _first(self, inputs: list[Tensor], step: int) -> tuple[dict[str, Tensor], Tensor | None]:
        """Embeddings [local, D] and condition tokens [local, N, width] of this process's clips, without gradient."""
        found = [self._encode(inputs, part, step) for part in self._parts()]
        names = found[0][0]
        embeddings = {name: torch.cat([embedded[name] for embedded, _ in found]) for name in names}
        conditions = [condition for _, condition in found if condition is not None]
        return embeddings, torch.cat(conditions) if conditions else None

    @torch.enable_grad()
    def _objective(
        self, embeddings: dict[str, Tensor], equal: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Value and terms on the gathered batch; the gradient of each of this process's embeddings."""
        how, place = self.how, self.place
        leaves = {name: place.gather(value).requires_grad_() for name, value in embeddings.items()}
        raw = self.model.temperature
        temperature = raw + (raw.clamp_min(FLOOR) - raw).detach()
        equal = equal.to(place.device)
        same = equal[:, None] == equal if how.settings.equal_captions == "masked" else None
        chosen = {name: leaves[name] for name in how.modalities}
        fused = {"v": leaves["vision"], "a": leaves["audio"], "va": leaves["fused_va"]}
        with torch.autocast(place.device.type, enabled=False):
            total, terms = self.objective(chosen, fused, temperature, how.settings, same)
        total.backward()  # type: ignore[no-untyped-call]
        if raw.grad is not None:
            raw.grad /= place.world  # every process has the whole of it, and gradients are summed
        own = slice(place.rank * self.local, (place.rank + 1) * self.local)
        gradients = {name: leaf.grad[own] for name, leaf in leaves.items() if leaf.grad is not None}
        terms = {name: term.detach() for name, term in terms.items()} | {"temperature": temperature.detach()}
        return total.detach(), terms, gradients

    @torch.enable_grad()
    def _second(
        self,
        inputs: list[Tensor],
        gradients: dict[str, Tensor],
        conditions: Tensor | None,
        equal: Tensor,
        embeddings: dict[str, Tensor],
        step: int,
        terms: dict[str, Tensor],
    ) -> Tensor:
        """Carry the gradients into the model; the weighted matching loss, meaned over processes, is returned."""
        weight, place = self.settings.vast.matching_weight, self.place
        negatives = self._negatives(embeddings, equal, step) if conditions is not None else None
        matching = torch.zeros((), device=place.device)
        for part in self._parts():
            embedded, condition = self._encode(inputs, part, step)
            surrogate = sum(
                ((embedded[name] * gradient[part]).sum() for name, gradient in gradients.items()),
                torch.zeros((), device=place.device),
            )
            if condition is not None and conditions is not None and negatives is not None:
                found = self._matching(inputs, part, condition, conditions, negatives)
                matching += found.detach()
                surrogate = surrogate + weight * found / place.world
            surrogate.backward()  # type: ignore[no-untyped-call]
        if conditions is None:
            return matching
        place.sum([matching])
        terms["matching"] = matching / place.world
        return weight * terms["matching"]

    def _negatives(self, embeddings: dict[str, Tensor], equal: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """For each of this process's rows another clip and another text, drawn by similarity, no equal caption."""
        similarity = (
            (embeddings["text"] @ embeddings["fused_va"].T / self.model.temperature.detach().clamp_min(FLOOR))
            .float()
            .cpu()
        )
        allowed = equal[:, None] != equal
        draws = loop.generator(self.seed, 6, step, self.place.rank)
        chosen = []
        for logits in (similarity, similarity.T):
            weights = (logits.masked_fill(~allowed, -torch.inf).softmax(1).nan_to_num(0) + EVEN) * allowed
            # A batch of one caption has no negative: the row itself is drawn and left out of the loss.
            weights = torch.where(weights.any(1, keepdim=True), weights, torch.eye(len(weights)))
            chosen.append(torch.multinomial(weights, 1, generator=draws)[:, 0])
        return chosen[0], chosen[1]

    def _matching(
        self, inputs: list[Tensor], part: slice, condition: Tensor, conditions: Tensor, negatives: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Sum of a micro-batch's share of the mean cross-entropy of (own, other clip, other text) pairs."""
        device, rows = self.place.device, torch.arange(self.local)[part]
        ids, mask = inputs[2], inputs[3]
        clip, text = (which[part] for which in negatives)
        ordinary = torch.stack([torch.ones_like(rows, dtype=torch.bool), clip != rows, text != rows])
        pairs = ((rows, condition), (rows, conditions[clip.to(device)]), (text, condition))
        losses = []
        for label, (texts, tokens) in zip((1, 0, 0), pairs, strict=True):
            logits = self.model.match(ids[texts].to(device), mask[texts].to(device), tokens).float()
            target = torch.full((len(texts),), label, device=device)
            losses.append(F.cross_entropy(logits, target, reduction="none"))
        return (torch.stack(losses) * ordinary.to(device)).sum() / (3 * self.local)


def _train(settings: Settings, run: str, seed: int, how: Recipe, data: Data, place: Place) -> None:
    begun = time.monotonic()
    model = released.stored(settings).to(place.device)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(UNUSED))
    model.temperature.data.fill_(how.temperature)
    model.temperature.requires_grad_(how.learn_temperature)
    weights = paths.model(settings, "vast", 0) / "weights.safetensors"
    manifests = {corpus: files.sha256(paths.manifest(settings, corpus))[:12] for corpus in how.corpora}
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
    whole = {corpus: manifest.read(paths.manifest(settings, corpus)) for corpus in how.corpora}

    def measure() -> dict[str, float]:
        heads = restore({name: tensor.cpu() for name, tensor in released.heads(model).items()})
        splits = {corpus: _val(model, data.words, settings, corpus, table) for corpus, table in whole.items()}
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
        )
    except ValueError as error:  # an objective without meaning on this batch
        raise UserError(f"{label}: {error}") from None
    if first:
        _write(settings, run, seed, model)
        folder = paths.model(settings, run, seed)
        with files.atomic(folder / loop.METRICS) as temporary:
            shutil.copyfile(state / loop.METRICS, temporary)
        about |= {"clips": len(data.clips), "validation": final(state), "host": platform.node()}
        about |= {"torch": torch.__version__, "wall_seconds": time.monotonic() - begun}
        files.write_json(folder / "run.json", about)


def _val(model: VastFull, words: Tokenizer, settings: Settings, corpus: str, table: Any) -> Pooled:
    return encoded.pooled(model, words, settings, corpus, manifest.usable(table, "val"))


def _write(settings: Settings, run: str, seed: int, model: nn.Module) -> None:
    state = {f"{released.WHOLE}{name}": value.detach().cpu().clone() for name, value in model.state_dict().items()}
    assert isinstance(model, VastFull)
    heads = {name: value.cpu().clone() for name, value in released.heads(model).items()}
    files.save_tensors(paths.model(settings, run, seed) / "weights.safetensors", state | heads, {"run": run})


class _group:
    """The process group that torchrun has prepared, if any."""

    def __enter__(self) -> tuple[int, int, torch.device]:
        world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        local = int(os.environ.get("LOCAL_RANK", "0"))
        device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if world > 1:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return rank, world, device

    def __exit__(self, *_: object) -> None:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


def _launch(settings: Settings, run: str, seeds: list[int], processes: int) -> None:
    """Start one process a device by torchrun, each with this same command."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += [
        "-m",
        "pipeline",
        "train",
        "--run",
        run,
        "--seeds",
        ",".join(map(str, seeds)),
        "--scale",
        settings.scale,
    ]
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"run {run}: a process of {processes} failed; its error is above; the next call continues")
