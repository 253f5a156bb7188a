"""A source over a frame in memory, cut into pages of any size and order: what the invariant is tested with."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta

import polars as pl

from exporter.model import (
    EPOCH,
    Check,
    ExporterError,
    TimeRange,
    TransientError,
    from_nanoseconds,
    nanoseconds,
    page_schema,
)
from exporter.model import floor as grid


def page(rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """A page of lines; what a row leaves out is null, unknown or in order."""
    defaults: dict[str, object] = dict.fromkeys(page_schema())
    full = [
        {**defaults, "id": str(number), "sequence": number, "severity": 0, "stream": "s", **row}
        for number, row in enumerate(rows)
    ]
    return pl.DataFrame(full, schema=page_schema())


class MemorySource:
    """Lines that are all there at once, or from `visible` on; it can fail, and it can be slow."""

    def __init__(self, lines: pl.DataFrame, name: str = "shop", page_size: int = 1000, seed: int | None = None) -> None:
        self.name = name
        self.lines = lines
        self.page_size = page_size
        self.seed = seed
        self.fail_next = 0
        self.failure: ExporterError = TransientError("the server answers 503")
        self.queries: list[TimeRange] = []

    def _between(self, time_range: TimeRange) -> pl.DataFrame:
        start, end = nanoseconds(time_range.start), nanoseconds(time_range.end)
        return self.lines.filter(pl.col("timestamp").is_between(start, end, closed="left"))

    async def query(self, time_range: TimeRange) -> AsyncIterator[pl.DataFrame]:
        self.queries.append(time_range)
        if self.fail_next:
            self.fail_next -= 1
            raise self.failure
        found = self._between(time_range)
        if self.seed is not None:
            order = list(range(found.height))
            random.Random(self.seed).shuffle(order)
            found = found[order]
        for start in range(0, found.height, self.page_size):
            await asyncio.sleep(0)
            yield found[start : start + self.page_size]

    async def count(self, time_range: TimeRange, window: timedelta) -> Mapping[datetime, int]:
        counts: dict[datetime, int] = {}
        for value in self._between(time_range)["timestamp"]:
            start = grid(from_nanoseconds(value), window)
            counts[start] = counts.get(start, 0) + 1
        return counts

    async def unusable(self) -> Mapping[str, int]:
        return {}

    async def check(self) -> Sequence[Check]:
        return [Check(self.name, True, f"{self.lines.height} lines")]

    async def close(self) -> None:
        pass


def at(seconds: float) -> int:
    """Nanoseconds since the epoch of so many seconds after the start of tests."""
    return nanoseconds(START + timedelta(seconds=seconds))


START = EPOCH + timedelta(days=20_500)
"""When the logs of tests begin; on every grid."""
