"""One load of `params/`: overlays laid over one another, names checked against the registries, mistakes in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.errors import UserError, instead
from pipeline.settings import names
from pipeline.settings.registries import OPTIONS, Dimension
from pipeline.settings.resolved import Settings


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
    layers |= {f"{name}.yaml": {name: registries[name]} for name in ("methods", "spaces")}
    layers |= {"runs.yaml": registries["runs"], "default.yaml": default}
    layers["corpora.yaml"] = dict.fromkeys(("corpora", "probes"), registries["corpora"])
    where = partial(_where, layers)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise UserError(_first_error(error, where)) from None
    _options(settings, where)
    names.check(settings, registries["corpora"], where)
    return settings.model_copy(update={"spaces": _with_rates(settings)})


def _with_rates(settings: Settings) -> dict[str, dict[str, Dimension]]:
    """The spaces with learning rates in the place of factors on the scale's own."""
    own = settings.training.optimisation.learning_rate

    def rate(factor: Dimension) -> Dimension:
        low, high = factor.bounds
        return Dimension(low=own * low, high=own * high)

    return {
        method: {
            "learning_rate" if key == names.FACTOR else key: rate(dimension) if key == names.FACTOR else dimension
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


def _options(settings: Settings, where: Callable[..., str]) -> None:
    for group, entries in (("corpora", settings.corpora), ("probes", settings.probes)):
        for name, entry in entries.items():
            try:
                OPTIONS[entry.kind].model_validate(entry.options)
            except ValidationError as error:
                raise UserError(_first_error(error, partial(where, group, name, "options"))) from None


def _first_error(error: ValidationError, where: Callable[..., str]) -> str:
    # A misspelt key is missing by its right name too: the wrong one is what helps.
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    problem = {"extra_forbidden": "unknown key", "missing": "missing key"}.get(
        first["type"], first["msg"].removeprefix("Value error, ")
    )
    return f"{where(*map(str, first['loc']))}: {problem}"


def _where(layers: Mapping[str, Any], *keys: str) -> str:
    """A key and the file it stands in: the first of the layers that has it, or most of it."""
    depths = range(len(keys), 0, -1)
    holders = (file for depth in depths for file, layer in layers.items() if _has(layer, keys[:depth]))
    return f"params/{next(holders, 'default.yaml')}: {'.'.join(keys)}"


def _has(tree: Any, keys: Sequence[str]) -> bool:
    for part in keys:
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return True
