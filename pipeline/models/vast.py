"""VAST (Chen et al. 2023, arXiv 2305.18500) in its real shape, at any size.

Text is encoded by BERT's [CLS]. Condition tokens are frame features (Linear, LayerNorm, frame and type embedding) and
audio tokens likewise; matching and captioning cross-attend to them. Deviations at mini: the towers' features are
inputs (frozen, cached), one token a frame, and the lower BERT layers are frozen.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline import files, paths
from pipeline.errors import UserError
from pipeline.models.heads import Heads, restore
from pipeline.models.text import Bert
from pipeline.models.tokenizer import Tokenizer
from pipeline.models.tokenizer import load as load_tokenizer
from pipeline.settings import Settings
from pipeline.settings import Vast as VastSettings


class Projection(nn.Module):
    """Tower features to condition tokens."""

    def __init__(self, inner: int, width: int, positions: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(inner, width), nn.LayerNorm(width, eps=1e-12)
        self.position = nn.Parameter(torch.randn(positions, width) * 0.02)
        self.kind = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, features: Tensor) -> Tensor:
        """[B, T, inner] -> [B, T, width]."""
        tokens: Tensor = self.norm(self.linear(features.to(self.linear.weight.dtype)))
        return tokens + self.position + self.kind


class MatchHead(nn.Sequential):
    """Linear, GELU, LayerNorm, Linear to (no match, match)."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=1e-12), nn.Linear(width, 2))


class Vast(nn.Module):
    """The model; `shapes`: modality -> (tokens a clip, width) of the towers' features."""

    def __init__(self, settings: VastSettings, shapes: Mapping[str, tuple[int, int]], vocabulary: int) -> None:
        super().__init__()
        width = settings.text.width
        self.bert = Bert(settings.text, vocabulary)
        self.condition = nn.ModuleDict({name: Projection(inner, width, n) for name, (n, inner) in shapes.items()})
        self.match_head = MatchHead(width)
        widths = {"text": width} | {name: inner for name, (_, inner) in shapes.items()}
        self.contrast = Heads(widths, settings.width, adapter=0)
        nn.init.constant_(self.contrast.raw_temperature, settings.temperature)

    def tensors(self) -> dict[str, Tensor]:
        """What the weights file holds: the heads by the names that all runs share, the rest by ours."""
        rest = {name: value for name, value in self.state_dict().items() if not name.startswith("contrast.")}
        return rest | self.contrast.tensors()

    def lower(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Frozen layers of the bidirectional encoder: ids [B, L] -> [B, L, width]; may be cached a caption."""
        return self.bert.lower(ids, lengths)

    def text(self, lower: Tensor, lengths: Tensor) -> Tensor:
        """[CLS] [B, width] of the text encoder, from `lower`."""
        return self.bert.first(lower, lengths)

    def tokens(self, features: Mapping[str, Tensor]) -> Tensor:
        """Condition tokens [B, C, width] of features: modality -> [B, tokens, width of the tower]."""
        return torch.cat([projection(features[name]) for name, projection in self.condition.items()], dim=1)

    def matching(self, lower: Tensor, lengths: Tensor, condition: Tensor, pairs: Tensor) -> Tensor:
        """Logits [P, 2] (no match, match) of pairs [P, 2], rows of captions (`lower`) and conditions [C, N, width]."""
        logits: Tensor = self.match_head(self.bert.first_of_pairs(lower, lengths, condition, pairs))
        return logits.float()

    def caption(self, ids: Tensor, lengths: Tensor, chosen: Tensor, condition: Tensor) -> Tensor:
        """Activations [N, width] of the causal decoder at the chosen pieces, bool [B, L], of ids [B, L]."""
        return self.bert.decode(ids, lengths, chosen, condition)


def pool(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mean over a clip's tokens: modality -> [B, tokens, D] becomes [B, D]."""
    return {name: value.float().mean(1) for name, value in features.items()}


def build(settings: Settings, shapes: Mapping[str, tuple[int, int]]) -> tuple[Vast, Tokenizer]:
    """The initial model before training, by the settings' seed, and its tokenizer."""
    torch.manual_seed(settings.seed)
    tokenizer = load_tokenizer(settings.vast.text.weights)
    model = Vast(settings.vast, shapes, tokenizer.size)
    model.bert.initialise(settings.vast.text.weights)
    return model, tokenizer


def load(settings: Settings, run: str = "vast") -> tuple[Vast, Tokenizer]:
    """A trained initial model in evaluation mode, and its tokenizer."""
    path = paths.model(settings, run, 0) / "weights.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: missing; run: python -m pipeline vast --run {run}")
    state = files.load_tensors(path)
    names = [name.split(".")[1] for name in state if name.startswith("condition.") and name.endswith(".linear.weight")]
    shapes = {
        name: (len(state[f"condition.{name}.position"]), state[f"condition.{name}.linear.weight"].shape[1])
        for name in sorted(names, key=("vision", "audio").index)
    }
    tokenizer = load_tokenizer(settings.vast.text.weights)
    model = Vast(settings.vast, shapes, tokenizer.size)
    model.contrast = restore(state)
    rest = {name: value for name, value in state.items() if not name.startswith("heads.")}
    model.load_state_dict(rest | {f"contrast.{name}": value for name, value in model.contrast.state_dict().items()})
    return model.requires_grad_(False).eval(), tokenizer
