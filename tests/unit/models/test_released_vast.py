"""VAST at its real size: 1,287 names of equal shape; a checkpoint that does not fit is refused by name."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models import checkpoint, convert_pickle, key_map, vast_full

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def model() -> vast_full.VastFull:
    torch.manual_seed(0)
    return vast_full.VastFull(vast_full.TINY).eval()


@pytest.fixture
def state(model: vast_full.VastFull) -> State:
    return {name: value.clone() for name, value in key_map.released(model).items()}


def load(state: object, folder: Path) -> vast_full.VastFull:
    torch.save(state, folder / "vast.pt")
    return vast_full.load(folder / "vast.pt", config=vast_full.TINY)


def test_every_released_name_and_shape() -> None:
    listed = json.loads((Path(__file__).parent / "released_vast.json").read_text())
    with torch.device("meta"):
        real = vast_full.VastFull()
    ours = {name: list(value.shape) for name, value in key_map.released(real).items()}
    assert ours == listed
    assert len(ours) == 1287
    assert sum(torch.Size(shape).numel() for shape in ours.values()) == 1_396_651_368
    assert len({key_map.theirs(name) for name in real.state_dict()}) == len(real.state_dict()) == 1286


def clip(model: vast_full.VastFull) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    vision = torch.randn(3, 4, 3, 32, 32, generator=generator)
    audio = torch.randn(3, 1, 64, 32, generator=generator)
    ids = torch.randint(0, model.config.text.vocabulary, (3, 7), generator=generator)
    return vision, audio, (ids, torch.tensor([[1] * 7, [1] * 5 + [0] * 2, [1] * 4 + [0] * 3]))


@pytest.mark.parametrize(
    "layout",
    [
        lambda state: state,
        lambda state: {"module." + name: value for name, value in state.items()},
        lambda state: {
            name.replace("vision_encoder", "evaclip_model").replace("vision_", "video_"): v for name, v in state.items()
        },
        lambda state: {name: value for name, value in state.items() if name != key_map.POSITIONS},
        lambda state: state | {key_map.DEPTH_HEAD: state["contra_head_v.linear.weight"]},
    ],
    ids=["as released", "wrapped", "older names", "no positions", "GRAM's depth head"],
)
def test_round_trip(model: vast_full.VastFull, state: State, layout: Callable[[State], State], tmp_path: Path) -> None:
    again = load(layout(state), tmp_path)
    vision, audio, text = clip(model)
    with torch.no_grad():
        for one in (model, again):
            tokens = one.encode(vision=vision, audio=audio, text=text, subtitle=text)
            embedded = one.embed(one.pool(tokens))
            outputs = [
                *embedded.values(),
                one.match(*text, one.condition(tokens)),
                one.caption(*text, one.condition(tokens)),
            ]
            if one is model:
                expected = outputs
    assert set(embedded) == {"vision", "audio", "text", "subtitle", "fused_va", "fused_vs", "fused_vas"}
    for mine, theirs in zip(outputs, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_untied_decoder_is_kept(state: State, tmp_path: Path) -> None:
    name = "multimodal_encoder.cls.predictions.decoder.weight"
    state[name] = state[name] + 1
    torch.testing.assert_close(load(state, tmp_path).state_dict()["text.cls.predictions.decoder.weight"], state[name])


def test_frames_are_stretched(state: State, tmp_path: Path) -> None:
    frames = state["vision_frame_embedding"]
    state["vision_frame_embedding"] = frames[:, :2]
    torch.testing.assert_close(load(state, tmp_path).frames["vision"].data, frames[:, [0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s | {"contra_temperature": s.pop("contra_temp")},
            "missing 1: contra_temp; unexpected 1: contra_temperature",
        ),
        (lambda s: s.pop("itm_head.linear2.bias"), "missing 1: itm_head.linear2.bias"),
        (lambda s: s.update({"extra.weight": torch.ones(1)}), "unexpected 1: extra.weight"),
        (
            lambda s: s.update({"contra_head_a.linear.weight": torch.ones(16, 25)}),
            r"reshaped 1: contra_head_a.linear.weight \[16, 25\] instead of \[16, 24\]",
        ),
        (lambda s: s.update({key_map.POSITIONS: s[key_map.POSITIONS] + 1}), "position_ids is not 0, 1, 2"),
        (
            lambda s: s.update({key_map.POSITIONS: torch.arange(7)[None]}),
            r"reshaped 1: .*position_ids \[1, 7\] instead",
        ),
        (
            lambda s: s.update({"clip_model.logit_scale": torch.ones([])}),
            "two tensors become vision_encoder.logit_scale",
        ),
        (lambda s: s.update({"contra_temp": torch.tensor(-0.1)}), "contra_temp is -0.1"),
        (
            lambda s: s.update(
                {"audio_encoder.encoder.layers.1.self_attn.relative_attention_bias.weight": torch.ones(16, 2)}
            ),
            "are one tensor in this model, but differ in the file",
        ),
    ],
)
def test_misfits_are_named(state: State, change: Callable[[State], State | None], message: str, tmp_path: Path) -> None:
    changed = change(state)
    with pytest.raises(UserError, match=message) as refused:
        load(changed if isinstance(changed, dict) else state, tmp_path)
    assert "\n" not in str(refused.value)
    assert "vast.pt" in str(refused.value)


class Hostile:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("executed"),))


def test_pickle_with_more_than_tensors(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"convert it once: python -m pipeline.models.convert_pickle .*vast.pt"):
        load(state | {"step": Hostile()}, tmp_path)
    assert not (tmp_path / "executed").exists()
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match=r"old\.pt"):
        checkpoint.read(tmp_path / "old.pt")


def test_conversion_by_hand(state: State, tmp_path: Path) -> None:
    class_path = tmp_path / "trusted.pt"
    torch.save({"model": state, "when": Path("x")}, class_path)
    with pytest.raises(UserError, match="convert_pickle"):
        checkpoint.read(class_path)
    target = convert_pickle.convert(class_path)
    assert set(vast_full.load(target, config=vast_full.TINY).state_dict())


def test_a_pickle_of_code_that_is_not_here(tmp_path: Path) -> None:
    (tmp_path / "theirs.pt").write_bytes(b"\x80\x02ctheir_repository.config\nConfig\nq\x00.")
    with pytest.raises(UserError, match=r"theirs\.pt: refers to code that is not here \(No module named 'their_repo"):
        convert_pickle.convert(tmp_path / "theirs.pt")
    (tmp_path / "cut.pt").write_bytes(b"\x80\x02}q")
    with pytest.raises(UserError, match=r"cut\.pt: damaged"):
        convert_pickle.convert(tmp_path / "cut.pt")


@pytest.mark.parametrize("content", [b"<!DOCTYPE html>\n<title>Quota", b"version https://git-lfs", b""])
def test_a_page_in_the_place_of_a_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vast.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"vast\.pt: not a checkpoint, it begins with .*; download it again"):
        checkpoint.read(tmp_path / "vast.pt")


def test_any_cut_pickle_is_damaged_or_refused(tmp_path: Path) -> None:
    """Of torch's older files, which are pickles one after the other, the unpickler sees the cut itself."""
    path = tmp_path / "old.pt"
    torch.save({"a": torch.arange(6.0), "b": torch.ones(2, 2)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for stop in range(1, len(whole), 7):
        path.write_bytes(whole[:stop])
        with pytest.raises(UserError, match=r"old\.pt: (damaged|needs more than tensors|holds a)"):
            checkpoint.read(path)


def test_half_precision_files_are_read_as_the_model_is(tmp_path: Path) -> None:
    half = {name: value.half() for name, value in nn.Linear(3, 2).state_dict().items()}
    for device in ("cpu", "meta"):
        with torch.device(device):
            model = nn.Linear(3, 2)
        checkpoint.assign(model, half, "half.pt")
        assert model.weight.dtype == torch.float32
        assert torch.equal(model.weight.half(), half["weight"])
    with pytest.raises(UserError, match=r"half\.pt: weight holds torch\.int64, this model torch\.float32"):
        checkpoint.assign(model, half | {"weight": half["weight"].long()}, "half.pt")


def test_absent_altered_and_damaged_files(state: State, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such weights file"):
        checkpoint.read(tmp_path / "absent.pt")
    path = tmp_path / "vast.pt"
    torch.save(state, path)
    with pytest.raises(UserError, match=r"sha256 is .* expected 00"):
        checkpoint.read(path, "00")
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(UserError, match="damaged"):
        checkpoint.read(path)
    path = path.with_suffix(".safetensors")
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(UserError, match=r"vast\.safetensors: damaged .*; download it again"):
        checkpoint.read(path)
