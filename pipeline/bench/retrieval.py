"""Speed and memory of streaming ranks, beside their peers: results/bench/retrieval.json.

`volume/cosine`, `residual/cosine`: both directions against our own streaming cosine ranks. `volume/argsort`,
`residual/argsort`: one direction against one matrix product and an argsort of it (what a cosine evaluation costs
elsewhere). `volume/textbook`: one direction against the stacked Gram matrices of all pairs, their determinants and an
argsort, as the releases do it. `growth`: 100,000 x 100,000 with two modalities, both directions, alone.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.bench.compare import peak, record, timed
from pipeline.files import write_json
from pipeline.geometry import SCORES, ranks, unit
from pipeline.geometry.ranking import ranks_both

WIDTH = 512
#: By number of modalities: a truth that is hard to find, R@1 of some 30 % among 5,000 as trained models have it. Ranks
#: of one would be the best case of screening.
NOISE = {2: 0.37, 4: 0.45}
Made = tuple[Tensor, Tensor]


def made(number: int, modalities: int) -> Made:
    """Texts [N, 512] and items [K, N, 512] that lie around them."""
    generator = torch.Generator().manual_seed(0)
    texts = unit(torch.randn(number, WIDTH, generator=generator))
    items = torch.empty(modalities, number, WIDTH)
    for index in range(modalities):
        items[index] = unit(texts + NOISE[modalities] * torch.randn(number, WIDTH, generator=generator))
    return texts, items


def streaming(name: str, data: Made) -> Any:
    """Both directions by a score, streamed."""
    texts, items = data
    return ranks_both(texts, items, SCORES[name], torch.arange(len(texts)))


def one_way(name: str, data: Made) -> Any:
    """Text to item by a score, streamed."""
    texts, items = data
    return ranks(texts, items, SCORES[name], torch.arange(len(texts)))


def product_and_argsort(data: Made) -> Any:
    """Text to item by cosine with the first modality: a product and a sort of every row."""
    texts, items = data
    return (texts @ items[0].mT).argsort(1, descending=True)


def textbook(data: Made) -> Any:
    """Text to item by volume: the Gram matrix of every pair (K = 2), its determinant, a sort of every row."""
    texts, (first, second) = data
    one = torch.ones(len(texts), len(texts))
    a, b, c = texts @ first.mT, texts @ second.mT, (first * second).sum(1).expand_as(one)
    rows = [torch.stack(row, -1) for row in ((one, a, b), (a, one, c), (b, c, one))]
    return torch.linalg.det(torch.stack(rows, -2)).abs().sqrt().argsort(1)


def sides(name: str) -> tuple[Callable[[Made], Any], Callable[[Made], Any], str]:
    """Ours, the peer and its name, of a comparison `score/peer`."""
    score, peer = name.split("/")
    if peer == "cosine":
        return lambda data: streaming(score, data), lambda data: streaming("cosine", data), "streaming cosine ranks"
    if peer == "argsort":
        return lambda data: one_way(score, data), product_and_argsort, "one product and argsort"
    return lambda data: one_way(score, data), textbook, "stacked determinants and argsort"


#: Comparison, N, K, pairs.
CASES = (
    ("volume/cosine", 5_000, 2, 12),
    ("residual/cosine", 5_000, 2, 12),
    ("volume/argsort", 5_000, 2, 8),
    ("residual/argsort", 5_000, 2, 8),
    ("volume/textbook", 5_000, 2, 7),
    ("volume/cosine", 5_000, 4, 8),
    ("residual/cosine", 5_000, 4, 8),
    ("volume/argsort", 5_000, 4, 5),
    ("volume/cosine", 20_000, 2, 3),
    ("residual/cosine", 20_000, 2, 3),
    ("volume/argsort", 20_000, 2, 2),
    ("volume/cosine", 20_000, 4, 2),
    ("residual/cosine", 20_000, 4, 2),
)
QUICK = tuple((name, 300, modalities, 3) for name, _, modalities, _ in CASES[:7])
GROWTH = (5_000, 20_000, 100_000)


def growth(number: int) -> dict[str, Any]:
    """Time and peak memory of both directions by volume, K 2, alone; the memory is beyond that of the embeddings."""
    data = made(number, 2)
    seconds: list[float] = []
    memory = peak(lambda: seconds.append(timed(lambda: streaming("volume", data))))
    own = sum(tensor.numel() * tensor.element_size() for tensor in data) / 2**20
    print(
        f"growth {number} x {number}: {seconds[0]:.1f} s, {memory:.0f} MB beyond {own:.0f} MB of embeddings", flush=True
    )
    return {
        "name": "volume/growth",
        "params": {"N": number, "K": 2, "D": WIDTH, "embeddings_mb": own, "threads": torch.get_num_threads()},
        "ours": seconds[0],
        "peer": None,
        "peer_name": None,
        "unit": "s",
        "ratio": None,
        "ratio_low": None,
        "ratio_high": None,
        "peak_mb": memory,
        "peer_peak_mb": None,
    }


def main(path: Path, quick: bool = False) -> None:
    """Run all comparisons and the growth and write the records."""
    records = []
    for name, number, modalities, pairs in QUICK if quick else CASES:
        ours, peer, peer_name = sides(name)
        data = made(number, modalities)
        found = float((one_way("volume", data).rank == 1).double().mean())
        params = {"N": number, "K": modalities, "D": WIDTH, "R@1": found, "threads": torch.get_num_threads()}
        records.append(record(name, params, partial(ours, data), partial(peer, data), peer_name, pairs))
    records += [growth(number) for number in ((300,) if quick else GROWTH)]
    write_json(path, records)
