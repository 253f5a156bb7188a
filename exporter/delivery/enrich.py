"""Write the report of each revision, with what memory knows; the model's version follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from exporter.ingest.redaction import Redactor
from exporter.memory.recall import Memory
from exporter.model import (
    LLM,
    RULES,
    Change,
    Incident,
    NoTelemetry,
    PermanentError,
    Report,
    SimilarIncident,
    Telemetry,
    TimeRange,
    TransientError,
)
from exporter.report import rules as reports
from exporter.report.llm import write_with_llm
from exporter.state.checkpoints import gaps_within
from exporter.state.file import State
from exporter.state.incidents import report_row, revision_of, unnarrated
from exporter.state.news import news_row, unreported

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
        found = await unreported(self._state)
        for incident, change, at in found:
            await self._first(incident, change, at)
        return len(found)

    async def _first(self, incident: Incident, change: Change, at: datetime) -> None:
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
        found: list[tuple[str, TimeRange, str]] = []
        for gap in await gaps_within(self._state, TimeRange(incident.starts_at, incident.last_seen)):
            source, span = gap.source, gap.span
            last = next((n for n, one in enumerate(found) if one[0] == source and one[1].end == span.start), None)
            if last is None:
                found.append((source, span, gap.detail))
            else:
                found[last] = (source, TimeRange(found[last][1].start, span.end), gap.detail)
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
        for incident, report, at in await unnarrated(self._state, self._llm.model):
            better = await write_with_llm(report, incident, report.similar, self._llm, self._redactor, self._telemetry)
            if better.writer != report.writer and await revision_of(self._state, incident.id) == incident.revision:
                await self._commit(incident, better, 2, "reported", at)
                written += 1
            else:
                await self._state.write([report_row(better, self._llm.model)])
        return written

    async def _commit(self, incident: Incident, report: Report, part: int, change: Change, at: datetime) -> None:
        news = news_row(incident, change, at, part, report)
        await self._state.write([news, report_row(report, report.writer)])
        self._telemetry.count("reports", writer=RULES if report.writer == RULES else "model")
