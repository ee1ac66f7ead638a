"""Heads: from pooled features of the towers to unit embeddings, the part of the model that runs train at mini scale.

A modality has a residual adapter of two layers, whose second layer starts at zero, and a linear head without bias, as
VAST's (Chen et al. 2023, arXiv 2305.18500). A run therefore starts at the initial model's embeddings exactly. The fused
condition va has a linear head with bias on the concatenated features of its modalities, as VAST's; the conditions v and
a are their modality's embedding, as there, so that VAST trains the heads that all others start from. Adapters have no
bias, so that an absent modality, a row of zeros, has a zero embedding. Deviation: the floor of a learnt
temperature passes the gradient on, or a temperature that fell below it could never rise again.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, normalize

#: Fused conditions and the modalities whose features they concatenate; that of one modality is its embedding.
CONDITIONS = {"v": ("vision",), "a": ("audio",), "va": ("vision", "audio")}
#: Of a learnt temperature; far below the published ones, so that it stops a division by nothing and no more.
FLOOR = 1e-4


class Heads(nn.Module):
    """Adapters and heads of any set of modalities, heads of the fused conditions they allow, one temperature.

    `widths`: features a modality; `width`: embedding width D; `adapter`: hidden units, 0: no adapters.
    """

    def __init__(
        self, widths: Mapping[str, int], width: int, adapter: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.conditions = {name: parts for name, parts in CONDITIONS.items() if all(part in widths for part in parts)}
        self.heads = nn.ModuleDict({name: _linear(size, width, generator) for name, size in widths.items()})
        for name, parts in self.joint.items():
            self.heads[f"fused_{name}"] = _linear(sum(widths[part] for part in parts), width, generator, bias=True)
        self.adapters = nn.ModuleDict(
            {name: _adapter(size, adapter, generator) for name, size in widths.items()} if adapter else {}
        )
        self.raw_temperature = nn.Parameter(torch.tensor(0.07))

    @property
    def joint(self) -> dict[str, tuple[str, ...]]:
        """The conditions that have a head of their own: those of several modalities."""
        return {name: parts for name, parts in self.conditions.items() if len(parts) > 1}

    @property
    def temperature(self) -> Tensor:
        """The temperature []: as set where it is fixed, not below FLOOR where it is learnt."""
        return floored(self.raw_temperature)

    def forward(
        self, features: Mapping[str, Tensor], fused: bool = True
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Unit embeddings [B, D] by modality and by fused condition of features [B, width of the modality].

        A head W on adapted features x + B h, h = gelu(A x), is W x + (W B) h: the adapted features, wider than both
        x's hidden layer and the embedding, are never formed.
        """
        weight = self.get_parameter
        hidden = {
            name: gelu(linear(x, weight(f"adapters.{name}.first.weight")))
            for name, x in features.items()
            if name in self.adapters
        }

        def headed(name: str, head: Tensor) -> Tensor:
            plain = linear(features[name], head)
            if name not in hidden:
                return plain
            return plain + linear(hidden[name], head @ weight(f"adapters.{name}.second.weight"))

        embeddings = {name: normalize(headed(name, weight(f"heads.{name}.weight")), dim=-1) for name in features}
        conditions = {}
        for name, parts in self.conditions.items() if fused else ():
            if not all(part in features for part in parts):
                continue
            if name not in self.joint:
                conditions[name] = embeddings[parts[0]]
            else:
                sizes = [features[part].shape[1] for part in parts]
                heads = weight(f"heads.fused_{name}.weight").split(sizes, 1)
                joint = torch.stack([headed(part, head) for part, head in zip(parts, heads, strict=True)]).sum(0)
                conditions[name] = normalize(joint + weight(f"heads.fused_{name}.bias"), dim=-1)
        return embeddings, conditions

    def embed(self, **features: Tensor) -> dict[str, Tensor]:
        """Unit embeddings [B, D] of the modalities given: `embed(text=[B, Dt], vision=[B, Dv], audio=[B, Da])`."""
        return self(features, fused=False)[0]

    def fuse(self, **features: Tensor) -> dict[str, Tensor]:
        """Unit embeddings [B, D] of the fused conditions that the modalities given allow."""
        return self(features)[1]

    def tensors(self) -> dict[str, Tensor]:
        """What a weights file holds, by the names that the initial model's file has."""
        state = {name: tensor.detach() for name, tensor in self.state_dict().items()}
        return {"heads.temperature" if name == "raw_temperature" else name: tensor for name, tensor in state.items()}


def floored(temperature: Tensor) -> Tensor:
    """A temperature [] at least FLOOR if it is learnt; its gradient passes."""
    if not temperature.requires_grad:
        return temperature
    return temperature + (temperature.clamp_min(FLOOR) - temperature).detach()


def restore(tensors: Mapping[str, Tensor]) -> Heads:
    """The heads of a weights file: a run's, or the initial model's (no adapters; what is no head is left out)."""
    heads = {name: t for name, t in tensors.items() if name.startswith(("heads.", "adapters."))}
    widths = {
        name.split(".")[1]: tensor.shape[1]
        for name, tensor in heads.items()
        if name.startswith("heads.") and name.endswith(".weight") and not name.startswith("heads.fused_")
    }
    first = [tensor for name, tensor in heads.items() if name.endswith(".first.weight")]
    width = len(next(tensor for name, tensor in heads.items() if name.startswith("heads.") and tensor.ndim == 2))
    model = Heads(widths, width, len(first[0]) if first else 0)
    heads["raw_temperature"] = heads.pop("heads.temperature").reshape(())
    model.load_state_dict(heads)
    return model.eval()


def start(
    initial: Mapping[str, Tensor], widths: Mapping[str, int], width: int, adapter: int, generator: torch.Generator
) -> Heads:
    """Heads for training: the initial model's where it has them, all else new by `generator`."""
    model = Heads(widths, width, adapter, generator)
    known = model.state_dict()
    model.load_state_dict({name: initial.get(name, tensor) for name, tensor in known.items()})
    return model


def _adapter(width: int, hidden: int, generator: torch.Generator | None) -> nn.ModuleDict:
    """The two layers of x + B gelu(A x), the identity at first."""
    second = nn.Linear(hidden, width, bias=False)
    nn.init.zeros_(second.weight)
    return nn.ModuleDict({"first": _linear(width, hidden, generator), "second": second})


def _linear(inputs: int, outputs: int, generator: torch.Generator | None, bias: bool = False) -> nn.Linear:
    """A linear layer with weights (and bias) uniform in ±1/√inputs by `generator`."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    bound = inputs**-0.5
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer
