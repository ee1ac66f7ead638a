"""Names in the settings that must be something's: methods, runs, corpora, settings of objectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import UserError, instead
from pipeline.objectives import parse
from pipeline.settings.registries import Run
from pipeline.settings.resolved import Settings

#: `where("runs", "gram")` → `params/runs.yaml: runs.gram`, by the file that sets it.
Where = Callable[..., str]
#: The dimension of params/spaces.yaml that becomes `learning_rate`.
FACTOR = "learning_rate_factor"
#: Towers of the released VAST, at its sizes or small ones; all others feed an initial model that is trained.
RELEASED_TOWERS = {("eva01-g-14", "beats"), ("eva01-tiny", "beats-tiny")}


def check(settings: Settings, corpora: Mapping[str, Any], where: Where) -> None:
    """A UserError names the first name that is nothing's, by file and key; `corpora`: the registry of all of them."""
    _towers(settings, where)
    for name, entry in settings.methods.items():
        _objective(where("methods", name), entry.objective, entry.settings)
    for name, run in settings.runs.items():
        _run(settings, name, run, where)
    _tables(settings, where)
    for method in settings.spaces:
        if method not in settings.methods:
            others = instead(method, settings.methods)
            raise UserError(f"{where('spaces', method)}: unknown method '{method}'; {others}")
        _space(settings, method, where)
    _theory(settings, where)
    named = {where("runs", name, "corpora"): run.corpora for name, run in settings.runs.items()}
    named[where("training", "corpora")] = settings.training.corpora
    for key, trained in named.items():
        for corpus in trained:
            if corpus not in corpora:
                raise UserError(f"{key}: unknown corpus '{corpus}'; {instead(corpus, corpora)}")


def _towers(settings: Settings, where: Where) -> None:
    towers = settings.vision.name, settings.audio.name
    if (towers in RELEASED_TOWERS) != (settings.vast.released is not None):
        known = " or ".join(" and ".join(pair) for pair in sorted(RELEASED_TOWERS))
        raise UserError(
            f"{where('vast', 'released')}: goes with the towers {known}, and they with it; "
            f"here are {' and '.join(towers)}"
        )

    for name in settings.audio_candidates:
        if name not in ("aisfx", settings.audio.name):
            own = f"aisfx nor audio.name, {settings.audio.name}"
            raise UserError(f"{where('audio_candidates')}: '{name}' is neither {own}")


def _run(settings: Settings, name: str, run: Run, where: Where) -> None:
    if run.method != "vast" and run.method not in settings.zero_shot:
        if run.method not in settings.methods:
            others = instead(run.method, [*settings.methods, *settings.zero_shot])
            raise UserError(f"{where('runs', name, 'method')}: unknown method '{run.method}'; {others}")
        entry = settings.methods[run.method]
        _objective(where("runs", name, "settings"), entry.objective, entry.settings | run.settings)
    if "text" not in run.modalities:
        raise UserError(f"{where('runs', name, 'modalities')}: text is missing; every run is searched by text")
    if run.initial not in settings.runs or settings.runs[run.initial].method != "vast":
        raise UserError(f"{where('runs', name, 'initial')}: '{run.initial}' is no run of method vast")
    if run.tuned and run.method not in settings.spaces:
        raise UserError(f"{where('runs', name, 'tuned')}: params/spaces.yaml has no space for '{run.method}'")


def _tables(settings: Settings, where: Where) -> None:
    for name, table in settings.tables.items():
        for row in table.runs:
            if row not in settings.runs:
                others = instead(row, settings.runs)
                raise UserError(f"{where('tables', name, 'runs')}: unknown run '{row}'; {others}")
            if len(settings.runs[row].modalities) < 3:
                given = ", ".join(settings.runs[row].modalities)
                raise UserError(f"{where('tables', name, 'runs')}: '{row}' has {given}; tables compare T→VA")
        for row in table.labels:
            if row not in table.runs:
                raise UserError(f"{where('tables', name, 'labels')}: '{row}' is no run of the table")


def _space(settings: Settings, method: str, where: Where) -> None:
    entry = settings.methods[method]
    for key, dimension in settings.spaces[method].items():
        place = where("spaces", method, key)
        if key == FACTOR and dimension.choices:
            raise UserError(f"{place}: give low < high")
        if key.startswith("settings."):
            for value in dimension.choices or dimension.bounds:
                _objective(place, entry.objective, entry.settings | {key.removeprefix("settings."): value})
        elif key not in (FACTOR, "temperature"):
            raise UserError(f"{place}: unknown; there are {FACTOR}, temperature and settings.<key>")


def _theory(settings: Settings, where: Where) -> None:
    options = settings.theory.modalities
    for keys, runs in ((("trace",), settings.theory.trace), (("modalities", "runs"), options.runs)):
        for name in runs:
            if name not in settings.runs or settings.runs[name].method not in settings.methods:
                others = instead(name, settings.runs)
                raise UserError(f"{where('theory', *keys)}: '{name}' is no trained run; {others}")
    for name in options.runs:
        run = settings.runs[name]
        taken = Run(method=run.method, settings=run.settings, temperature=run.temperature, initial=run.initial)
        if run != taken or run.settings.get("anchor") == "audio":
            raise UserError(
                f"{where('theory', 'modalities', 'runs')}: '{name}': objective, its settings and temperature alone are "
                "taken from a run there, and nothing is called audio"
            )
    if max(options.counts) < 3:
        raise UserError(f"{where('theory', 'modalities', 'counts')}: {options.counts}; one of 3 or more is needed")


def _objective(key: str, objective: str, values: dict[str, Any]) -> None:
    try:
        parse(objective, values)
    except ValueError as error:
        raise UserError(f"{key}: {error}") from None
