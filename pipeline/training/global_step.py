"""A step of the training at paper scale: the objective on the whole global batch, whatever the memory.

Gradient caching (Gao et al., arXiv 2101.06983): the embeddings of all clips are computed without gradient, the
objective gives the gradient of each embedding, and a second pass, a micro-batch at a time with the same random draws,
carries it into the model. So the micro-batch changes the draws of dropout at most. Several processes share the batch,
gather embeddings and sum gradients. Matching (VAST's, weight `vast.matching_weight`) mines its negatives within a
process, by the similarity that the run trains: the fused head's, the volume of GRAM and TRIANGLE, else the mean
direction's cosine; a negative's condition tokens carry no gradient. Deviation from GRAM's code: gradients are summed
exactly once, and flow into both sides of the contrast unless `gather: no-grad`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import encoded, loop, written
from pipeline.clips import Clips
from pipeline.errors import UserError
from pipeline.geometry import SCORES
from pipeline.models.heads import floored
from pipeline.models.tokenizer import Tokenizer
from pipeline.models.vast_full import VastFull
from pipeline.objectives import OBJECTIVES
from pipeline.objectives.settings import FUSED, Tuples
from pipeline.settings import Settings
from pipeline.training.processes import Place
from pipeline.training.train import Recipe

#: What the releases add to each probability that a negative is drawn by, so that no row is without one.
LEAST = 1e-4


class Data:
    """Training clips that have all modalities, of all corpora in a row."""

    def __init__(self, settings: Settings, corpora: Sequence[str], words: Tokenizer) -> None:
        self.settings, self.words = settings, words
        tables = {}
        for corpus in corpora:
            table = written.usable(settings, corpus, "train")
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
        """The gradients, times that of the value: the very tensors, since copies would be as large as the model."""
        gradients, ctx.gradients = ctx.gradients, None
        return None, None, *(gradient.mul_(above[0]) for gradient in gradients)


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

    def _exact(self) -> torch.autocast:
        """Without the loop's autocast: what ran in fp32 would have its gradient multiplied in bf16."""
        return torch.autocast(self.place.device.type, enabled=False)

    def _parts(self) -> list[slice]:
        return [slice(start, start + self.micro) for start in range(0, self.local, self.micro)]

    def _encode(self, inputs: list[Tensor], part: slice, step: int) -> tuple[dict[str, Tensor], Tensor | None]:
        """Embeddings of a micro-batch and its condition tokens, with the draws of (seed, step, place in the batch)."""
        torch.manual_seed(loop.generator(self.seed, 5, step, self.place.rank, part.start).initial_seed())
        vision, audio, ids, mask = (tensor[part].to(self.place.device) for tensor in inputs)
        tokens = self.model.encode(vision=vision, audio=audio, text=(ids, mask))
        with self._exact():
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
        temperature = floored(raw)
        equal = equal.to(place.device)
        same = equal[:, None] == equal if how.settings.equal_captions == "masked" else None
        chosen = {name: leaves[name] for name in how.modalities}
        fused = {"v": leaves["vision"], "a": leaves["audio"], "va": leaves["fused_va"]}
        with self._exact():
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
            with self._exact():
                surrogate.backward()  # type: ignore[no-untyped-call]
        if conditions is None:
            return matching
        place.sum([matching])
        terms["matching"] = matching / place.world
        return weight * terms["matching"]

    def _negatives(self, embeddings: dict[str, Tensor], equal: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """For each of this process's rows another clip and another text, drawn by similarity, no equal caption."""
        with self._exact():
            similarity = (self._similarity(embeddings) / floored(self.model.temperature).detach()).float().cpu()
        allowed = equal[:, None] != equal
        draws = loop.generator(self.seed, 6, step, self.place.rank)
        return drawn(similarity, allowed, draws), drawn(similarity.T, allowed, draws)

    def _similarity(self, embeddings: dict[str, Tensor]) -> Tensor:
        """[local, local] of texts and clips, by what the run's objective makes larger for pairs."""
        if self.how.objective in FUSED:
            return embeddings["text"] @ embeddings["fused_va"].T
        items = torch.stack([embeddings[name] for name in self.how.modalities if name != "text"])
        score = SCORES["volume" if isinstance(self.how.settings, Tuples) else "cosine"]
        return score(embeddings["text"], items)

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


def drawn(logits: Tensor, allowed: Tensor, generator: torch.Generator) -> Tensor:
    """A column [B] a row of logits [B, B], drawn as the releases do: by softmax + 1e-4 among those allowed.

    The own pair has its share of the softmax: where it takes nearly all, the draw is nearly even. A batch of one
    caption has no negative: the row itself is drawn, and left out of the loss.
    """
    weights = (logits.softmax(1) + LEAST) * allowed
    weights = torch.where(weights.any(1, keepdim=True), weights, torch.eye(len(weights)))
    return torch.multinomial(weights, 1, generator=generator)[:, 0]
