"""Captions without padding: rows and grid hold the same pieces."""

import pytest
import torch

from pipeline.models.packing import Pieces

LENGTHS = torch.tensor([2, 4, 1])


@pytest.fixture
def grid() -> torch.Tensor:
    return torch.arange(1.0, 25.0).view(3, 4, 2)


def test_rows_are_the_pieces_and_padding_comes_back_as_zero(grid):
    pieces = Pieces.of(LENGTHS, 4)
    rows = pieces.packed(grid)
    assert rows[:, 0].tolist() == [1, 3, 9, 11, 13, 15, 17]
    padded = pieces.padded(rows)
    assert padded[0].tolist() == [[1, 2], [3, 4], [0, 0], [0, 0]]
    assert torch.equal(pieces.packed(padded), rows)


def test_a_word_sees_its_caption_and_causally_no_later_word():
    assert Pieces.of(LENGTHS, 4).mask[:, 0, 0].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    assert Pieces.of(LENGTHS, 2, causal=True).mask.tolist() == [[1, 0], [1, 1]]
    assert Pieces.of(torch.tensor([4, 4]), 4).mask is None


def test_first_and_chosen_words_know_their_rows(grid):
    pieces = Pieces.of(LENGTHS, 4)
    rows = pieces.packed(grid)
    assert rows[pieces.first().rows].tolist() == grid[:, 0].tolist()
    assert pieces.first().padded(rows[pieces.first().rows]).tolist() == grid[:, :1].tolist()
    chosen = torch.tensor([[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    at = pieces.at(chosen)
    assert rows[at.rows].tolist() == grid[chosen].tolist()
    assert at.padded(rows[at.rows]).tolist() == (grid * chosen[..., None]).tolist()
    with pytest.raises(ValueError, match="padding has no row"):
        pieces.at(torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool))
    with pytest.raises(ValueError, match="padding has no row"):
        pieces.at(torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], dtype=torch.bool))
    nothing = pieces.at(torch.zeros_like(chosen))
    assert rows[nothing.rows].shape == (0, 2)


def test_without_padding_nothing_is_copied(grid):
    pieces = Pieces.of(torch.tensor([4, 4, 4]), 4)
    assert pieces.packed(grid).data_ptr() == grid.data_ptr()
    assert pieces.padded(pieces.packed(grid)).data_ptr() == grid.data_ptr()
    assert pieces.packed(grid)[pieces.first().rows].tolist() == grid[:, 0].tolist()


@pytest.mark.parametrize("lengths", [LENGTHS, torch.tensor([4, 4, 4])])
def test_captions_may_be_taken_several_times(grid, lengths):
    pieces, captions = Pieces.of(lengths, 4), torch.tensor([2, 0, 0, 1])
    taken, expected = pieces.captions(captions), Pieces.of(lengths[captions], 4)
    rows = pieces.packed(grid)[taken.rows]
    assert torch.equal(rows, expected.packed(grid[captions]))
    assert torch.equal(taken.padded(rows), expected.padded(rows))
    assert taken.mask is None if expected.mask is None else torch.equal(taken.mask, expected.mask)
    first = pieces.first().captions(captions)
    assert first.grid == (4, 1)
    assert first.rows.tolist() == captions.tolist()


def test_gradients_pass_both_ways(grid):
    pieces = Pieces.of(LENGTHS, 4)
    x = grid.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda g: pieces.padded(pieces.packed(g) * 2), x)
