"""Matching of what a run finds first, by the run's own weights: for runs that have trained everything.

VAST's and GRAM's evaluation re-ranks the first k of each query by the matching head of the model that found them. Here
these are the pairs of a distinct text and a clip that are among the first k of either by any score, in the whole test
gallery or among its items with audio (one file serves all of them; pairs overlap much). The file, sparse: `text` [P]
and `clip` [P], rows of the metadata's `texts` and `ids`, `probability` [P]; metadata also `k` and what the embeddings
are made of (run, seed, corpus, digests of manifest, weights and embeddings). Clip after clip, as its condition tokens
are encoded once, in parts that survive a kill.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline import encoded, files, low_precision, paths, written
from pipeline.clips import Clips
from pipeline.digests import code_digest, digest
from pipeline.errors import UserError
from pipeline.geometry.precision import blocks
from pipeline.models import released
from pipeline.models.tokenizer import Tokenizer
from pipeline.models.vast_full import VastFull
from pipeline.retrieval.gallery import Gallery
from pipeline.retrieval.rerank import stages
from pipeline.retrieval.runs import origin, run_gallery
from pipeline.settings import Settings

#: Clips of a part, the unit that is resumed.
PART = 64


def match(settings: Settings, run: str, seeds: list[int]) -> None:
    """Write `paths.own_matching` of all benchmarks for the seeds of a run."""
    if settings.matched_by(run) != "own":
        raise UserError(f"--run {run}: does not train its own matching, or no table of runs in Table 1's shape has it")
    words = released.tokenizer(settings)
    for seed in seeds:
        model = released.stored(settings, run, seed).to(released.device())
        for corpus in settings.benchmarks():
            _match(settings, run, seed, corpus, model, words)


def _match(settings: Settings, run: str, seed: int, corpus: str, model: VastFull, words: Tokenizer) -> None:
    gallery = run_gallery(settings, run, seed, corpus)
    about, k = origin(settings, run, seed, corpus), settings.retrieval.rerank
    pairs = wanted(gallery, k, settings.retrieval.block)
    table = written.usable(settings, corpus, "test")
    # Clips in the order of the gallery, whose rows the pairs are.
    clips = Clips(settings, {corpus: table.set_index("clip_id", drop=False).loc[gallery.ids]})
    code = code_digest("pipeline.retrieval.match")
    precision = low_precision.name(settings.training.optimisation.precision, next(model.parameters()).device)
    state = paths.state(settings, "matching", run, str(seed), corpus, digest([about, k, PART, precision, code]))
    matcher = Matcher(settings, model, words, clips, gallery.captions, settings.run(run).modalities)
    found = matcher.probabilities(pairs, state, f"match {run} {seed} {corpus}")
    tensors = {"clip": pairs[:, 0].int(), "text": pairs[:, 1].int(), "probability": found}
    named = {"ids": gallery.ids, "texts": gallery.text_ids, "k": k}
    files.save_tensors(paths.own_matching(settings, run, seed, corpus), tensors, about | named)
    shutil.rmtree(state, ignore_errors=True)
    print(f"{run} seed {seed}, {corpus}: {len(pairs)} of {len(gallery.ids) * len(gallery.text_ids)} pairs", flush=True)


def wanted(gallery: Gallery, k: int, block: int) -> Tensor:
    """Pairs [P, 2] of clip and text to be matched, ascending: of the whole gallery and of its items with audio."""
    found = [first_pairs(gallery, k, block)]
    clips, texts = gallery.with_audio()
    if 0 < len(clips) < len(gallery.ids):
        rows = first_pairs(gallery.part(clips, texts), k, block)
        found.append(torch.stack([torch.tensor(clips)[rows[:, 0]], torch.tensor(texts)[rows[:, 1]]], 1))
    return torch.cat(found).unique(dim=0)


def first_pairs(gallery: Gallery, k: int, block: int) -> Tensor:
    """Pairs [P, 2] of clip and text of which one is among the first k of the other by any score, ascending."""
    texts, clips, found = len(gallery.text_ids), len(gallery.ids), []
    for score, items in stages(gallery).values():
        for rows in blocks(texts, block):
            best = score(gallery.text[rows].double(), items).topk(min(k, clips), dim=1).indices
            asking = torch.arange(rows.start, rows.stop)[:, None].expand_as(best)
            found.append(torch.stack([best, asking], -1).flatten(0, 1))
        for columns in blocks(clips, block):
            best = score(gallery.text.double(), items[:, columns]).topk(min(k, texts), dim=0).indices
            asking = torch.arange(columns.start, columns.stop).expand_as(best)
            found.append(torch.stack([asking, best], -1).flatten(0, 1))
    return torch.cat(found).unique(dim=0)


@dataclass(frozen=True)
class Matcher:
    """A model with the clips and texts that it matches; `modalities`: what a clip is seen by."""

    settings: Settings
    model: VastFull
    words: Tokenizer
    clips: Clips
    texts: Sequence[str]
    modalities: Sequence[str]

    def probabilities(self, pairs: Tensor, state: Path, label: str) -> Tensor:
        """Matching probability [P], fp32, of pairs [P, 2] of clip and text, ascending; parts are kept in `state`."""
        rows, counts = pairs[:, 0].unique_consecutive(return_counts=True)
        asked = list(zip(rows.tolist(), pairs[:, 1].split(counts.tolist()), strict=True))
        found = []
        for number, part in enumerate(tqdm(blocks(len(asked), PART), label, unit="part", mininterval=2.0)):
            path = state / f"{number:05d}.safetensors"
            if not path.is_file():
                files.save_tensors(path, {"probability": torch.cat(list(self._part(asked[part])))})
            found.append(files.load_tensors(path)["probability"])
        return torch.cat(found)

    @torch.inference_mode()
    def _part(self, asked: list[tuple[int, Tensor]]) -> Iterator[Tensor]:
        how, device = self.settings.training.optimisation, next(self.model.parameters()).device
        for together in blocks(len(asked), how.micro_batch or self.settings.vision.batch):
            pixels, mel = self.clips.inputs([row for row, _ in asked[together]])
            vision = pixels.to(device) if "vision" in self.modalities else None
            audio = mel.to(device) if "audio" in self.modalities else None
            with low_precision.autocast(device, how.precision):
                tokens = self.model.encode(vision=vision, audio=audio)
                conditions = self.model.condition(tokens)
                for (_, texts), condition in zip(asked[together], conditions, strict=True):
                    for some in texts.split(self.settings.retrieval.matching_batch):
                        yield self._matched([self.texts[text] for text in some.tolist()], condition)

    def _matched(self, texts: list[str], condition: Tensor) -> Tensor:
        """Probability [T] of texts with the condition tokens [N, width] of one clip."""
        ids, mask = encoded.tokens(self.words, texts, self.settings.vast.text.length)
        ids, mask = ids.to(condition.device), mask.to(condition.device)
        logits = self.model.match(ids, mask, condition[None].expand(len(ids), -1, -1))
        return logits.float().softmax(1)[:, 1].cpu()
