"""One BERT for three tasks: text encoder, matching encoder with cross-attention, causal decoder (VAST, 2305.18500).

transformers' layers (Devlin et al. 2019), driven here so that frozen lower layers run once a caption and never again,
padding passes attention alone, and attention is written out: for captions of some 15 pieces torch's fused kernel has a
backward many times slower.
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
from pipeline.models.packing import Words
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

    def lower(self, ids: Tensor, lengths: Tensor, *, causal: bool = False) -> Tensor:
        """Activations [B, L, width] after the frozen layers, 0 at padding; ids [B, L], lengths [B] in pieces."""
        words = Words.of(lengths, ids.shape[1], causal=causal)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            hidden = words.packed(self.body.embeddings(input_ids=ids))
            for layer in self.layers[: self.frozen]:
                hidden = rest_of_layer(layer, attend(layer, hidden, words, words), words, None)
        return words.padded(hidden)

    def upper(self, lower: Tensor, lengths: Tensor, condition: Tensor | None = None) -> Tensor:
        """Activations [B, L, width] after all layers, 0 at padding; condition [B, C, width] is attended to if given."""
        words = Words.of(lengths, lower.shape[1])
        return words.padded(self._through(words, lower, condition, words))

    def first(self, lower: Tensor, lengths: Tensor) -> Tensor:
        """`upper(…)[:, 0]` [B, width] without the last layer's other positions."""
        words = Words.of(lengths, lower.shape[1])
        return self._through(words, lower, None, words.first())

    def first_of_pairs(self, lower: Tensor, lengths: Tensor, condition: Tensor, pairs: Tensor) -> Tensor:
        """`upper(…)[:, 0]` [P, width] of pairs [P, 2] of a caption of [B, L, width] and a condition of [C, N, width].

        What depends on one side alone (the first self-attention, keys and values of conditions) is computed once.
        """
        words = Words.of(lengths, lower.shape[1])
        hidden = words.packed(lower)
        captions, conditions = pairs.unbind(1)
        for number, layer in enumerate(self.layers[self.frozen :]):
            asked = words.first() if layer is self.layers[-1] else words
            attended = attend(layer, hidden, words, asked)
            if number == 0:
                words, asked = words.taken(captions), asked.taken(captions)
                attended = asked.of_rows(attended)
            key, value = keys_values(layer, condition)
            hidden = rest_of_layer(layer, attended, asked, (key[conditions], value[conditions]))
        return hidden

    def written(self, ids: Tensor, lengths: Tensor, chosen: Tensor, condition: Tensor) -> Tensor:
        """The causal decoder's activations [N, width] at the chosen pieces, bool [B, L]: none sees a later piece."""
        words = Words.of(lengths, ids.shape[1], causal=True)
        return self._through(words, self.lower(ids, lengths, causal=True), condition, words.at(chosen))

    def _through(self, words: Words, lower: Tensor, condition: Tensor | None, wanted: Words) -> Tensor:
        """Activations [R, width] after all layers of the words wanted, for which alone the last layer is computed."""
        hidden = words.packed(lower)
        for layer in self.layers[self.frozen :]:
            asked = wanted if layer is self.layers[-1] else words
            sources = None if condition is None else keys_values(layer, condition)
            hidden = rest_of_layer(layer, attend(layer, hidden, words, asked), asked, sources)
        return hidden

    def logits(self, hidden: Tensor, pieces: Tensor | None = None) -> Tensor:
        """Scores [..., size] of word pieces, or [..., P] of some, for activations [..., width]."""
        weight: Tensor = self.body.embeddings.word_embeddings.weight
        bias: Tensor = self.bias
        if pieces is not None:
            weight, bias = weight[pieces], bias[pieces]
        return functional.linear(self.transform(hidden), weight, bias)


def attend(layer: Any, hidden: Tensor, words: Words, asked: Words) -> Tensor:
    """Self-attention block of a layer for the words asked for: hidden [T, width] of `words` -> [R, width]."""
    inner = layer.attention.self
    key, value = (_heads(words.padded(part(hidden)), inner.num_attention_heads) for part in (inner.key, inner.value))
    queries = hidden if asked is words else asked.of_rows(hidden)
    return layer.attention.output(_attention(inner, queries, asked, key, value, words.mask), queries)  # type: ignore[no-any-return]


def keys_values(layer: Any, condition: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values [B, heads, C, width of a head] of condition tokens in a layer's cross-attention."""
    inner = layer.crossattention.self
    return _heads(inner.key(condition), inner.num_attention_heads), _heads(
        inner.value(condition), inner.num_attention_heads
    )


def rest_of_layer(layer: Any, attended: Tensor, asked: Words, sources: tuple[Tensor, Tensor] | None) -> Tensor:
    """Cross-attention (if there is anything to attend to) and feed-forward of a layer: [R, width]."""
    if sources is not None:
        crossed = _attention(layer.crossattention.self, attended, asked, *sources, None)
        attended = layer.crossattention.output(crossed, attended)
    return layer.feed_forward_chunk(attended)  # type: ignore[no-any-return]


def _attention(inner: Any, queries: Tensor, asked: Words, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    query = _heads(asked.padded(inner.query(queries)), inner.num_attention_heads)
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return asked.packed((scores.softmax(-1).to(value.dtype) @ value).transpose(1, 2).flatten(2))


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)
