"""A split of a corpus as the initial model sees it: cached tower features and tokenised captions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pipeline import files, paths, written
from pipeline.dealing import deal
from pipeline.errors import UserError
from pipeline.models.tokenizer import Tokenizer
from pipeline.provenance import check
from pipeline.settings import Settings


@dataclass(frozen=True)
class Split:
    """n clips, C captions (one row each); equal captions share a number.

    vision [n, chunks, slots, Dv], audio [n, T, Da]; ids [C, L], lengths [C], clip [C] (row of the clip), number [C].
    """

    clips: list[str]
    vision: Tensor
    audio: Tensor
    texts: list[str]
    clip: Tensor
    ids: Tensor
    lengths: Tensor
    number: Tensor

    def features(self, rows: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Features of clips: vision [B, chunks, Dv], slots drawn by `generator` (none: the first), audio [B, T, Da]."""
        vision = self.vision[rows]
        b, chunks, slots = vision.shape[:3]
        if generator is None or slots == 1:
            vision = vision[:, :, 0]
        else:
            slot = torch.randint(slots, (b, chunks), generator=generator)
            vision = vision[torch.arange(b)[:, None], torch.arange(chunks), slot]
        return {"vision": vision, "audio": self.audio[rows]}

    def hits(self) -> Tensor:
        """bool [C, n]: clips that a caption describes, itself or by an equal caption of theirs."""
        table = torch.zeros(int(self.number.max()) + 1, len(self.clips), dtype=torch.bool)
        table[self.number, self.clip] = True
        return table[self.number]

    def dealt(self, generator: torch.Generator) -> Split:
        """The same clips with captions of others."""
        order = deal(self.number, self.clip, generator)
        texts = [self.texts[row] for row in order.tolist()]
        return replace(self, texts=texts, ids=self.ids[order], lengths=self.lengths[order], number=self.number[order])

    def distinct(self) -> Tensor:
        """First caption row of each distinct caption."""
        rows = torch.full((int(self.number.max()) + 1,), len(self.texts))
        return rows.scatter_reduce(0, self.number, torch.arange(len(self.texts)), "amin")


def sources(settings: Settings) -> list[Path]:
    """The features of all corpora."""
    return [paths.features(settings, m, corpus) for corpus in settings.corpora for m in ("vision", "audio")]


def shapes(settings: Settings) -> dict[str, tuple[int, int]]:
    """Modality -> (tokens a clip, width) of the features of the first corpus."""
    first = next(iter(settings.corpora))
    split = read(settings, first, "val", None)
    return {
        "vision": (split.vision.shape[1], split.vision.shape[3]),
        "audio": (split.audio.shape[1], split.audio.shape[2]),
    }


def read(settings: Settings, corpus: str, split: str, tokenizer: Tokenizer | None) -> Split:
    """Read a split; a UserError if features and manifest do not hold the same clips."""
    table = written.usable(settings, corpus, split)
    clips = table["clip_id"].tolist()
    features = {modality: _features(settings, modality, corpus, split, clips) for modality in ("vision", "audio")}
    texts = [caption for captions in table["captions"] for caption in captions]
    owner = [row for row, captions in enumerate(table["captions"]) for _ in captions]
    numbers: dict[str, int] = {}
    number = [numbers.setdefault(text, len(numbers)) for text in texts]
    empty = torch.zeros(len(texts), 0, dtype=torch.long), torch.zeros(len(texts), dtype=torch.long)
    ids, lengths = tokenizer.encode(texts, settings.vast.text.length) if tokenizer else empty
    return Split(
        clips, features["vision"], features["audio"], texts, torch.tensor(owner), ids, lengths, torch.tensor(number)
    )


def _features(settings: Settings, modality: str, corpus: str, split: str, clips: list[str]) -> Tensor:
    path = paths.features(settings, modality, corpus)
    remedy = f"run: python -m pipeline features --modality {modality} --corpus {corpus}"
    if not path.is_file():
        raise UserError(f"{path}: missing; {remedy}")
    metadata = files.load_metadata(path)
    check(path, metadata, remedy, manifest=files.sha256(paths.manifest(settings, corpus)))
    if metadata["ids"].get(split) != clips:
        raise UserError(f"{path}: other clips than the manifest's in split {split}; delete it and extract again")
    return files.load_tensors(path)[split]
