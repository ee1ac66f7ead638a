"""Anybody's embeddings: results, comparison with stored ranks, refusals in one line."""

import json
import shutil
from pathlib import Path

import pandas
import pytest
import torch
from safetensors.torch import save_file

from pipeline import paths
from pipeline.errors import UserError
from pipeline.files import load_metadata, load_tensors, save_tensors
from pipeline.geometry import SCORES, unit
from pipeline.reporting.table1 import table1
from pipeline.retrieval import write_embeddings
from pipeline.retrieval.evaluate import FIXED, evaluate
from pipeline.retrieval.gallery import read_gallery
from pipeline.retrieval.rank import rank
from tests.unit import retrieval_project as project

RUNS = {"vast": 0.5, "vast-continued": 0.4, "infonce": 0.4, "gram": 0.4, "unialign": 0.3, "unialign-literal": 3.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(project.ROOT / "params", folder / "params")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = project.settings(seeds=2)
        project.write_project(settings, RUNS)
        for run in RUNS:
            rank(settings, run, list(range(settings.seeds(run))))
        table1(settings)
    return folder, settings


@pytest.fixture
def settings(made, monkeypatch):
    monkeypatch.chdir(made[0])
    return made[1]


def write(path, settings, change=None, noise=0.3, **more):
    """A good file, changed by `change(ids, text, items)`."""
    z = project.features(24, noise, 0)
    ids, text = [f"test{i}" for i in range(24)], z.pop("text")
    ids, text, z = change(ids, text, z) if change else (ids, text, z)
    write_embeddings(path, ids, text, z, manifest=paths.manifest(settings, "scenes"), **more)
    return path


def test_own_embeddings_evaluate_to_their_stored_ranks(settings, tmp_path, capsys):
    manifest, table = paths.manifest(settings, "scenes"), paths.table(settings, "table1", "json")
    own = paths.embeddings(settings, "unialign", 0, "scenes")
    result = evaluate(own, manifest, table, tmp_path / "out.json")
    # Both the two seeds' mean and this seed are known, so is their difference.
    row = next(r for r in result["comparison"] if r["run"] == "unialign" and r["direction"] == "T2VA")
    values = json.loads(table.read_text())["records"]
    theirs = next(
        r for r in values if r["section"] == "main" and r["run"] == "unialign" and r["column"] == "scenes.t2va"
    )
    mine = next(r for r in result["measures"] if (r["direction"], r["score"]) == ("T2VA", result["score"]))
    assert result["score_chosen"] == "best validation MRR"
    assert row["difference"] == pytest.approx(mine["R@1"] - theirs["value"])
    literal = next(r for r in result["comparison"] if r["run"] == "unialign-literal" and r["direction"] == "T2VA")
    assert literal["verdict"] == "better"
    assert {r["score"] for r in result["measures"]} == {"cosine", "fused", "volume", "residual"}
    assert result["geometry"]["hubness"]["T2VA cosine"]["largest"] >= 1
    assert set(result["geometry"]["gap"]) == {"text-vision", "text-audio", "vision-audio"}
    assert json.loads((tmp_path / "out.json").read_text())["n_evaluated"] == 24
    assert "| mine | " in capsys.readouterr().out


def test_a_stale_score_is_no_headline(settings, tmp_path):
    own, manifest = paths.embeddings(settings, "unialign", 0, "scenes"), paths.manifest(settings, "scenes")
    best = evaluate(own, manifest)["score"]
    marked = tmp_path / "marked.safetensors"
    save_tensors(marked, load_tensors(own), load_metadata(own) | {"stale": [best]})
    result = evaluate(marked, manifest)
    assert result["score"] != best
    assert best in {row["score"] for row in result["measures"]}


def test_splits_are_written_one_after_the_other(settings, tmp_path):
    manifest, file = paths.manifest(settings, "scenes"), tmp_path / "mine.safetensors"

    def add(split, n, width=16, made_from=manifest):
        z = project.features(n, 0.3, 0, width=width)
        write_embeddings(file, [f"{split}{i}" for i in range(n)], z.pop("text"), z, split=split, manifest=made_from)

    add("val", 12)
    first = {name: tensor.clone() for name, tensor in load_tensors(file).items()}
    add("test", 24)
    add("test", 24)
    held = load_tensors(file)
    assert {name.split("/")[0] for name in held} == {"val", "test"}
    assert all(torch.equal(held[name], tensor) for name, tensor in first.items())
    assert evaluate(file, manifest)["score_chosen"] == "best validation MRR"
    for change, message in (({"width": 8}, "val/text is 16 wide, test/text 8"), ({"made_from": None}, "another manif")):
        with pytest.raises(ValueError, match=f"mine.safetensors: .*{message}.*remove the file and write all splits"):
            add("test", 24, **change)
    file.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"mine.safetensors: damaged .*; delete it"):
        add("test", 24)


def test_modalities_that_share_a_letter_are_refused(settings, tmp_path):
    file, manifest = tmp_path / "mine.safetensors", paths.manifest(settings, "scenes")
    z = project.features(24, 0.3, 0)
    ids, text = [f"test{i}" for i in range(24)], z.pop("text")
    for names, pair in (
        (("vision", "speech", "subtitle"), "'speech' and 'subtitle'"),
        (("touch",), "'text' and 'touc"),
    ):
        items = dict.fromkeys(names, z["vision"])
        with pytest.raises(ValueError, match=f"modalities {pair}"):
            write_embeddings(file, ids, text, items)
        tensors = {f"test/{name}": tensor.clone() for name, tensor in {"text": text, **items}.items()}
        save_tensors(file, tensors, {"ids": {"test": ids}})
        with pytest.raises(UserError, match=rf"mine.safetensors: split test: modalities {pair}.* rename one"):
            evaluate(file, manifest)


def test_one_cluster_shows_nothing(tmp_path, monkeypatch):
    rows = project.clip_rows
    monkeypatch.setattr(project, "clip_rows", lambda *a, **k: [row | {"group": "all"} for row in rows(*a, **k)])
    monkeypatch.chdir(tmp_path)
    shutil.copytree(project.ROOT / "params", "params")
    settings = project.settings(seeds=1)
    project.write_project(settings, RUNS)
    for run in RUNS:
        rank(settings, run, [0])
    table1(settings)
    table = paths.table(settings, "table1", "json")
    own, manifest = paths.embeddings(settings, "unialign", 0, "scenes"), paths.manifest(settings, "scenes")
    found = evaluate(own, manifest, table)["comparison"]
    assert {(row["p"], row["ci"], row["verdict"]) for row in found} == {(1, None, "unclear")}
    contrasts = [row for row in json.loads(table.read_text())["records"] if row["section"].startswith("contrasts")]
    assert {(row["p_holm"], row["ci_low"], row["verdict"]) for row in contrasts} == {(1, None, "unclear")}
    assert {row["note"] for row in contrasts if row["paper"] is not None} == {"sign not settled"}


def test_order_of_the_file_does_not_matter(settings, tmp_path):
    turned = torch.arange(24).flip(0)

    def flip(ids, text, items):
        return ids[::-1], text[turned], {name: z[turned] for name, z in items.items()}

    manifest, table = paths.manifest(settings, "scenes"), paths.table(settings, "table1", "json")
    results = [
        evaluate(write(tmp_path / f"{n}.safetensors", settings, change), manifest, table)
        for n, change in enumerate((None, flip))
    ]
    pick = [[(r["run"], r["direction"], round(r["difference"], 6)) for r in one["comparison"]] for one in results]
    assert pick[0] == pick[1]


def ranks_of(result):
    """What is measured of each direction and score, of ranks alone."""
    kept = ("n", "items", "ties", "median", "mean", "R@1", "R@5", "R@10", "MRR", "mAP")
    return {(r["direction"], r["score"]): [r[key] for key in kept] for r in result["measures"]}


@pytest.mark.parametrize("number", [torch.float32, torch.float64])
def test_lengths_of_rows_do_not_matter(settings, tmp_path, number):
    manifest, file = paths.manifest(settings, "scenes"), tmp_path / "mine.safetensors"

    def some_missing(ids, text, items):
        items["audio"][[4, 11]] = 0
        return ids, text, items

    write(file, settings, some_missing, noise=1.0, fused={"va": torch.randn(24, 16)})
    tensors, about = load_tensors(file), load_metadata(file)
    assert not torch.equal(unit(tensors["test/fused_va"]), tensors["test/fused_va"])
    whole = evaluate(file, manifest)
    assert max(values[3] for values in ranks_of(whole).values()) > 1  # some medians: there is something to lose
    gallery = read_gallery(file, manifest)
    for seed, spread in enumerate((0.01, 2.0, 15.0)):
        torch.manual_seed(seed)
        scaled = {
            name: tensor.to(number) * 10 ** (spread * (2 * torch.rand(len(tensor), 1, dtype=number) - 1))
            if tensor.is_floating_point()
            else tensor
            for name, tensor in tensors.items()
        }
        save_tensors(file, scaled, about)
        assert ranks_of(evaluate(file, manifest)) == ranks_of(whole)
        again = read_gallery(file, manifest)
        torch.testing.assert_close(again.text, gallery.text, check_dtype=False)
        assert not again.items["audio"][[4, 11]].any()


def test_unit_rows_are_read_bit_for_bit(settings, tmp_path):
    manifest, file = paths.manifest(settings, "scenes"), tmp_path / "mine.safetensors"
    torch.manual_seed(5)
    rows = unit(torch.randn(24, 16)) * (1 + 8e-7 * torch.rand(24, 1))
    rows[3] = 0
    write(file, settings, lambda ids, text, items: (ids, text, {"vision": rows}))
    stored, read = load_tensors(file)["test/vision"], read_gallery(file, manifest).items["vision"]
    assert torch.equal(stored, read)
    rows[5] *= 1 + 3e-6
    write(file, settings, lambda ids, text, items: (ids, text, {"vision": rows}))
    read = read_gallery(file, manifest).items["vision"]
    assert (read != rows).any(1).nonzero()[:, 0].tolist() == [5]
    tensors, about = load_tensors(file), load_metadata(file)
    for number in (torch.bfloat16, torch.float16):  # unit as far as they can be: not enough for a volume
        save_tensors(file, tensors | {"test/vision": rows.to(number)}, about)
        read = read_gallery(file, manifest).items["vision"]
        assert read.dtype == torch.float32
        assert (read.double().norm(dim=1) - rows.any(1).double()).abs().max() < 2e-7


def test_a_modality_that_no_clip_has(settings, tmp_path, capsys):
    def deaf(ids, text, items):
        return ids, text, items | {"audio": torch.zeros_like(items["audio"])}

    path, manifest = write(tmp_path / "mine.safetensors", settings, deaf), paths.manifest(settings, "scenes")
    geometry = evaluate(path, manifest, output=tmp_path / "out.json")["geometry"]
    assert geometry["gap"]["text-audio"] is geometry["gap"]["vision-audio"] is None
    assert geometry["gap"]["text-vision"] > 0
    assert geometry["effective_rank"]["audio"] is geometry["collinearity"] is None
    assert geometry["effective_rank"]["vision"] > 1
    assert json.loads((tmp_path / "out.json").read_text())["geometry"] == geometry
    printed = capsys.readouterr().out
    assert "text-audio –, vision-audio –; effective rank: text" in printed
    assert "audio –; collinearity: –" in printed


def test_a_comparison_says_that_the_given_training_is_fixed(settings, tmp_path, capsys):
    path, manifest = write(tmp_path / "mine.safetensors", settings), paths.manifest(settings, "scenes")
    evaluate(path, manifest)
    assert "taken as fixed" not in capsys.readouterr().out
    found = evaluate(path, manifest, paths.table(settings, "table1", "json"), tmp_path / "out.json")["comparison"]
    printed = capsys.readouterr().out
    assert "one training, taken as fixed" in printed
    assert "P(A > B)" not in printed
    assert {row["note"] for row in json.loads((tmp_path / "out.json").read_text())["comparison"]} == {FIXED}
    assert len(found) == 2 * len(RUNS)


def test_other_modalities_missing_ones_and_parts_of_a_split(settings, tmp_path):
    def three(ids, text, items):
        items["subtitle"] = unit(text + 0.1)
        items["subtitle"][3] = 0  # this clip has none
        return ids[:20], text[:20], {name: z[:20] for name, z in items.items()}

    result = evaluate(write(tmp_path / "a.safetensors", settings, three), paths.manifest(settings, "scenes"))
    assert (result["n_evaluated"], result["n_protocol"]) == (20, 24)
    assert {r["direction"] for r in result["measures"]} == {
        "T2VAS", "VAS2T", "T2V", "V2T", "T2A", "A2T", "T2S", "S2T"
    }  # fmt: skip
    with pytest.raises(UserError, match="no ranks of T2VAS by"):
        evaluate(
            tmp_path / "a.safetensors", paths.manifest(settings, "scenes"), paths.table(settings, "table1", "json")
        )

    def part(ids, text, items):
        return ids[:20], text[:20], {name: z[:20] for name, z in items.items()}

    with pytest.raises(UserError, match="embed the whole split"):
        evaluate(
            write(tmp_path / "b.safetensors", settings, part),
            paths.manifest(settings, "scenes"),
            paths.table(settings, "table1", "json"),
        )


def _strange(ids, text, items):
    return ["ghost", *ids[1:]], text, items


def _train(ids, text, items):
    return ["train0", *ids[1:]], text, items


def _nan(ids, text, items):
    items["audio"][5, 2] = torch.nan
    return ids, text, items


def _twice(ids, text, items):
    return [*ids[:-1], ids[0]], text, items


def _empty(ids, text, items):
    return [], text[:0], {name: z[:0] for name, z in items.items()}


def _widths(ids, text, items):
    items["audio"] = items["audio"][:, :8]
    return ids, text, items


def _zero_text(ids, text, items):
    text[7] = 0
    return ids, text, items


def _too_many(ids, text, items):
    return ids[:12], text, {name: z[:12] for name, z in items.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_strange, "clip 'ghost' is no usable clip of split 'test'"),
        (_train, "clip 'train0' is no usable clip of split 'test'"),
        (_nan, "test/audio row 5 (clip 'test5') is not finite"),
        (_twice, "clip 'test0' appears twice"),
        (_empty, "the gallery of split 'test' is empty"),
        (_widths, "test/audio is 8 wide but test/text 16; one width for all"),
        (_zero_text, "test/text row 7 is zero"),
        (_too_many, "test/text_clip does not give each of 24 texts one of 12 clips"),
    ],
)
def test_refusals(settings, tmp_path, change, message):
    path = write(tmp_path / "mine.safetensors", settings, change)
    with pytest.raises(UserError) as caught:
        evaluate(path, paths.manifest(settings, "scenes"))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_digest_and_files_that_are_none(settings, tmp_path):
    path = write(tmp_path / "mine.safetensors", settings)
    other = tmp_path / "scenes" / "manifest.parquet"
    project.write_manifest(other, project.clip_rows(24, "test", 1))
    with pytest.raises(UserError, match="made from another manifest than"):
        evaluate(path, other)
    z = project.features(24, 0.3, 0)
    write_embeddings(path, [f"test{i}" for i in range(24)], z.pop("text"), z)
    with pytest.raises(UserError, match="ranked on another manifest than"):
        evaluate(path, other, paths.table(settings, "table1", "json"))
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    manifest = paths.manifest(settings, "scenes")
    with pytest.raises(
        UserError, match=r"bad.safetensors: cannot be read as embeddings .*; delete it and write it again"
    ):
        evaluate(tmp_path / "bad.safetensors", manifest)
    with pytest.raises(UserError, match=r"none.safetensors: missing"):
        evaluate(tmp_path / "none.safetensors", manifest)
    with pytest.raises(UserError, match="give a table's json"):
        evaluate(path, manifest, tmp_path / "table.csv")


def test_the_score_is_one_that_both_splits_have(settings, tmp_path, capsys):
    manifest, path = paths.manifest(settings, "scenes"), tmp_path / "mine.safetensors"
    write(path, settings)
    table = pandas.read_parquet(manifest)
    ids = table[(table["split"] == "val") & (table["status"] == "ok")]["clip_id"].tolist()
    z = project.features(len(ids), 0.01, 1)
    text, fused = z.pop("text"), {"va": z["vision"]}
    more = {"split": "val", "manifest": manifest}
    write_embeddings(path, ids, text, z, fused=fused, **more)
    assert evaluate(path, manifest)["score"] in SCORES  # not `fused`, which test lacks
    assert "Items that tie" in capsys.readouterr().out
    write_embeddings(path, ids, text, {"vision": z["vision"]}, **more)
    one_line("split val holds the modalities V, split test VA; embed both alike", path, manifest)
    write_embeddings(path, ids, text, z, **more)
    save_tensors(path, load_tensors(path), load_metadata(path) | {"stale": 5})
    one_line(r"metadata: stale is 5, expected a list", path, manifest)


def test_a_reference_by_its_name_alone(settings, tmp_path, monkeypatch):
    path, manifest = write(tmp_path / "mine.safetensors", settings), paths.manifest(settings, "scenes").absolute()
    table = paths.table(settings, "table1", "json").absolute()
    whole = evaluate(path, manifest, table)
    monkeypatch.chdir(table.parent)
    assert evaluate(path, manifest, Path(table.name))["comparison"] == whole["comparison"]


def test_a_foreign_file_is_not_overwritten(settings, tmp_path):
    path = tmp_path / "theirs.safetensors"
    save_file({"a": torch.ones(2)}, path, {"format": "pt"})
    with pytest.raises(UserError, match=r"theirs\.safetensors: its metadata are not ours, JSON values"):
        write(path, settings)


def one_line(message, *arguments):
    with pytest.raises(UserError, match=message) as caught:
        evaluate(*arguments)
    assert "\n" not in str(caught.value)


def test_a_manifest_or_reference_that_is_none(settings, tmp_path):
    path, manifest = write(tmp_path / "mine.safetensors", settings), paths.manifest(settings, "scenes")
    (tmp_path / "manifest.parquet").write_text("clip_id,split\n")
    one_line(r"manifest\.parquet: damaged or no parquet table", path, tmp_path / "manifest.parquet")
    table = tmp_path / "results" / "smoke" / "tables" / "table1.json"
    table.parent.mkdir(parents=True)
    for content, message in (
        ('{"records": [', "is no JSON"),
        ("", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        ("[1, 2]", "holds no table of runs"),
        ("7", "holds no table of runs"),
        ('{"records": {"a": 1}}', "holds no table of runs"),
        ('{"records": ["a", {"section": "main"}, {"section": "other", "run": "a"}]}', "holds no table of runs"),
    ):
        table.write_bytes(content if isinstance(content, bytes) else content.encode())
        one_line(rf"table1\.json: {message}", path, manifest, table)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([f"test{i}" for i in range(24)], r"ids is a list, expected \{split: \[clip ids\]\}"),
        ("test", "ids is a str, expected"),
        ({"test": "test0"}, "ids of split 'test' are no list of clip ids"),
        ({"test": list(range(24))}, "ids of split 'test' are no list of clip ids"),
        ({"test": None}, "ids of split 'test' are no list of clip ids"),
        ({"val": ["val0"]}, "no ids of split 'test'"),
        ({}, "no ids of split 'test'"),
        (None, "no ids of split 'test'"),
    ],
)
def test_ids_of_another_form(settings, tmp_path, ids, message):
    path = write(tmp_path / "mine.safetensors", settings)
    save_tensors(path, load_tensors(path), load_metadata(path) | {"ids": ids})
    one_line(rf"mine\.safetensors: metadata.* {message}", path, paths.manifest(settings, "scenes"))


def test_text_clip_and_text_of_another_shape(settings, tmp_path):
    path, manifest = write(tmp_path / "mine.safetensors", settings), paths.manifest(settings, "scenes")
    tensors, about = load_tensors(path), load_metadata(path)
    for clips, shape in (
        (torch.arange(24)[:, None], r"\[24, 1\] torch.int64"),
        (torch.tensor(0), r"\[\] torch.int64"),
        (torch.arange(24) + 0.5, r"\[24\] torch.float32"),
    ):
        save_tensors(path, tensors | {"test/text_clip": clips}, about)
        one_line(rf"mine\.safetensors: test/text_clip is {shape}; expected a clip's row for each text", path, manifest)
    save_tensors(path, tensors | {"test/text_clip": torch.arange(24, dtype=torch.int32)}, about)
    assert evaluate(path, manifest)["n_evaluated"] == 24
    del tensors["test/text_clip"]
    for text in (torch.ones(24), torch.tensor(1.0)):
        save_tensors(path, tensors | {"test/text": text}, about)
        one_line(r"mine\.safetensors: test/text is \[.*expected \[rows, width\] of floats", path, manifest)


def test_writer_checks_lengths(tmp_path):
    with pytest.raises(ValueError, match=r"text_clip is \[2, 1\]; expected the row of a clip for each text"):
        write_embeddings(
            tmp_path / "a.safetensors", ["a", "b"], torch.ones(2, 4), {"vision": torch.ones(2, 4)},
            text_clip=torch.zeros(2, 1),
        )  # fmt: skip
    with pytest.raises(ValueError, match="vision: 3 rows for 2 ids"):
        write_embeddings(tmp_path / "a.safetensors", ["a", "b"], torch.ones(2, 4), {"vision": torch.ones(3, 4)})
    with pytest.raises(ValueError, match="text_clip: 1 rows for 2 texts"):
        write_embeddings(
            tmp_path / "a.safetensors", ["a", "b"], torch.ones(2, 4), {"vision": torch.ones(2, 4)},
            text_clip=torch.zeros(1),
        )  # fmt: skip
