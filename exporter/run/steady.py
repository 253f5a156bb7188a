"""The time that it is, where the clock of the machine may be set forward and back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from exporter.model import Clock

TOLERANCE = timedelta(seconds=5)
"""Within it the clock is followed: it is being adjusted, or we were not looking."""

DOUBTED_FOR = timedelta(hours=1)
"""A clock that went ahead by itself is believed after so long, also where no source has lines of that time."""


def elapsed() -> float:
    """Seconds that pass whatever the clock says, also while the machine sleeps, where that is known."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True)
class Jump:
    """What the clock of the machine did at once, and what we made of it.

    start: the moment at which it did. by: how far it went; negative is back.
    doubted: it went ahead, and time goes on as if it had not. over: it came back from there. followed: it is the time.
    """

    start: datetime
    by: timedelta
    outcome: Literal["doubted", "over", "followed"]


class SteadyClock:
    """A clock that goes on as time passes: it is never ahead because somebody set the machine's clock wrong.

    Time that has passed without our knowing (a machine that was stopped) looks the same as a clock that was set ahead.
    So a clock that goes ahead is doubted until somebody who knows better calls `believe`, or for `DOUBTED_FOR`: that
    costs nothing but being later. Back it is followed at once: what is ahead of us must not be read.
    """

    def __init__(self, wall: Clock, passed: Callable[[], float] = elapsed) -> None:
        self._wall = wall
        self._passed = passed
        self._lock = threading.Lock()
        self._known = (wall.now(), passed())
        self._doubt: tuple[Jump, float] | None = None
        """What is not believed, and what had passed when it was."""
        self._jumps: list[Jump] = []

    def now(self) -> datetime:
        with self._lock:
            said, passed, expected = self._look()
            if said - expected > TOLERANCE and passed < self._doubtful_until(expected, passed, said - expected):
                return expected
            self._follow(said, passed, expected)
            return said

    @property
    def claimed(self) -> datetime | None:
        """The time that the machine's clock says it is, while that is doubted."""
        with self._lock:
            return self._wall.now() if self._doubt else None

    def believe(self) -> None:
        """It is the time that the machine's clock says it is."""
        with self._lock:
            self._follow(*self._look())

    def jumps(self) -> list[Jump]:
        """What it did since this was asked last."""
        self.now()
        with self._lock:
            jumps, self._jumps = self._jumps, []
        return jumps

    def _look(self) -> tuple[datetime, float, datetime]:
        """What the machine's clock says, what has passed, and the time that it is by that."""
        said, passed = self._wall.now(), self._passed()
        moment, then = self._known
        return said, passed, moment + timedelta(seconds=passed - then)

    def _doubtful_until(self, expected: datetime, passed: float, by: timedelta) -> float:
        if self._doubt is None:
            self._doubt = Jump(expected, by, "doubted"), passed
            self._jumps.append(self._doubt[0])
        return self._doubt[1] + DOUBTED_FOR.total_seconds()

    def _follow(self, said: datetime, passed: float, expected: datetime) -> None:
        self._known = said, passed
        doubted, self._doubt = self._doubt, None
        if abs(said - expected) > TOLERANCE:
            self._jumps.append(Jump(expected, said - expected, "followed"))
        elif doubted:
            self._jumps.append(replace(doubted[0], outcome="over"))
