"""Re-ranking by matching: the first k items of a query are ordered by their matching probability.

As in VAST's and GRAM's evaluation, inside the first k the probability replaces the first stage's score. Deviation: the
others keep the order of the first stage below them (the releases set them all to 0, so that their ranks are arbitrary).
Two kinds of probabilities: `vast`'s of all pairs of a fixed gallery (where runs train heads alone, so that it is the
same for all of them), and a run's own of what its first stage finds in the whole gallery (where it trains everything).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.files import load_metadata, load_tensors
from pipeline.geometry.dense import dense_ranks
from pipeline.geometry.ranking import Ranks
from pipeline.geometry.scores import SCORES, Score
from pipeline.provenance import check
from pipeline.ranks import ITM
from pipeline.retrieval.gallery import Gallery


def rerank(first: Tensor, probability: Tensor, k: int) -> Tensor:
    """Scores `[N, N']` after re-ranking: `first [N, N']` of the first stage, `probability [N, N']` in [0, 1].

    NaN: a pair that was not matched; the first k are those of the matched ones. ValueError for a query with too few
    (`check_matched` says it of a file).
    """
    if first.shape != probability.shape:
        raise ValueError(f"first stage {list(first.shape)} and matching {list(probability.shape)} differ in shape")
    first = first.double()
    top = first.masked_fill(probability.isnan(), -torch.inf).topk(min(k, first.shape[1]), dim=1).indices
    found = probability.double().gather(1, top)
    if bool(found.isnan().any()):
        raise ValueError(f"query {int(found.isnan().any(1).nonzero()[0])}: fewer than {top.shape[1]} items are matched")
    below = first - first.amax(1, keepdim=True) - 1.0
    return below.scatter(1, top, found)


def stages(gallery: Gallery) -> dict[str, tuple[Score, Tensor]]:
    """First stages by all modalities: name → score and what it takes of the clips, [K, n, D]."""
    letters, names = next(iter(gallery.conditions().items()))
    items = torch.stack([gallery.items[name] for name in names]).double()
    found: dict[str, tuple[Score, Tensor]] = {name: (score, items) for name, score in SCORES.items()}
    fused = gallery.fused.get(letters.lower())
    return found if fused is None else found | {"fused": (SCORES["cosine"], fused[None].double())}


def both_ranks(
    gallery: Gallery, probability: Tensor, k: int, seed: int, steps: tuple[str, ...]
) -> Iterator[tuple[str, tuple[Ranks, Ranks]]]:
    """Name of score and step ("" or `+itm`) with its ranks in both directions; `probability` [texts, clips].

    Holds a few matrices of all texts by all clips in float64: 0.2 GB each for ActivityNet's 4,917.
    """
    hits = torch.zeros(len(gallery.text_ids), len(gallery.ids), dtype=torch.bool)
    for text, right in enumerate(gallery.hits):
        hits[text, right] = True
    for name, (score, items) in stages(gallery).items():
        first = score(gallery.text.double(), items)
        for step in steps:
            sides = (first, first.mT)
            if step == ITM:
                sides = rerank(first, probability, k), rerank(first.mT, probability.mT, k)
            yield name + step, (dense_ranks(sides[0], hits, seed), dense_ranks(sides[1], hits.mT, seed))


def fixed(matching: Path, gallery: Gallery, **made_of: str) -> tuple[Gallery, Tensor]:
    """The fixed gallery of a matching file as a part of `gallery`, and its probabilities [texts, clips].

    `made_of`: digests of the manifest that the gallery is of (`manifest`) and of the initial model's weights (`model`,
    where they lie here). A UserError names the file and what does not fit.
    """
    if not matching.is_file():
        raise UserError(f"{matching}: missing; run the stage match first")
    tensors, about = load_tensors(matching), load_metadata(matching)
    check(matching, about, "match again", **made_of)
    clips, texts, probability = tensors["clips"].tolist(), tensors["captions"].tolist(), tensors["probability"]
    if max(clips) >= len(gallery.ids) or max(texts) >= len(gallery.row):
        raise UserError(
            f"{matching}: made for a larger gallery than the {len(gallery.ids)} clips embedded; match again"
        )
    for row, name in zip(clips, about["ids"], strict=True):
        if gallery.ids[row] != name:
            raise UserError(
                f"{matching}: ids: row {row} is clip '{name}', embedded is '{gallery.ids[row]}'; match again"
            )
    # The first row of each distinct text; matching may hold equal captions.
    rows = {gallery.row[text]: number for number, text in reversed(list(enumerate(texts)))}
    distinct = sorted(rows)
    return gallery.part(clips, distinct), probability[[rows[text] for text in distinct]]


def own(matching: Path, gallery: Gallery, about: dict[str, Any], k: int) -> Tensor:
    """A run's own probabilities [texts, clips] of a whole gallery, NaN where a pair was not matched.

    `about`: what the gallery's embeddings are made of (`runs.origin`). A UserError names the file and key that differ,
    or the text or clip of which fewer than `k` pairs are matched.
    """
    if not matching.is_file():
        raise UserError(f"{matching}: missing; run: python -m pipeline match-top --run {about['run']}")
    tensors, stored = load_tensors(matching), load_metadata(matching)
    check(matching, stored, "match again", **about, ids=gallery.ids, texts=gallery.text_ids)
    if stored["k"] < k:
        raise UserError(f"{matching}: k is {stored['k']}, retrieval.rerank {k}; match again")
    probability = torch.full((len(gallery.text_ids), len(gallery.ids)), torch.nan)
    probability[tensors["text"].long(), tensors["clip"].long()] = tensors["probability"]
    check_matched(matching, gallery, probability, k)
    return probability


def check_matched(matching: Path, gallery: Gallery, probability: Tensor, k: int) -> None:
    """A UserError that names the file and the text or clip of `gallery` of which fewer than its first `k` are matched.

    `probability` [texts, clips], NaN where a pair was not matched.
    """
    matched = ~probability.isnan()
    for what, names, dim in (("text", gallery.text_ids, 1), ("clip", gallery.ids, 0)):
        number, wanted = matched.sum(dim), min(k, matched.shape[dim])
        if bool((number < wanted).any()):
            row = int((number < wanted).nonzero()[0])
            raise UserError(f"{matching}: {what} '{names[row]}': {int(number[row])} of {wanted} pairs; match again")
