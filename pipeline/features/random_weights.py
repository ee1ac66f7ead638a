"""Random weights in the layouts of the released VAST and ImageBind, where a setting's `random` asks for them.

They go through the very key maps, checks and stages that the released files go through. They claim nothing: no setting
but that one leads here, and a missing released file is never replaced by one of these.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pipeline import files
from pipeline.errors import UserError
from pipeline.models import imagebind, key_map, released, vast_full, zero_shot
from pipeline.settings import Settings


def write(settings: Settings) -> None:
    """Write the files that ask for it, each a function of the settings' seed and sizes."""
    wanted = settings.random()
    if not wanted:
        raise UserError(
            f"params/{settings.scale}.yaml: no weights are random (vast.released.random, "
            "zero_shot.<name>.weights.random); they are never a default"
        )
    vast = settings.vast.released
    if vast and vast.path in wanted:
        torch.manual_seed(settings.seed)
        _save(vast.path, key_map.released(vast_full.VastFull(released.config(settings))))
    for entry in settings.zero_shot.values():
        if entry.weights.path in wanted:
            torch.manual_seed(settings.seed)
            _save(entry.weights.path, imagebind.released(imagebind.ImageBind(zero_shot.IMAGEBIND[entry.model])))


def _save(path: str, state: dict[str, Tensor]) -> None:
    with files.atomic(Path(path)) as temporary, temporary.open("wb") as stream:
        torch.save(state, stream)  # not by name: torch would write that into the file
