"""Captions as words: what generated ones share with references and with names.

CIDEr (Vedantam et al. 2015) and BLEU (Papineni et al. 2002) by pycocoevalcap, on plain words in place of its Java
tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def words(text: str) -> str:
    """Lower-case words separated by blanks, without punctuation."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


def cider(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """CIDEr [n] of each candidate against its references; the weights of words are those of all n references."""
    from pycocoevalcap.cider.cider import Cider

    return np.asarray(Cider().compute_score(*_coco(candidates, references))[1], np.float64)


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """BLEU-1 … BLEU-4 of the whole set."""
    from pycocoevalcap.bleu.bleu import Bleu

    return [float(value) for value in Bleu(4).compute_score(*_coco(candidates, references), verbose=0)[0]]


def _coco(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    truth = {number: [words(text) for text in texts] for number, texts in enumerate(references)}
    return truth, {number: [words(text)] for number, text in enumerate(candidates)}


def names(caption: str, phrase: str) -> bool:
    """Whether a caption holds the last word of a phrase, its head as a rule, singular or plural.

    A phrase of several parts ("heart sounds, heartbeat") is named by the head of any.
    """
    heads = {_singular(part.split()[-1]) for part in map(words, phrase.split(",")) if part}
    return any(_singular(word) in heads for word in words(caption).split())


def _singular(word: str) -> str:
    return word.removesuffix("s")
