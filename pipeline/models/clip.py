"""CLIP's two towers (Radford et al., arXiv 2103.00020) in open_clip's classes, at any size.

ViT-H/14 and ViT-bigG/14 (LAION) are the image encoders of Stable unCLIP and Kandinsky 2.2; ImageBind and LanguageBind
grew from the same towers. Files come in two layouts, open_clip's and transformers' (`CLIPModel` and what is made of
it); both load. Embeddings are *not* normalised: the decoders were trained on them so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from pipeline.models.checkpoint import assign, fitted, read, replaced
from pipeline.models.pixels import prepare

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer
    from open_clip.transformer import TextTransformer, VisionTransformer

Activation = Literal["gelu", "quick_gelu"]


@dataclass(frozen=True)
class Config:
    """Sizes of an image encoder; `image` is a side, or (height, width)."""

    image: int | tuple[int, int]
    patch: int
    width: int
    layers: int
    heads: int
    hidden: int
    embedding: int
    epsilon: float = 1e-5
    activation: Activation = "gelu"


@dataclass(frozen=True)
class TextConfig:
    """Sizes of a text encoder."""

    width: int
    layers: int
    heads: int
    hidden: int
    embedding: int
    length: int = 77
    vocabulary: int = 49408
    epsilon: float = 1e-5
    activation: Activation = "gelu"


VIT_H_14 = Config(image=224, patch=14, width=1280, layers=32, heads=16, hidden=5120, embedding=1024)
VIT_BIGG_14 = Config(image=224, patch=14, width=1664, layers=48, heads=16, hidden=8192, embedding=1280)
TINY = Config(image=32, patch=8, width=24, layers=2, heads=2, hidden=48, embedding=16)


def visual(config: Config) -> VisionTransformer:
    """open_clip's image encoder."""
    from open_clip.transformer import VisionTransformer

    return VisionTransformer(
        image_size=config.image,
        patch_size=config.patch,
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        mlp_ratio=config.hidden / config.width,
        output_dim=config.embedding,
        **parts(config),
    )


def textual(config: TextConfig) -> TextTransformer:
    """open_clip's text encoder: causal, pooled at the end token, which is the largest id."""
    from open_clip.transformer import TextTransformer

    return TextTransformer(
        context_length=config.length,
        vocab_size=config.vocabulary,
        width=config.width,
        heads=config.heads,
        layers=config.layers,
        mlp_ratio=config.hidden / config.width,
        output_dim=config.embedding,
        **parts(config),
    )


def parts(config: Config | TextConfig) -> dict[str, Any]:
    """The norm and the activation of open_clip's layers."""
    from open_clip.transformer import LayerNorm, QuickGELU

    activations = {"gelu": nn.GELU, "quick_gelu": QuickGELU}
    return {"norm_layer": partial(LayerNorm, eps=config.epsilon), "act_layer": activations[config.activation]}


@cache
def _tokenizer() -> SimpleTokenizer:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def tokens(texts: Sequence[str], length: int = 77) -> Tensor:
    """Ids [N, length] of lower-cased texts by CLIP's byte pairs; a longer text keeps its beginning and the end."""
    ids: Tensor = _tokenizer()(list(texts), length)
    return ids


class ClipVision(nn.Module):
    """Images to CLIP embeddings."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.visual = visual(config)

    @property
    def width(self) -> int:
        """Features an image."""
        return self.config.embedding

    def encode(self, batch: Tensor) -> Tensor:
        """Un-normalised embeddings [N, embedding] of uint8 frames [N, H, W, 3], by open_clip's resizing and crop."""
        assert isinstance(self.config.image, int)
        return self(prepare(batch, self.config.image, "crop", "bicubic"))

    def forward(self, pixels: Tensor) -> Tensor:
        """Un-normalised embeddings [N, embedding] of normalised images [N, 3, image, image]."""
        embedding: Tensor = self.visual(pixels)
        return embedding


#: What an open_clip file holds beside the image encoder.
TEXT_HALF = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection", "logit_scale")


def load(path: Path, config: Config, sha256: str = "") -> ClipVision:
    """The encoder with the weights of an open_clip or a transformers file; the text half is left out by name.

    A UserError names what is missing, unexpected or reshaped, by the file's name of it.
    """
    state = read(path, sha256)
    with torch.device("meta"):
        tower = ClipVision(config)
    own = tower.visual.state_dict()
    if any(name.startswith("vision_model.") for name in state):
        taken = from_transformers(state, own, "vision", str(path))
    elif any(name.startswith("visual.") for name in state):
        taken = fitted(state, own, str(path), lambda name: f"visual.{name}", TEXT_HALF)
    else:
        taken = fitted(state, own, str(path))
    assign(tower.visual, taken, str(path))
    return tower.eval()


#: half → prefix of its names, open_clip's name of its projection and transformers'
HALVES = {
    "vision": ("vision_model.", "proj", "visual_projection.weight"),
    "text": ("text_model.", "text_projection", "text_projection.weight"),
}
#: What a transformers file holds beside a half: the other one, constants, the scale of the logits.
BESIDE = {
    "vision": ("text_model.", "text_projection.", "logit_scale", "vision_model.embeddings.position_ids"),
    "text": ("vision_model.", "visual_projection.", "logit_scale", "text_model.embeddings.position_ids"),
}
#: open_clip's names and transformers'
RENAMED = (
    ("class_embedding", "embeddings.class_embedding"),
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("conv1.", "embeddings.patch_embedding."),
    ("token_embedding.", "embeddings.token_embedding."),
    ("ln_pre.", "pre_layrnorm."),
    ("ln_post.", "post_layernorm."),
    ("ln_final.", "final_layer_norm."),
    ("transformer.resblocks.", "encoder.layers."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".attn.", ".self_attn."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
)
#: open_clip's one tensor of queries, keys and values, and transformers' three
JOINT, THREE = ".in_proj_", (".q_proj.", ".k_proj.", ".v_proj.")


def from_transformers(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], half: Literal["vision", "text"], source: str
) -> dict[str, Tensor]:
    """Half of a transformers CLIP under open_clip's names and in the shapes of `own`, that half's state dict.

    A UserError names what is missing, unexpected or reshaped, by the file's name of it.
    """
    prefix, projection, their_projection = HALVES[half]
    names: dict[str, list[str]] = {}
    wanted: dict[str, Tensor] = {}
    for name, value in own.items():
        if name == projection:
            names[name] = [their_projection]
            wanted[their_projection] = value.T
            continue
        one = prefix + replaced(name, RENAMED)
        names[name] = [one.replace(JOINT, which) for which in THREE] if JOINT in one else [one]
        wanted |= zip(names[name], value.chunk(len(names[name])), strict=True)
    found = fitted(state, wanted, source, left_out=BESIDE[half])
    taken = {}
    for name, theirs in names.items():
        first, *others = (found[one] for one in theirs)
        taken[name] = torch.cat([first, *others]) if others else first.T if name == projection else first
    return taken
