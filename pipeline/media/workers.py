"""Calls in worker processes under a time limit.

A decoder can hang or die in native code (decord never returns on some intact MPEG-TS files; its AudioReader leaks), so
that it must not run in the process that keeps the books: a worker that is late is killed and replaced, and its task
becomes a `Failure`. A machine that is busy with other things makes good clips late too, so that those that were late
are tried once more with `PATIENCE` times the limit, until one is late again: then it is the clips, not the machine.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

#: Key and arguments.
Task = tuple[Hashable, tuple[Any, ...]]

#: Times the limit, at the second try.
PATIENCE = 3


@dataclass(frozen=True)
class Failure:
    """Why a task has no result."""

    reason: str


class Late(Failure):
    """It took longer than the time limit."""


def _serve(connection: Connection, function: Callable[..., Any]) -> None:
    with suppress(EOFError, OSError):  # the parent has ended or was killed
        while True:
            task = connection.recv()
            try:
                result = function(*task)
            except Exception as error:  # any exception of a decoder is the clip's, not ours
                result = Failure(" ".join(f"{type(error).__name__}: {error}".split())[:300])
            connection.send(result)


class _Worker:
    def __init__(self, function: Callable[..., Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, function), daemon=True)
        self.process.start()
        theirs.close()
        self.task: Task = (None, ())
        self.started = False
        self.deadline = 0.0

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class Workers:
    """Up to `count` processes that run `function(*task)`; a context manager, so that none is left behind.

    The first task of a fresh process has `grace` more seconds, since it also imports the decoder.
    """

    def __init__(self, function: Callable[..., Any], count: int, time_limit: float, grace: float = 60.0) -> None:
        self.function, self.time_limit, self.grace = function, time_limit, grace
        self.count, self.patient = count, True
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()

    def map(self, tasks: Iterable[Task]) -> Iterator[tuple[Hashable, Any]]:
        """Yield (key, result or Failure) of each (key, arguments), in the order in which they end."""
        late: list[tuple[Task, Late]] = []
        for task, result in self._all(iter(tasks), self.time_limit):
            if isinstance(result, Late):
                late.append((task, result))
            else:
                yield task[0], result
        for task, result in self._all(self._again(late), PATIENCE * self.time_limit):
            self.patient &= not isinstance(result, Late)
            yield task[0], result
        for task, result in late:
            yield task[0], result

    def _again(self, late: list[tuple[Task, Late]]) -> Iterator[Task]:
        """Tasks that were late, taken off the list as long as a second try has helped."""
        while late and self.patient:
            yield late.pop(0)[0]

    def _all(self, waiting: Iterator[Task], time_limit: float) -> Iterator[tuple[Task, Any]]:
        busy = {index for index in range(self.count) if self._give(index, waiting, time_limit)}
        while busy:
            left = min(self._workers[index].deadline for index in busy) - time.monotonic()
            ready = wait([self._workers[index].connection for index in busy], timeout=max(left, 0))
            for index in sorted(busy):
                worker = self._workers[index]
                task = worker.task
                if worker.connection in ready:
                    try:
                        result = worker.connection.recv()
                        worker.started = True
                    except (EOFError, OSError):
                        result = self._replace(index, Failure("the decoder's process died"))
                elif time.monotonic() >= worker.deadline:
                    result = self._replace(index, Late(f"took longer than {time_limit:g} s"))
                else:
                    continue
                yield task, result
                if not self._give(index, waiting, time_limit):
                    busy.discard(index)

    def _give(self, index: int, waiting: Iterator[Task], time_limit: float) -> bool:
        try:
            task = next(waiting)
        except StopIteration:
            return False
        while len(self._workers) <= index:
            self._workers.append(_Worker(self.function))
        try:
            self._workers[index].connection.send(task[1])
        except OSError:  # it died while it had nothing to do
            self._workers[index].kill()
            self._workers[index] = _Worker(self.function)
            self._workers[index].connection.send(task[1])
        worker = self._workers[index]
        worker.task = task
        worker.deadline = time.monotonic() + time_limit + (0 if worker.started else self.grace)
        return True

    def _replace(self, index: int, failure: Failure) -> Failure:
        self._workers[index].kill()
        self._workers[index] = _Worker(self.function)
        return failure
