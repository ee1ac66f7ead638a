"""The initial model: text against fused v, a, va + matching with hard negatives + captioning, trained once.

One corpus a batch, in turns proportional to the corpora's captions: negatives come from the clip's own corpus. The
other clip of a matching pair is mined by the contrastive similarity among all training clips of the corpus (their
embeddings are a product of cached features), the other text within the batch; half of either is drawn evenly.
Deviations: VAST mines both in the batch, all by similarity, its softmax over the own pair too; captioning scores the
pieces of training captions alone.
"""

from __future__ import annotations

import platform
import time

import torch
from torch import Tensor

from pipeline import files, loop, low_precision, paths
from pipeline.collapse import collapse
from pipeline.digests import code_digest, digest
from pipeline.models import vast as models
from pipeline.objectives.settings import parse
from pipeline.objectives.vast import vast as contrast
from pipeline.settings import Settings
from pipeline.vast import data, embed, losses
from pipeline.vast.data import Split
from pipeline.vast.initialise import initialise
from pipeline.vast.measures import recall_at_1

#: Share of the negatives that is drawn evenly: with hard ones alone, matching stays at its prior for long.
EVEN = 0.5


def train(settings: Settings, run: str = "vast") -> None:
    """Write weights.safetensors, run.json and metrics.jsonl of an initial model; validation keeps its true captions."""
    started = time.monotonic()
    model, tokenizer = models.build(settings, data.shapes(settings))
    splits = [data.read(settings, corpus, "train", tokenizer) for corpus in settings.corpora]
    if settings.run(run).shuffle_text:
        splits = [split.dealt(loop.generator(settings.seed, 7, number)) for number, split in enumerate(splits)]
    dtype = low_precision.chosen(settings.vast.optimisation.precision, torch.device("cpu"))
    lowers = [embed.lower(model, split, dtype) for split in splits]
    initialise(model, splits, lowers)
    validation = [data.read(settings, corpus, "val", tokenizer) for corpus in settings.corpora]
    step = Step(settings, model, tokenizer, splits, lowers)
    taught = [[split.clips, split.texts] for split in splits]
    seen = [files.sha256(path) for path in data.sources(settings)]
    key = digest([settings.vast, settings.seed, code_digest("pipeline.vast.train"), taught, seen])
    state = paths.state(settings, run, key)
    loop.fit(
        model,
        step.loss,
        settings.vast.optimisation,
        state=state,
        seed=settings.seed,
        validate=lambda: validated(model, dict(zip(settings.corpora, validation, strict=True)), run),
        label=run,
    )
    folder = paths.model(settings, run, 0)
    with files.atomic(folder / "metrics.jsonl") as temporary:
        temporary.write_bytes((state / loop.METRICS).read_bytes())
    files.write_json(
        folder / "run.json",
        {
            "run": run,
            "settings": settings.vast.model_dump(),
            "seed": settings.seed,
            "code": code_digest("pipeline.vast.train"),
            "features": {m: paths.tower_digest(settings, m) for m in ("vision", "audio")},
            "data": {str(path): one for path, one in zip(data.sources(settings), seen, strict=True)},
            "clips": {corpus: len(split.clips) for corpus, split in zip(settings.corpora, splits, strict=True)},
            "parameters": sum(p.numel() for p in model.parameters()),
            "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "host": platform.node(),
            "threads": torch.get_num_threads(),
            "precision": low_precision.name(settings.vast.optimisation.precision, torch.device("cpu")),
            "seconds": time.monotonic() - started,
        },
    )
    files.save_tensors(folder / "weights.safetensors", model.tensors())


class Step:
    """The loss of a step as a function of the model and (seed, step)."""

    def __init__(
        self,
        settings: Settings,
        model: models.Vast,
        tokenizer: models.Tokenizer,
        splits: list[Split],
        lowers: list[Tensor],
    ) -> None:
        self.settings, self.model, self.tokenizer = settings, model, tokenizer
        self.splits, self.lowers = splits, lowers
        self.objective = parse("vast", {"label_smoothing": settings.vast.label_smoothing, "equal_captions": "masked"})
        everything = [split.features(torch.arange(len(split.clips))) for split in splits]
        self.pooled = [models.pool(features) for features in everything]
        self.hits = [split.hits() for split in splits]
        self.pieces = torch.cat([split.ids.flatten() for split in splits]).unique()
        weights = torch.tensor([len(split.texts) for split in splits], dtype=torch.float)
        steps = settings.vast.optimisation.steps
        turns = torch.multinomial(weights, steps, replacement=True, generator=loop.generator(settings.seed, -1))
        # Step -> (corpus, how many steps it has had): the corpus's own order goes on where it stopped.
        self.turns = [(int(turn), int((turns[:step] == turn).sum())) for step, turn in enumerate(turns)]

    def loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Total and its parts."""
        options, seed, model = self.settings.vast, self.settings.seed, self.model
        corpus, turn = self.turns[step]
        split, hits = self.splits[corpus], self.hits[corpus]
        draws = loop.generator(seed, 2, step)
        size = min(options.optimisation.batch, len(split.texts))
        rows = loop.batch_indices(len(split.texts), size, seed + corpus, turn)
        clips, lengths = split.clip[rows], split.lengths[rows]
        lower = self.lowers[corpus][rows, : int(lengths.max())]
        features = split.features(clips, draws)
        with low_precision.autocast(lower.device, options.optimisation.precision):
            cls = model.text(lower, lengths)
        with torch.autocast("cpu", enabled=False):
            pooled = {"text": cls.float(), **models.pool(features)}
            embeddings, fused = model.contrast(pooled)
        temperature = model.contrast.temperature
        same = hits[rows][:, clips]
        total, _ = contrast(embeddings, fused, temperature, self.objective, same)
        terms = {"contrast": total.detach(), "temperature": temperature.detach()}
        condition = model.tokens(features)

        if options.matching_weight:
            m = min(options.matching_batch, size)
            with torch.no_grad(), torch.autocast("cpu", enabled=False):
                items = model.contrast(self.pooled[corpus])[1]["va"]
                text = embeddings["text"].detach()
                clip = losses.negatives(text[:m] @ items.T / temperature, ~hits[rows[:m]], draws, EVEN)
                found_text = fused["va"].detach()[:m] @ text.T / temperature
                other = losses.negatives(found_text, ~same.T[:m], draws, EVEN)
            kept = (clip >= 0) & (other >= 0)
            if bool(kept.any()):
                clip, other = clip[kept], other[kept]
                first = kept.nonzero().flatten()
                found = losses.matching(
                    model,
                    lower[first],
                    lengths[first],
                    condition[first],
                    (lower[other], lengths[other]),
                    model.tokens(split.features(clip, draws)),
                )
                total = total + options.matching_weight * found
                terms["matching"] = found.detach()
        if options.captioning_weight:
            last = slice(max(size - options.captioning_batch, 0), size)
            ids = split.ids[rows[last], : lower.shape[1]]
            altered, chosen = losses.mask(ids, lengths[last], self.tokenizer, draws)
            found = losses.captioning(model, ids, lengths[last], altered, chosen, condition[last], self.pieces)
            total = total + options.captioning_weight * found
            terms["captioning"] = found.detach()
        return total, terms


def validated(model: models.Vast, splits: dict[str, Split], run: str) -> dict[str, float]:
    """R@1 of T→VA in % a corpus, by the fused head, and collapse and gaps of the single ones, on validation."""
    found: dict[str, float] = {}
    for corpus, split in splits.items():
        vectors = embed.embeddings(model, split)
        single = {name: z for name, z in vectors.items() if not name.startswith("fused")}
        found |= {f"{corpus}/{key}": value for key, value in collapse(single, f"{run} {corpus}").items()}
        found[f"R@1 {corpus}"], _ = recall_at_1(vectors["text"] @ vectors["fused_va"].T, split.hits())
    return found
