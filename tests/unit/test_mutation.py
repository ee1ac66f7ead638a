"""The mutation tool itself: it kills what a test sees, finds what none does, keeps outcomes, checks the list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.mutants import mutants
from tests.project import ROOT

AREA = '''"""Toy."""


def area(width: float, height: float) -> float:
    """Two terms, of which the test sees one."""
    return width * height + 0.0 * width


def forever(n: int) -> int:
    """Counts to n."""
    count = 0
    while count < n:
        count += 1
    return count
'''
TEST = """from toy.area import area, forever


def test_area():
    assert area(3.0, 2.0) == 6.0


def test_forever():
    assert forever(5) == 5
"""
LISTED = "toy/area.py area: 0.0 * width → 1.0 * width"


def tool(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutation", "toy/area.py", "--tests", "toy/test_area.py", "--limit", "0",
         "--survivors", "survivors.yaml", "--out", "report.json"],
        cwd=folder, env=os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_a_toy_module(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "area.py").write_text(AREA)
    (tmp_path / "toy" / "test_area.py").write_text(TEST)
    code, output = tool(tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    survivors = {one["mutant"] for one in report["survivors"]}
    assert code == 1
    assert "survives: toy/area.py:6 toy/area.py area: width * height + 0.0 * width → width * height\n" in output
    assert "toy/area.py area: width * height → width / height" not in survivors
    assert report["timed out"] >= 1  # `count += 1` left out
    assert report["killed"] + report["timed out"] + len(survivors) == report["mutants"]

    entries = "".join(f"  - '{one}'\n" for one in sorted(survivors))
    (tmp_path / "survivors.yaml").write_text(f"- why: a toy\n  mutants:\n{entries}")
    code, output = tool(tmp_path)
    assert code == 0, output
    assert "toy/area.py: " in output
    assert ", 0 tried" in output  # all from the first run's outcomes

    test = tmp_path / "toy" / "test_area.py"
    test.write_text(TEST + "\n\ndef test_thin():\n    assert area(1.0, float('inf')) == float('inf')\n")
    (tmp_path / "survivors.yaml").write_text(f"- why: a toy\n  mutants:\n{entries}  - 'toy/area.py area: a → b'\n")
    code, output = tool(tmp_path)
    assert code == 1
    assert "listed, but survives no more: toy/area.py area: a → b" in output
    assert f", {len(survivors)} tried" in output  # survivors alone meet the new test


def test_changes() -> None:
    source = "def f(x, y):\n    return -(x - 2.0 * y).amax(dim=1) if x >= 0 else f(x, y=True)\n"
    found = {mutant.after for mutant, code in mutants(Path("f.py"), source) if code()}
    for after in (
        "(x - 2.0 * y).amax(dim=1)",
        "(x - 2.0 * y).amin(dim=1)",
        "(x - 2.0 * y).amax()",
        "(x - 2.0 * y)",
        "(x + 2.0 * y).amax(dim=1)",
        "(-(2.0 * y)).amax(dim=1)",
        "x.amax(dim=1)",
        "(x - 1.0 * y).amax(dim=1)",
        "(x - 4.0 * y).amax(dim=1)",
        "(x - 2.0 / y).amax(dim=1)",
        "(x - y).amax(dim=1)",
        "(x - 2.0).amax(dim=1)",
        "(x - 2.0 * y).amax(dim=0)",
    ):
        assert any(after in one for one in found), after
    assert any("x < 0" in one for one in found)
    assert any("y=False" in one for one in found)


def test_the_list_of_survivors_names_mutants_that_there_are() -> None:
    """A changed line leaves the list behind; what survives is for `make mutate` to say."""
    sources = sorted(path for name in ("geometry", "objectives") for path in (ROOT / "pipeline" / name).glob("*.py"))
    files = {path: path.relative_to(ROOT) for path in sources}
    made = {str(mutant) for path, file in files.items() for mutant, _ in mutants(file, path.read_text())}
    listed = [
        name for one in yaml.safe_load((ROOT / "tests/mutation_survivors.yaml").read_text()) for name in one["mutants"]
    ]
    assert len(listed) == len(set(listed))
    assert [name for name in listed if name not in made] == []
