"""What `make clean` takes away, and what it must not."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.project import ROOT, run

KEPT = (
    "data/drop/msrvtt/media/video7010.mp4",
    "data/drop/weights/vast/model_step_204994.pt",
    "data/paper/activitynet/media/train-0/a.mp4",
    "data/paper-gram-shipped/activitynet/media/a.mp4",
    "state/paper/fetch/activitynet/train-0.jsonl",
    "downloads/tuxpaint-stamps/index.json",
    "results/mini/tables/table1.md",
)
MADE = (
    "data/mini/scenes/media/s0.mp4",
    "data/mini/scenes/manifest.parquet",
    "data/paper/activitynet/manifest.parquet",
    "state/mini/vast/abc/step-00000010.safetensors",
    "models/mini/gram/0/weights.safetensors",
    "results/smoke/tables/table1.md",
    "logs/mini/vast.log",
    "mlflow.db",
)


def test_clean_leaves_what_was_brought_and_downloaded(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("data", "models", "state"):  # on a larger disk, as doctor says
        (tmp_path / "disk" / name).mkdir(parents=True)
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    for name in (*KEPT, *MADE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    run(tmp_path, "make", "clean")
    assert [name for name in KEPT if not (tmp_path / name).is_file()] == []
    assert [name for name in MADE if (tmp_path / name).exists()] == []
    (tmp_path / "data").unlink()
    run(tmp_path, "make", "clean")
