"""Fetching from a given package and what happens without a mirror; no network."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.corpora import fetch, stamps_source
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.settings import Settings


@pytest.fixture
def package(tree: Path, tmp_path: Path) -> Path:
    """A Debian package with the fake stamps."""
    root = tmp_path / "root"
    shutil.copytree(tree, root / fetch.INSIDE)
    documents = root / "usr/share/doc" / fetch.PACKAGE
    documents.mkdir(parents=True)
    (documents / "copyright").write_text("GPL-2\n")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        f"Package: {fetch.PACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\n"
        "Description: fake\n"
    )
    made = tmp_path / f"{fetch.PACKAGE}_1_all.deb"
    subprocess.run(["dpkg-deb", "-Znone", "--build", str(root), str(made)], check=True, capture_output=True)
    return made


def with_digest(settings: Settings, digest: str) -> Settings:
    corpora = {
        name: entry.model_copy(update={"options": {**entry.options, "sha256": digest}})
        for name, entry in settings.corpora.items()
    }
    return settings.model_copy(update={"corpora": corpora})


def test_given_package(settings: Settings, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    asked = with_digest(settings, sha256(package))
    monkeypatch.setenv(fetch.VARIABLE, str(package))
    fetch.fetch(asked)
    stamps_source.library.cache_clear()
    assert len(stamps_source.library().stamps) == 40
    assert (stamps_source.ROOT / "copyright").read_text() == "GPL-2\n"
    monkeypatch.setattr(fetch, "_given", pytest.fail)  # whole: nothing is done again
    fetch.fetch(asked)
    (stamps_source.ROOT / "index.json").unlink()  # interrupted: done again
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path / "project")
    fetch.fetch(asked, package)
    assert json.loads((stamps_source.ROOT / "index.json").read_text())["language"] == "fr"
    assert sorted(path.name for path in stamps_source.ROOT.parent.iterdir()) == ["tuxpaint-stamps"]
    stamps_source.library.cache_clear()


def test_wrong_and_missing_archives(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.deb").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"x\.deb: SHA-256 is [0-9a-f]{64}, not 0"):
        fetch.fetch(settings, Path("x.deb"))
    with pytest.raises(UserError, match=r"y\.deb: no such file; STAMPS_ARCHIVE"):
        fetch.fetch(settings, Path("y.deb"))


def test_without_apt_or_mirror_one_sentence_names_the_ways(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    ways = r"apt-get.*STAMPS_ARCHIVE.*--config scale=smoke"
    with pytest.raises(UserError, match=f"there is no apt-get here.*{ways}"):
        fetch.fetch(settings)
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin/apt-get"
    fake.write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
    fake.chmod(0o755)
    with pytest.raises(UserError, match=f"apt-get says: E: Unable to locate package.*{ways}") as caught:
        fetch.fetch(settings)
    assert "\n" not in str(caught.value)


def test_smoke_fetches_nothing(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scenes = settings.model_copy(update={"corpora": {"scenes": settings.corpora["scenes"]}})
    fetch.fetch(scenes)
    assert not any(tmp_path.iterdir())
