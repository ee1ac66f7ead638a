"""Ranks of a run's embeddings: every score, direction and seed, on whole galleries and on parts of them.

Directions T2VA, VA2T and the single pathways T2V, V2T, T2A, A2T, on validation (the headline score is chosen there) and
test. `residual` with one modality orders as `volume` does (1 - c^2), so that its ranks are those. Of test also: the
items with audio alone, where some have none; and what matching makes of the first stages (`+itm`): of a run that has
trained its own, the whole gallery; of the others that start from `vast`, the fixed gallery whose pairs `vast` has
matched, with its first stage.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from pipeline import paths, written
from pipeline import ranks as stored
from pipeline.files import sha256
from pipeline.geometry.ranking import Ranks, ranks_both
from pipeline.geometry.scores import SCORES
from pipeline.ranks import FULL, ITM, MATCHED, WITH_AUDIO, Key, Ranking
from pipeline.retrieval import rerank
from pipeline.retrieval.gallery import Gallery
from pipeline.retrieval.runs import origin, run_gallery
from pipeline.settings import Settings


def rank(settings: Settings, run: str, seeds: list[int]) -> None:
    """Rank all corpora of a run's seeds; writes `paths.ranks`."""
    how = settings.retrieval
    matched_by, matcher = settings.matched_by(run), {}
    weights = paths.model(settings, "vast", 0) / "weights.safetensors"
    if matched_by == "vast" and weights.is_file():  # ranks can be made where embeddings and matching lie alone
        matcher["model"] = sha256(weights)
    for corpus in settings.corpora:
        tables = {split: written.usable(settings, corpus, split) for split in ("val", "test")}
        for seed in seeds:
            found: list[tuple[Key, Ranking]] = []
            for split in tables:
                gallery = run_gallery(settings, run, seed, corpus, split, tables[split])
                found += rankings(gallery, split, how.block, settings.seed)
            about = origin(settings, run, seed, corpus)
            clips, texts = gallery.with_audio()
            heard = gallery.part(clips, texts) if 0 < len(clips) < len(gallery.ids) else None
            if heard is not None:
                found += rankings(heard, "test", how.block, settings.seed, WITH_AUDIO)
            if matched_by == "vast":
                made_of = matcher | {"manifest": about["manifest"]}
                part, probability = rerank.fixed(paths.matching(settings, corpus), gallery, **made_of)
                found += reranked(part, MATCHED, probability, how.rerank, settings.seed, ("", ITM))
            elif matched_by == "own" and corpus in settings.benchmarks():
                file = paths.own_matching(settings, run, seed, corpus)
                probability = rerank.own(file, gallery, about, how.rerank)
                found += reranked(gallery, FULL, probability, how.rerank, settings.seed)
                if heard is not None:
                    part_of = probability[texts][:, clips]
                    rerank.check_matched(file, heard, part_of, how.rerank)
                    found += reranked(heard, WITH_AUDIO, part_of, how.rerank, settings.seed)
            stored.write(paths.ranks(settings, run, seed, corpus), found, about)
            shown = [f"{key.score} {100 * one.recall(1).mean():.1f}" for key, one in found if _headline(key)]
            print(f"{run} seed {seed}, {corpus}: T2VA R@1 {', '.join(shown)}", flush=True)


def _headline(key: Key) -> bool:
    return key.split == "test" and key.gallery == FULL and key.direction == "T2VA"


def rankings(
    gallery: Gallery, split: str, block: int, seed: int = 0, kind: str = FULL
) -> Iterator[tuple[Key, Ranking]]:
    """First-stage ranks of a gallery by every condition and score, both directions."""
    for letters, names in gallery.conditions().items():
        items = torch.stack([gallery.items[name] for name in names])
        found: dict[str, tuple[Ranks, Ranks]] = {}
        for name, score in SCORES.items():
            alone = name == "residual" and len(names) == 1
            found[name] = (
                found["volume"] if alone else ranks_both(gallery.text, items, score, gallery.hits, block, seed)
            )
        fused = gallery.fused.get(letters.lower())
        if fused is not None:
            found["fused"] = ranks_both(gallery.text, fused[None], SCORES["cosine"], gallery.hits, block, seed)
        for name, both in found.items():
            yield from both_sides(gallery, (split, kind, letters, name), both)


def reranked(
    gallery: Gallery, kind: str, probability: torch.Tensor, k: int, seed: int = 0, steps: tuple[str, ...] = (ITM,)
) -> Iterator[tuple[Key, Ranking]]:
    """Ranks of a test gallery by all modalities and every score before ("") or after (`+itm`) re-ranking."""
    letters = next(iter(gallery.conditions()))
    for name, both in rerank.both_ranks(gallery, probability, k, seed, steps):
        yield from both_sides(gallery, ("test", kind, letters, name), both)


def both_sides(
    gallery: Gallery, name: tuple[str, str, str, str], both: tuple[Ranks, Ranks]
) -> Iterator[tuple[Key, Ranking]]:
    """Rankings of texts among clips and of clips among texts; `name`: split, gallery, modalities' letters, score."""
    split, kind, letters, score = name
    answers = [len(right) for right in gallery.hits]
    asked = np.bincount([clip for right in gallery.hits for clip in right], minlength=len(gallery.ids))
    sides = (
        (f"T2{letters}", gallery.text_ids, gallery.text_groups, np.asarray(answers), len(gallery.ids)),
        (f"{letters}2T", gallery.ids, gallery.item_groups, asked, len(gallery.text_ids)),
    )
    for (direction, ids, groups, relevant, items), found in zip(sides, both, strict=True):
        yield (
            Key(split, kind, direction, score),
            Ranking(
                np.asarray(ids),
                np.asarray(groups),
                found.rank.numpy().astype(np.float64),
                found.ties.numpy(),
                found.precision.numpy(),
                relevant,
                items,
            ),
        )
