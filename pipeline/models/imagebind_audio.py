"""ImageBind's audio tower (Girdhar et al., arXiv 2305.05665), written from its published sizes; no kept library has it.

A spectrogram [128 bins, 204 frames] is cut in overlapping 16 × 16 patches with stride 10 (12 × 19 = 228), a class token
and learnt positions (229) are added, 12 pre-norm layers of width 768 attend over the tokens and over one learnt key and
value (`add_bias_kv`); the class token's norm and a bias-free projection give 1,024 features, normalised, times 20.
Names: all of `NAMES` and of a layer's parts (`attn.in_proj_*`, `attn.out_proj.*`, `attn.bias_k`, `attn.bias_v`,
`norm_1`, `norm_2`, `mlp.fc1`, `mlp.fc2`) are those of `imagebind_huge.pth` as a conversion to transformers (proposed by
its community) lists them one by one, with no bias of the patches and of the projection, as here. That list gives no
shapes: 229 positions, 768, 12 layers and 1,024 are the published sizes; the file itself was not opened here.
`THEIR_SCALE` is in no list (a buffer of a fixed number): it is left out if it is there. Whatever fits neither is named
on loading, not ignored. The weights are CC-BY-NC-SA 4.0: research alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.checkpoint import assign, fitted, read
from pipeline.models.spectrograms import imagebind_clips

SCALE = 20.0


@dataclass(frozen=True)
class Config:
    """Sizes of the tower."""

    bins: int = 128
    frames: int = 204
    kernel: int = 16
    stride: int = 10
    width: int = 768
    layers: int = 12
    heads: int = 12
    embedding: int = 1024

    @property
    def tokens(self) -> int:
        """Patches and the class token."""
        rows, columns = ((size - self.kernel) // self.stride + 1 for size in (self.bins, self.frames))
        return rows * columns + 1


REAL = Config()
TINY = Config(bins=36, frames=46, width=24, layers=2, heads=2, embedding=16)
#: ours and theirs, outside the layers
NAMES = {
    "cls_token": "modality_preprocessors.audio.cls_token",
    "positions": "modality_preprocessors.audio.pos_embedding_helper.pos_embed",
    "patches.weight": "modality_preprocessors.audio.rgbt_stem.proj.weight",
    "patch_norm.weight": "modality_preprocessors.audio.rgbt_stem.norm_layer.weight",
    "patch_norm.bias": "modality_preprocessors.audio.rgbt_stem.norm_layer.bias",
    "norm.weight": "modality_heads.audio.0.weight",
    "norm.bias": "modality_heads.audio.0.bias",
    "projection.weight": "modality_heads.audio.2.weight",
}
LAYERS, THEIR_LAYERS = "layers.", "modality_trunks.audio.blocks."
#: a buffer that holds the fixed scale's logarithm
THEIR_SCALE = "modality_postprocessors.audio.1.log_logit_scale"
PARTS = ("modality_preprocessors", "modality_trunks", "modality_heads", "modality_postprocessors")


class Mlp(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, T, width] to the same."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class Layer(nn.Module):
    """A pre-norm transformer layer whose attention has one learnt key and value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.MultiheadAttention(width, heads, add_bias_kv=True, batch_first=True)
        self.norm_2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, T, width] to the same."""
        normed = self.norm_1(tokens)
        tokens = tokens + self.attn(normed, normed, normed, need_weights=False)[0]
        return tokens + self.mlp(self.norm_2(tokens))


class ImageBindAudio(nn.Module):
    """Spectrogram clips to ImageBind embeddings."""

    def __init__(self, config: Config = REAL) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.positions = nn.Parameter(torch.zeros(1, config.tokens, config.width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.patches = nn.Conv2d(1, config.width, config.kernel, config.stride, bias=False)
        self.patch_norm = nn.LayerNorm(config.width)
        self.layers = nn.ModuleList(Layer(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.projection = nn.Linear(config.width, config.embedding, bias=False)

    @property
    def width(self) -> int:
        """Features a recording."""
        return self.config.embedding

    def encode(self, batch: Tensor) -> Tensor:
        """Embeddings [N, embedding] of waveforms [N, samples], int16 or −1–1, at 16 kHz."""
        return self(torch.stack([imagebind_clips(wave) for wave in batch]).to(batch.device))

    def forward(self, clips: Tensor) -> Tensor:
        """Embeddings [N, embedding] of recordings [N, clips, bins, frames]: the mean over clips, each of norm 20."""
        count, number = clips.shape[:2]
        patches = self.patches(clips.flatten(0, 1)[:, None]).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), self.patch_norm(patches)], dim=1)
        tokens = tokens + self.positions
        for layer in self.layers:
            tokens = layer(tokens)
        embedded = SCALE * F.normalize(self.projection(self.norm(tokens[:, 0])), dim=-1)
        return embedded.unflatten(0, (count, number)).mean(1)


def of(*modalities: str) -> tuple[str, ...]:
    """What the names of these modalities' tensors begin with in an ImageBind file."""
    return tuple(f"{part}.{modality}." for part, modality in product(PARTS, modalities))


def theirs(name: str) -> str:
    """The released name of our parameter `name`."""
    return NAMES.get(name, name.replace(LAYERS, THEIR_LAYERS))


def load(path: Path, sha256: str = "", config: Config = REAL) -> ImageBindAudio:
    """The tower with the audio part of an ImageBind file; the other modalities are left out by name.

    A UserError names what is missing, unexpected or reshaped, by the file's name of it.
    """
    with torch.device("meta"):
        tower = ImageBindAudio(config)
    left_out = (*of("vision", "text", "depth", "thermal", "imu"), THEIR_SCALE)
    assign(tower, fitted(read(path, sha256), tower.state_dict(), str(path), theirs, left_out), str(path))
    return tower.eval()
