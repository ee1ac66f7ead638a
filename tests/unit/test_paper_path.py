"""The paper's way, from a checkpoint in released layout to embeddings, at smoke scale with a few clips."""

from __future__ import annotations

import json
import os
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import checkpoints, dispatch, encoded, files, manifest, paths, written
from pipeline import ranks as stored
from pipeline.clips import Clips
from pipeline.errors import UserError
from pipeline.files import load_metadata, load_tensors, save_tensors
from pipeline.geometry import SCORES
from pipeline.media import decode
from pipeline.media.waves import read_waves
from pipeline.models import key_map, released, vast_full, zero_shot
from pipeline.ranks import FULL, Key
from pipeline.retrieval import match
from pipeline.retrieval.runs import run_gallery
from pipeline.retrieval.search import embed_text
from pipeline.settings import Run, Settings, Table, Weights, ZeroShot, load
from pipeline.training import everything, global_step
from pipeline.training.train import recipe
from tests.unit.released_models import write_imagebind, write_languagebind

ROOT = Path(__file__).parents[2]


def settings(**training: Any) -> Settings:
    """Smoke settings with fewer clips and steps; `training`: what else is changed there."""
    smoke = load("smoke", ROOT)
    optimisation = smoke.training.optimisation.model_copy(
        update={"steps": 4, "batch": 8, "checkpoint_every": 2, "validate_every": 4, "micro_batch": 3}
        | training.pop("optimisation", {})
    )
    train = smoke.training.model_copy(update={"optimisation": optimisation} | training)
    vision = smoke.vision.model_copy(update={"drop_path": 0.0})
    scenes = smoke.corpora["scenes"].model_copy(update={"train": 24, "val": 8, "test": 8})
    return smoke.model_copy(update={"vision": vision, "training": train, "corpora": {"scenes": scenes}})


def call(s: Settings, function: str, *arguments: Any, corpus: str = "") -> None:
    """What the command line does."""
    module, name = dispatch.resolve(s, function, corpus).rsplit(".", 1)
    getattr(import_module(module), name)(s, *arguments)


def of_two_lengths(*arguments: Any) -> list[Any]:
    """Sounds of which every other is cut to a second."""
    return [wave[: 16_000 if place % 2 else 40_000] for place, wave in enumerate(read_waves(*arguments))]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with decoded clips, features, the initial model and its pooled features."""
    folder = tmp_path_factory.mktemp("paper")
    before = Path.cwd()
    os.chdir(folder)
    try:
        s = settings()
        call(s, "pipeline.corpora.plan.plan", "scenes", corpus="scenes")
        with pytest.MonkeyPatch.context() as patch:
            # Raw shards pad all sounds to one length; clips of annotated corpora have many.
            patch.setattr(decode, "SHORTER", 2.0)
            patch.setattr(decode, "read_waves", of_two_lengths)
            for shard in paths.shards(s, "scenes"):
                call(s, "pipeline.corpora.render.render", "scenes", shard, corpus="scenes")
                call(s, "pipeline.media.decode.decode", "scenes", shard)
        call(s, "pipeline.corpora.merge.merge", "scenes")
        call(s, "pipeline.features.random_weights.write")
        call(s, "pipeline.vast.train.train")
        for modality in ("vision", "audio"):
            call(s, "pipeline.features.extract.extract", modality, "scenes")
        call(s, "pipeline.vast.pool.pool")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    return project


def test_stages_of_annotated_corpora_and_released_models() -> None:
    paper = load("paper", ROOT)
    resolved = {
        "pipeline.corpora.plan.plan": "pipeline.corpora.annotated.plan",
        "pipeline.corpora.render.render": "pipeline.corpora.annotated.fetch",
    }
    for function, other in {**resolved, **dispatch.RELEASED, **dispatch.EVERYTHING}.items():
        assert dispatch.resolve(paper, function, "msrvtt") == other
        module, name = other.rsplit(".", 1)
        assert callable(getattr(import_module(module), name))
        assert dispatch.resolve(load("mini", ROOT), function, "stamps") == function
    assert dispatch.resolve(paper, "pipeline.media.decode.decode", "msrvtt") == "pipeline.media.decode.decode"


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paper = load("paper", ROOT)
    for function, arguments, message in (
        ("pipeline.corpora.plan.plan", ("msrvtt",), "msrvtt_1ka_test.json: missing; put it there: https"),
        ("pipeline.vast.train.train", (), "model_step_204994.pt: no such weights file"),
        ("pipeline.training.train.train", ("gram", [0]), "run gram: 0 accelerators here, training.devices asks for 4"),
    ):
        with pytest.raises(UserError, match=message) as refused:
            call(paper, function, *arguments, corpus="msrvtt")
        assert "\n" not in str(refused.value)


def test_frozen_features_and_pooled_ones_agree(here: Path) -> None:
    s = settings()
    from pipeline import encoded

    table = manifest.usable(manifest.read(paths.manifest(s, "scenes")), "test")
    clips = Clips(s, {"scenes": table})
    assert {len(clips.read(row)[1]) for row in range(len(clips))} == {16_000, 40_000}
    exact = encoded.pooled(released.stored(s), released.tokenizer(s), s, "scenes", table)
    stored = load_tensors(paths.pooled(s, "scenes"))
    for name, rows in (("vision", stored["vision-test"][:, :, 0].mean(1)), ("audio", stored["audio-test"])):
        torch.testing.assert_close(rows.float(), exact.items[name], rtol=0.02, atol=0.02)
    torch.testing.assert_close(stored["text-test"], exact.text, rtol=0.02, atol=0.02)
    assert load_metadata(paths.pooled(s, "scenes"))["ids"]["test"] == exact.ids


def test_evidence_and_matching(here: Path) -> None:
    s = settings()
    call(s, "pipeline.vast.evidence.evidence")
    assert json.loads(paths.evidence(s).read_text())["corpora"]["scenes"]["clips"] == 8
    call(s, "pipeline.vast.matching.match", "scenes")
    found = load_tensors(paths.matching(s, "scenes"))
    assert found["probability"].shape == (len(found["captions"]), len(found["clips"]))
    assert found["probability"].ge(0).all()
    assert found["probability"].le(1).all()


def test_parts_that_other_weights_left_are_not_taken(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the stages had been stopped: their parts stay in `state/`."""
    s = settings()
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    tower, model = paths.tower_weights(s, "vision"), paths.model(s, "vast", 0) / "weights.safetensors"
    for weights, made, function, arguments in (
        (tower, paths.features(s, "vision", "scenes"), "pipeline.features.extract.extract", ("vision", "scenes")),
        (model, paths.matching(s, "scenes"), "pipeline.vast.matching.match", ("scenes",)),
    ):
        own, found = weights.with_suffix(".own"), []
        shutil.copy2(weights, own)
        try:
            for factor in (1, 1.5):
                save_tensors(weights, {name: tensor * factor for name, tensor in load_tensors(own).items()})
                call(s, function, *arguments)
                found.append(load_tensors(made))
        finally:
            os.replace(own, weights)
        assert any(not torch.equal(found[0][name], tensor) for name, tensor in found[1].items())
        call(s, function, *arguments)


def test_the_released_model_writes_captions(here: Path) -> None:
    s = settings()
    how = s.captions.model_copy(update={"length": 6, "batch": 5})
    s = s.model_copy(update={"captions": how})
    call(s, "pipeline.captions.caption.caption", "scenes")
    path = paths.captions(s, "scenes")
    whole = path.read_text()
    lines = [json.loads(line) for line in whole.splitlines()]
    assert [line["split"] for line in lines] == ["train"] * 24 + ["val"] * 8 + ["test"] * 8
    assert all(len(line["samples"]) == 3 for line in lines)
    assert len({tuple(line["samples"]) for line in lines}) > len(lines) / 2
    other = s.model_copy(update={"captions": how.model_copy(update={"batch": 8})})
    call(other, "pipeline.captions.caption.caption", "scenes")
    assert path.read_text() == whole
    seen = s.model_copy(update={"captions": how.model_copy(update={"modalities": ["vision"]})})
    call(seen, "pipeline.captions.caption.caption", "scenes")
    assert path.read_text() != whole


def test_a_corpus_without_captions_trains_on_written_ones(here: Path) -> None:
    s = settings()
    scenes = s.corpora["scenes"]
    scenes = scenes.model_copy(update={"options": scenes.options | {"captions": "written"}})
    how = s.captions.model_copy(update={"length": 6})
    s = s.model_copy(update={"corpora": {"scenes": scenes}, "captions": how})
    path = paths.captions(s, "scenes")
    path.unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"scenes\.jsonl: missing; run: python -m pipeline caption --corpus scenes"):
        written.usable(s, "scenes", "val")
    call(s, "pipeline.captions.caption.caption", "scenes")
    lines = {line["clip_id"]: line for line in map(json.loads, path.read_text().splitlines())}
    data = everything.Data(s, ["scenes"], released.tokenizer(s))
    first = lines[data.clips.where[0][2]]
    assert data.clips.captions[0] == list(dict.fromkeys([first["caption"], *first["samples"]]))
    val = written.usable(s, "scenes", "val")
    assert val["captions"].tolist() == [[lines[clip]["caption"]] for clip in val["clip_id"]]
    assert written.digest(s, "scenes") != written.digest(settings(), "scenes")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match="no caption of clip 'scenes-test-00007'"):
        written.usable(s, "scenes", "test")


def precision(s: Settings) -> torch.autocast:
    """As the loop has it."""
    return torch.autocast("cpu", torch.bfloat16, enabled=s.training.optimisation.precision == "bf16")


def step(s: Settings, run: str = "unialign", dropout: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """Value and gradients of the first step of a training, in the precision of its settings."""
    how = recipe(s, run)
    data = everything.Data(s, how.corpora, released.tokenizer(s))
    model = released.stored(s).train(dropout)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(everything.UNUSED))
    made = everything.Step(s, how, model, data, 0, everything.Place())
    with precision(s):
        value, _ = made.loss(0)
    value.backward()  # type: ignore[no-untyped-call]
    return value.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("run", ["unialign", "gram", "vast-continued"])
def test_the_micro_batch_changes_nothing(here: Path, run: str) -> None:
    value, gradients = step(settings(), run)
    whole, expected = step(settings(optimisation={"micro_batch": None}), run)
    torch.testing.assert_close(value, whole)
    assert set(gradients) == set(expected)
    assert any(name.startswith("vision.visual.blocks.0") for name in gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("bits", ["fp32", "bf16"])
def test_gradients_are_those_of_plain_autograd(here: Path, bits: str) -> None:
    """In bf16 too: the pass without gradient leaves no cast weight behind, and no backward pass is cast."""
    s = settings(optimisation={"micro_batch": 8, "precision": bits})
    s = s.model_copy(update={"vast": s.vast.model_copy(update={"matching_weight": 0.0})})
    value, gradients = step(s, "infonce")
    how = recipe(s, "infonce")
    data = everything.Data(s, how.corpora, released.tokenizer(s))
    model = released.stored(s)
    made = everything.Step(s, how, model, data, 0, everything.Place())
    from pipeline import encoded, loop

    rows = loop.batch_indices(len(data.clips), 8, 0, 0)
    which = data.captions(rows, 0, 0)
    texts = [data.clips.captions[row][one] for row, one in zip(rows.tolist(), which, strict=True)]
    vision, audio = data.read(rows.tolist(), 0, 0)
    with precision(s):
        tokens = model.encode(vision=vision, audio=audio, text=encoded.tokens(data.words, texts, s.vast.text.length))
    embedded = model.embed({name: pooled.float() for name, pooled in model.pool(tokens).items()})
    chosen = {name: embedded[name] for name in how.modalities}
    plain = made.objective(chosen, {}, model.temperature, how.settings, None)[0]
    plain.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(value, plain.detach())
    expected = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name for name, gradient in expected.items() if gradient.any()} <= gradients.keys()
    for name, gradient in expected.items():
        if name != "temperature":
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_gradients_are_handed_over_and_not_copied() -> None:
    """A copy of all gradients is 5 GB at the paper's size."""
    parameter, gradient = torch.nn.Parameter(torch.zeros(3)), torch.ones(3)
    place = gradient.data_ptr()
    value = global_step.Given.apply(torch.tensor(2.0), [gradient], parameter)
    del gradient
    (3 * value).backward()
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [3.0] * 3
    assert parameter.grad.data_ptr() == place


def test_negatives_are_drawn_as_released() -> None:
    """The own pair takes its share of the softmax: next to a sure one the others are drawn nearly evenly."""
    allowed = torch.tensor([[False, True, True, True, False]]).expand(5, -1)  # the last has an equal caption

    def shares(own: float) -> Tensor:
        logits = torch.tensor([[own, 3.0, 0.0, 0.0, -9.0]]).expand(5, -1)
        every = [global_step.drawn(logits, allowed, torch.Generator().manual_seed(seed)) for seed in range(4000)]
        return torch.bincount(torch.cat(every), minlength=5) / 20000

    for own in (6.0, 60.0):
        weights = torch.tensor([own, 3.0, 0.0, 0.0, -9.0]).softmax(0)[1:4] + 1e-4
        expected = torch.tensor([0.0, *(weights / weights.sum()).tolist(), 0.0])
        torch.testing.assert_close(shares(own), expected, atol=0.015, rtol=0)
    alone = global_step.drawn(torch.zeros(3, 3), torch.zeros(3, 3, dtype=torch.bool), torch.Generator())
    assert alone.tolist() == [0, 1, 2]


def test_a_model_has_as_many_frame_embeddings_as_training_frames(here: Path) -> None:
    """What training never moves must not stand between: in evaluation the trained ones are repeated."""
    s = settings()
    few = s.model_copy(update={"training": s.training.model_copy(update={"frames": 2})})
    assert released.config(few).frames == 2
    assert released.config(s).frames == s.media.chunks
    shown = key_map.stretch(torch.tensor([[[1.0], [2.0]]]), 8)
    assert shown.flatten().tolist() == [1.0] * 4 + [2.0] * 4


def test_training_resumes_to_the_same_tensors_and_is_embedded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = settings()
    call(s, "pipeline.training.train.train", "unialign", [0])
    weights = paths.model(s, "unialign", 0) / "weights.safetensors"
    once = load_tensors(weights)
    initial = load_tensors(paths.model(s, "vast", 0) / "weights.safetensors")
    changed = {name for name in once if not torch.equal(once[name], initial[name])}
    assert "vast.vision.visual.blocks.0.attn.qkv.weight" in changed
    assert "vast.audio.patch_embedding.weight" in changed
    tied = {"vast.text.cls.predictions.decoder.weight"}
    assert not any(name.removeprefix("vast.").startswith(everything.UNUSED) for name in changed - tied)
    (state,) = paths.state(s, "unialign", "0").iterdir()
    assert [left.name for left in state.iterdir()] == ["ended"]  # no checkpoint
    taken, loss = [], everything.Step.loss

    def stops(self: everything.Step, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        taken.append(step)
        if taken == [0, 1, 2, 3]:
            raise KeyboardInterrupt
        return loss(self, step)

    monkeypatch.setattr(everything.Step, "loss", stops)
    before = {file.name: file.read_bytes() for file in weights.parent.iterdir()}
    shutil.rmtree(weights.parent)  # as Snakemake does with what it was not there to record
    call(s, "pipeline.training.train.train", "unialign", [0])
    assert {file.name: file.read_bytes() for file in weights.parent.iterdir()} == before
    assert not taken
    shutil.rmtree(state)
    with pytest.raises(KeyboardInterrupt):
        call(s, "pipeline.training.train.train", "unialign", [0])
    assert checkpoints.steps(state) == [2]
    call(s, "pipeline.training.train.train", "unialign", [0])
    assert taken == [0, 1, 2, 3, 2, 3]
    assert not checkpoints.steps(state)
    shutil.copytree(state, state.with_name("of-other-settings"))
    shutil.rmtree(state)
    call(s, "pipeline.training.train.train", "unialign", [0])
    assert [left.name for left in state.parent.glob("*/ended")] == ["ended"]
    assert all(torch.equal(tensor, once[name]) for name, tensor in load_tensors(weights).items())
    record = json.loads((weights.parent / "run.json").read_text())
    assert "val/mean/cosine/R1" in record["validation"]
    call(s, "pipeline.embeddings.embed.embed", "unialign", [0])
    found = load_tensors(paths.embeddings(s, "unialign", 0, "scenes"))
    assert {"test/text", "test/text_clip", "test/vision", "test/audio", "test/fused_va", "val/fused_a"} <= set(found)
    torch.testing.assert_close(found["test/vision"].norm(dim=1), torch.ones(8))


def test_a_run_matches_what_it_finds_by_its_own_weights(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = settings()
    s = s.model_copy(update={"retrieval": s.retrieval.model_copy(update={"rerank": 2, "matching_batch": 3})})
    call(s, "pipeline.training.train.train", "unialign", [0])
    call(s, "pipeline.embeddings.embed.embed", "unialign", [0])
    monkeypatch.setattr(match, "PART", 3)
    path = paths.own_matching(s, "unialign", 0, "scenes")
    saved, count = files.save_tensors, [0]

    def stop(*arguments: Any, **options: Any) -> None:
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt
        saved(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(files, "save_tensors", stop)
        with pytest.raises(KeyboardInterrupt):
            match.match(s, "unialign", [0])
    assert len(list(paths.state(s, "matching", "unialign").rglob("*.safetensors"))) == 2
    encoded_clips: list[int] = []
    inputs = Clips.inputs
    with monkeypatch.context() as patch:
        patch.setattr(Clips, "inputs", lambda self, rows: encoded_clips.extend(rows) or inputs(self, rows))
        match.match(s, "unialign", [0])
    assert encoded_clips == [6, 7]  # the parts of clips 0-2 and 3-5 were there
    assert not list(paths.state(s, "matching", "unialign").rglob("*.safetensors"))
    resumed = load_tensors(path)
    match.match(s, "unialign", [0])
    found, about = load_tensors(path), load_metadata(path)
    assert all(torch.equal(found[name], resumed[name]) for name in found)
    assert about["k"] == 2

    # Pairs of the first two of each query by any score, and what the model itself says of them.
    gallery = run_gallery(s, "unialign", 0, "scenes")
    items = torch.stack([gallery.items["vision"], gallery.items["audio"]]).double()
    first = [score(gallery.text.double(), items) for score in SCORES.values()]
    first.append(SCORES["cosine"](gallery.text.double(), gallery.fused["va"][None].double()))
    expected = set()
    for matrix in first:
        expected |= {(t, c) for t, row in enumerate(matrix.topk(2, 1).indices.tolist()) for c in row}
        expected |= {(t, c) for c, row in enumerate(matrix.topk(2, 0).indices.T.tolist()) for t in row}
    assert set(zip(found["text"].tolist(), found["clip"].tolist(), strict=True)) == expected
    model, words = released.stored(s, "unialign", 0), released.tokenizer(s)
    clips = Clips(s, {"scenes": manifest.usable(manifest.read(paths.manifest(s, "scenes")), "test")})
    for number in range(0, len(found["clip"]), 5):
        ids, mask = encoded.tokens(words, [gallery.captions[found["text"][number]]], s.vast.text.length)
        with torch.inference_mode():
            pixels, mel = clips.inputs([int(found["clip"][number])])
            logits = model.match(ids, mask, model.condition(model.encode(vision=pixels, audio=mel)))
        torch.testing.assert_close(found["probability"][number], logits.softmax(1)[0, 1], rtol=1e-4, atol=1e-6)

    call(s, "pipeline.retrieval.rank.rank", "unialign", [0])
    ranked, _ = stored.read(paths.ranks(s, "unialign", 0, "scenes"))
    assert Key("test", FULL, "VA2T", "fused+itm") in ranked
    with pytest.raises(UserError, match="--run pmrl: does not train its own matching"):
        match.match(s, "pmrl", [0])


@pytest.mark.parametrize(
    ("method", "hears"),
    [("imagebind-released", True), ("languagebind-released", True), ("languagebind-released", False)],
)
def test_released_models_become_rows_of_a_table(here: Path, method: str, hears: bool) -> None:
    """From mp4 files to a row, by tiny models of the released classes."""
    shutil.copytree(ROOT / "params", "params", dirs_exist_ok=True)
    write_imagebind(here / "imagebind.pth")
    video, audio, _ = write_languagebind(here)
    entries = {
        "imagebind-released": ZeroShot(model="imagebind-tiny", batch=3, weights=Weights(path="imagebind.pth")),
        "languagebind-released": ZeroShot(
            model="languagebind",
            batch=3,
            weights=Weights(path=str(video)),
            audio_weights=Weights(path=str(audio)) if hears else None,
        ),
    }
    s = settings().model_copy(
        update={
            "zero_shot": entries,
            "runs": {method: Run(method=method)},
            "tables": {"table1": Table(title="Released", runs=[method], seeds=3)},
        }
    )
    assert s.seeds(method) == 1
    with pytest.raises(UserError, match=f"runs.{method}: is a released model; it is not trained"):
        call(s, "pipeline.training.train.train", method, [0], corpus=method)
    call(s, "pipeline.embeddings.embed.embed", method, [0], corpus=method)
    found = load_tensors(paths.embeddings(s, method, 0, "scenes"))
    for name, length in (("text", 1.0), ("vision", 1.0), ("audio", float(hears))):
        torch.testing.assert_close(found[f"test/{name}"].norm(dim=1), torch.full((len(found[f"test/{name}"]),), length))
    assert load_metadata(paths.embeddings(s, method, 0, "scenes"))["manifest"]
    call(s, "pipeline.retrieval.rank.rank", method, [0])
    call(s, "pipeline.reporting.table1.table1")
    rows = json.loads(paths.table(s, "table1", "json").read_text())["records"]
    row = next(row for row in rows if row["run"] == method and row["column"] == "scenes.t2va")
    assert (row["section"], row["seeds"], row["n_evaluated"]) == ("main", 1, len(found["test/text"]))
    assert 0 <= row["value"] <= 100
    alone = next(row for row in rows if row["run"] == method and row["column"] == "scenes.t2v")
    assert hears or row["value"] == alone["value"]


def test_a_searched_text_has_the_embedding_of_the_equal_caption(here: Path) -> None:
    s = settings()
    call(s, "pipeline.embeddings.embed.embed", "vast", [0])
    found = load_tensors(paths.embeddings(s, "vast", 0, "scenes"))
    clips = manifest.usable(manifest.read(paths.manifest(s, "scenes")), "test")
    for row, texts in enumerate(clips["captions"]):
        text = embed_text(s, "vast", 0, texts[0])
        torch.testing.assert_close(text[0], found["test/text"][row], rtol=1e-4, atol=1e-5)


def test_random_weights_are_made_only_where_settings_say_so(here: Path) -> None:
    s = settings()
    assert s.vast.released is not None
    whole = torch.load(s.vast.released.path)
    assert {key_map.theirs(name) for name in vast_full.VastFull(released.config(s)).state_dict()} < set(whole)
    assert s.random() == [s.vast.released.path, s.zero_shot["imagebind-tiny"].weights.path]
    assert zero_shot.load(s.zero_shot["imagebind-tiny"]).embed_text(["a lion"]).norm().item() == pytest.approx(1)
    vast = s.vast.model_copy(update={"released": s.vast.released.model_copy(update={"random": False})})
    with pytest.raises(UserError, match=r"no weights are random .*; they are never a default"):
        call(s.model_copy(update={"vast": vast, "zero_shot": {}}), "pipeline.features.random_weights.write")
    with pytest.raises(ValueError, match="random weights are written in ImageBind's layout alone"):
        ZeroShot(model="languagebind", batch=1, weights=Weights(path="a.bin", random=True))
