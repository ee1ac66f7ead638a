"""An unknown name is answered by the nearest ones, in one line of readable length."""

from __future__ import annotations

import pytest

from pipeline.errors import UserError, instead
from pipeline.settings import load
from tests.project import ROOT


def test_few_names_are_listed_and_of_many_the_nearest() -> None:
    assert instead("scense", ["stamps", "scenes"]) == "there are stamps, scenes"
    many = [f"run-{number}" for number in range(50)] + ["gram", "gram-tuned"]
    assert instead("grim", many) == "did you mean gram? there are 52"
    assert instead("zzz", many) == "none of the 52 is near"


@pytest.mark.parametrize(("wrong", "right"), [("unialing", "unialign"), ("vast-continue", "vast-continued")])
def test_an_unknown_run_is_one_short_line(wrong: str, right: str) -> None:
    settings = load("mini", ROOT)
    with pytest.raises(UserError) as error:
        settings.run(wrong)
    assert f"no run '{wrong}'; did you mean {right}" in str(error.value)
    assert str(error.value).endswith(f"there are {len(settings.runs)}")
    assert len(str(error.value)) < 160
