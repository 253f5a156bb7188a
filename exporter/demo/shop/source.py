"""The simulated shop as a source of logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import polars as pl
from pydantic import AwareDatetime, Field

from exporter.demo.shop.shop import Shop, all_failures
from exporter.model import Check, Context, Duration, SourceSettings, TimeRange, Unit, floor

PAGE_LINES = 20_000
STEP = timedelta(minutes=30)
"""What is read at a time: what the shop generates at a time."""


class SimulatorSettings(SourceSettings):
    """A shop of services that logs, to try things out: nothing is read from anywhere."""

    type: Literal["simulator"] = "simulator"
    name: str = "shop"
    services: Annotated[int, Unit("services")] = Field(default=12, ge=1, le=1000)
    """How many services the shop has."""
    seed: int = Field(default=0, ge=0)
    """Chooses another shop: the same number makes the same lines."""
    rate: Annotated[float, Unit("lines a second")] | None = Field(default=None, gt=0)
    """Lines a second of all services together, on average; absent: ten for twelve services."""
    start: AwareDatetime = datetime(2025, 3, 3, tzinfo=UTC)
    """When its logs begin."""
    duration: Duration = timedelta(days=14)
    """How long its logs go on."""
    failures: bool = True
    """Whether one failure of each kind happens."""
    healthy: Duration = timedelta(days=3)
    """The first part, without failures."""
    releases: bool = True
    """Whether services are released anew now and then."""
    query_offset: Duration = timedelta(0)
    """How long lines may take to arrive before their window is read: none is late."""
    sessions: None = None
    """It has none."""
    max_lines_per_window: None = None
    """It has no limit."""

    def shop(self) -> Shop:
        """The shop that these settings describe."""
        days = self.duration / timedelta(days=1)
        plain = Shop(self.services, self.seed, self.start, days, self.rate, (), self.releases)
        if not self.failures:
            return plain
        failures = all_failures(plain, self.healthy, self.seed)
        return Shop(self.services, self.seed, self.start, days, self.rate, failures, self.releases)

    def build(self, context: Context) -> SimulatedSource:
        """The source."""
        return SimulatedSource(self.name, self.shop())


class SimulatedSource:
    """A shop's logs, by range of time."""

    def __init__(self, name: str, shop: Shop) -> None:
        self.name = name
        self.shop = shop

    async def query(self, time_range: TimeRange) -> AsyncIterator[pl.DataFrame]:
        """Pages of all lines of the range, in order of time."""
        start = time_range.start
        while start < time_range.end:
            end = min(floor(start, STEP) + STEP, time_range.end)
            page = await asyncio.to_thread(self.shop.page, TimeRange(start, end))
            for part in page.iter_slices(PAGE_LINES):
                yield part
            start = end

    async def count(self, time_range: TimeRange, window: timedelta) -> Mapping[datetime, int]:
        """How many lines each window has."""
        return await asyncio.to_thread(self.shop.count, time_range, window)

    async def unusable(self) -> Mapping[str, int]:
        """Every line has its time."""
        return {}

    async def check(self) -> Sequence[Check]:
        """Nothing can be missing."""
        services = len(self.shop.services)
        return [Check("logs", True, f"{services} simulated services, {self.shop.rate:g} lines a second")]

    async def close(self) -> None:
        """Nothing is open."""
