"""What the paper's model costs, counted on the meta device: floating-point operations and bytes, no weights needed.

Operations come from torch's flop counter over the real modules; a multiplication and an addition are two. Activations
are what autograd keeps for the backward pass, in bf16 as under autocast, BEATs' in fp32, as it runs; parameters,
gradients and AdamW's two moments are fp32, and autocast keeps a bf16 copy of the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pipeline.models import eva_clip
from pipeline.models.spectrograms import SLICE
from pipeline.models.vast_full import REAL, Config, VastFull

#: fp32 weight, gradient and AdamW's two moments, and the bf16 copy
TRAINED_BYTES, FROZEN_BYTES = 18, 4
#: What a checkpoint holds of them.
SAVED_BYTES = 12


@dataclass(frozen=True)
class Cost:
    """One pass over one item."""

    forward: float
    backward: float
    activations: float

    @property
    def trained(self) -> float:
        """Operations of a training step with cached gradients: forward without, forward with gradient, backward."""
        return 2 * self.forward + self.backward


@dataclass(frozen=True)
class Costs:
    """Passes of VAST's parts and the sizes of its weights."""

    frame: Cost
    slice: Cost
    caption: Cost
    pair: Cost
    condition: float
    """Bytes of a clip's condition tokens, fp32 as a norm gives them."""
    trained_parameters: int
    parameters: int

    def clip(self, frames: int, slices: int) -> float:
        """Forward operations of a clip with its caption."""
        return frames * self.frame.forward + slices * self.slice.forward + self.caption.forward

    def step(self, frames: int, slices: int, pairs: float) -> float:
        """Operations of training on one clip of the batch, with `pairs` matching pairs of it."""
        encoders = frames * self.frame.trained + slices * self.slice.trained + self.caption.trained
        return encoders + pairs * self.pair.trained

    def weights(self) -> float:
        """Bytes of weights, their copies, gradients and moments on a rank (data parallel: each holds all)."""
        return TRAINED_BYTES * self.trained_parameters + FROZEN_BYTES * (self.parameters - self.trained_parameters)

    def activations(self, clips: int, frames: int, slices: int) -> float:
        """Bytes that a forward pass of `clips` clips, captions and one matching pair each keeps."""
        one = frames * self.frame.activations + slices * self.slice.activations
        return clips * (one + self.caption.activations + self.pair.activations)


@cache
def released(frames: int, slices: int, bins: int, words: int) -> Costs:
    """Costs of VAST at its real size; see `count`."""
    return count(frames, slices, bins, words, REAL)


def count(frames: int, slices: int, bins: int, words: int, config: Config) -> Costs:
    """Costs of VAST's parts; a pair's condition has the tokens of `frames` frames and `slices` slices."""
    with torch.device("meta"):
        model = VastFull(config)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(("vision.text.", "vision.logit_scale", "vision.visual.head.")))
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        everything = sum(parameter.numel() for parameter in model.parameters())
        model = model.to(torch.bfloat16)
        model.audio.float()
        image = config.vision.image
        pixels = torch.empty(1, 3, image, image, dtype=torch.bfloat16)
        mel = torch.empty(1, SLICE, bins)
        ids, mask = torch.zeros(1, words, dtype=torch.long), torch.ones(1, words, dtype=torch.long)
        tokens = frames * _tokens(config.vision) + slices * (SLICE // 16) * (bins // 16)
        condition = torch.empty(1, tokens, config.text.width, dtype=torch.bfloat16, requires_grad=True)
        return Costs(
            frame=_cost(model, lambda: model.vision(pixels)),
            slice=_cost(model, lambda: model.audio(mel)),
            caption=_cost(model, lambda: model.text.encode(ids, mask)),
            pair=_cost(model, lambda: model.match(ids, mask, condition)),
            condition=4.0 * condition.numel(),
            trained_parameters=trained,
            parameters=everything,
        )


def _tokens(config: eva_clip.Config) -> int:
    return 1 + (config.image // config.patch) ** 2


def _cost(model: torch.nn.Module, run: Callable[[], Tensor]) -> Cost:
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
            alive.append(storage)
        return tensor

    alive: list[torch.UntypedStorage] = []  # a freed storage's address may come again
    with FlopCounterMode(display=False) as forward, torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        output = run()
    with FlopCounterMode(display=False) as backward:
        output.sum().backward()
    return Cost(float(forward.get_total_flops()), float(backward.get_total_flops()), float(sum(kept.values())))
