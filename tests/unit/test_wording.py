"""Words of captions on literal inputs."""

import pytest

from pipeline import wording


def test_cider_prefers_the_truth_and_ignores_case_and_punctuation():
    references = [["A red star."], ["two blue houses"], ["the moon, growing"]]
    assert wording.words("the moon, growing") == "the moon growing"
    same = wording.cider(["a red star", "two blue houses", "The moon growing!"], references)
    turned = wording.cider(["two blue houses", "the moon growing", "a red star"], references)
    assert (same > 1).all()
    assert turned == pytest.approx([0, 0, 0], abs=1e-6)


def test_bleu_counts_runs_of_words_of_any_reference():
    references = [["a cat sat on the mat", "nothing"]]
    assert wording.bleu(["A cat sat on the mat."], references) == pytest.approx([1, 1, 1, 1])
    one, _, _, four = wording.bleu(["mat the on sat cat a"], references)
    assert one == pytest.approx(1)
    assert four < 1e-3


@pytest.mark.parametrize(
    ("caption", "phrase", "named"),
    [
        ("two red apples on a tree", "green apple", True),
        ("a red pear", "red apple", False),
        ("an animal", "animals", True),
        ("a heartbeat", "heart sounds, heartbeat", True),
        ("a heart", "heart sounds, heartbeat", False),
        ("a pineapple", "apple", False),
        ("", "apple", False),
    ],
)
def test_names(caption, phrase, named):
    assert wording.names(caption, phrase) is named
