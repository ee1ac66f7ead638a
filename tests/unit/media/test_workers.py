"""Workers: results, exceptions, hangs and deaths of a fake decoder."""

from __future__ import annotations

import os
import time

from pipeline.media.workers import Failure, Late, Workers


def fake_decoder(what: str) -> str:
    """Does what it is told, as decoders do."""
    if what.startswith("hang"):
        time.sleep(600)
    if what == "slow":
        time.sleep(3)
    if what == "die":
        os._exit(11)
    if what == "raise":
        raise ValueError("damaged\nfile")
    return what.upper()


def test_every_task_has_an_outcome() -> None:
    asked = ["a", "slow", "b", "hang", "die", "hang!", "raise", "c"]
    with Workers(fake_decoder, 1, time_limit=2) as workers:
        made = dict(workers.map((name, (name,)) for name in asked))
    assert {name: made[name] for name in "abc"} == {"a": "A", "b": "B", "c": "C"}
    assert made["slow"] == "SLOW"  # late at first; at the second try it has three times as long
    assert made["hang"] == Late("took longer than 6 s")
    assert made["hang!"] == Late("took longer than 2 s")  # a second try has been late: none is made any more
    assert list(made)[-3:] == ["slow", "hang", "hang!"]
    assert made["die"] == Failure("the decoder's process died")
    assert made["raise"] == Failure("ValueError: damaged file")


def test_several_workers_share_the_work_and_end() -> None:
    with Workers(fake_decoder, 2, time_limit=20) as workers:
        made = dict(workers.map((number, (f"x{number}",)) for number in range(7)))
        processes = [worker.process for worker in workers._workers]
    assert made == {number: f"X{number}" for number in range(7)}
    assert not any(process.is_alive() for process in processes)


def test_no_task_starts_no_process() -> None:
    with Workers(fake_decoder, 3, time_limit=1) as workers:
        assert list(workers.map([])) == []
        assert workers._workers == []


def test_a_worker_that_dies_idle_is_replaced() -> None:
    with Workers(fake_decoder, 1, time_limit=20) as workers:
        assert list(workers.map([("a", ("a",))])) == [("a", "A")]
        workers._workers[0].process.kill()
        workers._workers[0].process.join()
        assert list(workers.map([("b", ("b",))])) == [("b", "B")]
