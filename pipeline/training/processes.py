"""Processes that train together: one a device, started by torchrun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.errors import UserError
from pipeline.settings import Settings

CPU = torch.device("cpu")
#: Seconds that torchrun leaves a stopped process for its step and its checkpoint.
PATIENCE = 900


@dataclass(frozen=True)
class Place:
    """A process among those that train together."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    def gather(self, tensor: Tensor) -> Tensor:
        """Rows of all processes in the order of their ranks."""
        if self.world == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.world)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Sum over processes, in place."""
        if self.world > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def any(self, true: bool) -> bool:
        """Whether `true` is true in one of the processes; nobody goes on before all have said."""
        votes = torch.tensor(float(true), device=self.device)
        self.sum([votes])
        return bool(votes > 0)


class group:
    """The process group that torchrun has prepared, if any."""

    def __enter__(self) -> tuple[int, int, torch.device]:
        world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        local = int(os.environ.get("LOCAL_RANK", "0"))
        device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if world > 1:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return rank, world, device

    def __exit__(self, *_: object) -> None:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


def launch(settings: Settings, run: str, seeds: list[int], processes: int) -> None:
    """Start one process a device by torchrun, each with this same command."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["--shutdown-timeout", str(PATIENCE)]
    command += [
        "-m",
        "pipeline",
        "--preset",
        settings.preset,
        "train",
        "--run",
        run,
        "--seeds",
        ",".join(map(str, seeds)),
        "--scale",
        settings.scale,
    ]
    process = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    if process.wait():
        raise UserError(f"run {run}: a process of {processes} failed; its error is above; the next call continues")
