"""Matching probabilities of all pairs of a fixed gallery: at most `retrieval.gallery` test clips, drawn by the seed.

The file holds `clips` [G] (rows of the split's clips), `captions` [Q] (rows of the split's captions, one of each
distinct caption of these clips) and `probability` [Q, G]. Metadata: clip ids, corpus, digests of the manifest and of
the weights (`model`), the seed. Computed in parts that survive a kill, captions of similar length together,
in bf16 where the processor multiplies it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline import files, loop, low_precision, paths, written
from pipeline.digests import code_digest, digest
from pipeline.models import vast as models
from pipeline.settings import Settings
from pipeline.vast import data, embed
from pipeline.vast.data import Split

#: Pairs of a part, the unit that is resumed.
PART = 6000


def match(settings: Settings, corpus: str) -> None:
    """Write matching/<scale>/vast/<corpus>.safetensors."""
    model, tokenizer = models.load(settings)
    cpu = torch.device("cpu")
    model.to(low_precision.chosen("auto", cpu))
    weights = files.sha256(paths.model(settings, "vast", 0) / "weights.safetensors")
    towers = [paths.tower_digest(settings, m) for m in ("vision", "audio")]
    made_of = [weights, towers, written.digest(settings, corpus), settings.retrieval.gallery, settings.seed]
    made_of += [low_precision.name("auto", cpu), PART, code_digest("pipeline.vast.matching")]
    state = paths.state(settings, "matching", corpus, digest(made_of))
    split = data.read(settings, corpus, "test", tokenizer)
    clips, captions = gallery(split, settings.retrieval.gallery, settings.seed)
    found = probabilities(model, split, clips, captions, settings.retrieval.matching_batch, state)
    tensors = {"clips": clips, "captions": captions, "probability": found}
    files.save_tensors(paths.matching(settings, corpus), tensors, about(settings, corpus, split, clips, weights))
    shutil.rmtree(state, ignore_errors=True)


def gallery(split: Split, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of the gallery's clips, ascending, and of the first caption of each distinct caption that they have."""
    n = len(split.clips)
    clips = torch.randperm(n, generator=loop.generator(seed, 4))[:size].sort().values
    captions = torch.isin(split.clip, clips).nonzero().flatten()
    seen: dict[int, int] = {}
    for row, number in zip(captions.tolist(), split.number[captions].tolist(), strict=True):
        seen.setdefault(number, row)
    return clips, torch.tensor(list(seen.values()))


def about(settings: Settings, corpus: str, split: Split, clips: Tensor, weights: str) -> dict[str, Any]:
    """Metadata of the file; `weights`: digest of those of the model."""
    ids = [split.clips[row] for row in clips.tolist()]
    made_of = {"manifest": written.digest(settings, corpus), "model": weights}
    return {"ids": ids, "corpus": corpus, "seed": settings.seed} | made_of


@torch.inference_mode()
def probabilities(model: models.Vast, split: Split, clips: Tensor, captions: Tensor, batch: int, state: Path) -> Tensor:
    """Matching probability [Q, G], fp32, of all pairs; `batch`: pairs that pass the model at once."""
    condition = model.tokens(split.features(clips))
    lower, lengths = embed.lower(model, split)[captions].to(condition.dtype), split.lengths[captions]
    order = lengths.argsort(stable=True)
    rows = max(PART // len(clips), 1)
    found = torch.empty(len(captions), len(clips))
    parts = list(order.split(rows))
    for number, part in enumerate(tqdm(parts, "matching", unit="part", mininterval=1.0)):
        path = state / f"{number:05d}.safetensors"
        if not path.is_file():
            longest = int(lengths[part].max())
            blocks = []
            for block in part.split(max(batch // len(clips), 1)):
                pairs = torch.cartesian_prod(torch.arange(len(block)), torch.arange(len(clips)))
                logits = model.matching(lower[block, :longest], lengths[block], condition, pairs)
                blocks.append(logits.softmax(1)[:, 1].view(len(block), len(clips)))
            files.save_tensors(path, {"probability": torch.cat(blocks)})
        found[part] = files.load_tensors(path)["probability"]
    return found
