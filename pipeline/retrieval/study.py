"""A study of the scores on stored embeddings: hubs, collinearity, and clips that lose a modality.

Of each seed and corpus one file (`paths.study`) in the form of stored ranks: ranks of both directions by every score
where a share of the test clips has lost one modality, as galleries `missing-25` …; its metadata hold hubness of the
whole gallery by direction and score (in float32), the mean of lambda_1(G)/M over clips with everything, and how
lessened clips fare at one share: the text queries that they win, R@1 of texts all of whose clips are lessened or whole.

Who loses which modality is drawn once for a corpus (`settings.seed`), the same for all runs and seeds, and nested: a
clip that has lost one at 25 % has lost it at 50 %. Clips that have one modality only keep it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import paths
from pipeline import ranks as stored
from pipeline.errors import UserError
from pipeline.geometry import SCORES, collinearity, hubness, hubness_both, unit
from pipeline.geometry.ranking import ranks_both
from pipeline.ranks import FULL, Key, Ranking, missing
from pipeline.retrieval.gallery import Gallery
from pipeline.retrieval.rank import both_sides
from pipeline.retrieval.runs import origin, run_gallery
from pipeline.settings import Settings, Study


def study(settings: Settings, run: str, seeds: list[int]) -> None:
    """Write `paths.study` of every corpus for the seeds of a run."""
    for corpus in settings.corpora:
        for seed in seeds:
            gallery, about = run_gallery(settings, run, seed, corpus), origin(settings, run, seed, corpus)
            found, lessened = with_losses(gallery, settings.study, settings.retrieval.block, settings.seed)
            found = [*nothing_lost(paths.ranks(settings, run, seed, corpus), about["embeddings"]), *found]
            about |= {"lessened": lessened}
            about |= geometry(gallery, settings.study.neighbours, settings.retrieval.block)
            stored.write(paths.study(settings, run, seed, corpus), found, about)
            print(f"{run} seed {seed}, {corpus}: lambda_1/M {about['collinearity']}", flush=True)


def nothing_lost(path: Path, embeddings: str) -> list[tuple[Key, Ranking]]:
    """The ranks that the whole gallery has, as the gallery with no share missing."""
    known, about = stored.read(path)
    if about["embeddings"] != embeddings:
        raise UserError(f"{path}: made from other embeddings than those stored now; rank the run again")
    keys = (Key("test", FULL, way, score) for way in ("T2VA", "VA2T") for score in SCORES)
    return [(key._replace(gallery=missing(0)), known[key]) for key in keys]


def geometry(gallery: Gallery, neighbours: int, block: int) -> dict[str, Any]:
    """`hubness` by direction and score, at `neighbours` items a query (fewer in a smaller gallery); `collinearity`."""
    letters, names = next(iter(gallery.conditions().items()))
    texts, items = gallery.text, _items(gallery, names)
    k = min(neighbours, len(gallery.ids), len(gallery.text_ids))
    hubs: dict[str, dict[str, dict[str, float]]] = {f"T2{letters}": {}, f"{letters}2T": {}}
    for name, score in SCORES.items():
        for direction, one in zip(hubs, hubness_both(texts, items, score, k, block), strict=True):
            hubs[direction][name] = {"winner": one.winner, "skewness": one.skewness, "orphans": one.orphans}
    whole = unit(gallery.tuples(names))
    mean = float(collinearity(whole).mean()) if whole.shape[1] else None
    return {"hubness": hubs, "neighbours": k, "collinearity": mean}


def with_losses(
    gallery: Gallery, how: Study, block: int, seed: int
) -> tuple[list[tuple[Key, Ranking]], dict[str, Any]]:
    """Rankings at every share of lessened clips, and how these fare at the one that is followed, by score."""
    letters, names = next(iter(gallery.conditions().items()))
    items = _items(gallery, names)
    order, lost = losses(items, seed)
    found: list[tuple[Key, Ranking]] = []
    fare: dict[str, Any] = {}
    for share in filter(None, how.missing):
        clips = order[: round(share * len(order))]
        less = items.clone()
        less[lost[clips], clips] = 0
        is_less = torch.zeros(len(gallery.ids), dtype=torch.bool)
        is_less[clips] = True
        ours = torch.tensor([[bool(is_less[right].all()), not bool(is_less[right].any())] for right in gallery.hits])
        for name, score in SCORES.items():
            both = ranks_both(gallery.text, less, score, gallery.hits, block, seed)
            found += both_sides(gallery, ("test", missing(share), letters, name), both)
            if share == how.followed:
                first = hubness(gallery.text, less, score, 1, block).first
                fare[name] = {
                    "won": float(first[is_less].double().sum() / first.sum()),
                    "lessened": _recall(both[0].rank[ours[:, 0]]),
                    "whole": _recall(both[0].rank[ours[:, 1]]),
                }
    held = round(how.followed * len(order)) / len(gallery.ids)
    return found, {"share": held, "scores": fare}


def losses(items: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Clips that can lose a modality, in the order in which they do, and what each clip of all loses.

    `items [K, n, D]` with zero rows for what is missing already. What is lost is one of those present, at random.
    """
    present = items.any(-1)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(items.shape[1], generator=generator)
    draw = torch.rand(present.shape, generator=generator).masked_fill(~present, -1)
    return order[present[:, order].sum(0) > 1], draw.argmax(0)


def _items(gallery: Gallery, names: Sequence[str]) -> Tensor:
    return torch.stack([gallery.items[name] for name in names])


def _recall(rank: Tensor) -> float | None:
    return float((rank == 1).double().mean()) if len(rank) else None
