"""The tutorial `your_embeddings.md` as it is written: its blocks run in the project after `table1` at smoke scale."""

import json
import re
import shutil
import sys
from pathlib import Path

from tests.project import run

TUTORIAL = Path(__file__).with_name("your_embeddings.md")


def test_tutorial_runs_as_written(smoke: Path, tmp_path: Path) -> None:
    for folder in ("data", "ranks", "results", "params", "pipeline"):
        (tmp_path / folder).symlink_to(smoke / folder)
    blocks = re.findall(r"```(python|sh)\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    code = "\n".join(block for language, block in blocks if language == "python")
    (tmp_path / "tutorial.py").write_text(code)
    run(tmp_path, sys.executable, "tutorial.py")
    (command,) = [block for language, block in blocks if language == "sh"]
    done = run(tmp_path, "sh", "-ec", command)
    result = json.loads((tmp_path / "mine.json").read_text())
    best = max(row["R@1"] for row in result["measures"])
    assert best > 50
    assert {row["run"] for row in result["comparison"]} == {
        row["run"] for row in json.loads((smoke / "results/smoke/tables/table1.json").read_text())["records"]
        if row["section"] == "main"
    }  # fmt: skip
    assert result["score_chosen"] == "best validation MRR"
    assert done.stdout.splitlines()[-1].startswith(f"| mine | {result['score']} | 1 | ")


def test_a_mistake_is_one_line(smoke: Path, tmp_path: Path) -> None:
    shutil.copy(smoke / "embeddings/smoke/gram/0/scenes.safetensors", tmp_path / "gram.safetensors")
    command = (sys.executable, "-m", "pipeline", "evaluate", "--embeddings", str(tmp_path / "gram.safetensors"))
    missing = run(smoke, *command, "--manifest", str(tmp_path / "manifest.parquet"), check=False)
    assert missing.returncode == 2
    assert missing.stderr.count("\n") == 1
    assert "manifest.parquet: missing" in missing.stderr
