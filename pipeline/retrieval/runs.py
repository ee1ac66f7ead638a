"""Galleries of our own runs: whole splits, from embeddings that are that run's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline import paths, written
from pipeline.errors import UserError
from pipeline.files import load_metadata, sha256
from pipeline.provenance import check
from pipeline.retrieval.gallery import Gallery, read_gallery
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pandas import DataFrame


def run_gallery(
    settings: Settings, run: str, seed: int, corpus: str, split: str = "test", clips: DataFrame | None = None
) -> Gallery:
    """A split as a run has embedded it; a UserError if clips are missing or the embeddings are another run's.

    `clips`: the split's usable clips, if they are read already.
    """
    path, manifest = paths.embeddings(settings, run, seed, corpus), paths.manifest(settings, corpus)
    settings.run(run)
    if clips is None:
        clips = written.usable(settings, corpus, split)
    gallery = read_gallery(path, manifest, split, clips)
    check(path, load_metadata(path), f"embed {run} again", run=run, seed=seed, corpus=corpus)
    if len(gallery.ids) != gallery.expected:
        raise UserError(f"{path}: {len(gallery.ids)} of {gallery.expected} {split} clips; embed the run again")
    return gallery


def origin(settings: Settings, run: str, seed: int, corpus: str) -> dict[str, Any]:
    """What a run's embeddings are made of: run, seed, corpus, digests of clips, of weights (`model`) and their own.

    A UserError if the weights that lie there now are others (somebody's released model has none there).
    """
    path = paths.embeddings(settings, run, seed, corpus)
    about = {"run": run, "seed": seed, "corpus": corpus, "manifest": written.digest(settings, corpus)}
    stored, weights = load_metadata(path), paths.model(settings, run, seed) / "weights.safetensors"
    check(path, stored, f"embed {run} again", **about)
    if weights.is_file():
        check(path, stored, f"{weights} are others; embed {run} again", model=sha256(weights))
    return about | {"model": stored.get("model"), "embeddings": sha256(path)}
