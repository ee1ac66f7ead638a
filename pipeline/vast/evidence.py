"""What each part of the initial model has learnt, on validation, a corpus a column.

Matching: AUC of a caption's own clip against a random other clip and against a hard one (drawn as in training, by the
contrastive similarity), null where all clips have one caption. Contrast: R@1 of text to each fused condition beside
chance. Captioning: CIDEr of generated captions beside that of the same captions dealt to other clips, and the share not
found among the training captions.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from pipeline import files, loop, low_precision, paths, wording
from pipeline.models import captioner
from pipeline.models import vast as models
from pipeline.models.decoder import Decoder
from pipeline.settings import Settings
from pipeline.vast import data, embed, losses, measures
from pipeline.vast.data import Split

BLOCK = 128
SHOWN = 5


def evidence(settings: Settings) -> None:
    """Write results/<scale>/tables/vast.json and show a sample of captions."""
    model, tokenizer = models.load(settings)
    record = {}
    for number, corpus in enumerate(settings.corpora):
        split = data.read(settings, corpus, "val", tokenizer)
        known = set(data.read(settings, corpus, "train", tokenizer).texts)
        draws = loop.generator(settings.seed, 3, number)
        record[corpus] = (
            {"clips": len(split.clips), "captions": int(split.number.max()) + 1}
            | contrast_and_matching(model, split, draws)
            | captioning(model, tokenizer, split, known, settings, corpus)
        )
        print(f"{corpus}: {record[corpus]}", file=sys.stderr)
    files.write_json(paths.evidence(settings), {"split": "val", "corpora": record})


@torch.inference_mode()
def contrast_and_matching(model: models.Vast, split: Split, draws: torch.Generator) -> dict[str, object]:
    """R@1 of each condition and AUC of matching."""
    lower = embed.lower(model, split)
    vectors = embed.embeddings(model, split, lower)
    hits = split.hits()
    found: dict[str, object] = {}
    for name, label in (("va", "T2VA"), ("v", "T2V"), ("a", "T2A")):
        value, chance = measures.recall_at_1(vectors["text"] @ vectors[f"fused_{name}"].T, hits)
        found[f"R@1 {label}"] = value
        found["R@1 chance"] = chance
    similarity = vectors["text"] @ vectors["fused_va"].T / model.contrast.temperature
    own = _probability(model, split, lower, split.clip)
    for label, weights in (("random", torch.zeros_like(similarity)), ("hard", similarity)):
        clips = losses.negatives(weights, ~hits, draws)
        asked = clips >= 0  # a caption of all clips has no other
        other = _probability(model, split, lower, clips.clamp_min(0))
        found[f"matching AUC {label}"] = measures.auc(own[asked], other[asked]) if asked.any() else None
    return found


def _probability(model: models.Vast, split: Split, lower: Tensor, clips: Tensor) -> Tensor:
    """Matching probability [C] of each caption with the clip [C] given."""
    parts = []
    with low_precision.autocast(lower.device):
        for rows in torch.arange(len(clips)).split(BLOCK):
            longest = int(split.lengths[rows].max())
            condition = model.tokens(split.features(clips[rows]))
            pairs = torch.arange(len(rows))[:, None].expand(-1, 2)
            logits = model.matching(lower[rows, :longest], split.lengths[rows], condition, pairs)
            parts.append(logits.softmax(1)[:, 1])
    return torch.cat(parts)


@torch.inference_mode()
def captioning(
    model: models.Vast, tokenizer: models.Tokenizer, split: Split, known: set[str], settings: Settings, corpus: str
) -> dict[str, object]:
    """CIDEr, its control and the share of new captions, of a few clips of different captions, evenly spread."""
    how, count = settings.captions, settings.vast.evidence_captions
    distinct = split.distinct()
    rows = distinct[torch.linspace(0, len(distinct) - 1, min(count, len(distinct))).round().long()]
    clips = split.clip[rows]
    pieces = []
    for part in model.tokens(split.features(clips)).split(how.batch):
        decoder = Decoder(model.bert.body, model.bert.logits, part, tokenizer.mask)
        pieces += captioner.beam(decoder, tokenizer, how)
    written = captioner.texts(tokenizer, pieces)
    references = [[split.texts[row]] for row in rows.tolist()]
    for clip, truth, caption in list(zip(clips.tolist(), references, written, strict=True))[:SHOWN]:
        print(f"{corpus} {split.clips[clip]}: '{caption}' (truth: '{truth[0]}')", file=sys.stderr)
    train = {wording.words(text) for text in known}
    return {
        "captions written": len(written),
        "CIDEr": float(wording.cider(written, references).mean()),
        "CIDEr of other clips' captions": float(wording.cider(written[1:] + written[:1], references).mean()),
        "distinct captions share": len(set(written)) / len(written),
        "new captions share": sum(wording.words(text) not in train for text in written) / len(written),
        "sample": written[:SHOWN],
    }
