"""Ranks of a run's embeddings: every score, direction and seed, on whole galleries and on the matched one.

Directions T2VA, VA2T and the single pathways T2V, V2T, T2A, A2T, on validation (the headline score is chosen there) and
test. `residual` with one modality orders as `volume` does (1 - c^2), so that its ranks are those. On the fixed gallery
whose pairs `vast` has matched: the first stage of every score and the same re-ranked (`+itm`), of runs that start from
`vast`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from pipeline import paths, written
from pipeline import ranks as stored
from pipeline.errors import UserError
from pipeline.files import load_tensors, sha256
from pipeline.geometry.dense import dense_ranks
from pipeline.geometry.ranking import Ranks, ranks_both
from pipeline.geometry.scores import SCORES
from pipeline.ranks import FULL, MATCHED, Key, Ranking
from pipeline.retrieval.gallery import Gallery, read_gallery
from pipeline.retrieval.rerank import rerank
from pipeline.settings import Settings


def rank(settings: Settings, run: str, seeds: list[int]) -> None:
    """Rank all corpora of a run's seeds; writes `paths.ranks`."""
    matched = settings.initial(run) == "vast"
    for corpus in settings.corpora:
        manifest = paths.manifest(settings, corpus)
        for seed in seeds:
            embeddings = paths.embeddings(settings, run, seed, corpus)
            found: list[tuple[Key, Ranking]] = []
            for split in ("val", "test"):
                gallery = read_gallery(embeddings, manifest, split, written.usable(settings, corpus, split))
                if len(gallery.ids) != gallery.expected:
                    raise UserError(
                        f"{embeddings}: {len(gallery.ids)} of {gallery.expected} {split} clips; embed the run again"
                    )
                found += rankings(gallery, split, settings.retrieval.block, settings.seed)
            if matched:
                found += matched_rankings(
                    gallery, paths.matching(settings, corpus), settings.retrieval.rerank, settings.seed
                )
            metadata = {
                "run": run,
                "seed": seed,
                "corpus": corpus,
                "manifest": sha256(manifest),
                "embeddings": sha256(embeddings),
            }
            stored.write(paths.ranks(settings, run, seed, corpus), found, metadata)
            shown = [f"{key.score} {100 * one.recall(1).mean():.1f}" for key, one in found if _headline(key)]
            print(f"{run} seed {seed}, {corpus}: T2VA R@1 {', '.join(shown)}", flush=True)


def _headline(key: Key) -> bool:
    return key.split == "test" and key.gallery == FULL and key.direction == "T2VA"


def rankings(gallery: Gallery, split: str, block: int, seed: int = 0) -> Iterator[tuple[Key, Ranking]]:
    """Ranks of a whole gallery by every condition and score, both directions."""
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
            yield from both_sides(gallery, (split, FULL, letters, name), both)


def matched_rankings(gallery: Gallery, matching: Path, k: int, seed: int = 0) -> Iterator[tuple[Key, Ranking]]:
    """First stage and re-ranked ranks of the fixed gallery of a matching file."""
    if not matching.is_file():
        raise UserError(f"{matching}: missing; run the stage match first")
    tensors = load_tensors(matching)
    clips, texts, probability = tensors["clips"].tolist(), tensors["captions"].tolist(), tensors["probability"]
    if max(clips) >= len(gallery.ids) or max(texts) >= len(gallery.row):
        raise UserError(
            f"{matching}: made for a larger gallery than the {len(gallery.ids)} clips embedded; match again"
        )
    # The first row of each distinct text; matching may hold equal captions.
    rows = {gallery.row[text]: number for number, text in reversed(list(enumerate(texts)))}
    distinct = sorted(rows)
    part = gallery.part(clips, distinct)
    probability = probability[[rows[text] for text in distinct]]
    letters, names = next(iter(part.conditions().items()))
    items = torch.stack([part.items[name] for name in names]).double()
    first = {name: score(part.text.double(), items) for name, score in SCORES.items()}
    fused = part.fused.get(letters.lower())
    if fused is not None:
        first["fused"] = SCORES["cosine"](part.text.double(), fused[None].double())
    hits = torch.zeros(len(part.text_ids), len(part.ids), dtype=torch.bool)
    for text, right in enumerate(part.hits):
        hits[text, right] = True
    for name, matrix in first.items():
        forward, backward = rerank(matrix, probability, k), rerank(matrix.mT, probability.mT, k)
        for suffix, sides in (("", (matrix, matrix.mT)), ("+itm", (forward, backward))):
            both = dense_ranks(sides[0], hits, seed), dense_ranks(sides[1], hits.mT, seed)
            yield from both_sides(part, ("test", MATCHED, letters, name + suffix), both)


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
