"""Read what is analysed, once, with as many examples as its size allows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
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
    reader: _Reader | None = None
    kept = Kept(settings.held_bytes, settings.max_services)
    seen = over = 0
    async for page in pages:
        room = settings.max_lines - seen
        over += max(0, page.height - room)
        page = page.head(max(0, room))
        seen += page.height
        if reader is None:
            waiting.append(page)
            if seen < PROBE_LINES and sum(held.estimated_size() for held in waiting) < settings.held_bytes:
                continue
            reader = _reader(waiting, settings, whole=False)
            for held in waiting:
                await asyncio.to_thread(kept.take, reader, held)
            waiting = []
        elif page.height:
            await asyncio.to_thread(kept.take, reader, page)
    if reader is None:
        reader = _reader(waiting, settings, whole=True)
        for held in waiting:
            await asyncio.to_thread(kept.take, reader, held)
    merged = await asyncio.to_thread(kept.merged)
    dropped = {**merged.dropped, **kept.left_out}
    if reader.impossible:
        dropped["impossible_timestamp"] = reader.impossible
    if over:
        dropped["max_lines"] = over
    return merged, reader.by_position, dropped


class Kept:
    """What is kept of the pages that were reduced: all of it, or, when that is too much, of the lines a sample.

    Which lines are in it is chance, the same each time; each time it is too much, half of them stay.
    """

    def __init__(self, most_bytes: int, most_services: int) -> None:
        self.left_out: dict[str, int] = {}
        self._most_bytes = most_bytes
        self._most_services = most_services
        self._services: set[str | None] = set()
        self._parts: list[Reduced] = []
        self._bytes = 0
        self._share = 1.0
        self._chance = np.random.default_rng(0)

    def take(self, reader: _Reader, page: pl.DataFrame) -> None:
        """Reduce a page and keep it, as far as it is in the sample."""
        page = self._of_known_services(reader.timed(page))
        if self._share < 1:
            chosen = self._chance.random(page.height) < self._share
            self._leave_out("sample", page.height - int(chosen.sum()))
            page = page.filter(pl.Series(chosen, dtype=pl.Boolean))
        self._keep(reduction.reduce(page, reader.settings))
        while self._bytes > self._most_bytes and self._lines > 1:
            parts, self._parts, self._bytes = self._parts, [], 0
            self._share /= 2
            for part in parts:
                self._keep(self._half(part))

    def merged(self) -> Reduced:
        """All that was kept, as one."""
        parts, self._parts = self._parts, []
        return reduction.merge(parts)

    @property
    def _lines(self) -> int:
        return sum(part.lines.height for part in self._parts)

    def _keep(self, part: Reduced) -> None:
        self._parts.append(part)
        frames = (part.lines, part.shapes, part.names, part.exemplars)
        self._bytes += sum(int(frame.estimated_size()) for frame in frames)

    def _half(self, part: Reduced) -> Reduced:
        lines = part.lines.filter(pl.Series(self._chance.random(part.lines.height) < 0.5, dtype=pl.Boolean))
        self._leave_out("sample", part.lines.height - lines.height)
        used = pl.concat([lines[name].cast(pl.UInt64) for name in ("service", "host", "stream", "trace", "session")])
        return replace(
            part,
            lines=lines,
            shapes=part.shapes.join(lines.select("shape").unique(), on="shape", how="semi"),
            names=part.names.filter(pl.col("key").is_in(used.unique().implode())),
            exemplars=part.exemplars.join(
                lines.select("timestamp", "sequence"), on=["timestamp", "sequence"], how="semi"
            ),
        )

    def _of_known_services(self, page: pl.DataFrame) -> pl.DataFrame:
        """The lines of as many services as can be told apart: of those that come first."""
        self._services.update(
            [name for name in page["service"].unique(maintain_order=True) if name not in self._services][
                : self._most_services - len(self._services)
            ]
        )
        if len(self._services) < self._most_services:
            return page
        known = page.filter(page["service"].is_in(list(self._services), nulls_equal=True))
        self._leave_out("max_services", page.height - known.height)
        return known

    def _leave_out(self, reason: str, lines: int) -> None:
        if lines:
            self.left_out[reason] = self.left_out.get(reason, 0) + lines


@dataclass
class _Reader:
    """How pages are reduced; without timestamps, a line's number stands for the second in which it was written."""

    settings: ReductionSettings
    by_position: bool
    position: int = 0
    impossible: int = 0

    def timed(self, page: pl.DataFrame) -> pl.DataFrame:
        """The lines of a page whose time can be, or all of them, by their number."""
        if self.by_position:
            numbers = np.arange(self.position, self.position + page.height, dtype=np.int64)
            self.position += page.height
            return page.with_columns(pl.Series("timestamp", numbers * 1_000_000_000))
        wrong = page["timestamp"].is_not_null() & ~_possible(page["timestamp"])
        self.impossible += int(wrong.sum())
        return page.filter(~wrong)


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
