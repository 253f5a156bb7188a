"""Remember that a daemon is to stop until it can obey: what it is made of takes seconds to load."""

from __future__ import annotations

import signal

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
