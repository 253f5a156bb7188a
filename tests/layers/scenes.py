"""What is logged while three processes, or one, look on: the demo's two failures, or two of a much smaller shop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from exporter.demo.shop import SimulatedSource, demo_shop
from exporter.model import Source, TimeRange
from tests.flow.test_invariant import quiet_lines
from tests.memory_source import START, MemorySource, at, page

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Scene:
    """Two failures of one kind: what logs, what is learnt from first, and how time is stepped."""

    source: Callable[[], Source]
    settings: Mapping[str, Any]
    """Of the source."""
    begins: datetime
    """After what is learnt from."""
    ends: datetime
    step: timedelta
    failures: tuple[TimeRange, TimeRange]
    quiet: timedelta
    """After a failure, until its end is told."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else exporter.yml says."""

    @property
    def steps(self) -> int:
        return -(-(self.ends - self.begins) // self.step)

    def moment(self, step: int) -> datetime:
        """What the clock says in a step, from 0 on."""
        return min(self.begins + step * self.step, self.ends)

    @property
    def fixed_at(self) -> datetime:
        """When a person says what fixed the first failure."""
        return self.failures[0].end + self.quiet

    @property
    def in_the_second(self) -> list[int]:
        """The steps in which the second failure goes on."""
        second = self.failures[1]
        return [step for step in range(self.steps + 1) if second.start < self.moment(step) <= second.end + self.step]


def demo() -> Scene:
    """That of `demo`, in shorter steps: three of them see the second failure go on."""
    shop = demo_shop()
    first, second = (TimeRange(failure.start, failure.end) for failure in shop.failures)
    return Scene(
        lambda: SimulatedSource("shop", shop),
        {"type": "simulator", "name": "shop", "start": shop.start.isoformat(), "window": "5m"},
        shop.start + timedelta(days=1),
        shop.end,
        10 * MINUTE,
        (first, second),
        timedelta(hours=1),
        {"warmup": {"history": "24h"}, "incidents": {"keep_firing_for": "10m"}},
    )


WARM, FIRST, SECOND, LASTS, END = 10, 16, 30, 4, 42
"""Minutes of the small scene."""


def small() -> Scene:
    """Three services for less than an hour, of which one fails twice: what is told is soon learnt in so short a past,
    so that it says so otherwise the second time."""
    said = quiet_lines(END)
    for minute, what in ((FIRST, "connection pool exhausted: attempts"), (SECOND, "no connection left in pool, tried")):
        for number in range(12 * LASTS):
            line = {"timestamp": at(60 * minute + 5 * number), "service": "payments", "stream": "payments"}
            said.append({**line, "severity": 17, "body": f"{what} {number}: connection pool exhausted"})
    lines = page(said)
    few = {"min_windows": 9, "min_service_windows": 3, "min_present_windows": 9, "refit_windows": 10}
    failures = [TimeRange(START + one * MINUTE, START + (one + LASTS) * MINUTE) for one in (FIRST, SECOND)]
    return Scene(
        lambda: MemorySource(lines),
        {
            "type": "elasticsearch",
            "name": "shop",
            "hosts": ["http://127.0.0.1:9"],
            "query_offset": "0s",
            "late_window": "1m",
        },
        START + WARM * MINUTE,
        START + END * MINUTE,
        2 * MINUTE,
        (failures[0], failures[1]),
        6 * MINUTE,
        {
            "warmup": {"history": f"{WARM}m"},
            "detection": few,
            "incidents": {"keep_firing_for": "2m", "reopen_within": "1m"},
            "alarm_budget": "20/hour",
        },
    )


SCENES = {"demo": demo, "small": small}
