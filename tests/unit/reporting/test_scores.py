"""The study of the scores from ranks with known answers: records, tests, the answer in words."""

import shutil

import numpy as np
import pytest

from pipeline import paths, ranks
from pipeline.errors import UserError
from pipeline.files import read_json, sha256
from pipeline.reporting.scores import QUESTION, scores
from pipeline.settings import load
from tests.unit import retrieval_project as project

LEVELS = {"vast": 0.3, "vast-continued": 0.4, "infonce": 0.4, "gram": 0.5, "unialign": 0.6, "unialign-literal": 0.1}
N = 200


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(project.ROOT / "params", "params")
    whole = load("smoke", project.ROOT)
    tables = {name: table.model_copy(update={"seeds": 3}) for name, table in whole.tables.items()}
    study = whole.study.model_copy(update={"seeds": 2})
    settings = whole.model_copy(update={"tables": tables, "study": study})
    project.write_ranks(settings, LEVELS)
    write_studies(settings)
    return settings


def write_studies(settings):
    """Files as the stage writes them: each lost share costs as much recall, hubs by score."""
    digest = sha256(paths.manifest(settings, "scenes"))
    hubs = {"cosine": 0.02, "volume": 0.5, "residual": 0.03}
    names = np.array([f"test{i}" for i in range(N)])
    ones = np.ones(N, np.int64)
    for run, level in LEVELS.items():
        for seed in range(min(settings.seeds(run), 2)):
            found = []
            for share in settings.study.missing:
                for score in hubs:
                    for way in ("T2VA", "VA2T"):
                        rank = np.where(np.arange(N) < round((1 - share) * level * N), 1.0, 9.0)
                        key = ranks.Key("test", ranks.missing(share), way, score)
                        found.append((key, ranks.Ranking(names, names, rank, 0 * ones, 1 / rank, ones, N)))
            lessened = {"share": 0.4, "scores": {score: {"won": 0.1, "lessened": 0.2, "whole": None} for score in hubs}}
            about = {"winner": 0.0, "skewness": 1.5, "orphans": 0.2}
            hubness = {way: {s: about | {"winner": hubs[s]} for s in hubs} for way in ("T2VA", "VA2T")}
            metadata = {"run": run, "seed": seed, "corpus": "scenes", "manifest": digest, "hubness": hubness}
            metadata |= {"collinearity": 0.5 + level / 10, "lessened": lessened}
            ranks.write(paths.study(settings, run, seed, "scenes"), found, metadata)


def made(settings):
    scores(settings)
    written = read_json(paths.table(settings, "scores", "json"))
    by = {(r["section"], r["run"], r["column"], r["score"]): r for r in written["records"]}
    assert len(by) == len(written["records"])
    return by, written["foot"]


def test_known_answers(settings, capsys):
    by, foot = made(settings)
    main = by["retrieval", "gram", "scenes.t2va.R@1", "residual"]
    assert (main["seeds"], main["n_evaluated"]) == (3, N)
    assert (main["value"], main["chance"]) == (pytest.approx(55), pytest.approx(0.5))
    assert main["ci_low"] < 55 < main["ci_high"]
    assert by["retrieval", "vast", "average.va2t.MRR", "cosine"]["value"] == pytest.approx(30 + 70 / 7)
    better = by["differences", "gram", "average.t2va", "residual − volume"]
    assert (better["value"], better["verdict"]) == (pytest.approx(5), "better")
    assert better["p_holm"] < 0.05
    assert by["hubness", "gram", "average.t2va.winner", "volume"]["value"] == pytest.approx(50)
    assert by["geometry", "gram", "scenes.collinearity", ""]["value"] == pytest.approx(0.55)
    assert by["missing", "gram", "scenes.t2va.0", "cosine"]["value"] == pytest.approx(50)
    assert by["missing", "gram", "average.va2t.90", "volume"]["value"] == pytest.approx(5)
    assert by["missing", "gram", "average.va2t.90", "volume"]["seeds"] == 2
    assert by["fewer", "unialign", "scenes.won", "cosine"]["value"] == pytest.approx(10)
    assert by["fewer", "unialign", "scenes.share", ""]["value"] == pytest.approx(40)
    assert ("fewer", "unialign", "scenes.whole", "cosine") not in by
    assert foot[0].startswith(
        "Does the residual repair text→item search on trained models? Yes, volume is worse for all 6 rows; "
    )
    assert "it is better than cosine for 6, worse for 0 of 6 rows. T→VA R@1, average of the benchmarks, " in foot[0]
    assert "better for 6 (vast +5.0, " in foot[0]
    assert any("median over rows, 50.0 % by volume (at most 50.0 %, vast), 3.0 % by residual" in line for line in foot)
    assert any("volume 38.3 → 3.8" in line for line in foot)
    assert "| gram | 50.0 [" in paths.table(settings, "scores", "md").read_text()
    for kind in ("png", "svg"):
        assert paths.figure(settings, "scores", kind).stat().st_size > 5000
    assert "Volume, residual and cosine over all trained methods" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("bonus", "answer"),
    [
        (0.0, "for none of 6 rows, worse for 0;"),
        (-0.05, "for none of 6 rows, worse for 6;"),
    ],
)
def test_the_answer_follows_the_numbers(settings, monkeypatch, bonus, answer):
    monkeypatch.setitem(project.BONUS, "residual", bonus)
    project.write_ranks(settings, LEVELS)
    assert made(settings)[1][0].startswith(f"{QUESTION} No: better than volume {answer}")


def test_equal_input_makes_equal_files(settings):
    files = [paths.table(settings, "scores", kind) for kind in ("json", "csv", "md")]
    files.append(paths.figure(settings, "scores", "svg"))
    scores(settings)
    first = [file.read_bytes() for file in files]
    scores(settings)
    assert first == [file.read_bytes() for file in files]


def test_a_missing_file_is_named(settings):
    paths.study(settings, "gram", 1, "scenes").unlink()
    with pytest.raises(UserError, match=r"gram/1/study/scenes\.parquet: missing"):
        scores(settings)
