"""EVA-CLIP ViT-g/14, the vision tower of VAST and GRAM (Sun et al., *EVA-CLIP*, arXiv 2303.15389).

timm's `Eva` carries the very names of `EVA01_CLIP_g_14_psz14_s11B.pt`, so that its visual part needs no map. VAST's
checkpoints hold the whole CLIP: its text tower (open_clip's) is kept for completeness of names and never run.
Facts: tokens are taken after the last norm and before the head; a frame's pooled feature is its [CLS].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipeline.models import clip
from pipeline.models.checkpoint import assign, fitted, read
from pipeline.models.pixels import Geometry, prepare

if TYPE_CHECKING:
    from timm.models.eva import Eva

TEXT = clip.TextConfig(width=768, layers=12, heads=12, hidden=3072, embedding=1024)


@dataclass(frozen=True)
class Config:
    """Sizes of the tower and of the text half beside it."""

    image: int = 224
    patch: int = 14
    width: int = 1408
    layers: int = 40
    heads: int = 16
    hidden: int = 6144
    embedding: int = 1024
    drop_path: float = 0.4
    text: clip.TextConfig = TEXT


REAL = Config()
TINY = Config(
    image=32, patch=8, width=24, layers=2, heads=2, hidden=48, embedding=16, drop_path=0.0,
    text=clip.TextConfig(width=16, layers=1, heads=2, hidden=64, embedding=16, length=8, vocabulary=64),
)  # fmt: skip


def visual(config: Config = REAL) -> Eva:
    """timm's EVA at `config`; at REAL it has the published 1,012.6 M parameters."""
    from timm.models.eva import Eva  # here, since it takes seconds: most jobs have no use for it

    return Eva(
        img_size=config.image,
        patch_size=config.patch,
        embed_dim=config.width,
        depth=config.layers,
        num_heads=config.heads,
        mlp_ratio=config.hidden / config.width,
        num_classes=config.embedding,
        global_pool="token",
        drop_path_rate=config.drop_path,
    )


class EvaClip(nn.Module):
    """Images to tokens."""

    def __init__(self, config: Config = REAL, geometry: Geometry = "squash") -> None:
        super().__init__()
        self.config = config
        self.geometry: Geometry = geometry
        self.visual = visual(config)

    @property
    def width(self) -> int:
        """Features a token."""
        return self.config.width

    def encode(self, batch: Tensor) -> Tensor:
        """Tokens [N, 1 + patches, width] of uint8 frames [N, H, W, 3]."""
        return self(prepare(batch, self.config.image, self.geometry))

    def forward(self, pixels: Tensor) -> Tensor:
        """Tokens [N, 1 + patches, width] of normalised images [N, 3, image, image]; token 0 is [CLS]."""
        tokens: Tensor = self.visual.forward_features(pixels)
        return tokens


class WholeEvaClip(EvaClip):
    """The tower with CLIP's text half and logit scale, as VAST's checkpoints hold it."""

    def __init__(self, config: Config = REAL) -> None:
        super().__init__(config)
        self.text = clip.textual(config.text).requires_grad_(False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)), requires_grad=False)


def load(path: Path, sha256: str = "", config: Config = REAL) -> EvaClip:
    """The tower with the weights of an EVA-CLIP file, or of its visual half; the text half is left out by name."""
    state = read(path, sha256)
    prefix = "visual." if any(name.startswith("visual.") for name in state) else ""
    with torch.device("meta"):
        tower = EvaClip(config)
    own = tower.visual.state_dict()
    taken = fitted(state, own, str(path), lambda name: prefix + name, ("text.", "logit_scale"))
    assign(tower.visual, taken, str(path))
    return tower.eval()
