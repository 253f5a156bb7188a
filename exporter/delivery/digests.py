"""More incidents than people can read one by one are told as one digest."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from exporter.delivery.settings import Ask, DigestRules
from exporter.model import Digest, DigestLine, DigestReason, DigestSink, stable_key
from exporter.model.times import moment, seconds
from exporter.state.deliveries import (
    Delivery,
    DigestRow,
    delivery_of,
    delivery_row,
    digest_row,
    digests_of,
    members_of,
)
from exporter.state.file import State
from exporter.state.news import News, newest_news, number_to_come
from exporter.wording import words
from exporter.wording.digests import ranked

MINUTE = timedelta(minutes=1)

QUIET = timedelta(seconds=5)
"""Without another incident, after which a burst is taken to be over."""

MAX_HEADLINE = 200


class Digests:
    """The digests of one place. Which incidents stand in which is in rows before anything is sent."""

    def __init__(self, sink: DigestSink, state: State, rules: DigestRules, external_url: str | None) -> None:
        self._sink = sink
        self._state = state
        self._rules = rules
        self._url = f"{external_url}/" if external_url else None
        self._known: dict[str, DigestRow] = {}
        self._changed: set[str] = set()
        self._attempts: dict[str, int] = {}
        self._spoken: deque[datetime] = deque()
        self._burst: datetime | None = None
        self._newest: datetime | None = None
        self._missed: dict[str, None] = {}
        self.waiting: dict[str, None] = {}
        """Incidents that were never told, until it is known whether they are told one by one."""

    def spoke(self, now: datetime) -> None:
        """An incident was told by itself for the first time."""
        self._spoken.append(now)

    async def load(self) -> None:
        """After a start: what was made and not told is due, for all that is known."""
        for row in await digests_of(self._state, self._sink.name, self._sink.peer):
            self._known[row.id] = row
            if not row.told_at:
                self._changed.add(row.id)
                self._attempts[row.id] = 1

    async def take(self, incident: str, missed: bool, now: datetime) -> bool:
        """Whether an incident with news is told in a digest, or waits to see whether it is; else by itself."""
        before = await delivery_of(self._state, self._sink.name, self._sink.peer, incident)
        if before.digest in self._known:
            news = await newest_news(self._state, incident, before)
            if news and news.incident.status == "firing" and "resolved" in (before.receipt or ""):
                # It was told as over: that it is back is worth a message of its own.
                await self._state.write([delivery_row(replace(before, digest="", receipt=None))])
                return False
            if news:
                self._changed.add(before.digest)
            return True
        if before.revision:
            return False
        if missed:
            self._missed[incident] = None
        elif incident not in self.waiting:
            self.waiting[incident] = None
            self._newest = now
        return True

    async def settle(self, now: datetime, gather: bool) -> list[str]:
        """Those that waited and are told one by one; the others are in a digest from now on."""
        if self._missed:
            await self._make("outage", list(self._missed), now)
            self._missed.clear()
        while self._spoken and self._spoken[0] <= now - MINUTE:
            self._spoken.popleft()
        if not self.waiting:
            return []
        known = len(self.waiting) + len(self._spoken)
        # What opened with them, and is being reported on, is told with them.
        if self._burst is None and known + await number_to_come(self._state) <= self._rules.above:
            alone, self.waiting = list(self.waiting), {}
            return alone
        self._burst = self._burst or now
        over = now - (self._newest or now) >= QUIET or now - self._burst >= MINUTE
        if over or not gather:
            await self._make("burst", list(self.waiting), now)
            self.waiting, self._burst = {}, None
        return []

    async def _make(self, reason: DigestReason, incidents: Sequence[str], now: datetime) -> None:
        place = self._sink.name, self._sink.peer
        identity = f"d{stable_key(f'{place}/{now.isoformat()}/{incidents[0]}'):016x}"[:12]
        row = DigestRow(*place, identity, reason, seconds(now))
        before = [await delivery_of(self._state, *place, incident) for incident in incidents]
        members = [delivery_row(replace(each, peer=self._sink.peer, digest=identity)) for each in before]
        await self._state.write([digest_row(row), *members])
        self._known[identity] = row
        self._changed.add(identity)

    def due(self, now: datetime) -> list[str]:
        """Digests to be told now: what changes in one is gathered for a while."""
        return [
            identity
            for identity in sorted(self._changed)
            if now - moment(self._known[identity].told_at) >= self._sink.digest_every
        ]

    def failed(self, identity: str) -> int:
        """An attempt on it failed. Returns how many did before."""
        before = self._attempts.get(identity, 0)
        self._attempts[identity] = before + 1
        return before

    async def tell(self, identity: str, now: datetime, ask: Ask) -> bool:
        """Tell a digest as it stands now; false when nothing in it reads otherwise than it was told."""
        row = self._known[identity]
        lines: list[DigestLine] = []
        told: list[Delivery] = []
        for member in await members_of(self._state, row):
            news = await newest_news(self._state, member.incident)
            if news is not None:
                said = f"{news.incident.status} {news.incident.severity}"
                lines.append(self._line(news, changed=said != member.receipt))
                had = replace(member, revision=news.revision, part=news.part, receipt=said)
                told.append(replace(had, attempts=0, next_attempt=0, delivered_at=seconds(now), error=""))
        self._changed.discard(identity)
        if any(line.changed for line in lines):
            try:
                row = await self._told(row, ranked(lines), now, ask)
            except BaseException:
                self._changed.add(identity)
                raise
            await self._state.write([digest_row(row), *map(delivery_row, told)])
            self._known[identity] = row
            self._attempts.pop(identity, None)
            return True
        await self._state.write([*map(delivery_row, told)])
        return False

    async def _told(self, row: DigestRow, lines: tuple[DigestLine, ...], now: datetime, ask: Ask) -> DigestRow:
        digest = Digest(
            id=row.id,
            event_id=f"{row.id}:{row.times + 1}",
            reason=row.reason,
            lines=lines,
            now=now,
            again=row.times > 0,
            url=self._url,
            receipt=row.receipt,
            in_doubt=self._attempts.get(row.id, 0) > 0,
        )
        receipt = await ask(lambda: self._sink.deliver_digest(digest))
        return replace(row, told_at=seconds(now), times=row.times + 1, receipt=receipt or row.receipt)

    def _line(self, news: News, changed: bool) -> DigestLine:
        incident = news.incident
        return DigestLine(
            id=incident.id,
            status=incident.status,
            severity=incident.severity,
            services=incident.services[:5],
            starts_at=incident.starts_at,
            last_seen=incident.last_seen,
            headline=words.headline(incident, news.report, MAX_HEADLINE),
            url=f"{self._url}incidents/{incident.id}" if self._url else None,
            changed=changed,
        )
