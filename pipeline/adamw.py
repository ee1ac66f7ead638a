"""AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) on torch's fused kernel.

Equal to `torch.optim.AdamW(fused=True)` (tested). Its own class because torch's imports the whole compiler when it is
made (2.8 s a process, as long as a run takes) and because the state is plain named tensors here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.settings import Optimisation


class AdamW:
    """Moments of named parameters in groups: of one decay (`optimisation.decay`) and one learning rate.

    `matrices`: 1-d parameters (biases, norms, temperatures) do not decay. `vast`: only names with `bias` or BERT's
    `LayerNorm.weight` do not, as released. Names with `visual` have `vision_learning_rate`, where it is set.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], optimisation: Optimisation) -> None:
        """Keep references to `parameters`; their moments start at zero."""
        self.optimisation = optimisation
        self.parameters = dict(parameters)
        self.first = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.second = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.steps = {name: torch.zeros((), device=p.device) for name, p in self.parameters.items()}
        self.groups: dict[tuple[float, float], list[str]] = {}
        for name, parameter in self.parameters.items():
            key = (_decay(name, parameter, optimisation), _factor(name, optimisation))
            self.groups.setdefault(key, []).append(name)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update at learning rate `rate`; a parameter without gradient is left alone."""
        o = self.optimisation
        for (decay, factor), group in self.groups.items():
            grads = {name: grad for name in group if (grad := self.parameters[name].grad) is not None}
            if not grads:
                continue
            steps = [self.steps[name] for name in grads]
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(  # type: ignore[call-overload]
                [self.parameters[name] for name in grads],
                list(grads.values()),
                [self.first[name] for name in grads],
                [self.second[name] for name in grads],
                [],
                steps,
                lr=rate * factor,
                beta1=o.beta1,
                beta2=o.beta2,
                weight_decay=decay,
                eps=o.epsilon,
                amsgrad=False,
                maximize=False,
            )

    def zero(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """State as `first/<name>`, `second/<name>`, `steps/<name>`: the very tensors, to be saved or copied into."""
        kinds = {"first": self.first, "second": self.second, "steps": self.steps}
        return {f"{kind}/{name}": value for kind, named in kinds.items() for name, value in named.items()}


def _decay(name: str, parameter: nn.Parameter, optimisation: Optimisation) -> float:
    free = parameter.ndim <= 1 if optimisation.decay == "matrices" else "bias" in name or "LayerNorm.weight" in name
    return 0.0 if free else optimisation.weight_decay


def _factor(name: str, optimisation: Optimisation) -> float:
    """Share of the learning rate that a parameter has."""
    special = optimisation.vision_learning_rate
    return special / optimisation.learning_rate if special is not None and "visual" in name else 1.0
