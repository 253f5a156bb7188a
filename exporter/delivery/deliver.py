"""Deliver to each sink what it has not had yet, at its own pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

from exporter.delivery.enrich import Links
from exporter.memory.recall import Memory
from exporter.model import (
    Clock,
    Incident,
    IncidentStatus,
    NoTelemetry,
    Notification,
    PermanentError,
    Report,
    Sink,
    Telemetry,
    TransientError,
)
from exporter.model.times import seconds
from exporter.state.bodies import unpack
from exporter.state.file import State
from exporter.state.news import (
    Delivery,
    News,
    delivery_of,
    delivery_row,
    incidents_at_their_time,
    incidents_with_news,
    newest_news,
    newest_number,
    news_after,
)

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
        self._seen = 0
        """The number of the newest news that was looked at: a start looks at all of them."""

    async def deliver(self) -> int:
        """One round. Returns how many deliveries succeeded."""
        newest = await newest_number(self._state)
        due, deliveries = await self._due()
        self._telemetry.gauge("delivery_queue", len(due), sink=self.sink.name)
        succeeded = 0
        blocked: set[str] = set()
        for news in due:
            if self.stopping:
                return succeeded
            if news.incident not in blocked:
                delivery, told = await self._tell(news, deliveries[news.incident])
                await self._state.write([delivery_row(delivery)])
                deliveries[news.incident] = delivery
                succeeded += told
                if not told:
                    blocked.add(news.incident)
        # Only now: what a round that breaks off has not looked at is looked at again.
        self._seen = newest
        return succeeded

    async def _due(self) -> tuple[list[News], dict[str, Delivery]]:
        """News that this sink has not had, then what must be repeated, oldest first; and how far it is with each."""
        now = seconds(self._clock.now())
        touched = await incidents_with_news(self._state, self._seen)
        touched |= await incidents_at_their_time(self._state, self.sink.name, now)
        fresh: list[News] = []
        again: list[News] = []
        deliveries = {incident: await delivery_of(self._state, self.sink.name, incident) for incident in touched}
        for incident, delivery in deliveries.items():
            if delivery.attempts and delivery.next_attempt > now:
                continue
            missing = await news_after(self._state, incident, delivery)
            fresh += missing[-1:] if self.sink.wants == "latest" else missing
            if not missing:
                again += await self._repeated(delivery, now)
        return [*sorted(fresh, key=_order), *sorted(again, key=_order)], deliveries

    async def _repeated(self, delivery: Delivery, now: int) -> list[News]:
        """The newest state, if it must be told again by now to be kept alive."""
        newest = await newest_news(self._state, delivery.incident) if self.sink.resend else None
        if newest is None or self.sink.resend is None:
            return []
        status = unpack(Incident, newest.body).status
        first_told, _ = _unpack(delivery.receipt)
        again_at = self._again_at(status, first_told, delivery.delivered_at)
        if again_at > now and again_at != delivery.next_attempt:
            # A row of a release that looked at all rows in every round.
            await self._state.write([delivery_row(replace(delivery, next_attempt=again_at))])
        return [newest] if 0 < again_at <= now else []

    def _again_at(self, status: IncidentStatus, first_told: int, delivered_at: int) -> int:
        """When it is to be told again: firing alerts always, resolved ones for a while after they were first told."""
        if self.sink.resend is None:
            return 0
        again_at = delivered_at + int(self.sink.resend.total_seconds())
        kept = status == "firing" or again_at - first_told <= RESOLVED_RESEND.total_seconds()
        return again_at if kept else 0

    async def _tell(self, news: News, before: Delivery) -> tuple[Delivery, bool]:
        """Tell it. Returns how far the sink is now, and whether it can be told more."""
        incident = unpack(Incident, news.body)
        now = self._clock.now()
        first_told, receipt = _unpack(before.receipt)
        if not before.has(news):
            first_told = seconds(now)
        notification = Notification(
            event_id=f"{incident.id}:{news.revision}:{news.part}",
            change=news.change,
            incident=incident,
            report=unpack(Report, news.report),
            now=now,
            url=f"{self._external_url}/incidents/{incident.id}" if self._external_url else None,
            source_links=self._links(incident),
            receipt=receipt,
        )
        had = Delivery(self.sink.name, news.incident, news.revision, news.part, delivered_at=seconds(now))
        try:
            timeout, began = DELIVERY_TIMEOUT.total_seconds(), time.monotonic()
            returned = await asyncio.wait_for(self.sink.deliver(notification), timeout)
            self._telemetry.observe("delivery_seconds", time.monotonic() - began, sink=self.sink.name)
        except (TransientError, TimeoutError) as error:
            wait = getattr(error, "retry_after", None) or _backoff(before.attempts)
            return self._failed(before, error, now + wait, "transient"), False
        except PermanentError as error:
            if not before.has(news) and self.sink.wants == "every" and before.attempts + 1 >= ABANDON_AFTER:
                self._telemetry.count("deliveries", sink=self.sink.name, outcome="abandoned")
                return replace(had, receipt=before.receipt, error=str(error)), True
            return self._failed(before, error, now + MAX_BACKOFF, "permanent"), False
        self._telemetry.count("deliveries", sink=self.sink.name, outcome="ok")
        again_at = self._again_at(incident.status, first_told, seconds(now))
        return replace(had, receipt=_pack(first_told, returned or receipt), next_attempt=again_at), True

    def _failed(self, before: Delivery, error: Exception, again: datetime, outcome: str) -> Delivery:
        self._telemetry.count("deliveries", sink=self.sink.name, outcome=outcome)
        attempts, text = before.attempts + 1, str(error) or type(error).__name__
        return replace(before, attempts=attempts, next_attempt=seconds(again), error=text)


def _order(news: News) -> tuple[int, str, int, int]:
    return news.at, news.incident, news.revision, news.part


def _backoff(attempts: int) -> timedelta:
    return min(timedelta(seconds=2 ** min(attempts + 1, 9)), MAX_BACKOFF)


def _pack(first_told: int, receipt: str | None) -> str:
    return f"{first_told} {receipt or ''}"


def _unpack(text: str | None) -> tuple[int, str | None]:
    first, _, receipt = (text or "0 ").partition(" ")
    return int(first), receipt or None
