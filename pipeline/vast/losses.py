"""VAST's three losses on one batch (Chen et al. 2023): contrast, matching with hard negatives, masked captioning."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.models.tokenizer import Tokenizer
from pipeline.models.vast import Vast

#: Share of the caption's pieces that captioning masks, and what they become: [MASK], a random piece, themselves.
MASKED, REPLACED, RANDOM = 0.6, 0.8, 0.1
#: Least weight of a negative, so that no row's weights vanish.
LEAST = 1e-4


def negatives(similarity: Tensor, allowed: Tensor, generator: torch.Generator, even: float = 0.0) -> Tensor:
    """One column [B] a row of similarity [B, N] (over the temperature), drawn by softmax + 1e-4 among the allowed.

    A share `even` of the weight is the same for all allowed columns. A row without any gets -1.
    """
    hard = similarity.float().masked_fill(~allowed, -torch.inf).softmax(1).nan_to_num(0)
    flat = allowed / allowed.sum(1, keepdim=True).clamp_min(1)
    weights = ((1 - even) * hard + even * flat + LEAST) * allowed
    drawn = torch.multinomial(weights.clamp_min(1e-30), 1, generator=generator)[:, 0]
    return torch.where(allowed.any(1), drawn, -1)


def matching(
    model: Vast,
    lower: Tensor,
    lengths: Tensor,
    condition: Tensor,
    other: tuple[Tensor, Tensor],
    condition_other: Tensor,
) -> Tensor:
    """Cross-entropy of (text, clip) -> 1, (text, other clip) -> 0, (other text, clip) -> 0, in one pass of 3B pairs.

    lower [B, L, width], condition [B, C, width]; `other` holds `lower` and lengths of the other texts.
    """
    own = torch.arange(len(lower))
    foreign = own + len(own)
    pairs = torch.cat([torch.stack(pair, 1) for pair in ((own, own), (own, foreign), (foreign, own))])
    texts, lengths = torch.cat([lower, other[0]]), torch.cat([lengths, other[1]])
    logits = model.matching(texts, lengths, torch.cat([condition, condition_other]), pairs)
    labels = (torch.arange(len(pairs)) < len(own)).long()
    return functional.cross_entropy(logits, labels)


def mask(ids: Tensor, lengths: Tensor, tokenizer: Tokenizer, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Ids [B, L] with 60 % of the pieces after [CLS] altered (80/10/10), and where: bool [B, L].

    [SEP] is among them, so that the decoder learns to end; random pieces are ordinary ones.
    """
    candidates = torch.arange(ids.shape[1]) < lengths[:, None]
    candidates[:, 0] = False
    chosen = candidates & (torch.rand(ids.shape, generator=generator) < MASKED)
    fate = torch.rand(ids.shape, generator=generator)
    random = torch.randint(tokenizer.first, tokenizer.size, ids.shape, generator=generator)
    altered = torch.where(fate < REPLACED, tokenizer.mask, torch.where(fate < REPLACED + RANDOM, random, ids))
    return torch.where(chosen, altered, ids), chosen


def captioning(
    model: Vast, ids: Tensor, lengths: Tensor, altered: Tensor, chosen: Tensor, condition: Tensor, pieces: Tensor
) -> Tensor:
    """Cross-entropy of the pieces [B, L] at the chosen positions, among `pieces` [P], ascending; 0 if none is."""
    hidden = model.caption(altered, lengths, chosen, condition)
    if not len(hidden):
        return hidden.sum() * 0
    return functional.cross_entropy(model.bert.logits(hidden, pieces).float(), torch.searchsorted(pieces, ids[chosen]))
