"""Settings of the objectives: one small frozen dataclass a family, defaults = the published constants.

`parse(name, mapping)` turns a plain mapping (a row of params/methods.yaml) into the typed object and raises ValueError,
in one line, for an unknown objective, key or value. Temperatures are no settings: they may be learnt, so the caller
passes them as tensors; `TEMPERATURES` lists the published ones.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

#: Objectives that are trained on the fused conditions; for all others these cost time, and the fused head goes stale.
FUSED = frozenset({"vast"})

EqualCaptions = Literal["not", "masked"]
Gather = Literal["grad", "no-grad"]


@dataclass(frozen=True)
class Objective:
    """What every objective has.

    `equal_captions`: `masked` leaves pairs of the `same` matrix out of the negatives.
    """

    equal_captions: EqualCaptions = "not"


@dataclass(frozen=True)
class InfoNCE(Objective):
    """All pairs of modalities, Eq. 1 with equal weights."""


@dataclass(frozen=True)
class Anchored(Objective):
    """Pairs of one modality with each other one."""

    anchor: str = "text"


@dataclass(frozen=True)
class ImageBind(Anchored):
    """Anchored at vision."""

    anchor: str = "vision"


@dataclass(frozen=True)
class LanguageBind(Anchored):
    """Anchored at text."""


@dataclass(frozen=True)
class Vast(Anchored):
    """Text with each fused condition; `conditions` empty: all that are given."""

    conditions: tuple[str, ...] = ()
    label_smoothing: float = 0.1
    gather: Gather = "grad"


@dataclass(frozen=True)
class Tuples(Anchored):
    """Anchor against the tuple of the other modalities (GRAM, TRIANGLE)."""

    label_smoothing: float = 0.1
    gather: Gather = "grad"


@dataclass(frozen=True)
class Symile(Objective):
    """Multilinear inner product; `n`: B - 1 negatives a row, `n_squared`: all combinations of rows."""

    negatives: Literal["n", "n_squared"] = "n"


@dataclass(frozen=True)
class Pmrl(Objective):
    """`singular_temperature`: of the softmax over singular values (the script's tau1); `lambda_inter`: contrast."""

    singular_temperature: float = 0.01
    lambda_inter: float = 1.0


@dataclass(frozen=True)
class Holder(Objective):
    """Eq. 24 as a loss; `anchors`: modalities that the joint estimate (Eq. 23) is averaged over."""

    leave_one_out: bool = False
    anchors: Literal["first", "all"] = "first"


@dataclass(frozen=True)
class UniAlign(Anchored):
    """Eq. 13 and the readings of what it leaves open; the default is the reading fixed beforehand.

    width: `2tau2` Eq. 9, exp(-d^2 / 2 tau^2); `2tau` Eq. 2, exp(-d^2 / 2 tau); a number: exp(-d^2 / 2 width^2).
    scale: `one` as printed; `align/2tau2`, `align/2tau` divide both alignment terms; `U*tau2` multiplies each
        uniformity term by the square of its kernel's width (tau^2 as printed), so that its gradient is of order one.
    over_modalities: sum (Eq. 13) or mean of U over modalities.
    anchor_gradient: `stop` keeps the alignment terms (distance and volume) from moving the anchor.
    uniformity_batch: `device` computes every U in `devices` chunks of consecutive rows and averages them.
    centroid_temperature: tau of U(C) (Table 5), `None`: the same as elsewhere.
    lambda_centroid, lambda_volume: weights of U(C) and of sqrt det G within L_vol (Table 2 switches them off).
    """

    uniformity: Literal["euclidean", "geodesic"] = "euclidean"
    alignment: Literal["euclidean", "geodesic", "volume"] = "euclidean"
    lambda_uni: float = 1.0
    lambda_align: float = 1.0
    lambda_vol: float = 1.0
    lambda_centroid: float = 1.0
    lambda_volume: float = 1.0
    width: Literal["2tau2", "2tau"] | float = "2tau2"
    scale: Literal["one", "align/2tau2", "align/2tau", "U*tau2"] = "U*tau2"
    over_modalities: Literal["sum", "mean"] = "sum"
    anchor_gradient: Literal["flow", "stop"] = "flow"
    uniformity_batch: Literal["global", "device"] = "global"
    devices: int = 4
    centroid_temperature: float | None = None

    def __post_init__(self) -> None:
        """ValueError for a setting that another one leaves without effect."""
        defaults = {field.name: field.default for field in fields(self)}
        idle: list[tuple[str, str]] = []
        central, flat = self.lambda_vol * self.lambda_centroid, self.lambda_vol * self.lambda_volume
        if not isinstance(self.width, str):
            idle.append(("centroid_temperature", f"width {self.width}, which is that of every kernel"))
        if not self.lambda_uni:
            idle.append(("over_modalities", "lambda_uni 0"))
        if not (self.lambda_uni or central):
            idle += [(key, "no uniformity") for key in ("uniformity", "width", "uniformity_batch")]
        if not self.lambda_align:
            idle.append(("alignment", "lambda_align 0"))
        if not (self.lambda_align or flat):
            idle += [(key, "no alignment") for key in ("anchor", "anchor_gradient")]
        if not self.lambda_centroid:
            idle.append(("centroid_temperature", "lambda_centroid 0"))
        if not self.lambda_vol:
            idle += [(key, "lambda_vol 0") for key in ("lambda_centroid", "lambda_volume", "centroid_temperature")]
        if self.uniformity_batch == "global":
            idle.append(("devices", "uniformity_batch global"))
        for key, cause in idle:
            if getattr(self, key) != defaults[key]:
                raise ValueError(f"objective unialign: {key}: without effect beside {cause}; leave one of them out")


FAMILIES: dict[str, type[Objective]] = {
    "infonce": InfoNCE,
    "imagebind": ImageBind,
    "languagebind": LanguageBind,
    "vast": Vast,
    "gram": Tuples,
    "triangle": Tuples,
    "symile": Symile,
    "pmrl": Pmrl,
    "holder": Holder,
    "unialign": UniAlign,
}
TEMPERATURES = dict.fromkeys(FAMILIES, 0.07) | {"pmrl": 0.1}  # Symile's own start value is not in our sources


def parse(name: str, mapping: Mapping[str, Any] | None = None) -> Objective:
    """The settings object of objective `name` from plain values; ValueError names the key and what it accepts."""
    if name not in FAMILIES:
        raise ValueError(f"no objective '{name}'; there are {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    hints = get_type_hints(family)
    known = [field.name for field in fields(family)]
    values = {}
    for key, value in (mapping or {}).items():
        if key not in known:
            raise ValueError(f"objective {name}: unknown setting '{key}'; there are {', '.join(known)}")
        values[key] = _checked(f"objective {name}: {key}", value, hints[key])
    return family(**values)


def _checked(where: str, value: Any, kind: Any) -> Any:
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for option in options:
        if option is type(None) and value is None:
            return None
        if get_origin(option) is Literal and value in get_args(option):
            return value
        if get_origin(option) is tuple and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            return tuple(value)
        if option in (str, bool) and isinstance(value, option):
            return value
        if option is int and isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            zero = where.rsplit(" ", 1)[1].startswith(("lambda", "label"))
            if math.isfinite(value) and (value > 0 or (zero and value == 0)):
                return float(value)
    raise ValueError(f"{where}: {value!r} is not {' or '.join(_described(o) for o in options)}")


def _described(option: Any) -> str:
    if get_origin(option) is Literal:
        return "one of " + ", ".join(map(str, get_args(option)))
    if get_origin(option) is tuple:
        return "a list of names"
    return {int: "a whole number > 0", float: "a number > 0 (weights and smoothing: >= 0)", str: "a name",
            bool: "true or false"}.get(option, "null")  # fmt: skip
