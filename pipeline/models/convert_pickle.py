"""`python -m pipeline.models.convert_pickle FILE`: a trusted pickle's tensors as safetensors beside it, by hand only.

This is the one place that unpickles freely, and no stage calls it: the file can run code, so the user decides.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.files import save_tensors
from pipeline.models.checkpoint import WRAPPERS


def convert(path: Path) -> Path:
    """Write `<path>.safetensors` with the tensors of the pickle `path`; returns its path."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)  # by the user's explicit command alone
    except (ImportError, AttributeError) as error:  # a class of the repository that trained it
        raise UserError(
            f"{path}: refers to code that is not here ({error}); convert it where that repository is installed"
        ) from None
    except (pickle.UnpicklingError, EOFError, RuntimeError, LookupError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); download it again") from None
    if hasattr(content, "state_dict"):
        content = content.state_dict()
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a state dict")
    tensors = {str(name): value.clone() for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{path}: holds no tensors")
    target = path.with_name(f"{path.name}.safetensors")
    save_tensors(target, tensors)
    return target


def main() -> None:
    """Convert the one file named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m pipeline.models.convert_pickle FILE")
    try:
        print(convert(Path(sys.argv[1])))
    except (UserError, OSError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
