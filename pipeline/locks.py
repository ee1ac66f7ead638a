"""One run a folder: two Snakemakes, or one beside the jobs that a killed one left behind, would write the same files.

The locks are the operating system's and end with their processes. A run holds `run.lock`; each job shares `jobs.lock`,
and a run begins when no job of an earlier one holds it. Both lie in `.snakemake/`; a stage called by hand in a folder
without it takes none, one where no lock is to be had (read-only, no locks) says so and goes on.
"""

from __future__ import annotations

import fcntl
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from pipeline.errors import UserError

FOLDER = Path(".snakemake")
#: Seconds that a run waits for another to end: `make` after a killed `make`, as its processes go.
PATIENCE = 20.0
#: Held until the process ends.
_held: list[ExitStack] = []


def clear() -> None:
    """Take away the locks that a killed Snakemake left, which nobody holds."""
    left = list((FOLDER / "locks").glob("*"))
    if left and _take("run.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
        for file in left:
            file.unlink(missing_ok=True)
        _held.pop().close()


def job() -> None:
    """Say that a job of a run is at work here, until this process ends."""
    if FOLDER.is_dir():
        _take("jobs.lock", fcntl.LOCK_SH)


def run(patience: float = PATIENCE) -> None:
    """Begin a run: a UserError if another is at work in this folder; waits for jobs that a killed one left behind."""
    FOLDER.mkdir(exist_ok=True)
    until = time.monotonic() + patience
    while not _take("run.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
        if time.monotonic() > until:
            raise UserError(f"{FOLDER / 'run.lock'}: another Snakemake works in this folder; wait for it or stop it")
        time.sleep(0.2)
    if not _take("jobs.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
        print(
            "waiting for jobs that a killed run left behind (ps, on a cluster squeue, shows them)",
            file=sys.stderr,
            flush=True,
        )
        _take("jobs.lock", fcntl.LOCK_EX)
    _held.pop().close()  # the jobs' lock: it is for this run's own jobs now


def _take(name: str, kind: int) -> bool:
    """Whether nobody else holds the lock; where there can be none, a line says so and nobody does."""
    with ExitStack() as stack:
        try:
            stream = stack.enter_context((FOLDER / name).open("a"))
            fcntl.flock(stream, kind)
        except BlockingIOError:
            return False
        except OSError as error:
            print(f"{FOLDER / name}: no lock to be had ({error}); see to it that one run works here", file=sys.stderr)
        _held.append(stack.pop_all())
    return True
