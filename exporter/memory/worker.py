"""One thread for an embedder that blocks: it is asked in turn, and given up when it takes too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Event, Thread
from typing import TypeVar
from weakref import WeakSet

A = TypeVar("A")

T = TypeVar("T")


class Worker:
    """One thread that does blocking work in turn: models are not made for several, and take the whole processor.

    A daemon thread, unlike those of an executor: the process does not wait for it at its end.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._resting = Event()
        self._resting.set()
        _workers.add(self)

    async def run(self, function: Callable[[A], T], argument: A) -> T:
        """The function's result; work whose waiter has gone before it began is left out."""
        future: Future[T] = Future()

        def job() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(argument))
                except BaseException as error:
                    future.set_exception(error)

        if self._thread.ident is None:
            self._thread.start()
        self._jobs.put(job)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        self._jobs.put(None)

    def rests(self, within: float) -> bool:
        """Whether it has nothing in hand, with so many seconds to end it."""
        return self._resting.wait(within)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._resting.clear()
            job()
            self._resting.set()


_workers: WeakSet[Worker] = WeakSet()


def at_work(within: float) -> bool:
    """Whether any worker goes on, after so many seconds to end in, though whoever asked it has gone."""
    return any(not worker.rests(within) for worker in _workers)
