"""How signals are met: by a daemon that cannot obey yet, for what it is made of takes seconds to load; by a command."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 130
"""The exit code of what was interrupted."""

ENDS_WITHIN = 0.7
"""Seconds after an interruption in which a command may clean up; threads at work would go on for longer."""

UNMET_AFTER = 0.05
"""Seconds after which a signal that the main thread has not met is sent to it again."""

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
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    timer = threading.Timer(ENDS_WITHIN, os._exit, (INTERRUPTED,))
    timer.daemon = True
    met = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        met.set()
        with suppress(RuntimeError):
            timer.start()
        raise KeyboardInterrupt

    def is_unmet() -> bool:
        return not met.wait(UNMET_AFTER) and signal.getsignal(signal.SIGINT) is interrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        with _woken(is_unmet):
            yield
    finally:
        timer.cancel()
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _woken(is_unmet: Callable[[], bool]) -> Iterator[None]:
    """A signal that comes while this thread is about to wait, or that another thread is given, does not wake it: it is
    sent here again until it is met."""
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    main = threading.get_ident()

    def wake() -> None:
        while came := reading.recv(1):
            if came[0] == signal.SIGINT and is_unmet():
                signal.pthread_kill(main, signal.SIGINT)

    waker = threading.Thread(target=wake, name="interruptions", daemon=True)
    waker.start()
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        # An event loop may have taken it over.
        found = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(before if found == writing.fileno() else found)
        writing.close()
        waker.join()
        reading.close()
