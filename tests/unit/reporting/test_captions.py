"""The table of captions on literal ones: hits, what dealing out gives, memorised shares."""

import numpy as np
import pytest

from pipeline.reporting import captions
from pipeline.reporting.captions import Written
from pipeline.statistics import Bootstrap

CONCEPTS = [["red apple", "food"], ["lion", "animals"], ["old owl", "animals"], ["pear", "food"]]


def written(*texts):
    references = [[names[0]] for names in CONCEPTS]
    return Written(list(texts), references, CONCEPTS, [names[0] for names in CONCEPTS], 5)


def columns(records):
    return {record.column: record for record in records}


BOOTSTRAP = Bootstrap([names[0] for names in CONCEPTS], 1, 200)


def test_names_are_counted_by_hand():
    # Its concept; another of its class; one of another class; the class itself.
    found = columns(captions.named(written("an apple", "two owls", "some pears", "food"), "r", BOOTSTRAP))
    assert found["concept"].value == pytest.approx(25)
    assert found["class"].value == pytest.approx(75)
    # Each concept is named by one caption of four, but lion by none; food by three, animals by one.
    assert found["concept"].chance == pytest.approx(100 * 3 / 16)
    assert found["class"].chance == pytest.approx(50)
    assert found["class above dealt"].value == pytest.approx(25)
    assert found["concept"].ci_low <= 25 <= found["concept"].ci_high
    assert found["class dealt"].value == pytest.approx(50, abs=3)
    assert found["class dealt"].ci_low < 50 < found["class dealt"].ci_high
    assert (found["class"].n_evaluated, found["class"].n_protocol) == (4, 5)


def test_constant_captions_are_at_the_level_of_dealt_ones():
    found = columns(captions.named(written(*["an owl"] * 4), "r", BOOTSTRAP))
    assert found["class"].value == found["class"].chance == pytest.approx(50)
    assert found["class above dealt"].value == pytest.approx(0)


def test_a_corpus_of_classes_alone_has_no_concept_column():
    found = written("an owl", "a", "b", "c")
    labels = Written(found.captions, found.references, [["dog barking"], ["owl hooting"]] * 2, found.groups, 4)
    assert set(columns(captions.named(labels, "r", BOOTSTRAP))) == {"class", "class above dealt", "class dealt"}


def test_memorised_captions():
    found = columns(captions.memorised(written("A lion!", "an owl", "an owl", ""), "r", BOOTSTRAP, {"a lion", "owl"}))
    assert found["known"].value == pytest.approx(25)
    assert found["different"].value == pytest.approx(75)
    assert found["empty"].value == pytest.approx(25)


def test_true_captions_are_above_dealt_ones():
    found = columns(captions.compared(written("red apple", "lion", "old owl", "pear"), "r", BOOTSTRAP, 0))
    assert found["CIDEr"].value > 2
    assert found["CIDEr above dealt"].ci_low > 0
    assert found["BLEU-1"].value == pytest.approx(1)
    turned = columns(captions.compared(written("lion", "old owl", "pear", "red apple"), "r", BOOTSTRAP, 0))
    assert turned["CIDEr"].value == pytest.approx(0, abs=1e-6)
    assert np.isfinite(turned["CIDEr"].chance)
