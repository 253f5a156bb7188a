"""What the tests of delivery are made of: a clock that is stepped, a place that fails when told to, a story."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from exporter.delivery.deliver import Deliverer
from exporter.incidents.settings import IncidentSettings
from exporter.incidents.tracker import Told, advance
from exporter.model import Anomaly, Check, Contribution, Digest, Notification, Report, Write
from exporter.state.file import State
from exporter.state.news import news_row

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class StepClock:
    """A clock that moves when a test says so."""

    def __init__(self) -> None:
        self.moment = START

    def now(self) -> datetime:
        return self.moment


class RecordingSink:
    """Remembers what it was told, and fails as often as it is asked to."""

    peer = ""
    concurrency = 4

    def __init__(self, wants: Literal["latest", "every"] = "latest", resend: timedelta | None = None) -> None:
        self.name = f"recording {wants}"
        self.wants: Literal["latest", "every"] = wants
        self.resend = resend
        self.told: list[Notification] = []
        self.errors: list[Exception] = []

    async def deliver(self, notification: Notification) -> str | None:
        if self.errors:
            raise self.errors.pop(0)
        self.told.append(notification)
        return f"receipt {len(self.told)}"

    async def check(self) -> Sequence[Check]:
        return []

    async def close(self) -> None:
        pass


def story() -> list[Told]:
    """Opened, escalated, resolved."""
    anomalies = [
        Anomaly("shop", service, window, MINUTE, "window", 0.9999, 0.99, 17, (contribution,), window + MINUTE)
        for window, service in ((START, "a"), (START + MINUTE, "b"))
        for contribution in [Contribution("template", f"{service} failed", 9, 0, share=1.0)]
    ]
    told = advance((), anomalies, START + 60 * MINUTE, IncidentSettings(), 2.0, {})[1]
    assert [item.change for item in told] == ["opened", "updated", "resolved"]
    return told


def reported(told: Told) -> Write:
    report = Report(told.incident.id, told.incident.revision, "rules", "headline", ())
    return news_row(told.incident, told.change, told.at, report=report)


class ReadingSink(RecordingSink):
    """A place that people read: it takes digests, and remembers them."""

    digest_every = MINUTE

    def __init__(self, wants: Literal["latest", "every"] = "latest") -> None:
        super().__init__(wants)
        self.digests: list[Digest] = []

    async def deliver_digest(self, digest: Digest) -> str | None:
        if self.errors:
            raise self.errors.pop(0)
        self.digests.append(digest)
        return f"digest {len(self.digests)}"


def many(count: int, told: Told | None = None, start: int = 0) -> list[Write]:
    """The same news of so many incidents."""
    told = told or story()[0]
    return [
        reported(replace(told, incident=replace(told.incident, id=f"i{number:04}")))
        for number in range(start, start + count)
    ]


def deliverer(sink: RecordingSink, state: State, clock: StepClock, **options: Any) -> Deliverer:
    """With the longest waits, so that nothing is left to chance."""
    options = {"chance": lambda: 1.0, **options}
    return Deliverer(sink, state, clock, lambda incident: (), "https://anomalies.example.org", **options)
