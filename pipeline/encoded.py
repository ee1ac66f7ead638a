"""Pooled features of decoded clips by a whole model: for the validation and embeddings of runs that train it all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline import low_precision
from pipeline.clips import Clips
from pipeline.models.bert import Bert
from pipeline.models.tokenizer import Tokenizer
from pipeline.models.vast_full import VastFull
from pipeline.pooled import Pooled
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pandas import DataFrame

TEXTS = 256


@torch.inference_mode()
def pooled(model: VastFull, words: Tokenizer, settings: Settings, corpus: str, table: DataFrame) -> Pooled:
    """A split's pooled features, fp32 on the CPU: text [C, Dt] (equal captions equal rows), vision, audio [n, D]."""
    device = next(model.parameters()).device
    clips = Clips(settings, {corpus: table})
    size = settings.training.optimisation.micro_batch or settings.vision.batch
    vision, audio = [], []
    for start in tqdm(range(0, len(clips), size), f"encode {corpus}", mininterval=2.0):
        rows = range(start, min(start + size, len(clips)))
        pixels, mel = clips.inputs(rows)
        with low_precision.autocast(device, settings.training.optimisation.precision):
            found = model.pool(model.encode(vision=pixels.to(device), audio=mel.to(device)))
        heard = torch.tensor([clips.heard[row] for row in rows])[:, None]
        vision.append(found["vision"].float().cpu())
        audio.append(found["audio"].float().cpu() * heard)
    texts = [caption for captions in clips.captions for caption in captions]
    owner = [row for row, captions in enumerate(clips.captions) for _ in captions]
    number = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    encoded = text(model.text, words, settings, list(number))
    rows_of_texts = torch.tensor([number[one] for one in texts])
    items = {"vision": torch.cat(vision), "audio": torch.cat(audio)}
    return Pooled(table["clip_id"].tolist(), encoded[rows_of_texts], torch.tensor(owner), items)


@torch.inference_mode()
def text(model: Bert, words: Tokenizer, settings: Settings, texts: list[str]) -> Tensor:
    """[CLS] [C, Dt] of texts, fp32 on the CPU."""
    device = next(model.parameters()).device
    blocks = []
    for start in range(0, len(texts), TEXTS):
        ids, mask = tokens(words, texts[start : start + TEXTS], settings.vast.text.length)
        with low_precision.autocast(device, settings.training.optimisation.precision):
            blocks.append(model.encode(ids.to(device), mask.to(device))[:, 0].float().cpu())
    return torch.cat(blocks)


def tokens(words: Tokenizer, texts: list[str], length: int) -> tuple[Tensor, Tensor]:
    """Ids [N, L] and their mask [N, L], padded to the longest of the texts."""
    ids, lengths = words.encode(texts, length)
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]
