"""Figures of evidence as pure functions: AUC, recall, CIDEr with a plain tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor


def auc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive score exceeds a negative one, ties half (Mann-Whitney)."""
    ordered = negative.double().sort().values
    below = torch.searchsorted(ordered, positive.double(), side="left")
    upto = torch.searchsorted(ordered, positive.double(), side="right")
    return float((below + upto).double().mean() / 2 / len(negative))


def recall_at_1(scores: Tensor, hits: Tensor) -> tuple[float, float]:
    """R@1 and its chance value, in %, of scores [Q, N]; hits bool [Q, N]. Ties of the best share the hit."""
    best = scores == scores.amax(1, keepdim=True)
    found = (best & hits).sum(1) / best.sum(1)
    return 100 * float(found.double().mean()), 100 * float(hits.double().mean())


def cider(candidates: Sequence[str], references: Sequence[str]) -> float:
    """CIDEr (Vedantam et al. 2015, pycocoevalcap) of one candidate and one reference a clip, plain words."""
    from pycocoevalcap.cider.cider import Cider

    truth = {number: [words(text)] for number, text in enumerate(references)}
    found = {number: [words(text)] for number, text in enumerate(candidates)}
    return float(Cider().compute_score(truth, found)[0])


def words(text: str) -> str:
    """Lower-case words separated by blanks, without punctuation (in place of the Java tokenizer)."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))
