"""Commands of what is measured and shown: ranks, tables, search, theory; and of this machine."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.calling import (
    Corpus,
    RunName,
    RunNames,
    Scale,
    Seeds,
    TableName,
    Threads,
    app,
    call,
    corpus_of,
    numbers,
    table_of,
)


@app.command()
def rank(run: RunNames, seeds: Seeds, scale: Scale = None, threads: Threads = None) -> None:
    """Ranks of the truth of each query, by score and direction."""
    for name in run.split(","):
        call("pipeline.retrieval.rank.rank", scale, name, numbers(seeds), threads=threads)


@app.command()
def study(run: RunNames, seeds: Seeds, scale: Scale = None, threads: Threads = None) -> None:
    """Hubs, collinearity and missing modalities in the stored embeddings of runs."""
    for name in run.split(","):
        call("pipeline.retrieval.study.study", scale, name, numbers(seeds), threads=threads)


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
def scores(scale: Scale = None) -> None:
    """The study of the scores, from stored ranks."""
    call("pipeline.reporting.scores.scores", scale)


@app.command()
def retrieval_table(table: TableName, scale: Scale = None) -> None:
    """A table of runs in the shape of Table 1, from stored ranks."""
    call("pipeline.reporting.table1.table1", scale, table_of(scale, table))


@app.command()
def captions_table(scale: Scale = None, threads: Threads = None) -> None:
    """What the captions are worth that the initial model writes."""
    call("pipeline.reporting.captions.captions", scale, threads=threads)


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
    method: Annotated[str, typer.Option(help="methods of params/spaces.yaml, separated by commas")],
    scale: Scale = None,
    threads: Threads = None,
) -> None:
    """Search methods' spaces on validation; all trials, the curve, the winner of each."""
    for name in method.split(","):
        call("pipeline.training.tune.tune", scale, name, threads=threads)


@app.command()
def tuning_table(scale: Scale = None) -> None:
    """Trials, winners and curves of the equal tuning."""
    call("pipeline.reporting.tuning.tuning", scale)


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
def track(
    table: Annotated[str, typer.Option(help="a table of params/runs.yaml, tuning or figure1")], scale: Scale = None
) -> None:
    """Show a table's runs, all trials of tuning or figure 1's trainings in MLflow."""
    call("pipeline.tracking.record", scale, table)


@app.command()
def leakage(scale: Scale = None) -> None:
    """Check that nothing crosses splits and that nuisance alone finds nothing."""
    call("pipeline.corpora.leakage.check", scale)


Target = Annotated[str, typer.Option(help="a table of params/runs.yaml")]


@app.command()
def estimate(target: Target = "table1", scale: Scale = None) -> None:
    """What a target costs before it runs: downloads, disk, hours, memory a rank, and what is missing here."""
    call("pipeline.estimate.estimate", scale, table_of(scale, target, "--target"))


@app.command()
def doctor(target: Target = "table1", scale: Scale = None) -> None:
    """Check this machine for a target: what is missing, and where to get it."""
    call("pipeline.doctor.doctor", scale, table_of(scale, target, "--target"))


@app.command()
def spent(scale: Scale = None) -> None:
    """What the jobs that ran have cost: seconds and peak memory a stage."""
    call("pipeline.spent.spent", scale)
