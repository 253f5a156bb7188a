"""Write the report of each revision, with what memory knows; the model's version follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from exporter.ingest.redaction import Redactor
from exporter.memory.recall import Memory
from exporter.model import (
    LLM,
    Change,
    Incident,
    NoTelemetry,
    PermanentError,
    Report,
    SimilarIncident,
    Telemetry,
    TimeRange,
    TransientError,
    Write,
)
from exporter.model.times import moment, seconds
from exporter.report import rules as reports
from exporter.report.llm import write_with_llm
from exporter.state.bodies import pack, unpack
from exporter.state.file import State

RECALL_AT_ONCE = timedelta(milliseconds=500)
"""What the first delivery waits for memory; what comes later follows as an update."""

RECALL_LATER = timedelta(seconds=15)

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
            await self._first(unpack(Incident, body), change, at)
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
            better = await write_with_llm(report, incident, report.similar, self._llm, self._redactor, self._telemetry)
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
        return [(unpack(Incident, body), unpack(Report, report), at) for body, report, at in rows]

    async def _is_newest(self, incident: Incident) -> bool:
        rows = await self._state.read("SELECT revision FROM incidents WHERE id = ?", (incident.id,))
        return bool(rows) and rows[0][0] == incident.revision

    async def _commit(self, incident: Incident, report: Report, part: int, change: Change, at: int) -> None:
        names = ("incident", "revision", "part", "change", "at", "body", "report")
        row = (incident.id, incident.revision, part, change, at, pack(incident), pack(report))
        await self._state.write([Write("news", names, (row,)), report_row(report, report.writer)])
        self._telemetry.count("reports", writer="rules" if report.writer == "rules" else "model")


def report_row(report: Report, writer: str) -> Write:
    """The newest report of each writer on an incident."""
    row = (report.incident, writer, report.revision, pack(report))
    return Write("reports", ("incident", "writer", "revision", "body"), (row,))
