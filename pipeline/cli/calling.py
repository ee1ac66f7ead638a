"""The application, the options that commands share, and the call of a stage."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Annotated, Any

import typer

from pipeline import dispatch, locks
from pipeline.errors import UserError, instead
from pipeline.settings import Settings, load

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The stages of UniAlign, reproduced. Snakemake calls them; each can be called by hand, too.",
)
#: The preset that the command line names, of all commands alike; none: what params/default.yaml names.
_chosen: dict[str, str | None] = {"preset": None}


@app.callback()
def options(
    preset: Annotated[
        str | None,
        typer.Option(help="an overlay of params/presets/, e.g. gram-shipped; outputs have their own folders."),
    ] = None,
) -> None:
    """Keep what all commands share."""
    _chosen["preset"] = preset


def settings_of(scale: str | None) -> Settings:
    """The settings of `scale` under the chosen preset."""
    return load(scale, preset=_chosen["preset"])


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
    settings = settings_of(scale)
    locks.job()
    if only is not None:
        settings = settings.only(corpus_of(scale, only))
    # Read by OpenMP when torch is first imported, hence before the stage's module.
    os.environ["OMP_NUM_THREADS"] = str(threads or settings.threads)
    # Waiting threads that spin for long take the core from whatever runs beside (6 s a step of vast where 0.8 s would
    # do); those that sleep at once cost a job that is alone a tenth: some 30 µs, what waking one takes.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    # Fresh memory in pages of 2 MB where the system has them: faults of small ones took a third of the vision tower's
    # time and a tenth of vast's.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    known = {*settings.corpora, *settings.runs}
    subject = next((one for one in arguments if isinstance(one, str) and one in known), "")
    module, name = dispatch.resolve(settings, function, subject).rsplit(".", 1)
    getattr(import_module(module), name)(settings, *arguments, **options)


def corpus_of(scale: str | None, corpus: str) -> str:
    """`corpus` if the scale has it (or a probe of that name); a UserError names the nearest."""
    settings = settings_of(scale)
    known = [*settings.corpora, *settings.probes]
    if corpus not in known:
        raise UserError(f"--corpus {corpus}: no such corpus at scale {settings.folder}; {instead(corpus, known)}")
    return corpus


def table_of(scale: str | None, table: str, option: str = "--table") -> str:
    """`table`, the value of `option`, if params/runs.yaml has it; a UserError names the nearest."""
    known = settings_of(scale).tables
    if table not in known:
        raise UserError(f"{option} {table}: no such table in params/runs.yaml; {instead(table, known)}")
    return table


def probe(scale: str | None, corpus: str) -> str | None:
    """`corpus` if it is a probe: the stages that make it see it alone."""
    return corpus if corpus in settings_of(scale).probes else None


def numbers(text: str) -> list[int]:
    """`0,1,2` as integers."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds {text}: expected whole numbers separated by commas") from None
