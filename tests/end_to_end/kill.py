"""Kill (-9) the smoke run at moments spread over its artefacts, start it again each time, compare with a whole run.

`python -m tests.end_to_end.kill --kills 20` makes both runs in temporary folders and prints what was killed when.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.end_to_end.compare import artefacts, differences
from tests.project import copy_project, environment, snakemake

COMMAND = ["snakemake", "--profile", "workflow/profiles/local", "--cores", "2", "table1"]


def killed_run(project: Path, expected: list[Path], kills: int, seed: int = 0) -> list[str]:
    """Run to the end with `kills` kills of the whole process group; returns a line a kill.

    The i-th kill falls when i/(kills+1) of the expected files stand, after a random moment of at most a second, so
    that it meets the running job; later at most at the next file, since it must meet a living run.
    """
    draw = random.Random(seed)
    lines = []
    for number in range(1, kills + 1):
        process = subprocess.Popen(
            COMMAND,
            cwd=project,
            env=environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        threshold = number * (len(expected) - 6) // (kills + 1)
        standing = _wait(project, expected, threshold, process)
        moment = time.monotonic() + draw.random()
        while time.monotonic() < moment and _standing(project, expected) == standing and process.poll() is None:
            time.sleep(0.01)
        alive = process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if alive else None
        process.wait()
        lines.append(
            f"kill {number}: {standing} of {len(expected)} files stood, {'killed' if alive else 'ALREADY ENDED'}"
        )
    return lines


def _standing(project: Path, expected: list[Path]) -> int:
    return sum((project / path).exists() for path in expected)


def _wait(project: Path, expected: list[Path], threshold: int, process: subprocess.Popen[bytes]) -> int:
    while (standing := _standing(project, expected)) < threshold and process.poll() is None:
        time.sleep(0.02)
    return standing


def main() -> None:
    """Two runs, the comparison, exit code 1 where they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    kills = parser.parse_args().kills
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = copy_project(Path(folder) / "whole"), copy_project(Path(folder) / "broken")
        snakemake(whole, "table1")
        print(*killed_run(broken, artefacts(whole), kills), sep="\n")
        subprocess.run(COMMAND, cwd=broken, env=environment(), check=True, capture_output=True)
        found = differences(whole, broken)
    print(*found or [f"{kills} kills: the same tensors and tables"], sep="\n")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
