"""Leave a place alone that does not answer, and notice when it does again."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

FAILURES = 3
"""Failures in a row, of whatever incidents, after which it is the place that is down."""

FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(seconds=30)
"""Between two attempts on a place that is down: what came back is told everything within a minute."""

Chance = Callable[[], float]
"""A number in [0, 1)."""


class Breaker:
    """Closed, all may be told; open, nothing until the wait is over; then one attempt decides.

    Waits have full jitter, so that many installations do not come back all at once
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/); a wait that the place asks for itself
    is kept as it is.
    """

    def __init__(self, longest: timedelta = LONGEST_WAIT, chance: Chance = random.random) -> None:
        self._longest = longest
        self._chance = chance
        self._failures = 0
        self._until: datetime | None = None
        self._answered = False

    @property
    def closed(self) -> bool:
        return self._until is None

    def room(self, now: datetime, in_hand: int, concurrency: int) -> int:
        """How many more attempts may begin while so many are in hand."""
        if self._until is None:
            return concurrency - in_hand
        return 1 if now >= self._until and not in_hand else 0

    def failed(self, now: datetime, asked: timedelta | None) -> None:
        """It did not answer, or asked for time."""
        if asked:
            self._until = max(now + asked, self._until or now)
        elif self._until is None or now >= self._until:
            # Not for what had begun before the others failed.
            self._failures += 1
            if self._failures >= FAILURES:
                self._until = now + backoff(self._failures - FAILURES, self._longest, self._chance)

    def answered(self) -> bool:
        """Whether it answers again, or for the first time: what had failed is then due at once."""
        again = not self._answered or self._until is not None
        self._answered, self._failures, self._until = True, 0, None
        return again


def backoff(attempts: int, longest: timedelta, chance: Chance) -> timedelta:
    """Before the next attempt: anything up to a limit that doubles each time."""
    limit: timedelta = min(FIRST_WAIT * 2 ** min(attempts + 1, 12), longest)
    return limit * chance()
