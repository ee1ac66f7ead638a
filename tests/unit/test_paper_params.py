"""The paper's scale and its presets: they validate, say what their sources say, and leave other scales alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline import paths
from pipeline.errors import UserError
from pipeline.settings import load

ROOT = Path(__file__).parents[2]
#: Those of the paper's scale.
OTHERS = {"mini-way", "redrawn"}
PRESETS = sorted({path.stem for path in (ROOT / "params" / "presets").glob("*.yaml")} - OTHERS)


def test_as_the_paper_states() -> None:
    paper = load("paper", ROOT)
    assert (paper.vision.name, paper.audio.name, paper.vast.text.weights) == ("eva01-g-14", "beats", "bert-base")
    assert (paper.vast.width, paper.media.chunks, paper.vast.text.layers) == (512, 8, 12)
    how = paper.training.optimisation
    assert (how.learning_rate, how.beta1, how.beta2, how.epsilon, how.warmup) == (2e-5, 0.9, 0.98, 1e-6, 0.1)
    assert how.batch == 512
    trained = sum(paper.corpora[name].train for name in paper.train_corpora("unialign"))
    assert how.steps == 5 * (trained // how.batch)
    assert {name: corpus.test for name, corpus in paper.corpora.items()} == {
        "msrvtt": 1000,
        "didemo": 1003,
        "activitynet": 4917,
        "vast150k": 500,  # ours, not the paper's
    }
    assert paper.benchmarks() == ["msrvtt", "didemo", "activitynet"]
    assert paper.train_corpora("ablation-none") == ["msrvtt"]
    assert trained + 2 * paper.corpora["vast150k"].val == 150_154


def test_frames_sound_and_floors_are_settings_of_their_owner() -> None:
    paper = load("paper", ROOT)
    geometries = {name: paper.geometry(name) for name in paper.corpora}
    assert geometries == {"msrvtt": "crop", "didemo": "squash", "activitynet": "squash", "vast150k": "crop"}
    assert (paper.coverage("msrvtt"), paper.coverage("vast150k"), paper.media.coverage) == (0.99, 0.85, 0.95)
    channels = {preset: load("paper", ROOT, preset).media.channels for preset in PRESETS}
    assert channels == dict.fromkeys(PRESETS, "first") | {"gram-shipped": "mean", "gram-released": "mean"}
    mini = load("mini", ROOT)
    assert {(mini.geometry(name), mini.coverage(name)) for name in mini.corpora} == {("squash", 0.98)}


def test_whose_matching_reranks_a_run() -> None:
    paper, smoke, mini = (load(scale, ROOT) for scale in ("paper", "smoke", "mini"))
    for run in ("vast", "gram", "unialign", "holder", "unialign-tuned"):
        assert paper.matched_by(run) == "own"
    # Of no table that is re-ranked; somebody's model; trained from a second initial model.
    assert {paper.matched_by(run) for run in ("ablation-none", "imagebind-released", "unialign-shuffled")} == {None}
    assert (smoke.matched_by("gram"), smoke.matched_by("holder"), smoke.matched_by("vast")) == (
        "own", "vast", "own"
    )  # fmt: skip
    assert {mini.matched_by(run) for run in mini.runs} == {"vast", None}
    assert [run for run in mini.runs if mini.matched_by(run) is None] == [
        run for run in mini.runs if run.endswith("shuffled")
    ]
    for settings in (smoke, mini):
        assert settings.benchmarks() == list(settings.corpora)


def test_presets_are_those_promised() -> None:
    assert PRESETS == ["gram-released", "gram-shipped", "unialign", "vast-finetuning", "vggsound"]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_parse_and_every_run_has_its_data(preset: str) -> None:
    settings = load("paper", ROOT, preset)
    assert settings.preset == preset
    for run in settings.tables["table1"].runs:
        assert (
            sum(settings.corpora[name].train for name in settings.train_corpora(run))
            >= settings.training.optimisation.batch
        )


@pytest.mark.parametrize(
    ("preset", "corpus", "epochs"),
    [("gram-shipped", "vast150k", 5), ("vast-finetuning", "msrvtt", 3.6), ("vggsound", "vggsound", 50)],
)
def test_steps_are_the_stated_epochs(preset: str, corpus: str, epochs: float) -> None:
    settings = load("paper", ROOT, preset)
    how = settings.training.optimisation
    assert how.steps == pytest.approx(epochs * settings.corpora[corpus].train / how.batch, rel=0.01)


def test_another_released_model_has_other_towers() -> None:
    paper = load("paper", ROOT)
    for change in ({"path": "data/drop/weights/gram/model_step_459.pt"}, {"sha256": "00"}):
        released = paper.vast.released.model_copy(update=change)  # type: ignore[union-attr]
        other = paper.model_copy(update={"vast": paper.vast.model_copy(update={"released": released})})
        for modality in ("vision", "audio"):
            assert paths.tower_digest(other, modality) != paths.tower_digest(paper, modality)


def test_gram_presets_state_their_sources() -> None:
    shipped, released = load("paper", ROOT, "gram-shipped"), load("paper", ROOT, "gram-released")
    assert (shipped.training.frames, released.training.frames) == (2, 2)
    assert (shipped.training.optimisation.batch, released.training.optimisation.batch) == (128, 256)
    assert released.training.optimisation.steps == 459
    assert shipped.training.optimisation.vision_learning_rate == 5e-7


def test_a_preset_has_its_own_folders_and_shares_downloads() -> None:
    base, preset = load("paper", ROOT), load("paper", ROOT, "gram-shipped")
    assert paths.model(base, "gram", 0) == Path("models/paper/gram/0")
    assert paths.model(preset, "gram", 0) == Path("models/paper-gram-shipped/gram/0")
    for path in (
        lambda s: paths.manifest(s, "msrvtt"),
        lambda s: paths.rendered(s, "msrvtt", "test-0"),
        lambda s: paths.shard(s, "msrvtt", "test-0"),
        lambda s: paths.tower_weights(s, "vision"),
        lambda s: paths.pooled(s, "msrvtt"),
        lambda s: paths.matching(s, "msrvtt"),
        lambda s: paths.ranks(s, "gram", 0, "msrvtt"),
        lambda s: paths.table(s, "table1", "json"),
        lambda s: paths.tuning(s, "gram"),
        lambda s: paths.state(s, "gram", "0"),
    ):
        assert path(base) != path(preset)
        assert "paper-gram-shipped" in path(preset).parts
    assert paths.media(base, "vast150k") == paths.media(preset, "vast150k") == Path("data/paper/vast150k/media")
    assert paths.fetched(base, "vast150k", "val-0") == paths.fetched(preset, "vast150k", "val-0")
    smoke, rendered = load("smoke", ROOT), load("smoke", ROOT, "mini-way")
    assert paths.media(smoke, "scenes") != paths.media(rendered, "scenes")


def test_presets_of_another_scale_or_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params/presets/unialign\.yaml: is made for scale paper, not mini"):
        load("mini", ROOT, "unialign")
    with pytest.raises(UserError, match="preset: 'nothing' is none of gram-released, gram-shipped"):
        load("paper", ROOT, "nothing")
    shutil.copytree(ROOT / "params", tmp_path / "params")
    broken = tmp_path / "params" / "presets" / "unialign.yaml"
    broken.write_text(broken.read_text().replace("frames: 8", "frame: 8"))
    with pytest.raises(UserError, match=r"training\.frame: unknown key"):
        load("paper", tmp_path, "unialign")


def test_redrawn_shares_nothing_drawn_with_mini() -> None:
    mini, redrawn = load("mini", ROOT), load("mini", ROOT, "redrawn")
    changed = {key for key, value in redrawn.model_dump().items() if value != mini.model_dump()[key]}
    assert changed == {"preset", "seed"}
    for place in (paths.media, paths.manifest):
        assert place(redrawn, "stamps") != place(mini, "stamps")
    assert paths.tower_digest(redrawn, "audio") != paths.tower_digest(mini, "audio")


def test_other_scales_and_ways() -> None:
    for scale, preset in (("smoke", "mini-way"), ("mini", ""), ("mini", "redrawn")):
        settings = load(scale, ROOT, preset)
        assert (settings.preset, settings.training.trains, settings.vast.released) == (preset, "heads", None)
        assert settings.train_corpora("gram") == list(settings.corpora)
    smoke = load("smoke", ROOT)
    assert smoke.vast.released is not None
    assert smoke.vast.released.random
    paper = load("paper", ROOT)
    assert paper.vast.released is not None
    assert not paper.vast.released.random
