"""Enrich what there is to tell with memory and a report, and deliver it to each sink at its own pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from exporter.flow.source import moment, seconds
from exporter.ingest.redaction import Redactor
from exporter.memory.recall import Memory
from exporter.model import (
    LLM,
    Change,
    Clock,
    Incident,
    NoTelemetry,
    Notification,
    PermanentError,
    Report,
    SimilarIncident,
    Sink,
    Telemetry,
    TimeRange,
    TransientError,
    Write,
    dumps,
    loads,
)
from exporter.report import rules as reports
from exporter.state.file import State

RECALL_AT_ONCE = timedelta(milliseconds=500)
"""What the first delivery waits for memory; what comes later follows as an update."""

RECALL_LATER = timedelta(seconds=15)
DELIVERY_TIMEOUT = timedelta(seconds=30)
MAX_BACKOFF = timedelta(minutes=5)
ABANDON_AFTER = 12
"""Refusals of one revision (not outages) after which a sink that wants every change goes on to the next."""

RESOLVED_RESEND = timedelta(minutes=5)
"""Alertmanager wants resolved alerts repeated for this long."""

Links = Callable[[Incident], tuple[tuple[str, str], ...]]


class Enricher:
    """Writes the report of each revision; the model's version follows when there is a model."""

    def __init__(
        self,
        state: State,
        memory: Memory,
        redactor: Redactor,
        links: Links,
        llm: LLM | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._state = state
        self._memory = memory
        self._redactor = redactor
        self._links = links
        self._llm = llm
        self._telemetry = telemetry or NoTelemetry()

    async def enrich(self) -> int:
        """Report on every revision that has none. Returns how many there were."""
        query = "SELECT body, revision, change, at FROM news WHERE report IS NULL ORDER BY at, incident, revision"
        rows = await self._state.read(query)
        for body, _, change, at in rows:
            await self._first(loads(Incident, body), change, at)
        return len(rows)

    async def _first(self, incident: Incident, change: Change, at: int) -> None:
        recall = asyncio.ensure_future(self._recall(incident))
        done, _ = await asyncio.wait({recall}, timeout=RECALL_AT_ONCE.total_seconds())
        similar = recall.result() if done else ()
        gaps = await self._gaps(incident)
        report = reports.write(incident, similar, self._links(incident), gaps)
        await self._commit(incident, report, 0, change, at)
        if not done:
            similar = await recall
            if similar:
                report = reports.write(incident, similar, self._links(incident), gaps)
                await self._commit(incident, report, 1, "reported", at)

    async def _gaps(self, incident: Incident) -> list[tuple[str, TimeRange, str]]:
        """What could not be read while it lasted, in any source: what is missing may belong to it."""
        query = "SELECT source, start, end, detail FROM decisions WHERE kind = 'gap' AND start <= ? AND end > ?"
        span = (seconds(incident.last_seen), seconds(incident.starts_at))
        rows = await self._state.read(f"{query} ORDER BY start, source", span)
        found: list[tuple[str, TimeRange, str]] = []
        for source, start, end, why in rows:
            gap = TimeRange(moment(start), moment(end))
            last = next((n for n, one in enumerate(found) if one[0] == source and one[1].end == gap.start), None)
            if last is None:
                found.append((source, gap, why))
            else:
                found[last] = (source, TimeRange(found[last][1].start, gap.end), why)
        return found

    async def _recall(self, incident: Incident) -> tuple[SimilarIncident, ...]:
        """Memory helps, it never stands in the way."""
        try:
            return await asyncio.wait_for(self._memory.recall(incident), RECALL_LATER.total_seconds())
        except (TransientError, PermanentError, TimeoutError):
            self._telemetry.count("memory_requests", operation="recall", outcome="failed")
            return ()

    async def narrate(self) -> int:
        """Let the model write about the newest revision of each open incident. Returns how many it wrote about."""
        if self._llm is None:
            return 0
        written = 0
        for incident, report, at in await self._unnarrated(self._llm.model):
            better = await reports.write_with_llm(
                report, incident, report.similar, self._llm, self._redactor, self._telemetry
            )
            if better.writer != report.writer and await self._is_newest(incident):
                await self._commit(incident, better, 2, "reported", at)
                written += 1
            else:
                await self._state.write([report_row(better, self._llm.model)])
        return written

    async def _unnarrated(self, model: str) -> list[tuple[Incident, Report, int]]:
        """Newest revisions, of firing incidents, that the model has not written about."""
        rows = await self._state.read(
            "SELECT i.body, r.body, i.updated_at FROM incidents i JOIN reports r ON r.incident = i.id "
            "WHERE i.status = 'firing' AND r.writer = 'rules' AND r.revision = i.revision AND NOT EXISTS "
            "(SELECT 1 FROM reports m WHERE m.incident = i.id AND m.writer = ? AND m.revision = i.revision)",
            (model,),
        )
        return [(loads(Incident, body), loads(Report, report), at) for body, report, at in rows]

    async def _is_newest(self, incident: Incident) -> bool:
        rows = await self._state.read("SELECT revision FROM incidents WHERE id = ?", (incident.id,))
        return bool(rows) and rows[0][0] == incident.revision

    async def _commit(self, incident: Incident, report: Report, part: int, change: Change, at: int) -> None:
        names = ("incident", "revision", "part", "change", "at", "body", "report")
        row = (incident.id, incident.revision, part, change, at, dumps(incident), dumps(report))
        await self._state.write([Write("news", names, (row,)), report_row(report, report.writer)])
        self._telemetry.count("reports", writer="rules" if report.writer == "rules" else "model")


def report_row(report: Report, writer: str) -> Write:
    """The newest report of each writer on an incident."""
    row = (report.incident, writer, report.revision, dumps(report))
    return Write("reports", ("incident", "writer", "revision", "body"), (row,))


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

    async def deliver(self) -> int:
        """One round. Returns how many deliveries succeeded."""
        due = await self._due()
        self._telemetry.gauge("delivery_queue", len(due), sink=self.sink.name)
        succeeded = 0
        blocked: set[str] = set()
        for row in due:
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
        if loads(Incident, row["body"]).status == "firing":
            return True
        first_told = int((row["receipt"] or "0 0").split(" ", 1)[0])
        return now - first_told <= RESOLVED_RESEND.total_seconds()

    async def _tell(self, row: dict[str, Any]) -> bool:
        incident = loads(Incident, row["body"])
        now = self._clock.now()
        first_told, receipt = _unpack(row["receipt"])
        news = (row["revision"], row["part"]) > (row["had_revision"], row["had_part"])
        if news:
            first_told = seconds(now)
        notification = Notification(
            event_id=f"{incident.id}:{row['revision']}:{row['part']}",
            change=row["change"],
            incident=incident,
            report=loads(Report, row["report"]),
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
