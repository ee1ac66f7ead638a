"""CLIP ViT-H/14 and ViT-bigG/14 (LAION), the image encoders of Stable unCLIP and Kandinsky 2.2; open_clip's class.

Files come in two layouts, open_clip's and transformers' (`CLIPVisionModelWithProjection`, what the decoders'
repositories hold); both load. Embeddings are *not* normalised: the decoders were trained on them so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.models.checkpoint import assign, part, read
from pipeline.models.pixels import prepare


@dataclass(frozen=True)
class Config:
    """Sizes of a CLIP image encoder."""

    image: int
    patch: int
    width: int
    layers: int
    heads: int
    hidden: int
    embedding: int


VIT_H_14 = Config(image=224, patch=14, width=1280, layers=32, heads=16, hidden=5120, embedding=1024)
VIT_BIGG_14 = Config(image=224, patch=14, width=1664, layers=48, heads=16, hidden=8192, embedding=1280)
TINY = Config(image=32, patch=8, width=24, layers=2, heads=2, hidden=48, embedding=16)


class ClipVision(nn.Module):
    """Images to CLIP embeddings."""

    def __init__(self, config: Config) -> None:
        from open_clip.transformer import VisionTransformer

        super().__init__()
        self.config = config
        self.visual = VisionTransformer(
            image_size=config.image,
            patch_size=config.patch,
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            mlp_ratio=config.hidden / config.width,
            output_dim=config.embedding,
        )

    @property
    def width(self) -> int:
        """Features an image."""
        return self.config.embedding

    def encode(self, batch: Tensor) -> Tensor:
        """Un-normalised embeddings [N, embedding] of uint8 frames [N, H, W, 3], cropped to the centre."""
        return self(prepare(batch, self.config.image, "crop", antialias=True))

    def forward(self, pixels: Tensor) -> Tensor:
        """Un-normalised embeddings [N, embedding] of normalised images [N, 3, image, image]."""
        embedding: Tensor = self.visual(pixels)
        return embedding


def load(path: Path, config: Config, sha256: str = "") -> ClipVision:
    """The encoder with the weights of an open_clip or a transformers file; the text half is left out by name."""
    state = read(path, sha256)
    if any(name.startswith("vision_model.") for name in state):
        state = from_transformers(state)
    else:
        state = part(state, "visual.") or state
    with torch.device("meta"):
        tower = ClipVision(config)
    assign(tower, {f"visual.{name}": value for name, value in state.items()}, str(path))
    return tower.eval()


#: open_clip's names and transformers', outside the layers and within one
OUTER = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}
INNER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A transformers CLIP's image half under open_clip's names; names it does not know are kept, to be reported."""
    theirs = {name: value for name, value in part(state, "vision_model.").items() if not name.endswith("position_ids")}
    found = {mine: theirs.pop(name) for mine, name in OUTER.items() if name in theirs}
    if "visual_projection.weight" in state:
        found["proj"] = state["visual_projection.weight"].T
    layers = 1 + max((int(name.split(".")[2]) for name in theirs if name.startswith("encoder.layers.")), default=-1)
    for layer in range(layers):
        source, target = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for mine, name in INNER.items():
            for kind in ("weight", "bias"):
                if f"{source}{name}.{kind}" in theirs:
                    found[f"{target}{mine}.{kind}"] = theirs.pop(f"{source}{name}.{kind}")
        for kind in ("weight", "bias"):
            names = [f"{source}self_attn.{which}_proj.{kind}" for which in "qkv"]
            if all(name in theirs for name in names):
                found[f"{target}attn.in_proj_{kind}"] = torch.cat([theirs.pop(name) for name in names])
    return found | theirs
