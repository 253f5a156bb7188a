"""Read what is analysed, once, with as many examples as its size allows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from exporter.analysis.findings import AnalyzeSettings
from exporter.ingest import reduction
from exporter.ingest.settings import ReductionSettings
from exporter.model import Reduced, nanoseconds

STEPS = tuple(timedelta(seconds=s) for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 21600, 86400))

MANY_WINDOWS = 120
"""Windows that the stretch is cut into, at most."""

PROBE_LINES = 50_000
"""Lines that are looked at before the number of examples to keep is chosen."""

POSSIBLE = tuple(nanoseconds(datetime(year, 1, 1, tzinfo=UTC)) for year in (1990, 2100))


async def read_all(
    pages: AsyncIterator[pl.DataFrame], settings: AnalyzeSettings
) -> tuple[Reduced, bool, dict[str, int]]:
    """Reduce all pages; the first ones decide how finely examples are kept, and whether there is time at all."""
    waiting: list[pl.DataFrame] = []
    parts: list[Reduced] = []
    reader: _Reader | None = None
    seen = over = 0
    async for page in pages:
        room = settings.max_lines - seen
        over += max(0, page.height - room)
        page = page.head(max(0, room))
        seen += page.height
        if reader is None:
            waiting.append(page)
            if seen < PROBE_LINES:
                continue
            reader = _reader(waiting, settings, whole=False)
            parts += [await asyncio.to_thread(reader.reduce, held) for held in waiting]
        elif page.height:
            parts.append(await asyncio.to_thread(reader.reduce, page))
    if reader is None:
        reader = _reader(waiting, settings, whole=True)
        parts = [await asyncio.to_thread(reader.reduce, held) for held in waiting]
    merged = await asyncio.to_thread(reduction.merge, parts) if parts else reduction.empty()
    dropped = dict(merged.dropped)
    if reader.impossible:
        dropped["impossible_timestamp"] = reader.impossible
    if over:
        dropped["max_lines"] = over
    return merged, reader.by_position, dropped


@dataclass
class _Reader:
    """Reduces pages; without timestamps, a line's number stands for the second in which it was written."""

    settings: ReductionSettings
    by_position: bool
    position: int = 0
    impossible: int = 0

    def reduce(self, page: pl.DataFrame) -> Reduced:
        if self.by_position:
            numbers = np.arange(self.position, self.position + page.height, dtype=np.int64)
            page = page.with_columns(pl.Series("timestamp", numbers * 1_000_000_000))
            self.position += page.height
        else:
            wrong = page["timestamp"].is_not_null() & ~_possible(page["timestamp"])
            self.impossible += int(wrong.sum())
            page = page.filter(~wrong)
        return reduction.reduce(page, self.settings)


def _reader(pages: Sequence[pl.DataFrame], settings: AnalyzeSettings, whole: bool) -> _Reader:
    times = pl.concat([page["timestamp"] for page in pages]) if pages else pl.Series("timestamp", [], pl.Int64)
    possible = times.filter(_possible(times))
    by_position = len(possible) < 0.5 * len(times)
    first, last = extent(possible)
    span = float(len(times)) if by_position else (last - first) / 1e9
    window = settings.window or _window(span, 60 if whole else 8)
    reducing = ReductionSettings(
        window=window,
        session_pattern=settings.session_pattern,
        max_line_chars=settings.mining.max_line_chars,
        multiline=settings.mining.multiline,
        drop_stack_frames=settings.mining.drop_stack_frames,
        redaction=settings.redaction,
    )
    return _Reader(reducing, by_position)


def _possible(times: pl.Series) -> pl.Series:
    """Clocks that are not set give the year 1970 or worse; one such line would stretch everything."""
    return times.is_between(POSSIBLE[0], POSSIBLE[1], closed="left").fill_null(False)


def extent(times: pl.Series) -> tuple[int, int]:
    """Earliest and latest of some times; 0 where there is none."""
    known = times.drop_nulls().to_numpy()
    return (int(known.min()), int(known.max())) if len(known) else (0, 0)


def _window(span: float, most: int = MANY_WINDOWS) -> timedelta:
    """The shortest usual length of which the span has at most so many."""
    return next((step for step in STEPS if span / step.total_seconds() <= most), STEPS[-1])
