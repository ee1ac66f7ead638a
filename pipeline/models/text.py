"""One BERT for three tasks: text encoder, matching encoder with cross-attention, causal decoder (VAST, 2305.18500).

transformers' layers (Devlin et al. 2019), driven here so that frozen lower layers run once a caption and never again,
padding takes part in attention alone, and attention is written out: for captions of some 15 pieces torch's fused kernel
has a backward many times slower. Frozen layers have no cross-attention; that of the others starts as a copy of the
layer's self-attention. Dropout is off, so that cached activations stay those of a full pass. Word embeddings serve as
output weights too and are frozen with the layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel, BertPredictionHeadTransform

from pipeline.models import weights
from pipeline.models.packing import Pieces
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

    def lower(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Activations [B, L, width] after the frozen layers, 0 at padding; ids [B, L], lengths [B] in pieces."""
        pieces = Pieces.of(lengths, ids.shape[1])
        return pieces.padded(self._below(pieces, ids))

    def upper(self, lower: Tensor, lengths: Tensor) -> Tensor:
        """Activations [B, L, width] after all layers, 0 at padding."""
        pieces = Pieces.of(lengths, lower.shape[1])
        return pieces.padded(self._above(pieces, pieces.packed(lower), pieces))

    def first(self, lower: Tensor, lengths: Tensor) -> Tensor:
        """`upper(…)[:, 0]` [B, width] without the last layer's other positions."""
        pieces = Pieces.of(lengths, lower.shape[1])
        return self._above(pieces, pieces.packed(lower), pieces.first())

    def first_of_pairs(self, lower: Tensor, lengths: Tensor, condition: Tensor, pairs: Tensor) -> Tensor:
        """[CLS] [P, width] of pairs [P, 2]: a caption of [B, L, width] that attends to a condition of [C, N, width].

        The first self-attention of a caption, keys and values of a condition are computed once.
        """
        pieces = Pieces.of(lengths, lower.shape[1])
        hidden = pieces.packed(lower)
        captions, conditions = pairs.unbind(1)
        for number, layer in enumerate(self.layers[self.frozen :]):
            queries = pieces.first() if layer is self.layers[-1] else pieces
            attended = attend(layer, hidden, pieces, queries)
            if number == 0:
                pieces, queries = pieces.captions(captions), queries.captions(captions)
                attended = queries.gather(attended)
            key, value = (each.index_select(0, conditions) for each in keys_values(layer, condition))
            hidden = rest_of_layer(layer, attended, queries, (key, value))
        return hidden

    def decode(self, ids: Tensor, lengths: Tensor, chosen: Tensor, condition: Tensor) -> Tensor:
        """The causal decoder's activations [N, width] at the chosen pieces, bool [B, L]: none sees a later piece."""
        pieces = Pieces.of(lengths, ids.shape[1], causal=True)
        return self._above(pieces, self._below(pieces, ids), pieces.at(chosen), condition)

    def _below(self, pieces: Pieces, ids: Tensor) -> Tensor:
        """The frozen layers: ids [B, L] -> [T, width]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            hidden = pieces.packed(self.body.embeddings(input_ids=ids))
            for layer in self.layers[: self.frozen]:
                hidden = rest_of_layer(layer, attend(layer, hidden, pieces, pieces), pieces, None)
        return hidden

    def _above(self, pieces: Pieces, hidden: Tensor, wanted: Pieces, condition: Tensor | None = None) -> Tensor:
        """The other layers: [T, width] -> [R, width] of the pieces wanted, for which alone the last is computed."""
        for layer in self.layers[self.frozen :]:
            queries = wanted if layer is self.layers[-1] else pieces
            sources = None if condition is None else keys_values(layer, condition)
            hidden = rest_of_layer(layer, attend(layer, hidden, pieces, queries), queries, sources)
        return hidden

    def logits(self, hidden: Tensor, pieces: Tensor | None = None) -> Tensor:
        """Scores [..., size] of word pieces, or [..., P] of some, for activations [..., width]."""
        weight: Tensor = self.body.embeddings.word_embeddings.weight
        bias: Tensor = self.bias
        if pieces is not None:
            weight, bias = weight[pieces], bias[pieces]
        return functional.linear(self.transform(hidden), weight, bias)


def attend(layer: Any, hidden: Tensor, pieces: Pieces, queries: Pieces) -> Tensor:
    """Self-attention block of a layer for some of the pieces: hidden [T, width] -> [R, width] of `queries`."""
    inner = layer.attention.self
    key, value = (_heads(pieces.padded(part(hidden)), inner.num_attention_heads) for part in (inner.key, inner.value))
    asked = hidden if queries is pieces else queries.gather(hidden)
    return layer.attention.output(_attention(inner, asked, queries, key, value, pieces.mask), asked)  # type: ignore[no-any-return]


def keys_values(layer: Any, condition: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values [B, heads, C, width of a head] of condition tokens in a layer's cross-attention."""
    inner = layer.crossattention.self
    return _heads(inner.key(condition), inner.num_attention_heads), _heads(
        inner.value(condition), inner.num_attention_heads
    )


def rest_of_layer(layer: Any, attended: Tensor, queries: Pieces, sources: tuple[Tensor, Tensor] | None) -> Tensor:
    """Cross-attention (if there is anything to attend to) and feed-forward of a layer: [R, width]."""
    if sources is not None:
        crossed = _attention(layer.crossattention.self, attended, queries, *sources, None)
        attended = layer.crossattention.output(crossed, attended)
    return layer.feed_forward_chunk(attended)  # type: ignore[no-any-return]


def _attention(inner: Any, rows: Tensor, queries: Pieces, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of rows [R, width], which are `queries`, to keys and values [B, heads, L, width of a head]."""
    query = _heads(queries.padded(inner.query(rows)), inner.num_attention_heads)
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return queries.packed((scores.softmax(-1).to(value.dtype) @ value).transpose(1, 2).flatten(2))


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)
