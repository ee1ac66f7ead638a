"""Stages meet in files alone: no folder of a stage imports another's (README, how the data flows)."""

import ast
from pathlib import Path

import pytest

STAGES = (
    "corpora", "media", "features", "vast", "captions", "training", "embeddings", "retrieval", "theory", "reporting",
)  # fmt: skip
#: What looks at stages from above; neither a stage nor a library imports it.
ABOVE = {"bench", "doctor", "estimate"}
PIPELINE = Path(__file__).parents[2] / "pipeline"


def imported(source: Path) -> set[str]:
    """Parts of `pipeline` that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{source}: a relative import hides what it takes"
            names |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
    return {name.split(".")[1] for name in names if name.startswith("pipeline.")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_no_other(stage):
    sources = sorted((PIPELINE / stage).rglob("*.py"))
    assert sources
    for source in sources:
        assert not imported(source) & (set(STAGES) | ABOVE) - {stage}, source


def test_no_library_imports_a_stage():
    """So that no stage reaches another through one."""
    sources = [path for path in sorted(PIPELINE.rglob("*.py")) if path.relative_to(PIPELINE).parts[0] not in STAGES]
    libraries = [path for path in sources if path.relative_to(PIPELINE).with_suffix("").parts[0] not in ABOVE]
    assert len(libraries) > 80
    for source in libraries:
        assert not imported(source) & (set(STAGES) | ABOVE), source


def test_every_folder_is_a_stage_or_a_library():
    libraries = {"bench", "cli", "geometry", "models", "objectives", "settings"}
    folders = {folder.name for folder in PIPELINE.iterdir() if (folder / "__init__.py").is_file()}
    assert folders == libraries | set(STAGES)
