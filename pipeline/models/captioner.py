"""Caption generation as VAST does it: [CLS] and a [MASK] appended at each step, whose prediction replaces it.

Beam search (scores are log-probabilities divided by length ** penalty, as in transformers) and top-k sampling. Batched;
every step runs the whole prefix, since captions are short.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.tokenizer import Tokenizer
from pipeline.models.vast import Vast

BEAMS = 3
LENGTH = 40
PENALTY = 0.6
TOP_K = 10
SAMPLES = 3


@torch.inference_mode()
def beam(
    model: Vast,
    tokenizer: Tokenizer,
    condition: Tensor,
    beams: int = BEAMS,
    length: int = LENGTH,
    penalty: float = PENALTY,
) -> list[list[int]]:
    """Best caption of each clip as word pieces without [CLS] and [SEP]; condition [N, C, width].

    A hypothesis ends with [SEP], which counts towards its length, or at `length` pieces. A search stops when no live
    hypothesis can beat the best finished one.
    """
    n, device = len(condition), condition.device
    ids = torch.full((n, 1, 1), tokenizer.cls, device=device)
    live = torch.zeros(n, 1, device=device)
    best = torch.full((n,), -torch.inf, device=device)
    finished: list[list[int]] = [[] for _ in range(n)]
    for step in range(1, length + 1):
        width = live.shape[1]
        scores = _next(model, tokenizer, ids.flatten(0, 1), condition.repeat_interleave(width, 0))
        total = (live[:, :, None] + scores.view(n, width, -1)).flatten(1)
        top, place = total.topk(min(2 * beams, total.shape[1]))
        source, piece = place // scores.shape[-1], place % scores.shape[-1]
        ends = (piece == tokenizer.sep) & torch.isfinite(top)
        if step == length:
            ends = torch.isfinite(top)
        # As in transformers, an end counts only among the best `beams` candidates.
        closing = torch.where(ends & (torch.arange(top.shape[1], device=device) < beams), top, -torch.inf)
        value, which = (closing / step**penalty).max(1)
        for row in (value > best).nonzero().flatten().tolist():
            best[row] = value[row]
            chosen = int(which[row])
            prefix = ids[row, source[row, chosen], 1:].tolist()
            last = int(piece[row, chosen])
            finished[row] = prefix if last == tokenizer.sep else [*prefix, last]
        if step == length:
            break
        live, order = torch.where(ends, -torch.inf, top).topk(min(beams, top.shape[1]))
        source, piece = source.gather(1, order), piece.gather(1, order)
        ids = torch.cat([ids.gather(1, source[:, :, None].expand(-1, -1, step)), piece[:, :, None]], 2)
        # Log-probabilities only fall; the most a live one can still be worth is its score at the greatest length.
        if bool((live[:, 0] / length**penalty <= best).all()):
            break
    return finished


@torch.inference_mode()
def sample(
    model: Vast,
    tokenizer: Tokenizer,
    condition: Tensor,
    seed: int,
    samples: int = SAMPLES,
    k: int = TOP_K,
    length: int = LENGTH,
) -> list[list[list[int]]]:
    """`samples` captions a clip, each piece drawn among the k likeliest; a function of the batch and the seed."""
    generator = torch.Generator(condition.device).manual_seed(seed)
    condition = condition.repeat_interleave(samples, 0)
    ids = torch.full((len(condition), 1), tokenizer.cls, device=condition.device)
    over = torch.zeros(len(condition), dtype=torch.bool, device=condition.device)
    for _ in range(length):
        top, piece = _next(model, tokenizer, ids, condition).topk(k)
        drawn = piece.gather(1, torch.multinomial(top.softmax(1), 1, generator=generator))
        over = over | (drawn[:, 0] == tokenizer.sep)
        ids = torch.cat([ids, torch.where(over[:, None], tokenizer.sep, drawn)], 1)
        if bool(over.all()):
            break
    rows = [_until(row, tokenizer.sep) for row in ids[:, 1:].tolist()]
    return [rows[start : start + samples] for start in range(0, len(rows), samples)]


def texts(tokenizer: Tokenizer, captions: Sequence[Sequence[int]]) -> list[str]:
    """Captions as text."""
    return [tokenizer.decode(caption) for caption in captions]


def _next(model: Vast, tokenizer: Tokenizer, ids: Tensor, condition: Tensor) -> Tensor:
    """Log-probabilities [B, size] of the piece after ids [B, L]; special pieces other than [SEP] have none."""
    masked = torch.cat([ids, torch.full_like(ids[:, :1], tokenizer.mask)], 1)
    logits = model.bert.logits(model.caption(masked, condition)[:, -1]).float()
    special = torch.tensor([tokenizer.pad, tokenizer.cls, tokenizer.mask], device=ids.device)
    return logits.index_fill(1, special, -torch.inf).log_softmax(1)


def _until(row: list[int], end: int) -> list[int]:
    return row[: row.index(end)] if end in row else row
