"""The candidates for the audio tower, compared on validation: which one a scale names is decided by these figures.

All of `audio_candidates` meet in one probe: same head, same clips. Table 1 needs the chosen one alone.
"""

from __future__ import annotations

import sys

import torch

from pipeline import files, paths
from pipeline.features import probe, tower
from pipeline.models import audio
from pipeline.settings import Settings

#: Most clips a corpus that the probe reads of each split: aiSFX is too slow for all.
MOST = {"train": 220, "val": 100}


def compare(settings: Settings) -> None:
    """Write tables/candidates.json: the probe's figures of each candidate, a corpus a column."""
    data = {split: tower.read(settings, split) for split in MOST}
    figures: dict[str, dict[str, dict[str, float]]] = {}
    clips: dict[str, dict[str, int]] = {}
    for name in settings.audio_candidates or [settings.audio.name]:
        candidate = audio.aisfx(settings.media.sample_rate) if name == "aisfx" else audio.load(settings)
        figures[name] = {}
        for number, corpus in enumerate(settings.corpora):
            sides = {}
            for split, most in MOST.items():
                rows = (data[split].corpus == number).nonzero().flatten()[:most]
                pooled = [candidate.encode(block).float().mean(1) for block in data[split].waves[rows].split(64)]
                sides[split] = torch.cat(pooled), data[split].captions[rows]
            figures[name][corpus] = probe.retrieval(sides["train"], sides["val"])
            clips[corpus] = {split: len(pooled) for split, (pooled, _) in sides.items()}
        print(f"audio tower {name}: {figures[name]}", file=sys.stderr)
    files.write_json(
        paths.table(settings, "candidates", "json"),
        {
            "chosen": settings.audio.name,
            "probe": "ridge regression to caption embeddings",
            "validation": figures,
            "clips": clips,
        },
    )
