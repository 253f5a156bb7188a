"""How long after its own time a line could be read, where documents carry when they were ingested."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from exporter.model import Check, Clock, Source, SourceSettings, TimeRange, floor, format_duration
from exporter.model.times import rounded_up

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

QUANTILES = (0.5, 0.99)

AHEAD = 0.0
"""Stands for lines that were ingested before their own time: a clock is ahead, and how late they are is unknown."""

SAMPLE_LINES = 5_000
"""Lines of which `check-config --connect` measures the lateness."""

OVER = timedelta(hours=1)
"""Event time whose lines say how late lines are."""

COUNTED = timedelta(minutes=5)
"""The newest lines, which are counted twice where they do not say when they were ingested."""

COUNTED_BY = timedelta(seconds=1)
BETWEEN = timedelta(seconds=10)
"""From the first count to the second."""

Pause = Callable[[timedelta], Awaitable[None]]


async def _sleep(time: timedelta) -> None:
    await asyncio.sleep(time.total_seconds())


_STEPS = 8
"""Bounds in each doubling: a bound is at most 9 % above what it stands for."""

_LEAST = 1 / 16
_PROPOSED = timedelta(seconds=5)

Lateness = Mapping[tuple[int, float], int]
"""Lines by the start of their window, in seconds since the epoch, and the upper bound of their lateness in seconds."""


def measure(page: pl.DataFrame, window: timedelta) -> Lateness:
    """The lateness of the lines of a page that have both times."""
    times = page.select("timestamp", "ingested_at").drop_nulls()
    if times.is_empty():
        return {}
    seconds = (times["ingested_at"] - times["timestamp"]).to_numpy() / 1e9
    bounds = np.exp2(np.ceil(np.log2(np.maximum(seconds, _LEAST)) * _STEPS) / _STEPS)
    step = window // timedelta(seconds=1)
    counted = (
        pl.DataFrame(
            {
                "window": times["timestamp"] // (step * 1_000_000_000) * step,
                "bound": np.where(seconds < 0, AHEAD, bounds),
            }
        )
        .group_by("window", "bound")
        .len()
    )
    return {(start, bound): lines for start, bound, lines in counted.iter_rows()}


def quantile(parts: Iterable[Lateness], share: float) -> float | None:
    """The seconds within which this share of the lines came; None where that is not known."""
    counts: dict[float, int] = {}
    for part in parts:
        for (_, bound), lines in part.items():
            if bound != AHEAD:
                counts[bound] = counts.get(bound, 0) + lines
    wanted = share * sum(counts.values())
    seen = 0
    for bound in sorted(counts):
        seen += counts[bound]
        if seen >= wanted:
            return bound
    return None


def ahead(lateness: Lateness) -> int:
    """Lines whose clock is ahead of that of the log store."""
    return sum(lines for (_, bound), lines in lateness.items() if bound == AHEAD)


class Lately:
    """The lateness of the last hour of event time, window by window."""

    def __init__(self) -> None:
        self._windows: dict[int, Lateness] = {}

    def remember(self, window: int, lateness: Lateness) -> None:
        """A window's last read is its truth here too: only then all that came late is in it."""
        self._windows[window] = lateness
        oldest = max(self._windows) - OVER // timedelta(seconds=1)
        self._windows = {start: one for start, one in self._windows.items() if start > oldest}

    def quantile(self, share: float) -> float | None:
        return quantile(self._windows.values(), share)

    def ahead(self) -> int:
        return sum(map(ahead, self._windows.values()))


async def check(settings: SourceSettings, source: Source, clock: Clock, pause: Pause = _sleep) -> Check:
    """The lateness of the newest lines that are old enough for late ones to be there, and what follows from it.

    Where lines do not say when they were ingested, as plain Filebeat's, the newest ones are counted twice.
    """
    now = clock.now()
    found = await _sample(source, floor(now - settings.late_window, settings.window), settings.window)
    if found is None:
        return Check(
            "lateness",
            True,
            f"unknown: no line of the last day is older than `late_window`, {format_duration(settings.late_window)}",
        )
    median, most = (quantile([found], share) for share in QUANTILES)
    if median is None or most is None:
        return await _by_counting(settings, source, clock, pause)
    skewed = f"; {ahead(found)} lines were ingested before their own time: a clock is ahead" if ahead(found) else ""
    return _proposed(
        settings, most, f"half of the lines can be read after {median:.1f} s, 99 % after {most:.1f} s{skewed}"
    )


def _proposed(settings: SourceSettings, most: float, detail: str) -> Check:
    """What follows where 99 % of the lines are there after `most` seconds."""
    offset = rounded_up(timedelta(seconds=most), _PROPOSED)
    if offset <= settings.query_offset:
        return Check("lateness", True, f"{detail}; `query_offset: {format_duration(settings.query_offset)}` is enough")
    wider = " and a `late_window` above it" if offset >= settings.late_window else ""
    proposed = f"; `query_offset: {format_duration(offset)}`{wider} would spare reading windows again"
    return Check("lateness", True, detail + proposed)


async def _by_counting(settings: SourceSettings, source: Source, clock: Clock, pause: Pause) -> Check:
    """Count the last minutes, and again a little later: what came in between was late."""
    end = floor(clock.now(), COUNTED_BY)
    span = TimeRange(end - COUNTED, end)
    first = await source.count(span, COUNTED_BY)
    await pause(BETWEEN)
    second = await source.count(span, COUNTED_BY)
    by_age = [(int((end - start) / BETWEEN), first.get(start, 0), lines) for start, lines in second.items()]
    most = late_by(by_age, BETWEEN.total_seconds())
    how = f"counted twice, {format_duration(BETWEEN)} apart, the last {format_duration(COUNTED)}"
    if most is None:
        none = "has no line in it" if not any(second.values()) else "grew all over: lines come later than that"
        return Check("lateness", True, f"unknown: {how} {none}; late ones are counted as they come")
    return _proposed(settings, most, f"{how}: 99 % of the lines can be read after {most:.0f} s")


def late_by(counted: Iterable[tuple[int, int, int]], step: float, share: float = 0.99) -> float | None:
    """The seconds after which this share of the lines is there, from two counts that are `step` seconds apart.

    `counted` are lines by their age at the first count, in steps: how many there were then, and how many a step later.
    What was there at an age, as a share of what was there a step later, is the chance not to come in that step; lines
    are there at an age unless they come in one of the steps that follow (as the Kaplan-Meier estimator multiplies).
    None where of the oldest third more than that came in between: what comes later still is not seen.

    >>> late_by([(0, 50, 90), (1, 90, 100), (2, 100, 100), (3, 100, 100)], 10)
    20
    """
    seen: dict[int, tuple[int, int]] = {}
    for age, before, after in counted:
        known = seen.get(age, (0, 0))
        seen[age] = known[0] + min(before, after), known[1] + after
    there, found = 1.0, None
    for age in sorted(seen, reverse=True):
        before, after = seen[age]
        there *= before / after if after else 1.0
        if there < share:
            break
        found = age * step
    return found if found is not None and 3 * found <= 2 * (max(seen) + 1) * step else None


async def _sample(source: Source, end: datetime, window: timedelta) -> Lateness | None:
    """Of some thousand lines, in the newest windows before `end` that have any; None when there is none."""
    counts = await source.count(TimeRange(floor(end - timedelta(days=1), window), end), window)
    newest = sorted((start for start, lines in counts.items() if lines), reverse=True)
    if not newest:
        return None
    start, lines = newest[0], 0
    for start in newest:
        lines += counts[start]
        if lines >= SAMPLE_LINES or newest[0] - start >= timedelta(hours=1):
            break
    total: dict[tuple[int, float], int] = {}
    seen = 0
    pages: AsyncGenerator[pl.DataFrame, None] = source.query(TimeRange(start, newest[0] + window))  # type: ignore[assignment]
    async with aclosing(pages):
        async for page in pages:
            for key, amount in measure(page, window).items():
                total[key] = total.get(key, 0) + amount
            seen += page.height
            if seen >= SAMPLE_LINES:
                break
    return total
