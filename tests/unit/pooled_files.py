"""Synthetic pooled features, an initial model and manifests: nonlinear views of one latent, in a project."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor

from pipeline import paths
from pipeline.files import load_metadata, load_tensors, save_tensors, sha256
from pipeline.loop import generator
from pipeline.models.heads import Heads
from pipeline.settings import Settings, load

ROOT = Path(__file__).parents[2]


def project(folder: Path, scale: str = "smoke", widths: tuple[int, int, int] = (12, 20, 8)) -> Settings:
    """A copy of params/ with pooled features of all corpora and an initial model; the caller changes into `folder`.

    At smoke scale the way of mini.
    """
    shutil.copytree(ROOT / "params", folder / "params")
    settings = load(scale, folder, "mini-way" if scale == "smoke" else None)
    source = generator(11)
    views = [torch.randn(6, width, generator=source) for width in widths]
    manifests = {}
    for corpus, entry in settings.corpora.items():
        sizes = {"train": entry.train, "val": entry.val, "test": entry.test}
        pooled(folder / paths.pooled(settings, corpus), views, sizes, source)
        manifests[corpus] = folder / paths.manifest(settings, corpus)
        manifests[corpus].parent.mkdir(parents=True, exist_ok=True)
        manifests[corpus].write_bytes(corpus.encode())
    names = ("text", "vision", "audio")
    vast = Heads(dict(zip(names, widths, strict=True)), settings.vast.width, 0, source)
    other = {"bert.layer.weight": torch.zeros(2, 2)}
    weights = folder / paths.model(settings, "vast", 0) / "weights.safetensors"
    save_tensors(weights, vast.tensors() | other)
    for corpus, manifest in manifests.items():
        file, made_of = (
            folder / paths.pooled(settings, corpus),
            {"manifest": sha256(manifest), "model": sha256(weights)},
        )
        save_tensors(file, load_tensors(file), load_metadata(file) | made_of)
    return settings


def pooled(file: Path, views: list[Tensor], sizes: dict[str, int], source: torch.Generator) -> None:
    """Two captions for every third clip; clip 1 of a split has the captions of clip 0."""
    tensors, ids = {}, {}
    for split, n in sizes.items():
        latent = torch.randn(n, 6, generator=source)
        clip = torch.cat([torch.arange(n), torch.arange(0, n, 3)])
        spoken = latent.clone()
        spoken[1] = spoken[0]
        frames = torch.tanh(latent @ views[1])[:, None, None] + 0.1 * torch.randn(
            n, 4, 2 if split == "train" else 1, views[1].shape[1], generator=source
        )
        tensors |= {
            f"text-{split}": torch.tanh(spoken @ views[0])[clip],
            f"text-clip-{split}": clip,
            f"vision-{split}": frames.bfloat16(),
            f"audio-{split}": torch.tanh(latent @ views[2]),
        }
        ids[split] = [f"{file.stem}-{split}-{number}" for number in range(n)]
    save_tensors(file, tensors, {"ids": ids})
