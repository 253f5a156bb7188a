"""Moments, ranges and durations, and the clock that tells now."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Protocol

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Where `now` comes from; tests step their own."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, order=True)
class TimeRange:
    """A half-open stretch of event time, `start <= t < end`; both aware and in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("a TimeRange needs aware datetimes")
        if self.end < self.start:
            raise ValueError(f"a TimeRange ends before it starts: {self.start} .. {self.end}")

    @property
    def duration(self) -> timedelta:
        return self.end - self.start

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def windows(self, length: timedelta) -> Iterator[Window]:
        """The windows of the epoch-aligned grid that begin before the end of the range, from the one it begins in."""
        window = Window(floor(self.start, length), length)
        while window.start < self.end:
            yield window
            window = window.next

    def split(self, step: timedelta) -> Iterator[TimeRange]:
        """Consecutive pieces of at most `step`."""
        start = self.start
        while start < self.end:
            end = min(start + step, self.end)
            yield TimeRange(start, end)
            start = end


@dataclass(frozen=True, order=True)
class Window:
    """What is judged at once: a piece of the epoch-aligned grid.

    >>> window = Window.at(60, timedelta(minutes=1))
    >>> window.key, window.end == window.next.start == EPOCH + timedelta(minutes=2)
    (60, True)
    """

    start: datetime
    length: timedelta

    @classmethod
    def at(cls, key: int, length: timedelta) -> Window:
        """The window that has this key."""
        return cls(moment(key), length)

    @property
    def key(self) -> int:
        """Its start in seconds since the epoch: how rows, and numbers of what was learnt, name a window."""
        return seconds(self.start)

    @property
    def end(self) -> datetime:
        return self.start + self.length

    @property
    def next(self) -> Window:
        return Window(self.end, self.length)

    @property
    def span(self) -> TimeRange:
        return TimeRange(self.start, self.end)


def floor(moment: datetime, step: timedelta) -> datetime:
    """The last point of the epoch-aligned grid of `step` that is not after `moment`."""
    return EPOCH + (moment - EPOCH) // step * step


def rounded_up(value: timedelta, step: timedelta) -> timedelta:
    """The least whole number of steps that is not less."""
    return -(-value // step) * step


def nanoseconds_in(length: timedelta) -> int:
    """How many nanoseconds a length has, exact (no float on the way)."""
    return length // timedelta(microseconds=1) * 1000


def nanoseconds(moment: datetime) -> int:
    """Nanoseconds since the epoch."""
    return nanoseconds_in(moment - EPOCH)


def from_nanoseconds(value: int) -> datetime:
    """The moment, cut to microseconds."""
    return EPOCH + timedelta(microseconds=value // 1000)


_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w)")

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def parse_moment(text: str) -> datetime:
    """Read a time as RFC 3339 writes it; one without a zone, or a day, is UTC's. Raises ValueError.

    >>> parse_moment("2026-01-31T09:00:00+01:00").hour, parse_moment("2026-01-31").tzinfo
    (9, datetime.timezone.utc)
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an RFC 3339 time, such as 2026-01-31T09:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_duration(text: object) -> timedelta:
    """Read a duration as Prometheus writes it.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    if isinstance(text, timedelta):
        return text
    if isinstance(text, str) and text and _DURATION.sub("", text) == "":
        return sum((int(n) * _UNITS[unit] for n, unit in _DURATION.findall(text)), timedelta())
    raise ValueError(f"{text!r} is not a duration: write a number and a unit, such as 30s, 5m, 1h30m or 7d")


def format_duration(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads back.

    >>> format_duration(timedelta(seconds=5400))
    '1h30m'
    """
    rest, out = value, ""
    for unit in ("w", "d", "h", "m", "s", "ms"):
        n, rest = divmod(rest, _UNITS[unit])
        if n and not (unit == "w" and rest):
            out += f"{n}{unit}"
        elif n:
            rest += n * _UNITS[unit]
    return out or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"title": "duration", "type": "string", "pattern": r"^(\d+(ms|s|m|h|d|w))+$"}),
]
"""A field that is written like `5m` and is a timedelta in code."""


def seconds(moment: datetime) -> int:
    """Whole seconds since the epoch: how rows write moments of the grid."""
    return (moment - EPOCH) // timedelta(seconds=1)


def moment(value: int) -> datetime:
    """The moment that `seconds` wrote."""
    return EPOCH + timedelta(seconds=value)
