"""Other people's checkpoints: read as tensors only, checked by sha256, and laid into a module name by name.

Nothing a checkpoint holds is executed. Every name that is missing, unexpected or of another shape is named; none is
ignored (facts: the official loaders use `strict=False` and hide them).
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.files import sha256 as file_sha256

#: Wrappers that training scripts put around a state dict, outermost first.
WRAPPERS = ("state_dict", "model", "module", "model_state_dict")
SHOWN = 5


def read(path: Path, sha256: str = "") -> dict[str, Tensor]:
    """The tensors of a checkpoint (.safetensors, or a pickle of tensors) by name; `sha256` is checked when given."""
    content = read_raw(path, sha256)
    for key in WRAPPERS:
        inner = content.get(key)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            content = inner
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise UserError(f"{path}: holds no tensors; is it the checkpoint?")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def read_raw(path: Path, sha256: str = "") -> Mapping[str, Any]:
    """The whole content of a checkpoint, tensors and plain values alone."""
    if not path.is_file():
        raise UserError(f"{path}: no such weights file; `python -m pipeline doctor --scale paper` says where to get it")
    if sha256 and (found := file_sha256(path)) != sha256:
        raise UserError(f"{path}: sha256 is {found}, expected {sha256}; download it again or correct the setting")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path}: damaged ({_line(error)}); download it again") from None
    content = _unpickle(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a state dict")
    return content


def _unpickle(path: Path) -> Any:
    with path.open("rb") as stream:
        start = stream.read(16)
    mapped = start.startswith(b"PK")  # files of torch before 1.6 are no zip archives and cannot be mapped
    if not mapped and not start.startswith(b"\x80"):  # a page that a site sent instead, a pointer to a large file …
        raise UserError(f"{path}: not a checkpoint, it begins with {start!r}; download it again")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: needs more than tensors, and unpickling it could run code; if you trust it, convert it once: "
            f"python -m pipeline.models.convert_pickle {path}"
        ) from None
    # What torch's unpickler and zip reader raise on damaged bytes.
    except (RuntimeError, EOFError, ValueError, OSError, LookupError, TypeError, AssertionError, struct.error) as error:
        raise UserError(f"{path}: damaged ({_line(error)}); download it again") from None


def check(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], source: str) -> None:
    """A UserError that names what is missing, unexpected or reshaped in `found`; silence when both agree."""
    problems = []
    if missing := [name for name in expected if name not in found]:
        problems.append(f"missing {_names(missing)}")
    if unexpected := [name for name in found if name not in expected]:
        problems.append(f"unexpected {_names(unexpected)}")
    reshaped = [name for name, shape in expected.items() if name in found and tuple(found[name]) != tuple(shape)]
    if reshaped:
        shown = [f"{name} {list(found[name])} instead of {list(expected[name])}" for name in reshaped]
        problems.append(f"reshaped {_names(shown)}")
    if problems:
        raise UserError(f"{source}: not this model's weights: {'; '.join(problems)}")


def fitted(
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    source: str,
    theirs: Callable[[str], str] = str,
    left_out: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """A file's tensors under the names of `own`; a UserError names every misfit by the file's name of it.

    `theirs` gives the file's name of ours. What begins with one of `left_out` may be in the file and is not taken.
    """
    names = {theirs(name): name for name in own}
    kept = {name: value for name, value in state.items() if not name.startswith(left_out)}
    check({name: tuple(own[mine].shape) for name, mine in names.items()}, shapes(kept), source)
    return {names[name]: value for name, value in kept.items()}


def assign(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Lay `state` into `module` (also one on the meta device), name by name; a UserError names every misfit.

    Names that share one tensor in `module` must hold equal values in `state`. Numbers are brought to the module's
    format: some files are published in half precision.
    """
    own = module.state_dict(keep_vars=True)
    check(shapes(own), shapes(state), source)
    other = [name for name, value in state.items() if value.is_floating_point() != own[name].is_floating_point()]
    if other:
        raise UserError(f"{source}: {other[0]} holds {state[other[0]].dtype}, this model {own[other[0]].dtype}")
    state = {name: value.to(own[name].dtype) for name, value in state.items()}
    first: dict[int, str] = {}
    for name, value in own.items():
        twin = first.setdefault(id(value), name)
        if twin != name and not torch.equal(state[twin], state[name]):
            raise UserError(f"{source}: {name} and {twin} are one tensor in this model, but differ in the file")
    module.load_state_dict(state, strict=True, assign=any(value.is_meta for value in own.values()))


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a state dict."""
    return {name: tuple(value.shape) for name, value in state.items()}


def renamed(name: str, prefixes: Iterable[tuple[str, str]], within: Iterable[tuple[str, str]]) -> str:
    """`name` with its first matching prefix exchanged, then what stands within; a KeyError if no prefix matches."""
    for old, new in prefixes:
        if name.startswith(old):
            name = new + name.removeprefix(old)
            break
    else:
        raise KeyError(f"{name} is in no table of names")
    return replaced(name, within)


def replaced(name: str, within: Iterable[tuple[str, str]]) -> str:
    """`name` with each first of `within` exchanged for its second."""
    for old, new in within:
        name = name.replace(old, new)
    return name


def part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def parameters(module: nn.Module) -> int:
    """Number of parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    rest = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return f"{len(listed)}: {', '.join(listed[:SHOWN])}{rest}"


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
