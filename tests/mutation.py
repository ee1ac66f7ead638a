"""Mutation tests: every small change of an equation in geometry/ and objectives/ must make a test fail.

    python -m tests.mutation [pipeline/geometry/volume.py …]      # make mutate: all of both folders

What is changed: tests/mutants.py. Libraries, package and tests are imported and collected once; each mutant is a fork
that puts the changed functions and constants in place and runs the tests that call the changed function (found by a
first run that traces calls, which also shows that the tests pass with the unchanged sources put in place the same way),
those that failed for its neighbours first, until one fails. Outcomes are kept in state/, so that a killed run goes on;
survivors are tried again when a test has changed. Survivors that stand are listed with the reason in
tests/mutation_survivors.yaml: one that is not listed, or a listed one that survives no more, is an error. A survivor
takes all the tests of its function: `--trust-listed` leaves the listed ones untried, and counts them apart.

Why not a library: mutmut 3.8 makes no mutant in functions with a decorator of their own (all objectives, all gradients
by hand) nor of module constants; cosmic-ray 8.7 and mutatest 2.0 start an interpreter, which imports torch, for every
mutant; none leaves out terms or halves constants.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, settings

from tests.mutants import Mutant, compiled, install, install_inner, mutants

#: They start interpreters of their own, which import the unchanged module.
ELSEWHERE = ("test_library_works_without_the_workflow", "test_two_processes_equal_one")
KILLED, SURVIVED, TIMED_OUT, LISTED = "killed", "survived", "timed out", "listed"


class Mutation:
    """Pytest plugin that runs the collected tests against mutants instead of once."""

    def __init__(
        self, sources: list[Path], chosen: list[Path], state: Path, limit: float, trusted: frozenset[str] = frozenset()
    ) -> None:
        self.sources, self.chosen, self.state, self.limit, self.trusted = sources, chosen, state, limit, trusted
        self.outcomes: list[tuple[Mutant, str]] = []
        self.calls: dict[tuple[str, str], list[str]] = {}
        self.killers: dict[tuple[str, str], Counter[str]] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Baseline, then every mutant of every chosen source."""
        self.items = {item.nodeid: item for item in session.items if item.name not in ELSEWHERE}
        self.state.parent.mkdir(parents=True, exist_ok=True)
        kept = {}
        if self.state.is_file():
            kept = {one["key"]: one for one in map(json.loads, self.state.read_text().splitlines())}
        files = sorted({item.path for item in self.items.values()})
        beside = digest(*(path.read_text() for file in files for path in oracles(file)))
        texts = digest(*(source.read_text() for source in self.sources), beside)
        self.seconds: dict[str, float] = {}
        # Libraries import and compile things when they are first used: seconds, once here or in every fork.
        if failed := self._run(list({item.path: test for test, item in self.items.items()}.values())):
            raise pytest.UsageError(f"{failed} fails on the unchanged sources")
        for file in files:
            self._measure(file, digest(texts, file.read_text(), *self.sources), kept)
        self.calls = {where: sorted(known, key=self.seconds.__getitem__) for where, known in self.calls.items()}
        print(f"{len(self.seconds)} tests, {sum(self.seconds.values()):.0f} s", flush=True)
        for source in self.chosen:
            self._file(source, kept, digest(beside, *(file.read_text() for file in files)))
        return True

    def _keep(self, **line: Any) -> None:
        with self.state.open("a") as lines:
            lines.write(json.dumps(line) + "\n")

    def _measure(self, file: Path, key: str, kept: dict[str, Any]) -> None:
        """Seconds and calls of a file's tests, which must pass."""
        tests = [test for test, item in self.items.items() if item.path == file]
        found = kept[key]["found"] if key in kept else forked(lambda: self._baseline(tests), 3600)
        if found is None or "failed" in found:
            raise pytest.UsageError(f"a test fails on the unchanged sources: {found and found['failed']}")
        if key not in kept:
            self._keep(key=key, found=found)
        for test, (seconds, calls) in found.items():
            self.seconds[test] = seconds
            for source, function in [*map(tuple, calls), *dict.fromkeys((source, "") for source, _ in calls)]:
                self.calls.setdefault((source, function), []).append(test)

    def _file(self, file: Path, kept: dict[str, Any], tests: str) -> None:
        text, begun, fresh, counts = file.read_text(), time.monotonic(), 0, Counter[str]()
        for mutant, tree in mutants(file, text):
            key = digest(text, mutant)
            outcome = kept[key]["outcome"] if key in kept else SURVIVED
            if str(mutant) in self.trusted:
                outcome = LISTED
            elif key not in kept or (outcome == SURVIVED and kept[key]["tests"] != tests):
                outcome, test = self._try(mutant, tree)
                self._keep(key=key, outcome=outcome, mutant=str(mutant), test=test, tests=tests)
                fresh += 1
            counts[outcome] += 1
            self.outcomes.append((mutant, outcome))
        print(f"{file}: {dict(counts)}, {fresh} tried in {time.monotonic() - begun:.0f} s", flush=True)

    def _baseline(self, tests: list[str]) -> dict[str, Any]:
        """Seconds of each test and what it calls of the sources; or the first test that fails."""
        names = {str(source.resolve()): str(source) for source in self.sources}
        for source in self.sources:
            install(source, compiled(source, source.read_text()))
        found: dict[str, Any] = {}
        for test in tests:
            called: set[tuple[str, str]] = set()

            def trace(frame: Any, event: str, _: Any, called: set[tuple[str, str]] = called) -> None:
                if frame.f_code.co_filename in names:
                    called.add((names[frame.f_code.co_filename], frame.f_code.co_qualname))

            begun = time.process_time()
            sys.settrace(trace)
            failed = self._run([test])
            sys.settrace(None)
            if failed:
                return {"failed": failed}
            found[test] = (time.process_time() - begun, sorted(called))
        return found

    def _try(self, mutant: Mutant, tree: Any) -> tuple[str, str]:
        """(outcome, test that failed). A constant is seen by all tests that call its file."""
        where = (str(mutant.file), mutant.function)
        known = self.calls.get(where) or self.calls.get((where[0], "")) or list(self.seconds)
        killers = self.killers.setdefault(where, Counter())
        tests = sorted(known, key=lambda test: -killers[test])  # stable: quick ones first among equals

        def work() -> str:
            try:
                code = tree()
                install(mutant.file, code)
                if "<locals>" in mutant.function:
                    install_inner(mutant.file, code, mutant.function)
            except Exception as error:  # a module that cannot be imported fails every test
                return f"import: {type(error).__name__}"
            return self._run(tests)

        failed = forked(work, self.limit + 3 * sum(self.seconds[test] for test in tests))
        if failed is None:
            return TIMED_OUT, ""
        killers[failed] += bool(failed)
        return (KILLED if failed else SURVIVED), failed

    def _run(self, tests: list[str]) -> str:
        """Run tests in this process; the first that fails, or nothing."""
        for number, test in enumerate(tests):
            item = self.items[test]
            after = self.items[tests[number + 1]] if number + 1 < len(tests) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if item.session.testsfailed:
                return test
        return ""


def forked(work: Callable[[], Any], limit: float) -> Any:
    """What `work` returns in a fork of this process; None if it took more than `limit` seconds of processor time."""
    with tempfile.TemporaryFile("w+") as answer:
        if (process := os.fork()) == 0:
            try:
                resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 1))
                null = os.open(os.devnull, os.O_RDWR)
                for descriptor in (0, 1, 2):
                    os.dup2(null, descriptor)
                json.dump(work(), answer)
                answer.flush()
            finally:
                os._exit(0)
        os.waitpid(process, 0)
        answer.seek(0)
        text = answer.read()
    return json.loads(text) if text else None


def oracles(test: Path) -> list[Path]:
    """Modules beside a test file that are no tests."""
    return sorted(path for path in test.parent.glob("*.py") if not path.name.startswith("test_"))


def digest(*parts: object) -> str:
    """Digest of texts."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


def judged(outcomes: list[tuple[Mutant, str]], reasons: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The report, and one line for each survivor without a reason and each reason without a survivor."""
    survivors = [mutant for mutant, outcome in outcomes if outcome == SURVIVED]
    standing = [mutant for mutant, outcome in outcomes if outcome in (SURVIVED, LISTED)]
    names = {str(mutant) for mutant in standing}
    seen = dict.fromkeys(str(mutant.file) for mutant, _ in outcomes)
    wrong = [f"survives: {mutant.file}:{mutant.line} {mutant}" for mutant in survivors if str(mutant) not in reasons]
    wrong += [f"listed, but survives no more: {n}" for n in reasons if n not in names and n.split(" ")[0] in seen]

    def counts(file: str = "") -> dict[str, int]:
        found = Counter(outcome for mutant, outcome in outcomes if file in ("", str(mutant.file)))
        return {
            "mutants": found.total(),
            **{outcome: found[outcome] for outcome in (KILLED, TIMED_OUT, SURVIVED, LISTED)},
        }

    listed = [{"at": f"{m.file}:{m.line}", "mutant": str(m), "why": reasons.get(str(m), "")} for m in standing]
    return counts() | {"files": {file: counts(file) for file in seen}, "survivors": listed}, wrong


def main() -> None:
    """Command line; exit code 1 if the survivors are not exactly those that are listed."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("sources", nargs="*", type=Path)
    parser.add_argument("--tests", nargs="+", default=["tests/unit/geometry", "tests/unit/objectives",
                                                       "tests/unit/retrieval/test_ranks.py"])  # fmt: skip
    parser.add_argument("--survivors", type=Path, default=Path("tests/mutation_survivors.yaml"))
    parser.add_argument("--state", type=Path, default=Path("state/mutation.jsonl"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--limit", type=float, default=15, help="processor seconds a mutant may take beyond its tests'")
    parser.add_argument("--trust-listed", action="store_true", help="do not try the listed survivors")
    chosen = parser.parse_args()
    every = sorted([*Path("pipeline/geometry").glob("*.py"), *Path("pipeline/objectives").glob("*.py")])
    # Read when the tests' decorators are: the same examples for every mutant, none shrunk, none stored.
    settings.register_profile(
        "mutation", derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    settings.load_profile("mutation")
    listed = yaml.safe_load(chosen.survivors.read_text()) if chosen.survivors.is_file() else []
    reasons = {name: one["why"] for one in listed for name in one["mutants"]}
    trusted = frozenset(reasons if chosen.trust_listed else ())
    plugin = Mutation(sorted({*every, *chosen.sources}), chosen.sources or every, chosen.state, chosen.limit, trusted)
    if pytest.main(["-q", "-s", "--disable-warnings", "-p", "no:cacheprovider", *chosen.tests], plugins=[plugin]):
        sys.exit(2)
    report, wrong = judged(plugin.outcomes, reasons)
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(f"{report['mutants']} mutants, {report[SURVIVED]} survive, {report[LISTED]} are listed and were not tried,"
          f" {len(wrong)} unexplained", *wrong, sep="\n")  # fmt: skip
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
