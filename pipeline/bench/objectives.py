"""Objectives and their blocks beside textbook autograd (issue: unialign/infonce, unialign/languagebind, gram/textbook,
blocked/plain, absolute peak at B 32,768): forward + backward, D 512, M 3, float32.

The objectives take embeddings of any length and normalise them; so do their peers, by F.normalize. Before anything is
timed, value and gradients of ours must agree to 1e-5 with plain autograd of its equation in float64; how far the peer
itself strays is recorded where it is of the same equation (torch.det's gradient by 1e-5 at B 4,096).
"""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.bench.compare import peak, record
from pipeline.files import write_json
from pipeline.geometry import contrast, dot, uniformity
from pipeline.objectives import OBJECTIVES, parse

WIDTH = 512
TAU = torch.tensor(0.07)
NAMES = ("text", "vision", "audio")
Loss = Callable[[list[Tensor]], Tensor]
Call = Callable[[], list[Tensor]]


def batch(rows: int, modalities: int) -> list[Tensor]:
    """Unit rows about a common direction a sample: `modalities` leaves `[rows, WIDTH]`."""
    generator = torch.Generator().manual_seed(rows)
    shared = torch.randn(rows, WIDTH, generator=generator)
    views = [shared + torch.randn(rows, WIDTH, generator=generator) for _ in range(modalities)]
    return [F.normalize(view, dim=1).requires_grad_() for view in views]


def step(loss: Loss, z: list[Tensor]) -> Call:
    """One forward and backward pass that returns the loss and the gradients."""

    def run() -> list[Tensor]:
        value = loss(z)
        return [value.detach(), *torch.autograd.grad(value, z)]

    return run


def of(name: str, **settings: Any) -> Loss:
    """An objective of ours as a loss of a list of modalities."""
    options = parse(name, settings)
    return lambda z: OBJECTIVES[name](dict(zip(NAMES, z, strict=False)), {}, TAU, options)[0]


def normalised(loss: Loss) -> Loss:
    """The loss of the rows at length one."""
    return lambda z: loss([F.normalize(x, dim=1) for x in z])


def both_ways(logits: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross entropy of rows and of columns with the diagonal as target."""
    target = torch.arange(len(logits))
    rows = F.cross_entropy(logits, target, label_smoothing=smoothing)
    return (rows + F.cross_entropy(logits.mT, target, label_smoothing=smoothing)) / 2


def textbook_infonce(z: list[Tensor]) -> Tensor:
    """All pairs, a full matrix of logits each."""
    return torch.stack([both_ways(x @ y.mT / TAU) for x, y in combinations(z, 2)]).mean()


def textbook_languagebind(z: list[Tensor]) -> Tensor:
    """The first modality with each other one."""
    return torch.stack([both_ways(z[0] @ y.mT / TAU) for y in z[1:]]).mean()


def textbook_gram(z: list[Tensor]) -> Tensor:
    """Batched determinants of a stacked `[B, B, 3, 3]` array."""
    t, v, a = z
    rows = len(t)

    def self_products(x: Tensor) -> Tensor:
        return x.square().sum(1)

    across = {"tt": self_products(t)[:, None], "vv": self_products(v), "aa": self_products(a), "va": (v * a).sum(1),
              "tv": t @ v.mT, "ta": t @ a.mT}  # fmt: skip
    full = {key: value.expand(rows, rows) for key, value in across.items()}
    lines = [["tt", "tv", "ta"], ["tv", "vv", "va"], ["ta", "va", "aa"]]
    gram = torch.stack([torch.stack([full[key] for key in line], -1) for line in lines], -2)
    return both_ways(-gram.det().abs().sqrt() / TAU, 0.1)


def textbook_unialign(z: list[Tensor]) -> Tensor:
    """Eq. 13 in the reading U * tau^2, the first modality as anchor, with a full matrix for each U."""
    anchor, *others = z
    close = torch.stack([(anchor - x).square().sum(1).mean() for x in others]).mean()
    tuples = torch.stack(z, 1)
    flat = torch.linalg.det(tuples @ tuples.mT).sqrt().mean()
    spread = torch.stack([plain_uniformity([x]) for x in (*z, F.normalize(torch.stack(z).sum(0), dim=1))]).sum()
    return TAU.square() * spread + close + flat


def plain_uniformity(z: list[Tensor]) -> Tensor:
    """Eq. 9 by autograd on a full matrix."""
    (x,) = z
    squared = x.square().sum(1)
    logs = (x @ x.mT - squared / 2 - squared[:, None] / 2) / TAU.square()
    logs = logs.masked_fill(torch.eye(len(x), dtype=torch.bool), -torch.inf)
    return logs.logsumexp(1).mean() - torch.tensor(len(x) - 1.0).log()


def blocked_uniformity(z: list[Tensor]) -> Tensor:
    """Eq. 9 in tiles."""
    return uniformity(z[0], TAU)


def blocked_infonce(z: list[Tensor]) -> Tensor:
    """One pair, in tiles."""
    attraction, repulsion = contrast(dot, z[0], z[1][None], TAU)
    return attraction + repulsion


def differs(found: list[Tensor], exact: list[Tensor]) -> float:
    """Largest relative difference of loss and gradients from those in float64."""
    return max(float((a.double() - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True))


def agree(name: str, ours: Call, peer: Call, plain: Loss, z: list[Tensor], same: bool) -> dict[str, float]:
    """How far ours, and a peer of the `same` equation, are from float64; RuntimeError if ours by more than 1e-5."""
    exact = step(plain, [x.detach().double().requires_grad_() for x in z])()
    found = {"relative_difference": differs(ours(), exact)}
    if same:
        found["peer_relative_difference"] = differs(peer(), exact)
    if not found["relative_difference"] <= 1e-5:
        raise RuntimeError(f"bench {name}: {found['relative_difference']:.1e} from its equation, more than 1e-5")
    return found


def main(out: Path, quick: bool = False) -> None:
    """Measure everything and write the records to `out`; `quick`: small sizes, for a test of the bench itself."""
    cases: list[tuple[str, int, int, int, Loss, Loss, str, Loss]] = []
    infonce, languagebind, volumes, unialign = map(
        normalised, (textbook_infonce, textbook_languagebind, textbook_gram, textbook_unialign)
    )
    for rows, pairs in ((512, 60), (4096, 9)):
        few = 60 if rows == 512 else 2
        cases += [
            ("unialign/infonce", rows, 3, pairs, of("unialign"), infonce, "three F.cross_entropy pairs", unialign),
            ("unialign/languagebind", rows, 3, pairs, of("unialign"), languagebind, "two anchored pairs", unialign),
            ("infonce/textbook", rows, 3, pairs, of("infonce"), infonce, "three F.cross_entropy pairs", infonce),
            ("gram/textbook", rows, 3, few, of("gram"), volumes, "torch.det [B, B, 3, 3]", volumes),
        ]
    large = 8192
    cases += [
        ("blocked/plain uniformity", large, 1, 3, blocked_uniformity, plain_uniformity, "autograd", plain_uniformity),
        ("blocked/plain infonce", large, 2, 3, blocked_infonce, textbook_infonce, "autograd", textbook_infonce),
    ]  # fmt: skip
    records = []
    for name, rows, modalities, pairs, ours, peer, peer_name, plain in cases:
        z = batch(min(rows, 64) if quick else rows, modalities)
        a, b = step(ours, z), step(peer, z)
        params: dict[str, Any] = {"B": len(z[0]), "D": WIDTH, "M": modalities, "threads": torch.get_num_threads()}
        params |= agree(name, a, b, plain, z, peer is plain)
        records.append(record(name, params, a, b, peer_name, 2 if quick else pairs))
    rows = 64 if quick else 32768
    for name, modalities, loss in (("uniformity", 1, blocked_uniformity), ("infonce", 2, blocked_infonce)):
        z = batch(rows, modalities)
        largest = peak(step(loss, z))
        print(f"peak {name} B {rows}: {largest:.0f} MB", flush=True)
        records.append({"name": f"peak {name}", "params": {"B": rows, "D": WIDTH, "M": modalities}, "ours": largest,
                        "peer": None, "peer_name": None, "unit": "MB beyond the inputs", "ratio": None,
                        "ratio_low": None, "ratio_high": None, "peak_mb": largest, "peer_peak_mb": None})  # fmt: skip
    write_json(out, records)
