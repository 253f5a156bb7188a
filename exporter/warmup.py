"""Choose which part of the past is learnt from before the first alarm, within a budget of time."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from exporter.config import WarmupSettings
from exporter.model import TimeRange, floor
from exporter.pipeline import SourcePipeline, read_and_reduce

JUDGE_SHARE = 1.5
"""Judging takes about half as long as reading; measured on the shop simulator and on HDFS."""

EMPTY_WINDOW = timedelta(milliseconds=3)
"""What a window without lines costs."""

COUNT_STEP = timedelta(days=1)


async def plan(pipeline: SourcePipeline, until: datetime, settings: WarmupSettings, now: datetime) -> TimeRange:
    """The windows that warm-up takes: all of `history` if the budget allows, else the part nearest to now.

    It asks the source for its counts, and times how fast the newest windows with lines can be read.
    """
    start = floor(until - settings.history, pipeline.window)
    counts: dict[datetime, int] = {}
    for day in TimeRange(start, until).split(COUNT_STEP):
        counts.update({w: n for w, n in (await pipeline.source.count(day, pipeline.window)).items() if n})
    if not counts:
        return TimeRange(until, until)
    first = min(counts)
    rate = await _lines_per_second(pipeline, counts)
    return TimeRange(_affordable(counts, first, until, pipeline.window, rate, settings.budget), until)


async def _lines_per_second(pipeline: SourcePipeline, counts: dict[datetime, int]) -> float:
    newest = max(counts)
    began = time.monotonic()
    reduced = await read_and_reduce(pipeline.source, TimeRange(newest, newest + pipeline.window), pipeline.settings)
    elapsed = max(time.monotonic() - began, 1e-3) * JUDGE_SHARE
    return max(reduced.lines.height, 1) / elapsed


def _affordable(
    counts: dict[datetime, int],
    first: datetime,
    until: datetime,
    window: timedelta,
    rate: float,
    budget: timedelta,
) -> datetime:
    """The earliest start from which everything up to `until` is read within the budget."""
    left = budget.total_seconds()
    start = until
    while start > first:
        left -= counts.get(start - window, 0) / rate + EMPTY_WINDOW.total_seconds()
        if left < 0:
            break
        start -= window
    return start
