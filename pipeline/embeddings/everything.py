"""Embeddings by runs that have trained everything: the clips pass the run's own towers, then its heads.

The file has the layout of pipeline/embeddings/embed.py.
"""

from __future__ import annotations

from torch import Tensor

from pipeline import encoded, paths, written
from pipeline.embeddings.embed import SPLITS, embedded
from pipeline.files import save_tensors, sha256
from pipeline.models import released
from pipeline.models.heads import restore
from pipeline.settings import Settings


def embed(settings: Settings, run: str, seeds: list[int]) -> None:
    """Write the embeddings of every corpus of the scale by the seeds of a run, of the run's modalities."""
    words = released.tokenizer(settings)
    modalities = settings.run(run).modalities
    for seed in seeds:
        model = released.stored(settings, run, seed).to(released.device())
        digest = sha256(paths.model(settings, run, seed) / "weights.safetensors")
        heads = restore({name: tensor.cpu() for name, tensor in released.heads(model).items()})
        for corpus in settings.corpora:
            tensors: dict[str, Tensor] = {}
            ids: dict[str, list[str]] = {}
            for split in SPLITS:
                pooled = encoded.pooled(model, words, settings, corpus, written.usable(settings, corpus, split))
                for name in [name for name in pooled.items if name not in modalities]:
                    del pooled.items[name]
                ids[split] = pooled.ids
                tensors |= {f"{split}/{name}": tensor for name, tensor in embedded(heads, pooled).items()}
            about = {"ids": ids, "run": run, "seed": seed, "corpus": corpus, "model": digest}
            about |= {"manifest": written.digest(settings, corpus), "stale": settings.stale(run)}
            save_tensors(paths.embeddings(settings, run, seed, corpus), tensors, about)
