"""A checkpoint in the layout of the released VAST with random weights, where `vast.released.random` asks for one.

It goes through the very key map, checks and stages that the released file goes through. It claims nothing: no setting
but that one leads here, and a missing released file is never replaced by it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline import files
from pipeline.errors import UserError
from pipeline.models import key_map, released, vast_full
from pipeline.settings import Settings


def write(settings: Settings) -> None:
    """Write the file that `vast.released.path` names, a function of the settings' seed and sizes."""
    wanted = settings.vast.released
    if wanted is None or not wanted.random:
        raise UserError(
            f"params/{settings.scale}.yaml: vast.released.random: is not set; random weights are never a default"
        )
    torch.manual_seed(settings.seed)
    model = vast_full.VastFull(released.config(settings))
    with files.atomic(Path(wanted.path)) as temporary:
        torch.save(key_map.released(model), temporary)
