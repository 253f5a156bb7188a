"""Deliver to each sink what it has not had yet, at its own pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from exporter.delivery.enrich import Links
from exporter.memory.recall import Memory
from exporter.model import (
    Clock,
    Incident,
    NoTelemetry,
    Notification,
    PermanentError,
    Report,
    Sink,
    Telemetry,
    TransientError,
    Write,
)
from exporter.model.times import seconds
from exporter.state.bodies import unpack
from exporter.state.file import State

DELIVERY_TIMEOUT = timedelta(seconds=30)

MAX_BACKOFF = timedelta(minutes=5)

ABANDON_AFTER = 12
"""Refusals of one revision (not outages) after which a sink that wants every change goes on to the next."""

RESOLVED_RESEND = timedelta(minutes=5)
"""Alertmanager wants resolved alerts repeated for this long."""


class MemorySink:
    """Keeps memory up to date through the same table and the same patience as every sink."""

    name = "memory"
    wants: Literal["latest"] = "latest"
    resend: timedelta | None = None

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def deliver(self, notification: Notification) -> str | None:
        await self._memory.remember(notification.incident, notification.report)
        return None

    async def check(self) -> Sequence[Any]:
        return await self._memory.check()

    async def close(self) -> None:
        await self._memory.close()


class Deliverer:
    """Tells one sink what it has not had yet; one that is down delays nobody and loses nothing."""

    def __init__(
        self,
        sink: Sink,
        state: State,
        clock: Clock,
        links: Links,
        external_url: str | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.sink = sink
        self._state = state
        self._clock = clock
        self._links = links
        self._external_url = external_url
        self._telemetry = telemetry or NoTelemetry()
        self.stopping = False
        """Set, from the event loop, to end a round at the next delivery."""

    async def deliver(self) -> int:
        """One round. Returns how many deliveries succeeded."""
        due = await self._due()
        self._telemetry.gauge("delivery_queue", len(due), sink=self.sink.name)
        succeeded = 0
        blocked: set[str] = set()
        for row in due:
            if self.stopping:
                break
            if row["incident"] not in blocked:
                if await self._tell(row):
                    succeeded += 1
                else:
                    blocked.add(row["incident"])
        return succeeded

    async def _due(self) -> list[dict[str, Any]]:
        """News that this sink has not had, and what must be repeated, oldest first."""
        now = seconds(self._clock.now())
        rows = await self._state.read(_NEWS, (self.sink.name, now))
        news = [dict(zip(_NEWS_COLUMNS, row, strict=True)) for row in rows]
        fresh = [n for n in news if (n["revision"], n["part"]) > (n["had_revision"], n["had_part"])]
        if self.sink.wants == "latest":
            fresh = list({n["incident"]: n for n in fresh}.values())
        return fresh + self._repeats(news, fresh, now)

    def _repeats(self, news: list[dict[str, Any]], fresh: list[dict[str, Any]], now: int) -> list[dict[str, Any]]:
        if self.sink.resend is None:
            return []
        latest = {n["incident"]: n for n in news}
        renewed = {n["incident"] for n in fresh}
        every = int(self.sink.resend.total_seconds())
        return [
            n
            for key, n in latest.items()
            if key not in renewed and n["delivered_at"] + every <= now and self._kept_alive(n, now)
        ]

    def _kept_alive(self, row: dict[str, Any], now: int) -> bool:
        """Firing alerts always, resolved ones for a while after they were first told."""
        if unpack(Incident, row["body"]).status == "firing":
            return True
        first_told = int((row["receipt"] or "0 0").split(" ", 1)[0])
        return now - first_told <= RESOLVED_RESEND.total_seconds()

    async def _tell(self, row: dict[str, Any]) -> bool:
        incident = unpack(Incident, row["body"])
        now = self._clock.now()
        first_told, receipt = _unpack(row["receipt"])
        news = (row["revision"], row["part"]) > (row["had_revision"], row["had_part"])
        if news:
            first_told = seconds(now)
        notification = Notification(
            event_id=f"{incident.id}:{row['revision']}:{row['part']}",
            change=row["change"],
            incident=incident,
            report=unpack(Report, row["report"]),
            now=now,
            url=f"{self._external_url}/incidents/{incident.id}" if self._external_url else None,
            source_links=self._links(incident),
            receipt=receipt,
        )
        try:
            timeout, began = DELIVERY_TIMEOUT.total_seconds(), time.monotonic()
            returned = await asyncio.wait_for(self.sink.deliver(notification), timeout)
            self._telemetry.observe("delivery_seconds", time.monotonic() - began, sink=self.sink.name)
        except (TransientError, TimeoutError) as error:
            wait = getattr(error, "retry_after", None) or _backoff(row["attempts"])
            await self._failed(row, error, now + wait, "transient")
            return False
        except PermanentError as error:
            if news and self.sink.wants == "every" and row["attempts"] + 1 >= ABANDON_AFTER:
                await self._record(row, row["receipt"], now, "abandoned", str(error))
                return True
            await self._failed(row, error, now + MAX_BACKOFF, "permanent")
            return False
        await self._record(row, _pack(first_told, returned or receipt), now, "ok", "")
        return True

    async def _record(self, row: dict[str, Any], receipt: str | None, now: datetime, outcome: str, error: str) -> None:
        values = (receipt, 0, 0, seconds(now), error)
        await self._state.write([_delivery(self.sink.name, row["incident"], row["revision"], row["part"], *values)])
        self._telemetry.count("deliveries", sink=self.sink.name, outcome=outcome)

    async def _failed(self, row: dict[str, Any], error: Exception, again: datetime, outcome: str) -> None:
        attempts = row["attempts"] + 1
        values = (row["receipt"], attempts, seconds(again), row["delivered_at"], str(error) or type(error).__name__)
        had = (row["had_revision"], row["had_part"])
        await self._state.write([_delivery(self.sink.name, row["incident"], *had, *values)])
        self._telemetry.count("deliveries", sink=self.sink.name, outcome=outcome)


_NEWS_COLUMNS = (
    "incident",
    "revision",
    "part",
    "change",
    "at",
    "body",
    "report",
    "had_revision",
    "had_part",
    "receipt",
    "attempts",
    "delivered_at",
)

_NEWS = """
SELECT n.incident, n.revision, n.part, n.change, n.at, n.body, n.report,
    COALESCE(d.revision, 0), COALESCE(d.part, -1), d.receipt, COALESCE(d.attempts, 0), COALESCE(d.delivered_at, 0)
FROM news n LEFT JOIN deliveries d ON d.sink = ? AND d.incident = n.incident
WHERE n.report IS NOT NULL AND COALESCE(d.next_attempt, 0) <= ?
ORDER BY n.at, n.incident, n.revision, n.part
"""


def _delivery(sink: str, incident: str, *values: Any) -> Write:
    names = ("revision", "part", "receipt", "attempts", "next_attempt", "delivered_at", "error")
    return Write("deliveries", ("sink", "incident", *names), ((sink, incident, *values),))


def _backoff(attempts: int) -> timedelta:
    return min(timedelta(seconds=2 ** min(attempts + 1, 9)), MAX_BACKOFF)


def _pack(first_told: int, receipt: str | None) -> str:
    return f"{first_told} {receipt or ''}"


def _unpack(text: str | None) -> tuple[int, str | None]:
    first, _, receipt = (text or "0 ").partition(" ")
    return int(first), receipt or None
