"""A copy of the project in a temporary folder, for tests that run the real Snakemake and DVC in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def environment() -> dict[str, str]:
    """The environment of a user who has activated this interpreter's environment."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "SNAKEMAKE_PROFILE")}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def copy_project(to: Path, scale: str = "smoke", preset: str = "") -> Path:
    """Copy what git knows (and new files it does not ignore) and make `scale`, with `preset` over it, the default."""
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in filter(None, listing):
        if (ROOT / name).is_file() and not name.startswith("results/"):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    default = to / "params" / "default.yaml"
    chosen = f"scale: {scale}" + (f"\npreset: {preset}" if preset else "")
    default.write_text(default.read_text().replace("scale: mini", chosen, 1))
    return to


def run(project: Path, *command: str, check: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run a command in the project; with `check`, a failure shows its output."""
    done = subprocess.run(
        command, cwd=project, env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)} → {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
    return done


def snakemake(
    project: Path, *arguments: str, check: bool = True, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """`snakemake --cores 2 ARGUMENTS` in the project."""
    return run(project, "snakemake", *arguments, "--cores", "2", check=check, timeout=timeout)
