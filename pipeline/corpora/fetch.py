"""Stage `fetch`: Tux Paint's stamps from a Debian mirror, or from a given archive.

apt runs with private lists and caches under `downloads/`, so that neither root nor a changed system is needed; the
package's SHA-256 is checked before it is opened, and `dpkg -x` only unpacks. Nothing that was fetched is executed. What
is there and whole is kept; `index.json` is written last.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline.corpora.stamps_source import ROOT, build
from pipeline.digests import code_digest
from pipeline.errors import UserError
from pipeline.files import sha256
from pipeline.settings import Corpus, Settings

PACKAGE = "tuxpaint-stamps-default"
VARIABLE = "STAMPS_ARCHIVE"
INSIDE = Path("usr/share/tuxpaint/stamps")
TIME_LIMIT = 900
#: What makes the index out of the package.
CODE = code_digest("pipeline.corpora.stamps_source")


def fetch(settings: Settings, archive: Path | None = None) -> None:
    """Put the stamps of the settings' corpora into `downloads/tuxpaint-stamps/`.

    `archive`, or the environment variable STAMPS_ARCHIVE, names a package file to use instead of a mirror. Raises
    UserError if neither is to be had or the file is another one than `options.sha256` says.
    """
    users = {name: entry for name, entry in settings.corpora.items() if entry.kind in ("stamps", "stories")}
    if not users:
        return
    wanted, language = _common(users)
    if _is_whole(language, wanted):
        return
    named = archive or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    package = _given(named, wanted) if named else _downloaded(wanted)
    partial = ROOT.with_name(f".{ROOT.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _run(["dpkg", "-x", str(package), str(partial)], None, f"cannot unpack {package}")
    target = ROOT.with_name(f".{ROOT.name}.new")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    (partial / INSIDE).rename(target / "stamps")
    shutil.copy(partial / "usr/share/doc" / PACKAGE / "copyright", target / "copyright")
    (target / "package.json").write_text(json.dumps({"package": PACKAGE, "sha256": wanted, "code": CODE}) + "\n")
    build(target / "stamps", target, language)
    shutil.rmtree(partial)
    if ROOT.exists():
        shutil.rmtree(ROOT)
    target.rename(ROOT)


def _common(users: dict[str, Corpus]) -> tuple[str, str]:
    """SHA-256 and language that all corpora of stamps must share."""
    found = {(str(e.options.get("sha256", "")), str(e.options.get("language", ""))) for e in users.values()}
    if len(found) != 1 or not all(next(iter(found))):
        raise UserError(
            f"params/corpora.yaml: {', '.join(users)}: options.sha256 and options.language must be given and equal"
        )
    return next(iter(found))


def _is_whole(language: str, wanted: str) -> bool:
    try:
        index = json.loads((ROOT / "index.json").read_text())
        package = json.loads((ROOT / "package.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(index["language"] == language and package["sha256"] == wanted and package.get("code") == CODE)


def _given(archive: Path, wanted: str) -> Path:
    if not archive.is_file():
        raise UserError(f"{archive}: no such file; {VARIABLE} must name the Debian package {PACKAGE}")
    if (found := sha256(archive)) != wanted:
        raise UserError(
            f"{archive}: SHA-256 is {found}, not {wanted} (params/corpora.yaml: options.sha256); get the right version"
        )
    return archive


def _downloaded(wanted: str) -> Path:
    """The package out of `downloads/apt/`, downloaded if it is not there; apt resumes a part that is there."""
    folder = (ROOT.parent / "apt").resolve()
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    apt = ["apt-get", "-q", "-o", f"Dir::State={folder / 'state'}", "-o", f"Dir::State::status={folder / 'status'}"]
    apt += ["-o", f"Dir::Cache={folder / 'cache'}", "-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=1"]
    apt += ["-o", "Acquire::Retries=3", "-o", "APT::Update::Error-Mode=any"]
    if not (package := _newest(folder, wanted)):
        trouble = f"cannot download the Debian package {PACKAGE}"
        try:
            _run([*apt, "update"], folder, trouble)
        except UserError as error:  # one dead source among several is no reason to stop yet
            print(error, file=sys.stderr)
        _run([*apt, "download", PACKAGE], folder, trouble)
        package = _newest(folder, wanted)
    if not package:
        raise UserError(
            f"{folder}: the mirror's {PACKAGE} is not the version of params/corpora.yaml: options.sha256 {_ways()}"
        )
    return package


def _newest(folder: Path, wanted: str) -> Path | None:
    return next((file for file in sorted(folder.glob(f"{PACKAGE}_*.deb")) if sha256(file) == wanted), None)


def _ways() -> str:
    return f"— run where apt-get finds a Debian mirror, set {VARIABLE} to the package, or use --config scale=smoke"


def _run(command: list[str], folder: Path | None, trouble: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIME_LIMIT, check=False)
    except FileNotFoundError:
        raise UserError(f"{trouble}: there is no {command[0]} here {_ways()}") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{trouble}: {command[0]} took longer than {TIME_LIMIT} s {_ways()}") from None
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())[-200:]
        raise UserError(f"{trouble}: {command[0]} says: {words} {_ways()}")
