"""How much a model may still be asked: requests and tokens by hour and by day, over restarts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.model import LLMSettings
from exporter.model.times import floor, moment, seconds

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

Spent = Mapping[int, tuple[int, int]]
"""Requests and tokens by the hour in which they were spent: its start, in seconds since the epoch."""


@dataclass(frozen=True)
class Exhausted:
    """Which budget is spent, in words, and how long until there is some again."""

    why: str
    wait: timedelta


def hour_of(now: datetime) -> int:
    return seconds(floor(now, HOUR))


def day_of(now: datetime) -> int:
    return seconds(floor(now, DAY))


def added(spent: Spent, now: datetime, calls: int, tokens: int) -> dict[int, tuple[int, int]]:
    """What is spent with one question more; what is older than the day is forgotten.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 3, 14, 12, 5, tzinfo=UTC)
    >>> list(added({hour_of(noon): (1, 900)}, noon, 2, 100).values())
    [(3, 1000)]
    """
    hour, day = hour_of(now), day_of(now)
    before = spent.get(hour, (0, 0))
    kept = {start: one for start, one in spent.items() if start >= day}
    return {**kept, hour: (before[0] + calls, before[1] + tokens)}


def exhausted(limits: LLMSettings, spent: Spent, now: datetime) -> Exhausted | None:
    """The budget that is spent, if one is."""
    hour, day = hour_of(now), day_of(now)
    for start, length, name, kinds in (
        (hour, HOUR, "hour", (limits.hourly_calls, limits.hourly_tokens)),
        (day, DAY, "day", (limits.daily_calls, limits.daily_tokens)),
    ):
        used = [one for at, one in spent.items() if start <= at]
        for place, (what, limit) in enumerate(zip(("requests", "tokens"), kinds, strict=True)):
            if limit is not None and sum(one[place] for one in used) >= limit:
                option = f"{'hourly' if name == 'hour' else 'daily'}_{'calls' if what == 'requests' else what}"
                why = f"the {limit:,} {what} of this {name} are spent; raise llm.{option}, or wait"
                return Exhausted(why, moment(start) + length - now)
    return None
