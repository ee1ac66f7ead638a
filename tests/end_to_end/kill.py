"""Kill (-9) the smoke run inside every stage, start it again each time, compare with a whole run.

`python -m tests.end_to_end.kill --kills 20` makes both runs in temporary folders and prints what was killed when.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.end_to_end.compare import differences
from tests.project import copy_project, environment, snakemake

COMMAND = ["snakemake", "--profile", "workflow/profiles/local", "--cores", "2", "table1"]
LOGS, BENCHMARKS = Path("logs"), Path("benchmarks")
#: Part of the time that a job took in the whole run in which kills fall: one that goes on from its state takes less.
LIVES = 0.6


def folder_of(whole: Path) -> str:
    """Name of the folders of a run's files: the scale's, or that of scale and preset."""
    (found,) = (whole / BENCHMARKS).iterdir()
    return found.name


def jobs(whole: Path) -> dict[Path, float]:
    """Job (its log's path below the logs' folder, no suffix) → its seconds in a whole run, in order of ending."""
    top = whole / BENCHMARKS / folder_of(whole)
    files = sorted(top.rglob("*.tsv"), key=lambda file: file.stat().st_mtime)
    return {
        file.relative_to(top).with_suffix(""): float(next(csv.DictReader(file.open(), delimiter="\t"))["s"])
        for file in files
    }


def quota(seconds: dict[Path, float], kills: int) -> Counter[str]:
    """Kills a stage: one each, and the rest to the stages that take longest; fewer than stages are spread evenly."""
    taken: dict[str, float] = {}
    for job, duration in seconds.items():
        taken[job.parts[0]] = taken.get(job.parts[0], 0.0) + duration
    stages = list(taken)
    if kills < len(stages):
        return Counter(stages[number * len(stages) // kills] for number in range(kills))
    longest = sorted(stages, key=lambda stage: -taken[stage])
    return Counter(stages + [longest[number % len(longest)] for number in range(kills - len(stages))])


def killed_run(project: Path, whole: Path, kills: int, seed: int = 0) -> list[str]:
    """Run with `kills` kills of the whole process group, short of the last run to the end; returns a line a kill.

    A kill waits for a job of a stage that still has to be met (its log appears when it starts) and falls after a random
    part of the first 60 % of the time that the job took in the whole run.
    """
    draw, seconds, lines = random.Random(seed), jobs(whole), []
    logs, benchmarks = (project / top / folder_of(whole) for top in (LOGS, BENCHMARKS))
    left = quota(seconds, kills)
    while left.total():
        shutil.rmtree(logs, ignore_errors=True)
        process = subprocess.Popen(
            COMMAND, cwd=project, env=environment(), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wanted = [job for job in seconds if left[job.parts[0]] > 0]
        job = _started(logs, wanted, process)
        if job is None:
            return [*lines, f"the run ended before {', '.join(left)} could be met"]
        job, after = _met(logs, wanted, job, seconds, draw)
        running = not (benchmarks / f"{job}.tsv").exists()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        left -= Counter([job.parts[0]] if running else [])  # a job that was over already is met again
        lines.append(f"killed {after:.1f} s after the start of {job}, which {'ran' if running else 'had just ended'}")
    return lines


def _started(logs: Path, wanted: list[Path], process: subprocess.Popen[bytes]) -> Path | None:
    """The first of the wanted jobs that starts; None if the run ends before."""
    while process.poll() is None:
        for job in wanted:
            if (logs / f"{job}.log").exists():
                return job
        time.sleep(0.02)
    return None


def _met(
    logs: Path, wanted: list[Path], job: Path, seconds: dict[Path, float], draw: random.Random
) -> tuple[Path, float]:
    """Wait for the moment of the kill: in the job, or in one that starts meanwhile and would be over by then."""
    begun = {job: time.monotonic()}
    moments = {job: LIVES * draw.random() * seconds[job]}
    while True:
        ends = {one: begun[one] + after for one, after in moments.items()}
        first = min(ends, key=ends.__getitem__)
        if time.monotonic() >= ends[first]:
            return first, moments[first]
        for other in wanted:
            if other not in begun and (logs / f"{other}.log").exists():
                begun[other], moments[other] = time.monotonic(), LIVES * draw.random() * seconds[other]
        time.sleep(0.02)


def main() -> None:
    """Two runs, the comparison, exit code 1 where they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--preset", default="", help="mini-way: the way of mini instead of the paper's")
    kills, preset = (options := parser.parse_args()).kills, options.preset
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = (copy_project(Path(folder) / name, preset=preset) for name in ("whole", "broken"))
        snakemake(whole, "table1")
        lines = killed_run(broken, whole, kills)
        print(*lines, sep="\n")
        subprocess.run(COMMAND, cwd=broken, env=environment(), check=True, capture_output=True)
        found = differences(whole, broken)
    made = sum(line.endswith("which ran") for line in lines)
    print(*found or [f"{made} kills: the same tensors and tables"], sep="\n")
    raise SystemExit(bool(found) or made < kills)


if __name__ == "__main__":
    main()
