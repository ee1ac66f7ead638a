"""Calls in worker processes under a time limit.

A decoder can hang or die in native code (decord never returns on some intact MPEG-TS files; its AudioReader leaks), so
that it must not run in the process that keeps the books: a worker that is late is killed and replaced, and its task
becomes a `Failure`.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any


@dataclass(frozen=True)
class Failure:
    """Why a task has no result."""

    reason: str


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
        self.key: Hashable = None
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
        self.count = count
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.kill()

    def map(self, tasks: Iterable[tuple[Hashable, tuple[Any, ...]]]) -> Iterator[tuple[Hashable, Any]]:
        """Yield (key, result or Failure) of each (key, arguments), in the order in which they end."""
        waiting = iter(tasks)
        busy = {index for index in range(self.count) if self._give(index, waiting)}
        while busy:
            left = min(self._workers[index].deadline for index in busy) - time.monotonic()
            ready = wait([self._workers[index].connection for index in busy], timeout=max(left, 0))
            for index in sorted(busy):
                worker = self._workers[index]
                if worker.connection in ready:
                    try:
                        result = worker.connection.recv()
                        worker.started = True
                    except (EOFError, OSError):
                        result = self._replace(index, "the decoder's process died")
                elif time.monotonic() >= worker.deadline:
                    result = self._replace(index, f"took longer than {self.time_limit:g} s")
                else:
                    continue
                yield worker.key, result
                if not self._give(index, waiting):
                    busy.discard(index)

    def _give(self, index: int, waiting: Iterator[tuple[Hashable, tuple[Any, ...]]]) -> bool:
        try:
            key, task = next(waiting)
        except StopIteration:
            return False
        while len(self._workers) <= index:
            self._workers.append(_Worker(self.function))
        worker = self._workers[index]
        worker.key = key
        worker.deadline = time.monotonic() + self.time_limit + (0 if worker.started else self.grace)
        worker.connection.send(task)
        return True

    def _replace(self, index: int, reason: str) -> Failure:
        self._workers[index].kill()
        self._workers[index] = _Worker(self.function)
        return Failure(reason)
