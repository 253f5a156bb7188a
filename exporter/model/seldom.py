"""Say the same thing now and then, where it could be said all the time."""

from __future__ import annotations

import time
from datetime import timedelta


class Seldom:
    """Remembers what was said last, and when.

    >>> minutely = Seldom(timedelta(minutes=1))
    >>> minutely.is_time("a"), minutely.is_time("a"), minutely.is_time("b")
    (True, False, True)
    """

    def __init__(self, every: timedelta) -> None:
        self._every = every.total_seconds()
        self._last: tuple[str, float] | None = None

    def is_time(self, what: str = "") -> bool:
        """Whether it is to be said now; then it has been."""
        now = time.monotonic()
        if self._last and self._last[0] == what and now - self._last[1] < self._every:
            return False
        self._last = what, now
        return True
