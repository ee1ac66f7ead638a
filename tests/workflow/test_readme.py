"""What README shows is what the committed results and the Makefile hold."""

from __future__ import annotations

import re

from tests.project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_table_is_the_committed_one() -> None:
    committed = (ROOT / "results/mini/tables/table1.md").read_text(encoding="utf-8").splitlines()
    shown = [line for line in README.splitlines() if line.startswith("| ") and line in committed]
    start = committed.index(shown[0])
    assert shown == committed[start : start + len(shown)]
    assert {line.split(" | ")[0] for line in shown} > {"| vast", "| gram", "| unialign", "| unialign-literal"}


def test_its_files_and_targets_exist() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
    rules = (ROOT / "workflow/Snakefile").read_text() + (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)", README) + re.findall(r"`snakemake --cores all (\w+)", README):
        assert f"rule {target}:" in rules or f"\n{target}:" in rules, target
