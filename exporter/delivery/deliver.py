"""Tell each place what it has not had yet, at its own pace: no place, no incident and no error holds up another."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from exporter.delivery.breaker import LONGEST_WAIT, Breaker, Chance, backoff
from exporter.delivery.digests import Digests
from exporter.delivery.enrich import Links
from exporter.delivery.notices import Notices
from exporter.delivery.outages import Outages
from exporter.delivery.settings import DigestRules
from exporter.model import (
    Clock,
    DigestSink,
    IncidentStatus,
    NoTelemetry,
    NoticeSink,
    Notification,
    NotYetError,
    PermanentError,
    Sink,
    StateError,
    Telemetry,
    TransientError,
)
from exporter.model.times import seconds
from exporter.state.deliveries import Delivery, delivery_of, delivery_row, failing, incidents_at_their_time
from exporter.state.file import State
from exporter.state.news import News, incidents_with_news, newest_news, newest_number, next_news, oldest_number

log = logging.getLogger(__name__)

DELIVERY_TIMEOUT = timedelta(seconds=30)
"""For all requests that one delivery takes; each has its own, shorter deadline in its sink."""

MAX_BACKOFF = timedelta(minutes=5)
"""Between two attempts on one incident that a place refuses for good while it takes others; of what may pass no wait is
longer than for the place itself."""

ABANDON_AFTER = 12
"""Refusals of one revision (not outages) after which a sink that wants every change goes on to the next."""

RESOLVED_RESEND = timedelta(minutes=5)
"""Alertmanager wants resolved alerts repeated for this long."""

LOOK_EVERY = timedelta(seconds=1)
"""How often it is looked for more to tell while something is in hand."""


class Deliverer:
    """Tells one place, a sink or one of its instances, what it has not had yet; all that it knows stands in rows."""

    def __init__(
        self,
        sink: Sink,
        state: State,
        clock: Clock,
        links: Links,
        external_url: str | None = None,
        telemetry: Telemetry | None = None,
        *,
        rules: DigestRules = DigestRules(),  # noqa: B008  # frozen
        notices: bool = False,
        chance: Chance = random.random,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.sink = sink
        self.stopping = False
        """Set, from the event loop, to begin nothing more."""
        self._state = state
        self._clock = clock
        self._links = links
        self._external_url = external_url
        self._telemetry = telemetry or NoTelemetry()
        self._chance = chance
        self._redact = redact
        resend = sink.resend or 2 * LONGEST_WAIT
        self._breaker = Breaker(min(LONGEST_WAIT, resend / 2), chance)
        self._outages = Outages(sink, state, rules)
        self._digests = Digests(sink, state, rules, external_url) if isinstance(sink, DigestSink) else None
        self._notices = Notices(sink, state, external_url) if notices and isinstance(sink, NoticeSink) else None
        self._seen: int | None = None
        """The number of the newest news that was looked at: a start looks at all of them."""
        self._before_us = 0
        """The number of the newest news that an earlier process may have tried to tell."""
        self._pending: dict[str, None] = {}
        """Incidents to be looked at, the first first."""
        self._not_before: dict[str, datetime] = {}
        self._anyway: set[str] = set()
        """Incidents that failed while the place was down, which need wait no more."""

    @property
    def name(self) -> str:
        """The sink's, and which of its instances it is."""
        return f"{self.sink.name} {self.sink.peer}".rstrip()

    async def deliver(self, gather: bool = True) -> int:
        """Tell all that is due, until nothing is in hand. Returns how many deliveries succeeded.

        Without `gather` a digest is not kept open for what may still come.
        """
        in_hand: dict[asyncio.Task[int], str] = {}
        succeeded = 0
        try:
            while True:
                for name, work in await self._work(in_hand.values(), gather):
                    in_hand[asyncio.ensure_future(work())] = name
                self._measure(len(in_hand))
                if not in_hand:
                    return succeeded
                done, _ = await asyncio.wait(
                    in_hand, timeout=LOOK_EVERY.total_seconds(), return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    del in_hand[task]
                    succeeded += task.result()
        finally:
            for task in in_hand:
                task.cancel()
            await asyncio.gather(*in_hand, return_exceptions=True)

    def _measure(self, in_hand: int) -> None:
        queue = len(self._pending) + in_hand + (len(self._digests.waiting) if self._digests else 0)
        self._telemetry.gauge("delivery_queue", queue, sink=self.sink.name, peer=self.sink.peer)
        self._telemetry.gauge("sink_up", float(self._breaker.closed), sink=self.sink.name, peer=self.sink.peer)

    # --- What is to be done ---

    async def _work(self, in_hand: Collection[str], gather: bool) -> list[tuple[str, Callable[[], Awaitable[int]]]]:
        """What to begin now: as much as there is room for, of what is not in hand already."""
        if self.stopping:
            return []
        await self._look()
        now = self._clock.now()
        room = self._breaker.room(now, len(in_hand), self.sink.concurrency)
        chosen: list[tuple[str, Callable[[], Awaitable[int]]]] = []
        once: list[tuple[str, Digests | Notices]] = []
        if digests := self._digests:
            for incident in await digests.settle(now, gather):
                self._pending[incident] = None
            once += [(digest, digests) for digest in digests.due(now)]
        if notices := self._notices:
            once += [(notice, notices) for notice in await notices.due(now)]
        for name, of in once:
            if room > 0 and name not in in_hand and self._is_time(name, now):
                chosen.append((name, lambda of=of, name=name: self._tell_once(of, name)))  # type: ignore[misc]
                room -= 1
        for incident in [one for one in self._pending if one not in in_hand and self._is_time(one, now)]:
            if room <= 0:
                break
            del self._pending[incident]
            chosen.append((incident, lambda incident=incident: self._tell_of(incident)))  # type: ignore[misc]
            room -= 1
        return chosen

    def _is_time(self, name: str, now: datetime) -> bool:
        if self._not_before.get(name, now) > now:
            return False
        self._not_before.pop(name, None)
        return True

    async def _look(self) -> None:
        """Sort what has become known since the last look, and what is due again."""
        newest = await newest_number(self._state)
        if self._seen is None:
            self._before_us = newest
            await self._outages.pass_over_old()
            if self._digests:
                await self._digests.load()
        for incident in await self._outages.over():
            await self._sort(incident)
        for incident in await incidents_with_news(self._state, self._seen or 0):
            if await self._outages.is_to_be_told(incident):
                await self._sort(incident)
        now = seconds(self._clock.now())
        for incident in await incidents_at_their_time(self._state, self.sink.name, self.sink.peer, now):
            self._pending.setdefault(incident)
        # Only now: what a look that breaks off has not reached is looked at again.
        self._seen = newest

    async def _sort(self, incident: str) -> None:
        missed = incident in self._outages.missed
        if not self._digests or not await self._digests.take(incident, missed, self._clock.now()):
            self._pending.setdefault(incident)

    # --- Telling ---

    async def _tell_of(self, incident: str) -> int:
        """What the place has not had of an incident, or the newest again; 1 when it was told."""
        before = await delivery_of(self._state, self.sink.name, self.sink.peer, incident)
        before = replace(before, peer=self.sink.peer)
        now = seconds(self._clock.now())
        if before.attempts and before.next_attempt > now and incident not in self._anyway:
            return 0
        self._anyway.discard(incident)
        news = await self._next(incident, before) or await self._repeated(before, now)
        if news is None:
            await self._nothing_at(before, now)
            return 0
        told = await self._tell(news, before)
        if told is None:
            return 0
        await self._state.write([delivery_row(told)])
        succeeded = told.has(news.revision, news.part)
        if succeeded:
            if self._digests and not before.revision:
                self._digests.spoke(self._clock.now())
            if self.sink.wants == "every":
                self._pending.setdefault(incident)
        return int(succeeded)

    async def _next(self, incident: str, before: Delivery) -> News | None:
        if self.sink.wants == "latest" or incident in self._outages.missed:
            return await newest_news(self._state, incident, before)
        return await next_news(self._state, incident, before)

    async def _repeated(self, delivery: Delivery, now: int) -> News | None:
        """The newest state, if it must be told again by now to be kept alive."""
        if self.sink.resend is None or not delivery.revision:
            return None
        newest = await newest_news(self._state, delivery.incident)
        if newest is None:
            return None
        first_told, _ = _unpack(delivery.receipt)
        again_at = self._again_at(newest.incident.status, first_told, delivery.delivered_at)
        if again_at > now and again_at != delivery.next_attempt:
            # A row of a release that looked at all rows in every round.
            await self._state.write([delivery_row(replace(delivery, next_attempt=again_at))])
        return newest if 0 < again_at <= now else None

    async def _nothing_at(self, delivery: Delivery, now: int) -> None:
        """Its time has come, and there is nothing to tell any more: the news is gone, or cannot be read."""
        current = await delivery_of(self._state, self.sink.name, self.sink.peer, delivery.incident)
        if 0 < current.next_attempt <= now:
            gone = replace(current, peer=self.sink.peer, attempts=0, next_attempt=0)
            await self._state.write([delivery_row(gone)])

    def _again_at(self, status: IncidentStatus, first_told: int, delivered_at: int) -> int:
        """When it is to be told again: firing alerts always, resolved ones for a while after they were first told."""
        if self.sink.resend is None or not delivered_at:
            return 0
        again_at = delivered_at + int(self.sink.resend.total_seconds())
        kept = status == "firing" or again_at - first_told <= RESOLVED_RESEND.total_seconds()
        return again_at if kept else 0

    async def _tell(self, news: News, before: Delivery) -> Delivery | None:
        """Tell it. Returns how far the place is now; None when nothing was sent yet."""
        incident, now = news.incident, self._clock.now()
        first_told, receipt = _unpack(before.receipt)
        if not before.has(news.revision, news.part):
            first_told = seconds(now)
        notification = Notification(
            event_id=f"{incident.id}:{news.revision}:{news.part}",
            change=news.change,
            incident=incident,
            report=news.report,
            now=now,
            url=f"{self._external_url}/incidents/{incident.id}" if self._external_url else None,
            source_links=self._links(incident),
            receipt=receipt,
            in_doubt=before.attempts > 0 or await self._may_have_been_told(incident.id),
        )
        had = replace(before, revision=news.revision, part=news.part, attempts=0, error="", digest="")
        had = replace(had, delivered_at=seconds(now), next_attempt=0)
        try:
            returned = await self._ask(lambda: self.sink.deliver(notification))
        except NotYetError as error:
            self._not_before[incident.id] = self._clock.now() + (error.retry_after or LOOK_EVERY)
            self._pending.setdefault(incident.id)
            return None
        except StateError:
            # It is not the place that failed.
            raise
        except Exception as error:
            abandons = self.sink.wants == "every" and before.attempts + 1 >= ABANDON_AFTER
            if isinstance(error, PermanentError) and abandons and not before.has(news.revision, news.part):
                self._telemetry.count("deliveries", sink=self.sink.name, outcome="abandoned")
                return replace(had, error=self._said(error))
            return self._failed(before, error)
        again_at = self._again_at(incident.status, first_told, seconds(now))
        return replace(had, receipt=_pack(first_told, returned or receipt), next_attempt=again_at)

    async def _may_have_been_told(self, incident: str) -> bool:
        """Whether an earlier process, which was killed perhaps, knew of the incident: of whatever revision."""
        return await oldest_number(self._state, incident) <= self._before_us

    async def _tell_once(self, of: Digests | Notices, identity: str) -> int:
        """A digest or a notice; 1 when it was told."""
        try:
            return int(await of.tell(identity, self._clock.now(), self._ask))
        except NotYetError as error:
            self._not_before[identity] = self._clock.now() + (error.retry_after or LOOK_EVERY)
        except StateError:
            raise
        except Exception as error:
            attempts = of.failed(identity)
            wait = getattr(error, "retry_after", None) or backoff(attempts, LONGEST_WAIT, self._chance)
            self._not_before[identity] = self._clock.now() + wait
            self._count(error)
        return 0

    async def _ask(self, request: Callable[[], Awaitable[str | None]]) -> str | None:
        """One delivery, with its deadline, counted where it succeeds; what it says of the place is noted."""
        began = time.monotonic()
        try:
            returned = await asyncio.wait_for(request(), DELIVERY_TIMEOUT.total_seconds())
        except NotYetError:
            raise
        except (TransientError, TimeoutError) as error:
            self._breaker.failed(self._clock.now(), getattr(error, "retry_after", None))
            raise
        except PermanentError:
            await self._answered()
            raise
        await self._answered()
        self._telemetry.observe("delivery_seconds", time.monotonic() - began, sink=self.sink.name)
        self._telemetry.count("deliveries", sink=self.sink.name, outcome="ok")
        return returned

    async def _answered(self) -> None:
        """What failed while the place was down is due as soon as it is back, whatever its own wait is."""
        if self._breaker.answered():
            for incident in await failing(self._state, self.sink.name, self.sink.peer):
                self._anyway.add(incident)
                self._pending.setdefault(incident)

    def _failed(self, before: Delivery, error: Exception) -> Delivery:
        self._count(error)
        if isinstance(error, PermanentError):
            wait = MAX_BACKOFF
        else:
            wait = getattr(error, "retry_after", None) or backoff(before.attempts, LONGEST_WAIT, self._chance)
        again_at = math.ceil((self._clock.now() + wait).timestamp())
        return replace(before, attempts=before.attempts + 1, next_attempt=again_at, error=self._said(error))

    def _count(self, error: Exception) -> None:
        outcome = "permanent" if isinstance(error, PermanentError) else "transient"
        if not isinstance(error, (TransientError, PermanentError, TimeoutError)):
            outcome = "unexpected"
            log.warning("%s: a delivery failed unexpectedly, it is tried again", self.name, exc_info=error)
        self._telemetry.count("deliveries", sink=self.sink.name, outcome=outcome)

    def _said(self, error: Exception) -> str:
        """What is kept and shown of an error; the place may have answered with what it was sent, or with its own."""
        known = isinstance(error, (TransientError, PermanentError))
        # What we did not foresee may quote anything.
        return self._redact(str(error)) if known and str(error) else type(error).__name__


def _pack(first_told: int, receipt: str | None) -> str:
    return f"{first_told} {receipt or ''}"


def _unpack(text: str | None) -> tuple[int, str | None]:
    first, _, receipt = (text or "0 ").partition(" ")
    with suppress(ValueError):
        return int(first), receipt or None
    return 0, None
