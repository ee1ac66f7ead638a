"""Caption generation as VAST does it: beam search and top-k sampling over pieces that a decoder reads off [MASK].

Beam search: scores are log-probabilities divided by length ** penalty, as in transformers. Batched; what a clip gets
does not depend on the others of its batch. No caption is empty: its first piece is never [SEP].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.decoder import Decoder
from pipeline.models.tokenizer import Tokenizer
from pipeline.settings import Captions


@torch.inference_mode()
def beam(decoder: Decoder, tokenizer: Tokenizer, how: Captions) -> list[list[int]]:
    """Best caption of each of a fresh decoder's clips as word pieces without [CLS] and [SEP].

    A hypothesis ends with [SEP], which counts towards its length, or at `how.length` pieces. A clip is done when none
    of its live hypotheses can beat its best finished one.
    """
    device, beams, length = decoder.device, how.beams, how.length
    clips = torch.arange(decoder.clips, device=device)
    ids = torch.full((decoder.clips, 1, 1), tokenizer.cls, device=device)
    live = torch.zeros(decoder.clips, 1, device=device)
    best = torch.full((decoder.clips,), -torch.inf, device=device)
    finished: list[list[int]] = [[] for _ in range(decoder.clips)]
    for step in range(1, length + 1):
        n, width = live.shape
        scores = _next(decoder, tokenizer, ids[:, :, -1].flatten(), step == 1)
        total = (live[:, :, None] + scores.view(n, width, -1)).flatten(1)
        top, place = total.topk(min(2 * beams, total.shape[1]))
        source, piece = place // scores.shape[-1], place % scores.shape[-1]
        ends = (piece == tokenizer.sep) & torch.isfinite(top)
        if step == length:
            ends = torch.isfinite(top)
        # As in transformers, an end counts only among the best `beams` candidates.
        closing = torch.where(ends & (torch.arange(top.shape[1], device=device) < beams), top, -torch.inf)
        value, which = (closing / step**how.length_penalty).max(1)
        for row in (value > best).nonzero().flatten().tolist():
            best[row] = value[row]
            chosen = int(which[row])
            prefix = ids[row, source[row, chosen], 1:].tolist()
            last = int(piece[row, chosen])
            finished[int(clips[row])] = prefix if last == tokenizer.sep else [*prefix, last]
        live, order = torch.where(ends, -torch.inf, top).topk(min(beams, top.shape[1]))
        source, piece = source.gather(1, order), piece.gather(1, order)
        ids = torch.cat([ids.gather(1, source[:, :, None].expand(-1, -1, step)), piece[:, :, None]], 2)
        # Log-probabilities only fall; the most a live one can still be worth is its score at the greatest length.
        open_ = (live[:, 0] / length**how.length_penalty > best).nonzero().flatten()
        if step == length or not len(open_):
            break
        decoder.keep((source + width * torch.arange(n, device=device)[:, None]).flatten())
        if len(open_) < n:
            decoder.leave(open_)
            clips, ids, live, best = clips[open_], ids[open_], live[open_], best[open_]
    return finished


@torch.inference_mode()
def sample(decoder: Decoder, tokenizer: Tokenizer, how: Captions, draws: Tensor) -> list[list[list[int]]]:
    """Captions of each of a fresh decoder's clips, each piece drawn among the `how.top_k` likeliest.

    `draws` [N, samples, length], uniform in [0, 1), decide: the piece at which the probabilities' sum exceeds the draw.
    """
    device, (n, samples, length) = decoder.device, draws.shape
    written = torch.full((n, samples, length + 1), tokenizer.sep, device=device)
    clips, draws = torch.arange(n, device=device), draws.to(device)
    newest = torch.full((n, samples), tokenizer.cls, device=device)
    over = torch.zeros(n, samples, dtype=torch.bool, device=device)
    for step in range(length):
        top, piece = _next(decoder, tokenizer, newest.flatten(), step == 0).topk(how.top_k)
        below = top.softmax(1).cumsum(1) <= draws[clips, :, step].view(-1, 1)
        drawn = piece.gather(1, below.sum(1, keepdim=True).clamp_max(how.top_k - 1))
        newest = torch.where(over, tokenizer.sep, drawn.view_as(over))
        written[clips, :, step] = newest
        over = over | (newest == tokenizer.sep)
        open_ = (~over.all(1)).nonzero().flatten()
        if not len(open_):
            break
        if len(open_) < len(clips):
            decoder.leave(open_)
            clips, newest, over = clips[open_], newest[open_], over[open_]
    return [[row[: row.index(tokenizer.sep)] for row in clip] for clip in written.tolist()]


def texts(tokenizer: Tokenizer, captions: Sequence[Sequence[int]]) -> list[str]:
    """Captions as text."""
    return [tokenizer.decode(caption) for caption in captions]


def _next(decoder: Decoder, tokenizer: Tokenizer, newest: Tensor, first: bool) -> Tensor:
    """Log-probabilities [B, size] of the next piece; special pieces have none, but for [SEP] after the first."""
    special = [tokenizer.pad, tokenizer.cls, tokenizer.mask] + [tokenizer.sep] * first
    ruled_out = torch.tensor(special, device=newest.device)
    return decoder.next(newest).index_fill(1, ruled_out, -torch.inf).log_softmax(1)
