"""Retrieval between any subsets of modalities: video + audio → text, audio → video, text + audio → video.

A side of text alone has a row a distinct text, a side without text a row a clip, a side of both a row a text and clip
that carries it. Rows answer each other where they share a text, as everywhere: clips with equal captions are hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.geometry.ranking import BLOCK, ranks
from pipeline.geometry.subsets import SUBSET_SCORES
from pipeline.ranks import Ranking
from pipeline.retrieval.gallery import Gallery


class _Side(NamedTuple):
    """Rows of a side: vectors [M, n, D], names, bootstrap groups, the texts of each."""

    vectors: Tensor
    names: list[str]
    groups: list[str]
    texts: list[list[int]]


def between(
    gallery: Gallery, query: Sequence[str], item: Sequence[str], score: str, block: int = BLOCK, seed: int = 0
) -> Ranking:
    """Ranks of `query` modalities among `item` modalities, e.g. `between(gallery, ["text", "audio"], ["vision"], ...)`.

    A UserError names a modality that the gallery lacks or that stands on both sides, and an unknown score.
    """
    if score not in SUBSET_SCORES:
        raise UserError(f"score '{score}': there are {', '.join(SUBSET_SCORES)}")
    if shared := sorted(set(query) & set(item)):
        raise UserError(f"'{shared[0]}' is asked for and asked with; a modality stands on one side")
    asked, found = _side(gallery, query), _side(gallery, item)
    rows: dict[int, list[int]] = {}
    for row, texts in enumerate(found.texts):
        for text in texts:
            rows.setdefault(text, []).append(row)
    right = [sorted({row for text in texts for row in rows[text]}) for texts in asked.texts]
    one = ranks(asked.vectors, found.vectors, SUBSET_SCORES[score], right, block, seed)
    return Ranking(
        np.asarray(asked.names),
        np.asarray(asked.groups),
        one.rank.numpy().astype(np.float64),
        one.ties.numpy(),
        one.precision.numpy(),
        np.asarray([len(answers) for answers in right]),
        len(found.names),
    )


def _side(gallery: Gallery, names: Sequence[str]) -> _Side:
    if not names or len(set(names)) < len(names):
        raise UserError(f"modalities {', '.join(names) or 'none'}: name each once")
    known = ("text", *next(iter(gallery.conditions().values())))
    for name in names:
        if name not in known:
            raise UserError(f"no modality '{name}'; the gallery has {', '.join(known)}")
    if tuple(names) == ("text",):
        alone = [[text] for text in range(len(gallery.text_ids))]
        return _Side(gallery.text[None], gallery.text_ids, gallery.text_groups, alone)
    pairs = [(text, clip) for text, right in enumerate(gallery.hits) for clip in right]
    if "text" not in names:
        own: list[list[int]] = [[] for _ in gallery.ids]
        for text, clip in pairs:
            own[clip].append(text)
        return _Side(torch.stack([gallery.items[name] for name in names]), gallery.ids, gallery.item_groups, own)
    texts, clips = [text for text, _ in pairs], [clip for _, clip in pairs]
    vectors = torch.stack([gallery.text[texts] if name == "text" else gallery.items[name][clips] for name in names])
    labels = [f"{gallery.text_ids[text]} {gallery.ids[clip]}" for text, clip in pairs]
    return _Side(vectors, labels, [gallery.item_groups[clip] for clip in clips], [[text] for text in texts])
