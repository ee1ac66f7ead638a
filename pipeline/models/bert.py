"""BERT-base as VAST uses it: one model that is text encoder, matching encoder (cross-attention) and caption decoder.

Without a condition its self-attention is bidirectional over the words: the text encoder. With condition tokens it
cross-attends to them: the matching encoder. With a causal mask it predicts words: the decoder. transformers'
`BertLMHeadModel`, given its masks in four dimensions, is all three; the released custom class is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.models.checkpoint import assign, fitted, read, replaced


@dataclass(frozen=True)
class Config:
    """Sizes of the transformer."""

    vocabulary: int = 30522
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    length: int = 512
    dropout: float = 0.1
    tied: bool = True


#: present names of a norm's parameters, and those of old files
NORM = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
#: In a file and no part of this model: the pooler, the next-sentence head, a constant.
LEFT_OUT = ("bert.pooler.", "cls.seq_relationship.", "bert.embeddings.position_ids")
#: What a file may lack: ours, and the file's tensor that it equals.
TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
CROSS = ".crossattention."
REAL = Config()
TINY = Config(vocabulary=120, width=24, layers=2, heads=2, hidden=48, length=48)


class Bert(nn.Module):
    """Word pieces, and condition tokens when there are any, to features or to vocabulary scores."""

    def __init__(self, config: Config = REAL) -> None:
        from transformers import BertConfig, BertLMHeadModel

        super().__init__()
        self.config = config
        inner = BertLMHeadModel(
            BertConfig(
                vocab_size=config.vocabulary,
                hidden_size=config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=config.hidden,
                max_position_embeddings=config.length,
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=config.dropout,
                is_decoder=True,
                add_cross_attention=True,
                tie_word_embeddings=config.tied,
            )
        )
        self.bert, self.cls = inner.bert, inner.cls

    def encode(self, ids: Tensor, mask: Tensor, condition: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """Features [B, L, width] of word pieces [B, L] with `mask` [B, L] (1 = a word), attending to `condition`.

        `condition` is [B, N, width]; all of its tokens are attended to.
        """
        seen = mask.bool()[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
        if causal:
            seen = seen & torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
        features: Tensor = self.bert(
            input_ids=ids, attention_mask=seen, encoder_hidden_states=condition, use_cache=False
        ).last_hidden_state
        return features

    def predict(self, features: Tensor) -> Tensor:
        """Vocabulary scores [..., vocabulary] of features [..., width]."""
        scores: Tensor = self.cls(features)
        return scores


def load(path: Path, sha256: str = "", config: Config = REAL) -> Bert:
    """BERT with the weights of a `bert-base-uncased` file, `gamma` and `beta` of old ones read.

    Cross-attention starts random where the file has none, as BERT's own; a part of it is refused. The decoder, if it
    is not in the file, is the word embeddings. A UserError names every misfit as the file does.
    """
    model, state = Bert(config), read(path, sha256)
    own = model.state_dict()
    absent = {name for name in TIED if name not in state}
    if not any(CROSS in name for name in state):
        absent |= {name for name in own if CROSS in name}
    older = [(new, old) for new, old in NORM if any(old in name for name in state)]
    wanted = {name: value for name, value in own.items() if name not in absent}
    taken = fitted(state, wanted, str(path), lambda name: replaced(name, older), LEFT_OUT)
    taken |= {name: taken[TIED[name]] if name in TIED else own[name] for name in absent}
    assign(model, taken, str(path))
    return model.eval()
