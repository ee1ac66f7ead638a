"""Plan and fetch of annotated corpora: public lists, the drop folder, downloads (a stand-in for yt-dlp), own data."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest

from pipeline import paths
from pipeline.corpora import annotated, annotations, download, sources, verify
from pipeline.corpora.journal import Journal
from pipeline.errors import UserError
from pipeline.settings import Corpus, Settings, load

ROOT = Path(__file__).parents[3]
ADDRESS = "https://www.youtube.com/watch?v="


def settings(kind: str = "annotated", **corpora: dict[str, Any]) -> Settings:
    """Smoke settings with annotated corpora instead of its own."""
    entries = {
        name: Corpus.model_validate(
            {"kind": kind, "stands_for": name, "source": "s", "licence": "l", "train": 0, "val": 0, "test": 0}
            | {"shards": {"train": 1, "val": 1, "test": 1}}
            | values
        )
        for name, values in corpora.items()
    }
    return load("smoke", ROOT).model_copy(update={"corpora": entries})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(annotated.verify, "damage", lambda path, seconds, name, asked: "")  # these files are no videos
    monkeypatch.setitem(annotations.COUNTS, ("msrvtt", "test"), (4,))
    folder = tmp_path / "data" / "drop" / "msrvtt" / "annotations"
    folder.mkdir(parents=True)
    lines = ["key,vid_key,video_id,sentence", *(f"r{n},m{n},video{n},caption {n}" for n in range(4))]
    (folder / "msrvtt_1ka_test.csv").write_text("\n".join(lines))
    train = [{"video_id": f"video{n}", "desc": f"caption {n}"} for n in range(3, 13)]
    (folder / "msrvtt_9k_train.json").write_text(json.dumps(train))
    return tmp_path


def drop(project: Path, *names: str, corpus: str = "msrvtt") -> None:
    folder = project / "data" / "drop" / corpus / "media" / "part"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())


def planned(s: Settings, corpus: str = "msrvtt") -> pandas.DataFrame:
    annotated.plan(s, corpus)
    return pandas.read_parquet(paths.plan(s, corpus))


def fetched(s: Settings, shard: str = "test-0", corpus: str = "msrvtt") -> dict[str, tuple[str, str]]:
    annotated.fetch(s, corpus, shard)
    rows = pandas.read_parquet(paths.rendered(s, corpus, shard)).to_dict("records")
    assert all(bool(row["sha256"]) == (row["status"] == "ok") for row in rows)
    return {row["clip_id"]: (row["status"], row["reason"]) for row in rows}


def test_plan_has_the_contract_of_rendered_corpora(project: Path) -> None:
    s = settings(msrvtt={"train": 6, "val": 3, "test": 4, "shards": {"train": 2, "val": 1, "test": 1}})
    table = planned(s)
    assert table["split"].tolist() == ["train"] * 6 + ["val"] * 3 + ["test"] * 4
    assert table["index"].tolist() == list(range(13))
    assert table["shard"].unique().tolist() == paths.shards(s, "msrvtt")
    assert table["clip_id"][9:].tolist() == [f"video{n}" for n in range(4)]
    assert table["captions"].map(list)[9] == ["caption 0"]
    assert table["clip_id"].is_unique  # video3 is in both lists: it stays a test clip
    from pipeline.corpora.plan import plan as rendered_plan

    scenes = load("smoke", ROOT)
    rendered_plan(scenes, "scenes")
    assert list(pandas.read_parquet(paths.plan(scenes, "scenes")).columns) == list(table.columns)


def test_validation_is_drawn_by_name_alone(project: Path) -> None:
    s = settings(msrvtt={"val": 3, "test": 4})
    first = set(planned(s).query("split == 'val'")["clip_id"])
    path = project / "data/drop/msrvtt/annotations/msrvtt_9k_train.json"
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]))
    assert set(planned(s).query("split == 'val'")["clip_id"]) == first


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"test": 3}, r"params/smoke.yaml: corpora.msrvtt.test: 3 clips asked, the annotations have 4"),
        ({"test": 4, "train": 99}, "corpora.msrvtt.train: 99 clips asked, the annotations have 9"),
        ({"test": 4, "shards": {}}, "corpora.msrvtt.shards.test: missing"),
        ({"options": {"annotations": "webvid"}}, "options.annotations: unknown; there are msrvtt, didemo"),
        ({"test": 4, "options": {"annotations": "didemo"}}, r"didemo_test.json: missing; put it there: https://"),
    ],
)
def test_plan_errors(project: Path, sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        planned(settings(msrvtt=sizes))


@pytest.mark.parametrize("official", [True, False])
def test_didemo_is_the_published_1003_of_either_list(
    project: Path, monkeypatch: pytest.MonkeyPatch, official: bool
) -> None:
    monkeypatch.setitem(annotations.COUNTS, ("didemo", "test"), (3, 4))
    folder = project / "data/drop/didemo/annotations"
    folder.mkdir(parents=True)
    names = ["a", annotations.DIDEMO_MISSING, "b", "c"]
    if official:
        rows = [{"video": f"{name}.mp4", "description": words} for name in names for words in ("one.", "two.")]
    else:
        rows = [{"video_id": name, "desc": "one. two."} for name in names if name != annotations.DIDEMO_MISSING]
    (folder / "didemo_test.json").write_text(json.dumps(rows))
    table = planned(settings(didemo={"test": 3}), "didemo")
    assert table["clip_id"].tolist() == ["a", "b", "c"]
    assert {caption for captions in table["captions"] for caption in captions} == {"one. two."}
    if official:
        assert planned(settings(didemo={"test": 4}), "didemo")["clip_id"].tolist() == names
    else:
        with pytest.raises(UserError, match=r"corpora\.didemo\.test: 4 clips asked, the annotations have 3"):
            planned(settings(didemo={"test": 4}), "didemo")


def test_of_a_list_of_unknown_sha256_the_count_decides(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / "data/drop/msrvtt/annotations/msrvtt_1ka_test.json"
    rows = [{"video_id": f"video{n}", "desc": f"caption {n}"} for n in range(4)]
    path.write_text(json.dumps(rows))
    assert planned(settings(msrvtt={"test": 4}))["clip_id"].tolist() == [f"video{n}" for n in range(4)]
    note = f"{sources.annotation('msrvtt', 'test')}: sha256 {hashlib.sha256(path.read_bytes()).hexdigest()} is not the"
    assert [line.startswith(note) for line in capsys.readouterr().err.splitlines()] == [True, True]
    path.write_text(json.dumps(rows[:3]))
    with pytest.raises(UserError, match=r"msrvtt_1ka_test\.json: 3 clips, but msrvtt test has 4"):
        planned(settings(msrvtt={"test": 3}))


def test_drop_folder(project: Path) -> None:
    s = settings(msrvtt={"test": 4})
    planned(s)
    with pytest.raises(UserError, match=r"put the videos into data/drop/msrvtt/media/<clip id>\.mp4, from https://"):
        fetched(s)
    drop(project, "video0.mp4", "video1.webm", "video2.mp4")
    (project / "data/drop/msrvtt/media/part/video2.mp4").write_bytes(b"")
    rows = fetched(s)
    assert [rows[f"video{n}"][0] for n in range(4)] == ["ok", "ok", "gone", "gone"]
    assert rows["video2"][1].endswith("video2.mp4: empty")
    assert rows["video3"][1] == "not in the drop folder, and options.download is off"
    assert (paths.media(s, "msrvtt") / "video1.mp4").read_bytes() == b"video1.webm"
    assert fetched(s) == rows
    assert not list(paths.media(s, "msrvtt").glob(".*"))


class Site:
    """A stand-in for yt-dlp's client: what each address does, and what was asked."""

    def __init__(self, does: dict[str, Callable[[Path], None]]) -> None:
        self.does, self.asked, self.parameters = does, [], {}  # type: ignore[var-annotated]

    def __call__(self, parameters: dict[str, Any]) -> Site:
        self.parameters = parameters
        return self

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def download(self, urls: list[str]) -> None:
        (url,) = urls
        self.asked.append(url)
        self.does[url](Path(self.parameters["outtmpl"].replace("%%", "%") % {"ext": "mp4"}))


def fails(message: str) -> Callable[[Path], None]:
    def act(_: Path) -> None:
        from yt_dlp.utils import DownloadError

        raise DownloadError(message)

    return act


@pytest.fixture
def site(project: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    import yt_dlp

    monkeypatch.setitem(annotations.COUNTS, ("vggsound", "test"), (4,))
    monkeypatch.setattr(annotations, "VGGSOUND_CLASSES", 2)
    monkeypatch.setattr(annotated.vggsound_test, "shipped", lambda: [f"{letter}_000030" for letter in "abcd"])
    folder = project / "data" / "drop" / "vggsound" / "annotations"
    folder.mkdir(parents=True)
    (folder / "vggsound_test.csv").write_text("".join(f"{letter}_000030.mp4,l{letter in 'ab'}\n" for letter in "abcd"))
    entry = sources.SOURCES["vggsound"]
    files = tuple(replace(file, sha256="") for file in entry.files)
    monkeypatch.setitem(sources.SOURCES, "vggsound", replace(entry, files=files))
    made = Site(
        {
            f"{ADDRESS}a": lambda path: path.write_bytes(b"video") and None,
            f"{ADDRESS}b": fails("ERROR: [youtube] b: Video unavailable. This video is private"),
            f"{ADDRESS}c": fails("ERROR: [youtube] c: This video has been removed by the uploader"),
            f"{ADDRESS}d": lambda path: None,
        }
    )
    monkeypatch.setattr(yt_dlp, "YoutubeDL", made)
    return made


def test_download(site: Site) -> None:
    s = settings(vggsound={"test": 4, "options": {"download": True, "bytes_per_second": 1000, "pause": 0.5}})
    assert planned(s, "vggsound")["captions"].map(len).tolist() == [1] * 4
    s.corpora["vggsound"].options["captions"] = "written"
    assert planned(s, "vggsound")["captions"].map(len).tolist() == [0] * 4
    assert planned(s, "vggsound")["concepts"].map(list).tolist() == [["lTrue"], ["lTrue"], ["lFalse"], ["lFalse"]]
    site.does[f"{ADDRESS}c"] = fails("ERROR: [youtube] c: Requested format is not available. Use --list-formats")
    with pytest.raises(UserError, match=r"shard test-0: 1 of 4 downloads failed for now \(first c_000030: .*not avail"):
        fetched(s, corpus="vggsound")
    assert not paths.rendered(s, "vggsound", "test-0").exists()  # what Snakemake would take for done
    assert [url[-1] for url in site.asked] == ["a", "b", "c", "d"]
    site.asked.clear()
    site.does[f"{ADDRESS}c"] = lambda path: path.write_bytes(b"later") and None
    rows = fetched(s, corpus="vggsound")
    assert {name[0]: status for name, (status, _) in rows.items()} == {"a": "ok", "b": "gone", "c": "ok", "d": "gone"}
    assert rows["b_000030"][1] == "[youtube] b: Video unavailable. This video is private"
    assert "nothing came" in rows["d_000030"][1]
    assert [url[-1] for url in site.asked] == ["c"]  # what may have passed is asked again, and nothing else
    assert site.parameters["ratelimit"] == 1000
    assert (site.parameters["sleep_interval"], site.parameters["max_sleep_interval"]) == (0.5, 1.5)
    assert next(iter(site.parameters["download_ranges"]({}, None)))["start_time"] == 30


def test_parameters_are_what_yt_dlp_makes_of_its_own_options(tmp_path: Path) -> None:
    import yt_dlp

    own = yt_dlp.parse_options(["--remux-video", "mp4"]).ydl_opts
    ours = download._parameters(tmp_path / "x.mp4", 0, 0, download.Politeness(), None)
    assert ours["final_ext"] == own["final_ext"]
    assert ours["postprocessors"][0] in own["postprocessors"]


@pytest.mark.parametrize(
    "words",
    [
        "Video unavailable. This content isn't available, try again later. Your account has been rate-limited",
        "unable to download webpage: HTTP Error 503: Service Unavailable",
        "unable to download video data: HTTP Error 429: Too Many Requests",
        "Sign in to confirm you’re not a bot. Use --cookies",
        "Video unavailable. YouTube is requiring a captcha challenge before playback",
        "The following content is not available on this app. Watch on the latest version of YouTube",
    ],
)
def test_a_site_that_limits_stops_the_shard_and_loses_no_clip(site: Site, words: str) -> None:
    s = settings(vggsound={"test": 4, "options": {"download": True}})
    planned(s, "vggsound")
    there = dict.fromkeys(site.does, lambda path: path.write_bytes(b"video") and None)
    site.does = there | {f"{ADDRESS}b": fails(f"ERROR: [youtube] b: {words}")}
    with pytest.raises(UserError, match="the site takes no more requests for now") as stopped:
        fetched(s, corpus="vggsound")
    assert "\n" not in str(stopped.value)
    assert [url[-1] for url in site.asked] == ["a", "b"]
    assert not paths.rendered(s, "vggsound", "test-0").exists()
    site.does = there
    assert {status for status, _ in fetched(s, corpus="vggsound").values()} == {"ok"}


def test_what_fails_on_three_days_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(f'{{"clip_id": "a", "failed": "2026-01-0{day}"}}\n' for day in (1, 1, 2)))
    failure = download.Outcome("gone", "timed out", passing=True)
    for name, passing in (("a", False), ("b", True), ("b", True)):
        held = Journal(path).add(name, failure)
        assert (held.status, held.passing) == ("gone", passing)
    assert Journal(path).known == {"a": download.Outcome("gone", "timed out (on 3 days)")}


def test_a_download_that_changed_on_disk_is_found(site: Site) -> None:
    s = settings(vggsound={"test": 4, "options": {"download": True}})
    planned(s, "vggsound")
    assert fetched(s, corpus="vggsound")["a_000030"] == ("ok", "")
    file = paths.media(s, "vggsound") / "a_000030.mp4"
    file.write_bytes(b"viDeo")
    status, reason = fetched(s, corpus="vggsound")["a_000030"]
    assert status == "decode_error"
    assert f"first fetch says {hashlib.sha256(b'video').hexdigest()}; to fetch it again delete {file}" in reason
    file.unlink()  # as the reader of that line does: it comes again
    journal = paths.fetched(s, "vggsound", "test-0")
    assert fetched(s, corpus="vggsound")["a_000030"] == ("ok", "")
    assert [json.loads(line).get("sha256") for line in journal.read_text().splitlines()].count(None) >= 2


def test_torn_journal_and_existing_files(site: Site) -> None:
    s = settings(vggsound={"test": 4, "options": {"download": True}})
    planned(s, "vggsound")
    journal = paths.fetched(s, "vggsound", "test-0")
    journal.parent.mkdir(parents=True)
    journal.write_text(json.dumps({"clip_id": "b_000030", "status": "gone", "reason": "was gone"}) + '\n{"clip')
    media = paths.media(s, "vggsound")
    media.mkdir(parents=True)
    (media / "a_000030.mp4").write_bytes(b"there")
    rows = fetched(s, corpus="vggsound")
    assert rows["b_000030"] == ("gone", "was gone")
    assert [url[-1] for url in site.asked] == ["c", "d"]


def test_cookie_file_must_be_there(site: Site, tmp_path: Path) -> None:
    s = settings(vggsound={"test": 4, "options": {"download": True, "cookies": "absent.txt"}})
    planned(s, "vggsound")
    with pytest.raises(UserError, match=r"absent\.txt: no such cookie file"):
        fetched(s, corpus="vggsound")
    (tmp_path / "cookies.txt").write_text("")
    polite = download.Politeness(cookies="cookies.txt")
    assert download.download("https://www.youtube.com/watch?v=a", Path("x/a.mp4"), 0, 0, polite).status == "ok"
    assert site.parameters["cookiefile"] != "cookies.txt"  # a copy: yt-dlp writes into it
    assert "download_ranges" not in site.parameters


def test_checksum_lists(tmp_path: Path) -> None:
    path = tmp_path / "SHA256SUMS"
    path.write_text("AB *a/b.mp4\n\ncd\tc.mp4\n")
    assert verify.checksums(path) == {"b.mp4": "ab", "c.mp4": "cd"}
    path.write_text("ab  a.mp4\ncd\n")
    with pytest.raises(UserError, match="SHA256SUMS: line 2 is not as sha256sum writes it"):
        verify.checksums(path)


def full_disk(_: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("act", [full_disk, fails("unable to write data: [Errno 28] No space left on device")])
def test_no_clip_is_gone_for_a_full_disk(site: Site, act: Callable[[Path], None]) -> None:
    s = settings(vggsound={"test": 4, "options": {"download": True}})
    planned(s, "vggsound")
    site.does[f"{ADDRESS}c"] = act
    with pytest.raises(UserError, match=r"c_000030\.mp4: cannot be written .*No space left on device.*; make room"):
        fetched(s, corpus="vggsound")
    assert '"c_000030"' not in paths.fetched(s, "vggsound", "test-0").read_text()


def test_side_files_are_no_videos(tmp_path: Path) -> None:
    for name in ("a/video1.mp4", "a/video1.srt", "a/video1.wav", "b/video2.MKV", ".video3.mp4", "video4.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = {name: path.name for name, path in annotated.dropped(tmp_path).items()}
    assert found == {"video1": "video1.mp4", "video2": "video2.MKV"}
    (tmp_path / "b/video1.webm").write_bytes(b"x")
    with pytest.raises(UserError, match=r"b/video1\.webm: .*a/video1\.mp4 is a video of clip 'video1' too; keep one"):
        annotated.dropped(tmp_path)


def own_corpus(project: Path, text: str, **sizes: int) -> Settings:
    folder = project / "videos" / "a b"
    folder.mkdir(parents=True)
    for number in range(6):
        (folder / f"{number}.mov").write_bytes(str(number).encode())
    (project / "clips.csv").write_text(text)
    options = {"annotations": "own", "csv": "clips.csv", "folder": "videos"}
    return settings(mine={"options": options, **sizes})


def test_own_data(project: Path) -> None:
    lines = ["file,caption,language", *(f"a b/{n}.mov,caption {n},fr" for n in range(6)), "a b/0.mov,again,fr"]
    s = own_corpus(project, "\n".join(lines), train=3, val=1, test=2)
    table = planned(s, "mine")
    assert sorted(table["clip_id"]) == [f"a_b_{n}" for n in range(6)]
    assert table["split"].tolist() == ["train"] * 3 + ["val"] + ["test"] * 2
    assert table.set_index("clip_id")["captions"].map(list)["a_b_0"] == ["caption 0", "again"]
    assert set(table["language"]) == {"fr"}
    assert all(status == "ok" for status, _ in fetched(s, corpus="mine").values())
    test = table.query("split == 'test'")["clip_id"]
    assert [(paths.media(s, "mine") / f"{name}.mp4").read_text() for name in test] == [name[-1] for name in test]


def test_own_data_with_splits(project: Path) -> None:
    text = "file,caption,split,id\na b/0.mov,x,test,first\na b/1.mov,y,train,\na b/9.mov,z,train,\n"
    s = own_corpus(project, text, train=2, test=1)
    assert planned(s, "mine")["clip_id"].tolist() == ["a_b_1", "a_b_9", "first"]
    assert fetched(s, "train-0", "mine")["a_b_9"][1].endswith("9.mov: no such file")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,text\n", "clips.csv: no column 'caption'"),
        ("file,caption\n", "holds no clip"),
        ("file,caption\n../x.mov,c\n", "line 2: file '../x.mov' lies outside"),
        (f"file,caption\n{'x' * 91}.mov,c\n", "has 91 letters, 90 at most"),
        ("file,caption\na b/0.mov,\n", "line 2: file or caption is empty"),
        ("file,caption,split\na b/0.mov,x,dev\n", "split 'dev' is none of"),
        ("file,caption,split\na b/0.mov,x,test\na b/1.mov,x,\n", "clip 'a_b_1' has no split, others have"),
        ("file,caption,id\na b/0.mov,x,a\na b/1.mov,y,a\n", "line 3: clip 'a' has another file"),
    ],
)
def test_own_data_errors(project: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        planned(own_corpus(project, text, test=1), "mine")


def test_checksums_of_the_source(project: Path) -> None:
    s = settings(msrvtt={"test": 4})
    planned(s)
    drop(project, *(f"video{n}.mp4" for n in range(4)))
    good = hashlib.sha256(b"video1.mp4").hexdigest()
    (project / "data/drop/msrvtt/SHA256SUMS").write_text(f"{'0' * 64}  part/video0.mp4\n{good} *video1.mp4\n")
    rows = fetched(s)
    assert [rows[f"video{n}"][0] for n in range(4)] == ["decode_error", "ok", "ok", "ok"]
    assert rows["video0"][1].endswith(f"its source or first fetch says {'0' * 64}")


def test_own_checksums(project: Path) -> None:
    good = hashlib.sha256(b"1").hexdigest().upper()
    text = f"file,caption,split,sha256\na b/0.mov,x,test,{'0' * 64}\na b/1.mov,y,test,{good}\n"
    s = own_corpus(project, text, test=2)
    planned(s, "mine")
    assert [status for status, _ in fetched(s, corpus="mine").values()] == ["decode_error", "ok"]
