"""Where the paper's corpora come from: primary, archive or by hand; licence; sha256 where it is known to us.

Everything that a user brings lies in `data/drop/<corpus>/`: annotation files in `annotations/`, videos in `media/`
(any folder below it, any common ending, named by the clip's id), checksums, if you have them, in `SHA256SUMS`.
Nothing is fetched that a licence keeps behind a form.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import UserError

DROP = Path("data") / "drop"
GRAM = "https://raw.githubusercontent.com/ispamm/GRAM/main/datasets/annotations"
EXPERTS = "https://raw.githubusercontent.com/albanie/collaborative-experts/master/misc/datasets"


@dataclass(frozen=True)
class Source:
    """One way to a file or to a corpus's media."""

    kind: Literal["primary", "archive", "manual"]
    where: str
    note: str = ""


@dataclass(frozen=True)
class File:
    """An annotation file: the split it describes, what it is called here, and the ways to it."""

    split: Literal["train", "test", "all"]
    name: str
    sources: tuple[Source, ...]
    sha256: str = ""
    megabytes: float = 0.0


@dataclass(frozen=True)
class Corpus:
    """A corpus's annotation files, the ways to its media, and its licence."""

    files: tuple[File, ...]
    media: tuple[Source, ...]
    licence: str
    media_gigabytes: float
    downloadable: bool
    seconds: float
    """Length of a clip, about."""

    def file(self, split: str) -> File:
        """The file that describes `split`."""
        return next(file for file in self.files if file.split in (split, "all"))


SOURCES = {
    "msrvtt": Corpus(
        files=(
            File(
                "test",
                "msrvtt_1ka_test.json",
                (
                    Source("primary", f"{GRAM}/msrvtt/descs_ret_test.json"),
                    Source(
                        "archive",
                        "https://raw.githubusercontent.com/antoine77340/MIL-NCE_HowTo100M/master/csv/msrvtt_test.csv",
                        "the JSFusion csv; save it as msrvtt_1ka_test.csv",
                    ),
                ),
                "8326bea2dd95ae8426e32de572d1afc337effb7d4a1bd82255225f867201b276",
                0.2,
            ),
            File(
                "train",
                "msrvtt_9k_train.json",
                (
                    Source("primary", f"{GRAM}/msrvtt/unique_descs_ret_train.json"),
                    Source(
                        "archive",
                        "https://github.com/ArrowLuo/CLIP4Clip/releases/download/v0.0/msrvtt_data.zip",
                        "its MSRVTT_data.json, saved as msrvtt_9k_train.json: all 10,000 videos, less the test list",
                    ),
                ),
                "",
                2.4,
            ),
        ),
        media=(
            Source(
                "manual",
                "https://www.microsoft.com/en-us/research/publication/msr-vtt/",
                "all 10,000 videos, video0.mp4 …",
            ),
            Source(
                "archive", "https://www.robots.ox.ac.uk/~maxbain/frozen-in-time/data/MSRVTT.zip", "the usual mirror"
            ),
        ),
        licence="captions: MSR-VTT terms, research; videos: their owners'",
        media_gigabytes=6.0,
        downloadable=False,
        seconds=15.0,
    ),
    "didemo": Corpus(
        files=(
            File(
                "test",
                "didemo_test.json",
                (
                    Source(
                        "primary",
                        "https://raw.githubusercontent.com/LisaAnne/LocalizingMoments/master/data/test_data.json",
                        "1,004 clips, of which the 1,003 of the archive are tested",
                    ),
                    Source("archive", f"{GRAM}/didemo/descs_ret_test.json", "1,003 of 1,004 clips"),
                ),
                "",
                1.1,
            ),
            File("train", "didemo_train.json", (Source("primary", f"{GRAM}/didemo/descs_ret_train.json"),), "", 1.8),
        ),
        media=(
            Source("manual", "https://multimediacommons.wordpress.com", "YFCC100M on AWS; keep the ids as file names"),
            Source(
                "archive", "https://github.com/LisaAnne/LocalizingMoments", "its script lists every video's address"
            ),
        ),
        licence="annotations BSD-2; videos Creative Commons, each its own (LocalizingMoments lists them)",
        media_gigabytes=120.0,
        downloadable=False,
        seconds=30.0,
    ),
    "activitynet": Corpus(
        files=(
            File(
                "test",
                "activitynet_val_1.json",
                (
                    Source(
                        "primary",
                        "https://cs.stanford.edu/people/ranjaykrishna/densevid/captions.zip",
                        "val_1.json in it",
                    ),
                    Source("archive", f"{GRAM}/activitynet/descs_ret_test.json"),
                ),
                "",
                1.5,
            ),
            File(
                "train",
                "activitynet_train.json",
                (Source("archive", f"{GRAM}/activitynet/descs_ret_train.json"),),
                "",
                3.1,
            ),
        ),
        media=(
            Source("primary", "https://www.youtube.com", "downloaded by id; some videos are gone"),
            Source("manual", "http://activity-net.org/download.html", "the form for missing videos"),
        ),
        licence="captions: ActivityNet Captions terms, research; videos: their owners'",
        media_gigabytes=300.0,
        downloadable=True,
        seconds=120.0,
    ),
    "vast150k": Corpus(
        files=(
            File(
                "train",
                "annotations150k.json",
                (
                    Source(
                        "manual",
                        "https://github.com/ispamm/GRAM",
                        "larger than the repository's files: linked in its README",
                    ),
                    Source(
                        "archive", "https://github.com/TXH-mercury/VAST", "VAST-27M, of which these 150,154 are a part"
                    ),
                ),
                "",
                200.0,
            ),
        ),
        media=(
            Source("primary", "https://www.youtube.com", "136,674 of 150,154 were still there when others counted"),
        ),
        licence="annotations MIT; videos: their owners'",
        media_gigabytes=450.0,
        downloadable=True,
        seconds=15.0,
    ),
    "vggsound": Corpus(
        files=(
            File(
                "test",
                "vggsound_test.csv",
                (Source("primary", "https://raw.githubusercontent.com/hche11/VGGSound/master/data/test.csv"),),
                "0b2215dc3786fbb223aa06a2162491099d89cf080ac31b16bb3a72368fbaa24d",
                0.6,
            ),
            File(
                "train",
                "vggsound.csv",
                (Source("primary", "https://www.robots.ox.ac.uk/~vgg/data/vggsound/vggsound.csv"),),
                "",
                9.0,
            ),
        ),
        media=(
            Source("primary", "https://www.youtube.com", "about a fifth of the ids is gone"),
            Source(
                "archive",
                "https://huggingface.co/datasets/Loie/VGGSound",
                "197,957 clips; part 008 is reported corrupt",
            ),
        ),
        licence="labels CC BY 4.0; videos: their owners'",
        media_gigabytes=330.0,
        downloadable=True,
        seconds=10.0,
    ),
}


def source(corpus: str) -> Corpus:
    """The registry's entry; a UserError names the known corpora."""
    if corpus not in SOURCES:
        raise UserError(f"params/corpora.yaml: {corpus}.options.annotations: unknown; there are {', '.join(SOURCES)}")
    return SOURCES[corpus]


def media_folder(corpus: str) -> Path:
    """Where a user puts a corpus's videos."""
    return DROP / corpus / "media"


def annotation(corpus: str, split: str) -> Path:
    """The annotation file of a split; a UserError says where to get it.

    Another layout of the same list may lie there under the same name with another ending. A sha256 that is not the
    known one is noted on stderr alone: the list's count and ids decide (`annotations.check`), for a list that was
    saved or sorted anew is still the list.
    """
    from pipeline.files import sha256

    file = source(corpus).file(split)
    path = DROP / corpus / "annotations" / file.name
    if path.is_file():
        if file.sha256 and (found := sha256(path)) != file.sha256:
            print(f"{path}: sha256 {found} is not the known one; its count and ids decide", file=sys.stderr)
        return path
    for other in _layouts(path):
        if other.is_file():
            return other
    raise UserError(f"{path}: missing; put it there: {ways(file.sources)}")


def annotation_lists(corpus: str) -> list[Path]:
    """Where a corpus's annotation files may lie, in any layout, and the list of ids that is shipped for VGGSound."""
    if corpus not in SOURCES:
        return []
    folder = DROP / corpus / "annotations"
    every = [folder / file.name for file in SOURCES[corpus].files]
    shipped = [Path("params/vggsound_test_1024.txt")] if corpus == "vggsound" else []
    return [*dict.fromkeys(path for file in every for path in (file, *_layouts(file))), *shipped]


def _layouts(path: Path) -> list[Path]:
    return [path.with_suffix(ending) for ending in (".json", ".csv", ".txt")]


def ways(sources: tuple[Source, ...]) -> str:
    """The ways to a file on one line."""
    return "; or ".join(f"{one.where}{f' ({one.note})' if one.note else ''} [{one.kind}]" for one in sources)


def instructions(corpus: str) -> str:
    """What to do for a corpus's media, on one line."""
    entry = source(corpus)
    return (
        f"put the videos into {media_folder(corpus)}/<clip id>.mp4, from {ways(entry.media)}; licence: {entry.licence}"
    )
