"""BERT as a caption decoder that grows hypotheses a piece a step and keeps keys and values of what is written.

VAST appends [MASK] to the pieces written so far and reads the next one off it. Under a causal mask a written piece sees
neither [MASK] nor what comes later, so its keys and values stay what they are: a step passes the newest piece and
[MASK] alone through transformers' layers, then forgets [MASK]. Keys and values of the condition are made once a clip
and serve all of its hypotheses. The result is that of a whole pass a step (tested); it serves the small model and the
released one, which both hold a transformers decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, EncoderDecoderCache


class Decoder:
    """Hypotheses of N clips, equally many each, clip by clip.

    `body` is a transformers `BertModel`, `predict` gives scores [B, size] of its activations [B, width], `condition`
    [N, C, width] is what it attends to, `mask` the [MASK] piece. Layers without cross-attention (frozen ones) skip it.
    """

    def __init__(self, body: Any, predict: Callable[[Tensor], Tensor], condition: Tensor, mask: int) -> None:
        self.body, self.predict, self.condition, self.mask = body, predict, condition, mask
        self.clips, self.hypotheses, self.device = len(condition), len(condition), condition.device
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

    def next(self, newest: Tensor) -> Tensor:
        """Scores [B, size] of the piece that follows, given the newest [B] of each hypothesis; fp32."""
        self.hypotheses = len(newest)
        written = self.cache.self_attention_cache.get_seq_length()
        ids = torch.stack([newest, torch.full_like(newest, self.mask)], 1)
        places = torch.arange(written, written + 2, device=self.device)[None]
        # The newest piece sees all before it and itself, [MASK] sees everything.
        seen = torch.ones(2, written + 2, dtype=torch.bool, device=self.device).tril(written)[None, None]
        hidden = self.body.embeddings(input_ids=ids, position_ids=places)
        for layer in self.body.encoder.layer:
            hidden, _ = layer.attention(hidden, seen, past_key_values=self.cache)
            if hasattr(layer, "crossattention"):
                # Queries do not see each other here: those of a clip's hypotheses stand in one row.
                rows = hidden.reshape(self.clips, -1, hidden.shape[-1])
                crossed, _ = layer.crossattention(rows, None, self.condition, None, past_key_values=self.cache)
                hidden = crossed.view_as(hidden)
            hidden = layer.feed_forward_chunk(hidden)
        self.cache.crop(-1)
        return self.predict(hidden[:, 1]).float()

    def keep(self, rows: Tensor) -> None:
        """Go on with these hypotheses [B'], which may repeat, clip by clip."""
        self.hypotheses = len(rows)
        self.cache.self_attention_cache.reorder_cache(rows)  # type: ignore[arg-type]

    def leave(self, clips: Tensor) -> None:
        """Go on with the hypotheses of these clips [N'] alone, in their order."""
        each = self.hypotheses // self.clips
        self.keep((clips[:, None] * each + torch.arange(each, device=self.device)).flatten())
        self.cache.cross_attention_cache.reorder_cache(clips)  # type: ignore[arg-type]
        self.condition, self.clips = self.condition[clips], len(clips)
