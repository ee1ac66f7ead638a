"""One load of `params/`: overlays laid over one another, names checked against the registries, mistakes in one line."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.errors import UserError, instead
from pipeline.objectives import parse
from pipeline.settings.registries import Dimension
from pipeline.settings.resolved import Settings

#: The dimension of params/spaces.yaml that becomes `learning_rate`.
FACTOR = "learning_rate_factor"


def load(scale: str | None = None, root: Path | None = None, preset: str | None = None) -> Settings:
    """Settings of a scale and preset (default: those that `params/default.yaml` names)."""
    return _load(scale, (root or Path()).resolve(), preset)


@cache
def _load(scale: str | None, root: Path, preset: str | None) -> Settings:
    params = root / "params"
    default = _yaml(params / "default.yaml")
    scale = scale or default.get("scale")
    overlay_file = params / f"{scale}.yaml"
    if scale not in ("smoke", "mini", "paper") or not overlay_file.is_file():
        raise UserError(f"params/default.yaml: scale: '{scale}' is none of smoke, mini, paper")
    preset = default.get("preset", "") if preset is None else preset
    layers = {f"presets/{preset}.yaml": _preset(params, str(preset), scale)} if preset else {}
    layers[f"{scale}.yaml"] = _yaml(overlay_file)
    overlay = _merge(layers[f"{scale}.yaml"], layers.get(f"presets/{preset}.yaml", {}))
    registries = {name: _yaml(params / f"{name}.yaml") for name in ("corpora", "methods", "runs", "spaces")}
    for key in registries["runs"]:
        if key not in ("runs", "tables"):
            raise UserError(f"params/runs.yaml: {key}: unknown key; there are runs and tables")
    merged = _merge(default, overlay) | {"scale": scale, "preset": preset}
    merged["corpora"] = _corpora(registries["corpora"], overlay.get("corpora", {}), scale)
    merged["probes"] = _corpora(registries["corpora"], overlay.get("probes", {}), scale)
    merged["methods"], merged["spaces"] = registries["methods"], registries["spaces"]
    merged["runs"] = _merge(registries["runs"].get("runs", {}), overlay.get("runs", {}))
    merged["tables"] = _merge(registries["runs"].get("tables", {}), overlay.get("tables", {}))
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        layers |= {f"{name}.yaml": {name: registries[name]} for name in ("methods", "spaces")}
        layers |= {"runs.yaml": registries["runs"], "default.yaml": default}
        layers["corpora.yaml"] = dict.fromkeys(("corpora", "probes"), registries["corpora"])
        raise UserError(_first_error(error, layers)) from None
    _check_names(settings)
    _check_corpora(settings, registries["corpora"])
    return settings.model_copy(update={"spaces": _with_rates(settings)})


def _with_rates(settings: Settings) -> dict[str, dict[str, Dimension]]:
    """The spaces with learning rates in the place of factors on the scale's own."""
    own = settings.training.optimisation.learning_rate

    def rate(factor: Dimension) -> Dimension:
        low, high = factor.bounds
        return Dimension(low=own * low, high=own * high)

    return {
        method: {
            "learning_rate" if key == FACTOR else key: rate(dimension) if key == FACTOR else dimension
            for key, dimension in space.items()
        }
        for method, space in settings.spaces.items()
    }


def _preset(params: Path, preset: str, scale: str) -> dict[str, Any]:
    """An overlay of `params/presets/`; it names the scale it is made for. A corpus set to null is taken out."""
    known = sorted(path.stem for path in (params / "presets").glob("*.yaml"))
    if preset not in known:
        raise UserError(f"preset: '{preset}' is none of {', '.join(known)} (params/presets/)")
    overlay = _yaml(params / "presets" / f"{preset}.yaml")
    made_for = overlay.pop("scale", None)
    if made_for != scale:
        raise UserError(f"params/presets/{preset}.yaml: is made for scale {made_for}, not {scale}; name that scale too")
    return overlay


def _yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: missing; restore it from the repository")
    try:
        value = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a mapping")
    return value


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _corpora(registry: Mapping[str, Any], sizes: Mapping[str, Any], scale: str | None) -> dict[str, Any]:
    for name in sizes:
        if name not in registry:
            raise UserError(
                f"params/{scale}.yaml: corpora.{name}: unknown corpus in params/corpora.yaml; {instead(name, registry)}"
            )
    return {name: _merge(registry[name], size) for name, size in sizes.items() if size is not None}


def _first_error(error: ValidationError, layers: dict[str, dict[str, Any]]) -> str:
    """The mistake and the file it stands in: the first of the layers that has its key, or most of it."""
    # A misspelt key is missing by its right name too: the wrong one is what helps.
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    where = [str(part) for part in first["loc"]]
    depths = range(len(where), 0, -1)
    holders = (file for depth in depths for file, layer in layers.items() if _has(layer, where[:depth]))
    problem = {"extra_forbidden": "unknown key", "missing": "missing key"}.get(first["type"], first["msg"])
    return f"params/{next(holders, 'default.yaml')}: {'.'.join(where)}: {problem}"


def _has(tree: Any, where: list[str]) -> bool:
    for part in where:
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True


#: Towers of the released VAST, at its sizes or small ones; all others feed an initial model that is trained.
RELEASED_TOWERS = {("eva01-g-14", "beats"), ("eva01-tiny", "beats-tiny")}


def _check_towers(settings: Settings) -> None:
    towers = settings.vision.name, settings.audio.name
    if (towers in RELEASED_TOWERS) != (settings.vast.released is not None):
        known = " or ".join(" and ".join(pair) for pair in sorted(RELEASED_TOWERS))
        raise UserError(
            f"params/{settings.scale}.yaml: vast.released: goes with the towers {known}, and they with it; "
            f"here are {' and '.join(towers)}"
        )


def _check_names(settings: Settings) -> None:
    _check_towers(settings)
    for name, entry in settings.methods.items():
        _check_objective(f"params/methods.yaml: {name}", entry.objective, entry.settings)
    for name, run in settings.runs.items():
        if run.method != "vast" and run.method not in settings.zero_shot:
            if run.method not in settings.methods:
                others = instead(run.method, [*settings.methods, *settings.zero_shot])
                raise UserError(f"params/runs.yaml: runs.{name}.method: unknown method '{run.method}'; {others}")
            entry = settings.methods[run.method]
            _check_objective(f"params/runs.yaml: runs.{name}", entry.objective, entry.settings | run.settings)
        if run.initial not in settings.runs or settings.runs[run.initial].method != "vast":
            raise UserError(f"params/runs.yaml: runs.{name}.initial: '{run.initial}' is no run of method vast")
        if run.tuned and run.method not in settings.spaces:
            raise UserError(f"params/spaces.yaml: no space for '{run.method}', which runs.{name} asks for")
    for name, table in settings.tables.items():
        for row in table.runs:
            if row not in settings.runs:
                raise UserError(
                    f"params/runs.yaml: tables.{name}.runs: unknown run '{row}'; {instead(row, settings.runs)}"
                )
        for row in table.labels:
            if row not in table.runs:
                raise UserError(f"params/runs.yaml: tables.{name}.labels: '{row}' is no run of the table")
    for method in settings.spaces:
        if method not in settings.methods:
            raise UserError(f"params/spaces.yaml: unknown method '{method}'; {instead(method, settings.methods)}")
        _check_space(settings, method)
    followed = {"trace": settings.theory.trace, "modalities.runs": settings.theory.modalities.runs}
    for key, name in ((key, name) for key, names in followed.items() for name in names):
        if name not in settings.runs or settings.runs[name].method not in settings.methods:
            raise UserError(f"params: theory.{key}: '{name}' is no trained run; {instead(name, settings.runs)}")


def _check_space(settings: Settings, method: str) -> None:
    entry = settings.methods[method]
    for key, dimension in settings.spaces[method].items():
        where = f"params/spaces.yaml: {method}.{key}"
        if key == FACTOR and dimension.choices:
            raise UserError(f"{where}: give low < high")
        if key.startswith("settings."):
            for value in dimension.choices or dimension.bounds:
                _check_objective(where, entry.objective, entry.settings | {key.removeprefix("settings."): value})
        elif key not in (FACTOR, "temperature"):
            raise UserError(f"{where}: unknown; there are {FACTOR}, temperature and settings.<key>")


def _check_corpora(settings: Settings, registry: Mapping[str, Any]) -> None:
    named = {f"params/runs.yaml: runs.{name}.corpora": run.corpora for name, run in settings.runs.items()}
    named[f"params/{settings.scale}.yaml: training.corpora"] = settings.training.corpora
    for where, corpora in named.items():
        for corpus in corpora:
            if corpus not in registry:
                raise UserError(f"{where}: unknown corpus '{corpus}'; {instead(corpus, registry)}")


def _check_objective(where: str, objective: str, values: dict[str, Any]) -> None:
    try:
        parse(objective, values)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
