"""How signals are met: by a daemon that cannot obey yet, for what it is made of takes seconds to load; by a command."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 130
"""The exit code of what was interrupted."""

ENDS_WITHIN = 0.7
"""Seconds after an interruption in which a command may clean up; threads at work would go on for longer."""

_seen: list[int] = []


def heed() -> None:
    """From now on SIGTERM and SIGINT are remembered, and neither SIGHUP nor SIGUSR1 ends the process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: _seen.append(number))
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def asked() -> bool:
    """Whether one of them came; the next time it is asked, only what came since counts."""
    came = bool(_seen)
    _seen.clear()
    return came


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it SIGINT ends the process within a second, whatever it does; where others see to signals, they do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    timer = threading.Timer(ENDS_WITHIN, os._exit, (INTERRUPTED,))
    timer.daemon = True

    def interrupt(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):
            timer.start()
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        timer.cancel()
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, before)
