"""Heads start at the initial model's embeddings, by names and by value."""

from __future__ import annotations

import pytest
import torch

from pipeline.loop import generator
from pipeline.models.heads import FLOOR, Heads, restore, start

WIDTHS = {"text": 5, "vision": 7, "audio": 3}


def features(widths: dict[str, int], n: int = 4) -> dict[str, torch.Tensor]:
    source = generator(1)
    return {name: torch.randn(n, width, generator=source) for name, width in widths.items()}


def initial() -> dict[str, torch.Tensor]:
    return Heads(WIDTHS, 6, 0, generator(2)).tensors()


def test_names_are_the_initial_models() -> None:
    tensors = initial()
    assert set(tensors) == {
        "heads.text.weight", "heads.vision.weight", "heads.audio.weight", "heads.temperature",
        "heads.fused_va.weight", "heads.fused_va.bias",
    }  # fmt: skip
    assert tensors["heads.fused_va.weight"].shape == (6, 10)


def test_start_is_the_initial_model_and_naive() -> None:
    tensors, x = initial(), features(WIDTHS)
    heads = start(tensors, WIDTHS, 6, 9, generator(3))
    embeddings, fused = heads(x)
    for name in WIDTHS:
        z = x[name].double() @ tensors[f"heads.{name}.weight"].double().T
        torch.testing.assert_close(embeddings[name].double(), z / z.norm(dim=1, keepdim=True), atol=1e-6, rtol=0)
    both = torch.cat([x["vision"], x["audio"]], 1) @ tensors["heads.fused_va.weight"].T + tensors["heads.fused_va.bias"]
    torch.testing.assert_close(fused["va"], both / both.norm(dim=1, keepdim=True))
    for name, z in restore(tensors)(x)[0].items():
        assert torch.equal(z, embeddings[name])
    assert torch.equal(heads.embed(text=x["text"])["text"], embeddings["text"])
    assert torch.equal(heads.fuse(vision=x["vision"], audio=x["audio"])["a"], fused["a"])
    assert torch.equal(fused["v"], embeddings["vision"])


def test_adapted_heads_are_naive() -> None:
    heads = start(initial(), WIDTHS, 6, 9, generator(3)).double()
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter, generator=generator(6))
    x = {name: z.double() for name, z in features(WIDTHS).items()}
    tensors = heads.tensors()
    adapted = {}
    for name, z in x.items():
        hidden = z @ tensors[f"adapters.{name}.first.weight"].T
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        adapted[name] = z + hidden @ tensors[f"adapters.{name}.second.weight"].T
    embeddings, fused = heads(x)
    for name, z in adapted.items():
        expected = z @ tensors[f"heads.{name}.weight"].T
        torch.testing.assert_close(embeddings[name], expected / expected.norm(dim=1, keepdim=True))
    both = torch.cat([adapted["vision"], adapted["audio"]], 1)
    expected = both @ tensors["heads.fused_va.weight"].T + tensors["heads.fused_va.bias"]
    torch.testing.assert_close(fused["va"], expected / expected.norm(dim=1, keepdim=True))
    assert torch.equal(fused["v"], embeddings["vision"])
    assert torch.equal(fused["a"], embeddings["audio"])


def test_trained_heads_come_back_whole() -> None:
    heads = start(initial(), WIDTHS, 6, 9, generator(3))
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter, generator=generator(4))
    again = restore({**heads.tensors(), "bert.weight": torch.zeros(1)})
    x = features(WIDTHS)
    for one, two in zip(heads(x), again(x), strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(again.raw_temperature, heads.raw_temperature)


def test_seed_decides_new_layers_alone() -> None:
    one, two = (start(initial(), WIDTHS, 6, 9, generator(seed)) for seed in (3, 4))
    assert torch.equal(one.heads["text"].weight, two.heads["text"].weight)
    assert not torch.equal(one.adapters["text"]["first"].weight, two.adapters["text"]["first"].weight)
    assert not one.adapters["text"]["second"].weight.any()


@pytest.mark.parametrize(
    ("names", "conditions"),
    [
        (["text", "vision"], {"v"}),
        (["text", "audio"], {"a"}),
        (["text", "vision", "audio", "speech"], {"v", "a", "va"}),
    ],
)
def test_any_set_of_modalities(names: list[str], conditions: set[str]) -> None:
    widths = {name: {**WIDTHS, "speech": 4}[name] for name in names}
    heads = start(initial(), widths, 6, 9, generator(3))
    embeddings, fused = heads(features(widths))
    assert set(embeddings) == set(names)
    assert set(fused) == conditions
    assert set(restore(heads.tensors())(features(widths))[0]) == set(names)


def test_absent_modality_is_a_zero_row() -> None:
    heads = start(initial(), WIDTHS, 6, 9, generator(3))
    torch.nn.init.normal_(heads.adapters["audio"]["second"].weight)
    x = features(WIDTHS)
    x["audio"][1] = 0
    audio = heads(x)[0]["audio"]
    assert not audio[1].any()
    assert audio.norm(dim=1).tolist() == pytest.approx([1, 0, 1, 1])


def test_temperature_has_a_floor_it_can_leave() -> None:
    heads = Heads(WIDTHS, 6, 0)
    heads.raw_temperature.data.fill_(-0.2)
    heads.temperature.backward()
    assert heads.temperature.item() == pytest.approx(FLOOR, rel=1e-4)
    assert heads.raw_temperature.grad == 1


def test_a_fixed_temperature_is_what_it_says() -> None:
    heads = Heads(WIDTHS, 6, 0)
    heads.raw_temperature.data.fill_(0.002)
    heads.raw_temperature.requires_grad_(False)
    assert heads.temperature.item() == pytest.approx(0.002)
