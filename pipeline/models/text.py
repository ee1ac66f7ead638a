"""One BERT for three tasks: text encoder, matching encoder with cross-attention, causal decoder (VAST, 2305.18500).

transformers' layers (Devlin et al. 2019), driven here so that frozen lower layers run once a caption and never again,
and attention is written out: for captions of some 15 pieces torch's fused kernel has a backward many times slower.
Frozen layers have no cross-attention; that of the others starts as a copy of the layer's self-attention. Dropout is
off, so that cached activations stay those of a full pass. Word embeddings serve as output weights too and are frozen
with the layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel, BertPredictionHeadTransform

from pipeline.models import weights
from pipeline.settings import Text

POSITIONS = 512


class Bert(nn.Module):
    """BERT of `settings` over a vocabulary of `size` pieces."""

    def __init__(self, settings: Text, size: int) -> None:
        super().__init__()
        self.frozen = settings.frozen_layers
        config = BertConfig(
            vocab_size=size,
            hidden_size=settings.width,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            intermediate_size=4 * settings.width,
            max_position_embeddings=POSITIONS,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            is_decoder=True,
            add_cross_attention=True,
        )
        config._attn_implementation = "sdpa"
        self.body = BertModel(config, add_pooling_layer=False)
        for layer in self.layers[: self.frozen]:
            layer.add_cross_attention = False
            del layer.crossattention
        self.transform = BertPredictionHeadTransform(config)
        self.bias = nn.Parameter(torch.zeros(size))
        if self.frozen:
            self.body.embeddings.requires_grad_(False)
            for layer in self.layers[: self.frozen]:
                layer.requires_grad_(False)

    @property
    def layers(self) -> list[Any]:
        """transformers' layers, lowest first."""
        return list(self.body.encoder.layer)

    def initialise(self, name: str) -> None:
        """Load the released weights `name` (`tiny`: none) and start cross-attention and output head from them."""
        if name != "tiny":
            result = self.body.load_state_dict(weights.minilm(), strict=False)
            wrong = [key for key in result.missing_keys if "crossattention" not in key] + result.unexpected_keys
            assert not wrong, wrong
        for layer in self.layers[self.frozen :]:
            layer.crossattention.load_state_dict(layer.attention.state_dict())
        nn.init.eye_(self.transform.dense.weight)
        nn.init.zeros_(self.transform.dense.bias)

    def lower(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Activations [B, L, width] after the frozen layers; ids [B, L], mask bool [B, 1, L or 1, L]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            hidden: Tensor = self.body.embeddings(input_ids=ids)
            for layer in self.layers[: self.frozen]:
                hidden = rest_of_layer(layer, attend(layer, hidden, hidden, mask), None)
        return hidden

    def upper(self, lower: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        """Activations [B, L, width] after all layers; condition [B, C, width] is attended to if given."""
        hidden = lower
        for layer in self.layers[self.frozen :]:
            hidden = whole_layer(layer, hidden, mask, condition)
        return hidden

    def first(self, lower: Tensor, mask: Tensor, condition: Tensor | None = None) -> Tensor:
        """`upper(…)[:, 0]` [B, width] without the last layer's other positions."""
        *inner, last = self.layers[self.frozen :]
        hidden = lower
        for layer in inner:
            hidden = whole_layer(layer, hidden, mask, condition)
        sources = None if condition is None else keys_values(last, condition)
        return rest_of_layer(last, attend(last, hidden[:, :1], hidden, mask), sources)[:, 0]

    def first_of_pairs(self, lower: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """`first` of all pairs, [Q, G, width], of captions [Q, L, width] and conditions [G, C, width].

        What depends on one side alone (the first self-attention, keys and values of conditions) is computed once.
        """
        q, g, layers = len(lower), len(condition), self.layers[self.frozen :]
        hidden = lower
        for layer in layers:
            queries = hidden[:, :1] if layer is layers[-1] else hidden
            attended = attend(layer, queries, hidden, mask)
            if layer is layers[0]:
                attended, mask = attended.repeat_interleave(g, 0), mask.repeat_interleave(g, 0)
            key, value = keys_values(layer, condition)
            hidden = rest_of_layer(layer, attended, (key.repeat(q, 1, 1, 1), value.repeat(q, 1, 1, 1)))
        return hidden[:, 0].view(q, g, -1)

    def logits(self, hidden: Tensor, pieces: Tensor | None = None) -> Tensor:
        """Scores [..., size] of word pieces, or [..., P] of some, for activations [..., width]."""
        weight: Tensor = self.body.embeddings.word_embeddings.weight
        bias: Tensor = self.bias
        if pieces is not None:
            weight, bias = weight[pieces], bias[pieces]
        return functional.linear(self.transform(hidden), weight, bias)


def padding_mask(lengths: Tensor, longest: int) -> Tensor:
    """bool [B, 1, 1, L]: each position sees all of its caption."""
    return (torch.arange(longest, device=lengths.device) < lengths[:, None])[:, None, None]


def causal_mask(longest: int, device: torch.device | None = None) -> Tensor:
    """bool [1, 1, L, L]: each position sees itself and those before it (never the padding after a caption)."""
    return torch.ones(longest, longest, dtype=torch.bool, device=device).tril()[None, None]


def whole_layer(layer: Any, hidden: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
    """A layer's output [B, L, width], as transformers' own forward gives it."""
    sources = None if condition is None else keys_values(layer, condition)
    return rest_of_layer(layer, attend(layer, hidden, hidden, mask), sources)


def attend(layer: Any, queries: Tensor, hidden: Tensor, mask: Tensor) -> Tensor:
    """Self-attention block of a layer for some positions: queries [B, R, width] of hidden [B, L, width]."""
    inner = layer.attention.self
    key, value = (_heads(part(hidden), inner.num_attention_heads) for part in (inner.key, inner.value))
    return layer.attention.output(_attention(inner, queries, key, value, mask), queries)  # type: ignore[no-any-return]


def keys_values(layer: Any, condition: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values [B, heads, C, width of a head] of condition tokens in a layer's cross-attention."""
    inner = layer.crossattention.self
    return _heads(inner.key(condition), inner.num_attention_heads), _heads(
        inner.value(condition), inner.num_attention_heads
    )


def rest_of_layer(layer: Any, attended: Tensor, sources: tuple[Tensor, Tensor] | None) -> Tensor:
    """Cross-attention (if there is anything to attend to) and feed-forward of a layer: [B, R, width]."""
    if sources is not None:
        crossed = _attention(layer.crossattention.self, attended, *sources, None)
        attended = layer.crossattention.output(crossed, attended)
    return layer.feed_forward_chunk(attended)  # type: ignore[no-any-return]


def _attention(inner: Any, queries: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    query = _heads(inner.query(queries), inner.num_attention_heads)
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return (scores.softmax(-1).to(value.dtype) @ value).transpose(1, 2).flatten(2)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)
