"""Short digests of settings and of code, so that a changed operator re-runs its stage and a changed comment nothing.

The code digest of a module covers the syntax trees, without docstrings, of the module and of all it imports from this
package; Snakemake gets it as a parameter of each rule, since it cannot see package code itself.
"""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
#: Modules and packages whose code does not change what a stage computes: values of settings are digested by themselves.
NEUTRAL = frozenset({"pipeline.settings", "pipeline.errors", "pipeline.cli", "pipeline.paths", "pipeline.digests"})


def digest(value: Any, length: int = 12) -> str:
    """Digest of a JSON-serialisable value (pydantic models are dumped first)."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@cache
def code_digest(module: str, length: int = 12) -> str:
    """Digest of a module's (or package's) code and of every `pipeline` module that it imports, directly or not."""
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or _neutral(name):
            continue
        seen[name], imported = _read(name)
        waiting.extend(imported)
    return digest(dict(sorted(seen.items())), length)


def _neutral(name: str) -> bool:
    return name in NEUTRAL or name.rpartition(".")[0] in NEUTRAL


def _file(name: str) -> Path | None:
    relative = ROOT.parent.joinpath(*name.split("."))
    for candidate in (relative.with_suffix(".py"), relative / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _read(name: str) -> tuple[str, frozenset[str]]:
    """Digest of a module's syntax tree without docstrings, and the modules of this package that it imports.

    In one walk: every Snakemake process reads most of the package before it does anything.
    """
    path = _file(name)
    if path is None:
        return "", frozenset()
    found: set[str] = set()
    if path.name == "__init__.py":
        found |= {f"{name}.{child.stem}" for child in path.parent.glob("*.py") if child.stem != "__init__"}
    tree = ast.parse(path.read_text(), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "pipeline"}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pipeline":
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            known = {module for module in submodules if _file(module)}
            # `from pipeline import files` needs the file alone; anything else comes from the module itself.
            found |= known | ({node.module} if known != submodules and node.module != "pipeline" else set())
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), frozenset(found)
