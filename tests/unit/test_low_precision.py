"""Products are in bfloat16 where the device multiplies it, in float32 elsewhere; what is stored is the same format."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline import low_precision
from pipeline.models.efficientnet import TINY, EfficientNet

CPU = torch.device("cpu")


@pytest.fixture(params=[True, False], ids=["bf16", "no bf16"])
def able(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(low_precision, "multiplies", lambda _: request.param)
    return bool(request.param)


def test_only_auto_asks_the_device(able: bool) -> None:
    assert low_precision.chosen("auto", CPU) == (torch.bfloat16 if able else torch.float32)
    assert low_precision.chosen("bf16", CPU) == torch.bfloat16
    assert low_precision.chosen("fp32", CPU) == torch.float32


def test_products_are_in_the_chosen_format(able: bool) -> None:
    layer = nn.Linear(4, 4)
    for precision, expected in (("auto", able), ("bf16", True), ("fp32", False)):
        with low_precision.autocast(CPU, precision):
            assert layer(torch.ones(2, 4)).dtype == (torch.bfloat16 if expected else torch.float32)


def test_features_are_stored_in_one_format(able: bool) -> None:
    torch.manual_seed(0)
    tower = EfficientNet(TINY).freeze()
    assert next(tower.parameters()).dtype == (torch.bfloat16 if able else torch.float32)
    frames = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    assert tower.encode(frames).dtype == torch.bfloat16
