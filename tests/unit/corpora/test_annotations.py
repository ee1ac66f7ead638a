"""Parsers of public annotation layouts, on small files in the same layouts, and the published counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.corpora import annotations, vggsound_test
from pipeline.corpora.annotations import DIDEMO_MISSING, Item
from pipeline.errors import UserError

ROOT = Path(__file__).parents[3]


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_vast_json(tmp_path: Path) -> None:
    rows = [
        {"video_id": "video1", "desc": "a dog", "subtitle": " woof"},
        {
            "clip_id": "x.3",
            "vast_cap": ["a cat", "a kitten"],
            "url": "https://w/x",
            "clip_span": ["00:01:02.5", "00:01:12"],
        },
        {"id": 7, "caption": "seven", "clip_span": [1, 2.5]},
    ]
    found = annotations.read(write(tmp_path, "a.json", rows))
    assert found == [
        Item("video1", ("a dog",), subtitle=" woof"),
        Item("x.3", ("a cat", "a kitten"), url="https://w/x", start=62.5, end=72),
        Item("7", ("seven",), start=1, end=2.5),
    ]


def test_jsfusion_csv(tmp_path: Path) -> None:
    text = 'key,vid_key,video_id,sentence\nret0,msr1,video1,"a man, walking"\nret1,msr2,video2,a cat\n'
    found = annotations.read(write(tmp_path, "t.csv", text))
    assert found == [Item("video1", ("a man, walking",)), Item("video2", ("a cat",))]


def test_msrvtt_json_gathers_the_sentences_of_each_video(tmp_path: Path) -> None:
    content = {
        "info": {"year": "2016"},
        "videos": [
            {"id": 0, "video_id": "video0", "url": "https://w/x", "start time": 137.72, "end time": 149.44},
            {"id": 1, "video_id": "video1"},
        ],
        "sentences": [
            {"sen_id": 0, "video_id": "video1", "caption": "a cat"},
            {"sen_id": 1, "video_id": "video0", "caption": "a car is shown "},
            {"sen_id": 2, "video_id": "video1", "caption": "a kitten"},
        ],
    }
    found = annotations.read(write(tmp_path, "MSRVTT_data.json", content))
    assert found == [
        Item("video0", ("a car is shown",), url="https://w/x", start=137.72, end=149.44),
        Item("video1", ("a cat", "a kitten")),
    ]
    content["sentences"].append({"video_id": "video9", "caption": "none"})
    with pytest.raises(UserError, match=r"MSRVTT_data.json: clip 'video9' has sentences but is not among the videos"):
        annotations.read(write(tmp_path, "MSRVTT_data.json", content))
    content["sentences"][-1] = {"caption": "none"}
    with pytest.raises(UserError, match=r"is not MSR-VTT's \(KeyError\('video_id'\)\)"):
        annotations.read(write(tmp_path, "MSRVTT_data.json", content))


def test_didemo_sentences_are_joined_in_order(tmp_path: Path) -> None:
    rows = [
        {"annotation_id": 1, "video": "1@N00_2_3.mov", "description": "first "},
        {"annotation_id": 2, "video": "4@N00_5_6.m4v", "description": "other"},
        {"annotation_id": 3, "video": "1@N00_2_3.mov", "description": "second"},
    ]
    found = annotations.read(write(tmp_path, "d.json", rows))
    assert found == [Item("1@N00_2_3", ("first second",)), Item("4@N00_5_6", ("other",))]


def test_activitynet(tmp_path: Path) -> None:
    rows = {"v_abc": {"duration": 9.0, "timestamps": [[0, 1], [1, 9]], "sentences": ["He jumps.", " He falls. "]}}
    found = annotations.read(write(tmp_path, "val_1.json", rows))
    assert found == [Item("v_abc", ("He jumps. He falls.",), url="https://www.youtube.com/watch?v=abc")]


def test_vggsound_both_layouts(tmp_path: Path) -> None:
    test = annotations.read(write(tmp_path, "test.csv", '-a_b_000030.mp4,"heart sounds, heartbeat"\nz_000001.mp4,x\n'))
    full = annotations.read(write(tmp_path, "full.csv", '-a_b,30,"heart sounds, heartbeat",test\nq,1,x,train\n'))
    assert test[0] == full[0]
    assert (test[0].clip_id, test[0].start, test[0].end) == ("-a_b_000030", 30, 40)
    assert test[0].label == "heart sounds, heartbeat"
    assert full[1].split == "train"


def test_entries_may_have_no_caption(tmp_path: Path) -> None:
    """Their captions are written by VAST, or the plan names them."""
    found = annotations.read(write(tmp_path, "a.json", [{"video_id": "a"}, {"video_id": "b", "desc": None}]))
    assert [item.captions for item in found] == [(), ()]


def test_id_lists(tmp_path: Path) -> None:
    found = annotations.read(write(tmp_path, "list.txt", "video1\n1@N00_2_3.avi\n\nx.12\n"))
    assert [item.clip_id for item in found] == ["video1", "1@N00_2_3", "x.12"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", [{"video_id": "a", "desc": "x"}, {"video_id": "a", "desc": "y"}], "clip 'a' appears twice"),
        ("a.json", [{"video_id": "a", "desc": " "}], "clip 'a' has an empty caption"),
        ("a.json", [{"name": "a"}], "entry 0 has none of clip_id, video_id"),
        ("a.json", [{"video_id": "../a", "desc": "x"}], "clip '../a': an id may hold"),
        ("a.json", [{"video_id": "a", "desc": 3}], r"entry 0 \(a\): its captions are 3, expected"),
        ("a.json", [{"video_id": "a", "desc": "x", "clip_span": ["None", "n/a"]}], "clip_span is no pair of times"),
        ("a.json", "[{", "damaged"),
        ("a.json", [], "holds no clip"),
        ("a.json", {"v_a": {"duration": 1}}, "'v_a' has no list of sentences"),
        (
            "a.json",
            [{"video": "a.mp4", "description": "x"}, {"video": "b.mp4"}],
            "entry 1 has no video or no description",
        ),
        ("a.csv", "q,1,x,train\nq2,1,x\n", "line 2 has 3 fields instead of 4"),
        ("a.csv", "a,b,c,d,e\n", "no layout that is known"),
        ("a.csv", "q,1,x,dev\n", "split 'dev' is not VGGSound's"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, name: str, content: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        annotations.read(write(tmp_path, name, content))
    assert str(refused.value).startswith(str(tmp_path / name))
    assert "\n" not in str(refused.value)


def many(number: int, classes: int = 1) -> list[Item]:
    return [Item(f"c{index}", ("x",), label=f"l{index % classes}") for index in range(number)]


@pytest.mark.parametrize(("corpus", "number"), [("msrvtt", 1000), ("didemo", 1004), ("activitynet", 4917)])
def test_counts(corpus: str, number: int) -> None:
    assert annotations.check(corpus, "test", many(number), Path("f")) == []
    with pytest.raises(UserError, match=f"f: {number + 1} clips, but {corpus} test has"):
        annotations.check(corpus, "test", many(number + 1), Path("f"))
    assert annotations.check(corpus, "train", many(3), Path("f")) == []


def test_didemos_missing_clip_is_named() -> None:
    (note,) = annotations.check("didemo", "test", many(1003), Path("f"))
    assert note == f"didemo test: 1003 of 1004 clips; {DIDEMO_MISSING} is missing in f"
    with pytest.raises(UserError, match="which the list of 1,003 lacks"):
        annotations.check("didemo", "test", [*many(1002), Item(DIDEMO_MISSING, ("x",))], Path("f"))


def test_vggsound_classes() -> None:
    assert annotations.check("vggsound", "test", many(15446, 309), Path("f")) == []
    with pytest.raises(UserError, match="308 classes, but VGGSound has 309"):
        annotations.check("vggsound", "test", many(15446, 308), Path("f"))


def test_drawn_clips() -> None:
    ids = vggsound_test.shipped(ROOT)
    assert ids == sorted(ids)
    # The key of the first of the official list's 15,446 clips that is not drawn.
    assert max(map(vggsound_test.order, ids)) < "10b5baf43997b626"
    names = [f"c{number}" for number in range(3000)]
    drawn = vggsound_test.draw(names, 100)
    assert drawn == vggsound_test.draw(reversed(names), 100)
    least = min(vggsound_test.order(name) for name in set(names) - set(drawn))
    assert all(vggsound_test.order(name) < least for name in drawn)


def test_shipped_ids_must_be_whole(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing; restore it"):
        vggsound_test.shipped(tmp_path)
    (tmp_path / "params").mkdir()
    (tmp_path / vggsound_test.SHIPPED).write_text("a\nb\n")
    with pytest.raises(UserError, match="2 clips instead of 1024"):
        vggsound_test.shipped(tmp_path)
