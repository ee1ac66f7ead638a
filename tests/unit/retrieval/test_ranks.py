"""Streaming ranks: literal matrices, blocks, processes, a float64 determinant oracle, ties, correspondence."""

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from pipeline.geometry import SCORES, flipped, unit
from pipeline.geometry.hubness import hubness
from pipeline.geometry.ranking import ranks_both
from pipeline.geometry.ties import TOLERANCE
from pipeline.retrieval import ranks


def lookup(matrix):
    """A score that reads a literal matrix, with queries and items numbered `[n, 1]`."""
    return lambda rows, columns: matrix[rows[:, 0].long()][:, columns[:, 0].long()]


def numbers(n):
    return torch.arange(n, dtype=torch.float64)[:, None]


def data(n=37, width=8, modalities=2, seed=0):
    torch.manual_seed(seed)
    texts = unit(torch.randn(n, width))
    items = unit(texts + 0.9 * torch.randn(modalities, n, width))
    items[1, 3] = unit(items[0, 3] + 1e-4 * torch.randn(width))  # nearly dependent
    items[1, 4] = items[0, 4]  # dependent
    return texts, items


def test_literal_matrix():
    matrix = torch.tensor([[0.9, 0.1, 0.5], [0.6, 0.4, 0.5], [0.1, 0.2, 0.3]], dtype=torch.float64)
    found = ranks(numbers(3), numbers(3), lookup(matrix), torch.tensor([0, 1, 2]))
    assert found.rank.tolist() == [1, 3, 1]
    assert found.ties.tolist() == [0, 0, 0]
    forward, backward = ranks_both(numbers(3), numbers(3), lookup(matrix), torch.tensor([0, 1, 2]))
    assert forward.rank.tolist() == [1, 3, 1]
    assert backward.rank.tolist() == [1, 1, 3]


def test_several_captions_an_item_and_several_items_a_caption():
    matrix = torch.tensor([[0.9, 0.1, 0.5, 0.7], [0.6, 0.4, 0.5, 0.2], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    hits = [[1, 3], [0], [2, 0]]
    forward, backward = ranks_both(numbers(3), numbers(4), lookup(matrix), hits)
    assert forward.rank.tolist() == [2, 1, 2]  # other hits never stand in the way
    assert backward.rank.tolist() == [2, 3, 3, 1]


def test_ties_are_counted_and_a_collapsed_model_scores_at_chance():
    n = 400
    found = ranks(numbers(n), numbers(n), lookup(torch.ones(n, n, dtype=torch.float64)), torch.arange(n))
    assert found.ties.tolist() == [n - 1] * n
    assert 0.4 * n < found.rank.double().mean() < 0.6 * n
    assert (found.rank == 1).sum() <= 6
    within = torch.tensor([[1.0, 1.0 + TOLERANCE / 2, 1.0 - 3 * TOLERANCE]], dtype=torch.float64)
    assert ranks(numbers(1), numbers(3), lookup(within), torch.tensor([0])).ties.tolist() == [1]


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("several", [False, True])
def test_block_sizes_do_not_matter(name, several):
    texts, items = data()
    right = SEVERAL if several else torch.arange(37)
    reference = ranks_both(texts, items, SCORES[name], right, block=37)
    for block in (1, 7):
        found = ranks_both(texts, items, SCORES[name], right, block=block)
        assert [side.rank.tolist() for side in found] == [side.rank.tolist() for side in reference]
        assert [side.ties.tolist() for side in found] == [side.ties.tolist() for side in reference]
        assert [side.precision.tolist() for side in found] == [side.precision.tolist() for side in reference]


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("modalities", [1, 2, 3, 5])
def test_both_directions_equal_one_after_the_other(name, modalities):
    texts, items = data(modalities=max(modalities, 2))
    items = items[:modalities]
    texts = torch.cat([texts, texts[:9]])
    hits = [[i] for i in range(37)] + [[i] for i in range(9)]
    back = [[i, 37 + i] if i < 9 else [i] for i in range(37)]
    forward, backward = ranks_both(texts, items, SCORES[name], hits, block=10)
    assert forward.rank.tolist() == ranks(texts, items, SCORES[name], hits).rank.tolist()
    assert backward.rank.tolist() == ranks(items, texts, flipped(SCORES[name]), back).rank.tolist()


@pytest.mark.parametrize("modalities", [1, 2, 3, 4])
def test_volume_against_a_determinant_oracle(modalities):
    texts, items = data(modalities=max(modalities, 2), seed=1)
    items = items[:modalities]
    found = ranks(texts, items, SCORES["volume"], torch.arange(37), block=10)
    for query in range(37):
        tuples = torch.cat([texts[None, query : query + 1].expand(-1, 37, -1), items]).double().transpose(0, 1)
        volumes = torch.linalg.det(tuples @ tuples.mT).clamp_min(0).sqrt()
        better = (volumes < volumes[query] - 1e-6).sum()
        worse = (volumes > volumes[query] + 1e-6).sum()
        assert 1 + better <= found.rank[query] <= 37 - worse
        if better + worse == 36:
            assert found.rank[query] == 1 + better
            assert found.ties[query] == 0


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("spread", [1e-7, 1e-5, 1e-2])
@pytest.mark.parametrize("length", [1.0, 3.0])
@pytest.mark.parametrize("sizes", [0.0, 1.3])
def test_screening_in_float32_moves_no_rank(monkeypatch, name, spread, length, sizes):
    """Whatever the lengths: with `sizes` 1.3 they lie between 1/20 and 20, and a text is zero."""
    torch.manual_seed(3)
    centre = unit(torch.randn(1, 32))
    texts = length * unit(centre + spread * torch.randn(150, 32))
    items = torch.stack(
        [unit(centre + 0.5 + spread * torch.randn(150, 32)), unit(texts + spread * torch.randn(150, 32))]
    )
    items[1, 40] = 0
    items[:, 41] = items[0, 41]
    if sizes:
        texts = texts * torch.logspace(-sizes, sizes, 150)[torch.randperm(150), None]
        items = items * torch.logspace(-sizes, sizes, 300)[torch.randperm(300)].view(2, 150, 1)
        texts[7] = 0
    screened = ranks_both(texts, items, SCORES[name], torch.arange(150), block=40)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")  # then nothing is screened
    plain = ranks_both(texts, items, SCORES[name], torch.arange(150), block=40)
    for one, other in zip(plain, screened, strict=True):
        assert torch.equal(one.rank, other.rank)
        assert torch.equal(one.ties, other.ties)


#: Some texts have two right items, one item two texts.
SEVERAL = [[text, (text + 5) % 37] if text % 3 == 0 else [text] for text in range(37)]


@pytest.mark.parametrize("name", SCORES)
def test_copies_of_pairs_are_made_a_few_at_a_time(monkeypatch, name):
    texts, items = data()
    texts[3:20] = texts[3]  # many pairs within rounding
    whole = ranks_both(texts, items, SCORES[name], SEVERAL, block=20)
    monkeypatch.setattr("pipeline.geometry.ranking.PAIRS", 3)
    for one, other in zip(whole, ranks_both(texts, items, SCORES[name], SEVERAL, block=20), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", SCORES)
def test_embeddings_with_a_gradient_are_ranked_without_one(name):
    texts, items = data()
    expected = ranks(texts, items, SCORES[name], torch.arange(37))
    found = ranks(texts.requires_grad_(), items.requires_grad_(), SCORES[name], torch.arange(37))
    assert torch.equal(found.rank, expected.rank)
    assert hubness(texts, items, SCORES[name]).largest == hubness(texts.detach(), items.detach(), SCORES[name]).largest


@pytest.mark.parametrize("number", [3, 5, 9])
@pytest.mark.parametrize("name", SCORES)
def test_screening_of_many_modalities(monkeypatch, name, number):
    torch.manual_seed(number)
    centre = unit(torch.randn(1, 48))
    texts, items = unit(centre + 1e-2 * torch.randn(90, 48)), unit(centre + 1e-2 * torch.randn(number, 90, 48))
    items[0, :9], items[-1, 20:40] = 0, items[0, 20:40]
    screened = ranks_both(texts, items, SCORES[name], torch.arange(90), block=32)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")  # then nothing is screened
    for one, other in zip(ranks_both(texts, items, SCORES[name], torch.arange(90), block=32), screened, strict=True):
        assert torch.equal(one.rank, other.rank)
        assert torch.equal(one.ties, other.ties)


def _child(process, path, result):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=process, world_size=2)
    texts, items = data()
    result[process] = [
        [values.tolist() for values in side]
        for score in SCORES.values()
        for side in ranks_both(texts, items, score, SEVERAL, block=5, group=dist.group.WORLD)
    ]
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    texts, items = data()
    alone = [side for score in SCORES.values() for side in ranks_both(texts, items, score, SEVERAL, block=5)]
    with multiprocessing.get_context("spawn").Manager() as manager:
        result = manager.dict()
        multiprocessing.spawn(_child, (str(tmp_path / "meeting"), result), nprocs=2)
        assert result[0] == result[1] == [[values.tolist() for values in side] for side in alone]


def test_items_with_fewer_modalities():
    text = torch.tensor([[1.0, 0, 0]])
    items = torch.tensor([[[0.8, 0.6, 0], [0.8, 0.6, 0]], [[0.0, 0, 1], [0.0, 0, 0]]])
    torch.testing.assert_close(SCORES["residual"](text, items), torch.tensor([[-0.36, -0.36]]))
    assert SCORES["cosine"](text, items)[0, 1] > SCORES["cosine"](text, items)[0, 0]
    torch.testing.assert_close(SCORES["volume"](text, items), torch.tensor([[-0.6, -0.6]]))


def test_refusals():
    texts, items = data()
    with pytest.raises(ValueError, match="query 2: correct items"):
        ranks(texts, items, SCORES["cosine"], [[0], [1], []] + [[0]] * 34)
    with pytest.raises(ValueError, match="query 0: correct items \\[99\\]"):
        ranks(texts, items, SCORES["cosine"], torch.full((37,), 99))
    with pytest.raises(ValueError, match="37 queries but a correspondence of 3"):
        ranks(texts, items, SCORES["cosine"], torch.arange(3))
    with pytest.raises(ValueError, match="not a number"):
        ranks(texts * torch.nan, items, SCORES["cosine"], torch.arange(37))
    with pytest.raises(ValueError, match="item 36 answers no query"):
        ranks_both(texts[:36], items, SCORES["cosine"], torch.arange(36))
