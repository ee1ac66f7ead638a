"""Embeddings of the val and test splits of all corpora by a run (or by an initial model), one file a corpus and seed.

By split: `<split>/text` [C, D], `<split>/text_clip` [C] (row of the clip a caption describes), `<split>/<modality>`
[n, D], `<split>/fused_<condition>` [n, D]; float32, unit rows, an absent modality is a row of zeros. Metadata: ids by
split, run, seed, corpus, digests of the manifest and of the weights (`model`), `stale`: scores that the training left
behind.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline import paths
from pipeline.errors import UserError
from pipeline.files import load_metadata, load_tensors, save_tensors, sha256
from pipeline.models.heads import Heads, restore
from pipeline.pooled import Pooled, origin, read
from pipeline.provenance import check
from pipeline.settings import Settings

SPLITS = ("val", "test")


def embed(settings: Settings, run: str, seeds: list[int]) -> None:
    """Write the embeddings of every corpus of the scale by the seeds of a run."""
    modalities, initial = settings.run(run).modalities, settings.initial(run)
    models: dict[int, tuple[Heads, str]] = {}
    for seed in seeds:
        weights = paths.model(settings, run, seed) / "weights.safetensors"
        if not weights.is_file():
            raise UserError(f"{weights}: missing; train {run} with seed {seed} first")
        models[seed] = restore(load_tensors(weights)), sha256(weights)
    for corpus in settings.corpora:
        pooled, made_of = paths.pooled(settings, corpus, initial), origin(settings, corpus, initial)
        splits = {split: read(pooled, split, modalities) for split in SPLITS}
        check(pooled, load_metadata(pooled), "run the stage pool again", **made_of)
        about = {"ids": {name: split.ids for name, split in splits.items()}, "manifest": made_of["manifest"]}
        about |= {"run": run, "corpus": corpus, "stale": settings.stale(run)}
        for seed, (heads, digest) in models.items():
            tensors = {
                f"{split}/{name}": tensor
                for split, pooled in splits.items()
                for name, tensor in embedded(heads, pooled).items()
            }
            save_tensors(
                paths.embeddings(settings, run, seed, corpus), tensors, about | {"seed": seed, "model": digest}
            )


@torch.no_grad()
def embedded(heads: Heads, pooled: Pooled) -> dict[str, Tensor]:
    """Embeddings of a split by modality, `text_clip`, and `fused_<condition>`."""
    embeddings, fused = heads(pooled.features())
    conditions = {f"fused_{name}": tensor.clone() for name, tensor in fused.items()}  # v and a: the modality's own
    return embeddings | {"text_clip": pooled.clip} | conditions
