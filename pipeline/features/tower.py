"""The audio tower: trained once on train splits, then frozen; `candidates` compares it with the others.

`logmel` (and `tiny`) learns by InfoNCE between a clip's sound and frozen caption embeddings (mean over BERT's word
pieces); equal captions are no negatives, negatives are of the clip's own corpus. `aisfx` is converted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline import files, loop, low_precision, paths
from pipeline.digests import code_digest, digest
from pipeline.features import clips, convert
from pipeline.features.augment import augment
from pipeline.models import text, tokenizer
from pipeline.models.audio import LogMelTransformer, normalise
from pipeline.settings import Optimisation, Settings

#: Largest shift in time, seconds.
SHIFT = 0.3
TEMPERATURE = 0.07


@dataclass(frozen=True)
class Data:
    """Clips of all corpora: waveforms int16 [n, T], caption embeddings [n, E], number of the corpus [n]."""

    waves: Tensor
    captions: Tensor
    corpus: Tensor


class Aligned(nn.Module):
    """The tower and the head that is thrown away after training."""

    def __init__(self, tower: LogMelTransformer, width: int) -> None:
        super().__init__()
        self.tower = tower
        self.head = nn.Linear(tower.width, width)

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel [B, MELS, frames] -> unit embeddings [B, width], fp32."""
        pooled = self.tower(mel).mean(1)
        return functional.normalize(self.head(pooled).float(), dim=1)


def train(settings: Settings) -> None:
    """Write the audio tower's weights."""
    if settings.audio.name == "aisfx":
        convert.convert(settings, "audio")
    else:
        tower = _train(settings, read(settings, "train"))
        files.save_tensors(paths.tower_weights(settings, "audio"), tower.state_dict())


def read(settings: Settings, split: str) -> Data:
    """The usable clips of all corpora that have sound."""
    tables = [clips.usable(settings, corpus, split) for corpus in settings.corpora]
    tables = [table[["audio" in present for present in table["modalities"]]] for table in tables]
    waves = [clips.waves(settings, corpus, table) for corpus, table in zip(settings.corpora, tables, strict=True)]
    captions = [caption[0] for table in tables for caption in table["captions"]]
    corpus = torch.cat([torch.full((len(table),), number) for number, table in enumerate(tables)])
    return Data(torch.cat(waves), caption_embeddings(settings, captions), corpus)


@torch.inference_mode()
def caption_embeddings(settings: Settings, captions: list[str]) -> Tensor:
    """Frozen embeddings [n, width] of captions: BERT's mean over word pieces, as MiniLM was trained; unit rows."""
    torch.manual_seed(settings.seed)
    pieces = tokenizer.load(settings.vast.text.weights)
    bert = text.Bert(settings.vast.text, pieces.size)
    bert.initialise(settings.vast.text.weights)
    distinct = sorted(set(captions), key=lambda caption: (len(caption), caption))
    rows = []
    for start in range(0, len(distinct), 256):
        ids, lengths = pieces.encode(distinct[start : start + 256], settings.vast.text.length)
        with low_precision.autocast(ids.device):
            hidden = bert.upper(bert.lower(ids, lengths), lengths).float()
        rows.append(functional.normalize(hidden.sum(1) / lengths[:, None], dim=1))
    place = {caption: number for number, caption in enumerate(distinct)}
    return torch.cat(rows)[torch.tensor([place[caption] for caption in captions])].clone()


def _train(settings: Settings, data: Data) -> LogMelTransformer:
    entry = settings.audio
    torch.manual_seed(settings.seed)
    tower = LogMelTransformer(entry, settings.media.sample_rate, settings.media.seconds)
    model = Aligned(tower, data.captions.shape[1])
    with torch.inference_mode():
        power = torch.cat([tower.mel.power(block.float() / 32768) for block in data.waves.split(256)]).clone()
    # Centred, so that the corpus's common direction does not fill the similarities.
    means = torch.stack([data.captions[data.corpus == number].mean(0) for number in range(len(settings.corpora))])
    captions = functional.normalize(data.captions - means[data.corpus], dim=1)
    same = torch.unique(data.captions, dim=0, return_inverse=True)[1]
    batch = min(entry.batch, len(power))

    def loss(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        rows = loop.batch_indices(len(power), batch, settings.seed, step)
        draws = loop.generator(settings.seed, 1, step)
        mel = normalise(augment(power[rows], entry.noise, int(SHIFT * 100), draws))
        logits = (model(mel) @ captions[rows].T).float() / TEMPERATURE
        equal = same[rows][:, None] == same[rows]
        foreign = data.corpus[rows][:, None] != data.corpus[rows]
        hidden = (equal & ~torch.eye(batch, dtype=torch.bool)) | foreign
        logits = logits.masked_fill(hidden, -1e4)
        target = torch.arange(batch)
        total = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
        return total, {"contrast": total}

    optimisation = _optimisation(entry.steps, batch, entry.learning_rate)
    heard = [
        hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for tensor in (data.waves, data.captions, data.corpus)
    ]
    code = code_digest("pipeline.features.tower")
    key = digest([entry, optimisation, settings.vast.text, settings.seed, code, heard])
    loop.fit(
        model, loss, optimisation, state=paths.state(settings, "tower", key), seed=settings.seed, label="audio tower"
    )
    return tower.requires_grad_(False).eval()


def _optimisation(steps: int, batch: int, learning_rate: float) -> Optimisation:
    return Optimisation(
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        warmup=0.1,
        weight_decay=0.05,
        beta1=0.9,
        beta2=0.98,
        epsilon=1e-6,
        clip=1.0,
        precision="auto",
        validate_every=steps,
        checkpoint_every=max(steps // 5, 1),
    )
