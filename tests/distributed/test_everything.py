"""Two processes that train everything together have the gradient of one, on the CPU by gloo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

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
