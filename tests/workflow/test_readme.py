"""What README shows is what the committed results and the Makefile hold."""

from __future__ import annotations

import re

from tests.project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_table_is_the_committed_one() -> None:
    committed = (ROOT / "results/mini/tables/table1.md").read_text(encoding="utf-8").splitlines()
    shown = README[README.index("| method | score | seeds | stamps") :].split("\n\n")[0].splitlines()
    start = committed.index("| method | score | seeds | stamps T→VA " + shown[0].partition(" stamps T→VA ")[2])
    assert shown == committed[start : start + len(shown)]
    assert not committed[start + len(shown)].startswith("|")


def test_its_files_and_targets_exist() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
    files = [ROOT / "workflow/Snakefile", ROOT / "Makefile", *(ROOT / "workflow/rules").glob("*.smk")]
    rules = "".join(file.read_text() for file in files)
    for target in re.findall(r"`make (\w+)", README) + re.findall(r"`snakemake --cores all (\w+)", README):
        assert re.search(rf"^( *rule )?{target}:", rules, re.M), target
    assert not re.search(r"`snakemake (?!-)", README)
