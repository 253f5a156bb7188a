"""One thread for an embedder that blocks: it is asked in turn, and given up when it takes too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar
from weakref import WeakSet

A = TypeVar("A")

T = TypeVar("T")


_threads: WeakSet[Thread] = WeakSet()


def at_work(within: float) -> bool:
    """Whether the thread of any worker goes on, with so many seconds to end in, though whoever asked it has gone."""
    for thread in _threads:
        if thread.is_alive():
            thread.join(within)
    return any(thread.is_alive() for thread in _threads)


class Worker:
    """One thread that does blocking work in turn: models are not made for several, and take the whole processor.

    A daemon thread, unlike those of an executor: the process does not wait for it at its end.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)
        _threads.add(self._thread)

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

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
