"""Two processes that train everything together have the gradient of one and stop together, on the CPU by gloo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from pipeline import checkpoints
from pipeline.training.processes import PATIENCE
from tests.unit.test_loop import equal, trained
from tests.unit.test_paper_path import ROOT, here, project, settings, step

__all__ = ["here", "project"]  # fixtures
WORKER = """
import torch
from pipeline.training import everything
from tests.unit import test_paper_path as shared
s = shared.settings(optimisation={"micro_batch": 2})
with everything.group() as (rank, world, device):
    place = everything.Place(rank, world, device)
    everything.Place = lambda: place
    value, gradients = shared.step(s)
    if rank == 0:
        torch.save((value, gradients), "two.pt")
"""


def test_two_processes_have_the_gradient_of_one(here: Path) -> None:
    (here / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "worker.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    two_value, two = torch.load("two.pt")
    one_value, one = step(settings())
    assert set(two) == set(one)
    # Matching mines within a process, so its share differs; what the contrast alone reaches does not.
    for name in ("heads.text.weight", "heads.vision.weight", "heads.audio.weight"):
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-6, msg=name)
    assert abs(float(two_value - one_value)) < 0.1


STOPPED = """
import os, signal
from pathlib import Path
import torch
from pipeline import loop
from pipeline.training import processes
from tests.unit import test_loop as shared
with processes.group() as (rank, world, device):
    place = processes.Place(rank, world, device)
    model = shared.Toy()
    Path(f"{rank}.pid").write_text(str(os.getpid()))
    def loss(step):
        if rank == 1 and step == 11 and not Path("asked").exists():
            Path("asked").touch()
            for pid in (os.getpid(), os.getppid(), int(Path("0.pid").read_text()), os.getppid()):
                os.kill(pid, signal.SIGTERM)
        return model.loss(step)
    loop.fit(model, loss, shared.optimisation(), state=Path("state"), seed=3, writes=rank == 0, anybody=place.any)
    torch.save(model.state_dict(), f"{rank}.pt")
"""


def test_processes_stop_together_and_go_on(tmp_path: Path) -> None:
    """SIGTERM reaches one process, then torchrun, which passes it on, then the other, then torchrun once more."""
    (tmp_path / "worker.py").write_text(STOPPED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--shutdown-timeout", str(PATIENCE), "worker.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for attempt in ("stopped", "finished"):
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
        )
        if attempt == "stopped":
            assert done.returncode
            assert checkpoints.steps(tmp_path / "state") == [10, 12]
            assert done.stderr.count("state: stopped by SIGTERM at step 12; run again to continue") == 1
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in (0, 1):
        assert equal(torch.load(tmp_path / f"{rank}.pt"), trained(tmp_path / "whole"))
