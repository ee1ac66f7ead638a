"""The loop resumes exactly, at whatever moment it was stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline import checkpoints, loop
from pipeline.adamw import AdamW
from pipeline.errors import UserError
from pipeline.settings import Optimisation

ROOT = Path(__file__).parents[2]


def optimisation(**changes: object) -> Optimisation:
    values = {
        "steps": 23, "batch": 4, "learning_rate": 0.01, "warmup": 0.1, "weight_decay": 0.01, "beta1": 0.9,
        "beta2": 0.98, "epsilon": 1e-6, "clip": 1.0, "precision": "fp32", "validate_every": 10, "checkpoint_every": 5,
    }  # fmt: skip
    return Optimisation.model_validate(values | changes)


class Toy(nn.Module):
    """Dropout and a buffer: draws of the global generator and state beside the parameters."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 1))
        self.unused = nn.Parameter(torch.ones(2, 2))
        self.data = torch.randn(20, 3, generator=loop.generator(7))

    def loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        rows = self.data[loop.batch_indices(20, 4, 1, step)]
        total = (self.net(rows + 0.1 * torch.randn(4, 3)) - rows.sum(1, keepdim=True)).square().mean()
        return total, {"half": total / 2}


def trained(state: Path, model: Toy | None = None, **changes: object) -> dict[str, Tensor]:
    model = model or Toy()
    loop.fit(model, model.loss, optimisation(**changes), state=state, seed=3, validate=lambda: {"probe": 1.0})
    return model.state_dict()


def equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("moment", [0, 4, 5, 13, 22])
def test_stopped_and_continued_equals_undisturbed(tmp_path: Path, moment: int) -> None:
    expected = trained(tmp_path / "whole")
    model = Toy()

    def stops(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        if step == moment:
            raise KeyboardInterrupt
        return model.loss(step)

    with pytest.raises(KeyboardInterrupt):
        loop.fit(model, stops, optimisation(), state=tmp_path / "cut", seed=3, validate=lambda: {"probe": 1.0})
    assert equal(trained(tmp_path / "cut"), expected)
    assert (tmp_path / "cut/metrics.jsonl").read_text() == (tmp_path / "whole/metrics.jsonl").read_text()


def command(at: int, then: str) -> tuple[str, ...]:
    """A training in a process of its own that does something to itself in a step."""
    code = (
        "import os, signal, sys; sys.path[:0] = ['tests/unit']; import test_loop as t; from pathlib import Path\n"
        f"m = t.Toy(); inner = m.loss; m.loss = lambda step: (step == {at} and {then}, inner(step))[1]\n"
        "t.trained(Path(sys.argv[1]), m)"
    )
    return sys.executable, "-c", code


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run it in a session, hence a process group, of its own."""
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_killed_process_continues(tmp_path: Path) -> None:
    done = run(*command(12, "os.kill(os.getpid(), signal.SIGKILL)"), str(tmp_path / "cut"))
    assert done.returncode == -signal.SIGKILL
    assert checkpoints.steps(tmp_path / "cut") == [5, 10]
    arithmetic = checkpoint_about(tmp_path / "cut")["arithmetic"]
    assert json.loads(arithmetic) == f"{torch.get_num_threads()} threads in float32"
    assert equal(trained(tmp_path / "cut"), trained(tmp_path / "whole"))


def test_sigterm_is_answered_by_a_checkpoint_and_one_line(tmp_path: Path) -> None:
    done = run(*command(11, "os.kill(os.getpid(), signal.SIGTERM)"), str(tmp_path / "cut"))
    assert done.returncode == 1
    assert checkpoints.steps(tmp_path / "cut") == [10, 12]
    assert done.stderr.splitlines()[-1] == f"{tmp_path / 'cut'}: stopped by SIGTERM at step 12; run again to continue"
    assert "Traceback" not in done.stderr
    assert equal(trained(tmp_path / "cut"), trained(tmp_path / "whole"))
    assert (tmp_path / "cut/metrics.jsonl").read_text() == (tmp_path / "whole/metrics.jsonl").read_text()


def test_sigterm_to_a_whole_job_leaves_its_line_in_the_log(tmp_path: Path) -> None:
    """As SLURM sends it: to the shell and to tee as well, around the command as the workflow's rules have it."""
    rules = (ROOT / "workflow" / "rules" / "common.smk").read_text()
    before, after = re.findall(r'f"(trap.*?; )\{PIPELINE\} .*?( 2>&1 \| tee) ', rules)[0]
    shell = f'set -euo pipefail; {before}"$0" "$1" "$2" "$4"{after} "$3"'
    log = tmp_path / "log"
    python = command(11, "os.killpg(0, signal.SIGTERM)")
    done = run("bash", "-c", shell, *python, str(log), str(tmp_path / "cut"))
    assert done.returncode == 1
    assert "stopped by SIGTERM at step 12; run again to continue" in log.read_text()
    assert checkpoints.steps(tmp_path / "cut") == [10, 12]


def test_sigterm_between_trainings_ends_as_ever(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    trained(tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


def checkpoint_about(folder: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(checkpoints.path(folder, checkpoints.steps(folder)[-1]), framework="pt") as stream:
        return stream.metadata()


def test_finished_state_returns_at_once(tmp_path: Path) -> None:
    expected = trained(tmp_path)
    model = Toy()

    def never(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        raise AssertionError(step)

    loop.fit(model, never, optimisation(), state=tmp_path, seed=3)
    assert equal(model.state_dict(), expected)
    assert not model.training


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_damaged_checkpoint_falls_back(tmp_path: Path, damage: str) -> None:
    expected = trained(tmp_path)
    assert checkpoints.steps(tmp_path) == [20, 23]
    newest = checkpoints.path(tmp_path, 23)
    content = bytearray(newest.read_bytes())
    content[-3] ^= 0xFF
    newest.write_bytes({"truncated": content[:-9], "flipped": content, "empty": b""}[damage])
    with pytest.warns(UserWarning, match="step-00000023"):
        assert equal(trained(tmp_path), expected)


def test_all_damaged_starts_anew(tmp_path: Path) -> None:
    expected = trained(tmp_path)
    for step in checkpoints.steps(tmp_path):
        checkpoints.path(tmp_path, step).write_bytes(b"x")
    with pytest.warns(UserWarning, match="damaged"):
        assert equal(trained(tmp_path), expected)
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").open()] == [10, 10, 20, 20, 23, 23]


def test_state_of_other_settings_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(tmp_path)
    with pytest.raises(UserError, match=r"step-00000023.*settings"):
        trained(tmp_path, learning_rate=0.02)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    with pytest.raises(UserError, match=r"saved with arithmetic . threads in float32, now 77 threads in float32"):
        trained(tmp_path)


def test_checkpoints_keep_two_and_sweep_orphans(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        (tmp_path / ".step-00000005.abc.safetensors").write_bytes(b"half")
        checkpoints.save(tmp_path, step, {"a": torch.tensor(step)}, "s", "1 thread")
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["step-00000010.safetensors", "step-00000015.safetensors"]
    step, tensors = checkpoints.latest(tmp_path, "s", "1 thread") or (0, {})
    assert (step, tensors["a"].item()) == (15, 15)
    assert checkpoints.latest(tmp_path / "none", "s", "1 thread") is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_loss_names_the_step(tmp_path: Path, value: float) -> None:
    model = Toy()

    def breaks(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        total, terms = model.loss(step)
        return total * (value if step == 6 else 1.0), terms

    with pytest.raises(UserError, match=r"thing: loss (nan|inf) at step 7"):
        loop.fit(model, breaks, optimisation(), state=tmp_path, seed=3, label="thing")


def test_non_finite_gradient_is_an_error(tmp_path: Path) -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)

    def steep(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return model.weight.abs().sqrt().sum(), {}

    with pytest.raises(UserError, match="gradient norm"):
        loop.fit(model, steep, optimisation(), state=tmp_path, seed=3)


def test_adamw_is_torchs(tmp_path: Path) -> None:
    settings = optimisation(steps=7, warmup=0.0, clip=1e9, learning_rate=0.05, weight_decay=0.3)
    ours, theirs = Toy(), Toy()
    reference = torch.optim.AdamW(
        [
            {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.3},
            {"params": [p for p in theirs.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=0.05, betas=(0.9, 0.98), eps=1e-6, fused=True,
    )  # fmt: skip
    mine = AdamW(dict(ours.named_parameters()), settings)
    for step in range(7):
        for model in (ours, theirs):
            torch.manual_seed(step)
            model.zero_grad()
            model.loss(step)[0].backward()
        mine.step(0.05)
        reference.step()
    assert equal(ours.state_dict(), theirs.state_dict())
    assert torch.equal(ours.unused, torch.ones(2, 2))


def test_schedule_rises_then_falls() -> None:
    rates = [loop._schedule(step, optimisation(steps=10, warmup=0.2)) for step in range(10)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_bf16_trains(tmp_path: Path) -> None:
    first = Toy().loss(0)[0]
    model = Toy()
    trained(tmp_path, model, precision="bf16", steps=60)
    assert model.loss(0)[0] < first


def test_auto_is_what_the_device_multiplies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained(tmp_path / "fp32", steps=6)
    monkeypatch.setattr(loop.low_precision, "multiplies", lambda _: False)
    assert equal(trained(tmp_path / "auto", precision="auto", steps=6), expected)
    monkeypatch.setattr(loop.low_precision, "multiplies", lambda _: True)
    with pytest.raises(UserError, match=r"in float32, now . threads in bfloat16"):  # it goes on in no other format
        trained(tmp_path / "auto", precision="auto", steps=6)


def test_batches_cover_each_epoch_once() -> None:
    for epoch in range(3):
        rows = torch.cat([loop.batch_indices(21, 4, 5, epoch * 5 + position) for position in range(5)])
        assert len(rows) == len(set(rows.tolist())) == 20
    assert not torch.equal(loop.batch_indices(21, 4, 5, 0), loop.batch_indices(21, 4, 5, 5))
    assert not torch.equal(loop.batch_indices(21, 4, 5, 0), loop.batch_indices(21, 4, 6, 0))
    with pytest.raises(UserError, match="batch 22"):
        loop.batch_indices(21, 22, 5, 0)


def test_generator_is_a_function_of_its_key() -> None:
    draw = torch.rand(3, generator=loop.generator(1, 2))
    assert torch.equal(draw, torch.rand(3, generator=loop.generator(1, 2)))
    for other in ((1,), (1, 3), (2, 1), (1, 2, 0)):
        assert not torch.equal(draw, torch.rand(3, generator=loop.generator(*other)))
