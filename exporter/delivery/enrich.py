"""Write the report of each revision, with what memory knows; the model's version follows."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.delivery.breaker import Breaker, Chance, backoff
from exporter.delivery.recalling import NOT_YET, Recalled, completed, recalled, without_memory
from exporter.ingest.redaction import Redactor
from exporter.memory.recall import Memory
from exporter.model import (
    RULES,
    Change,
    Clock,
    Incident,
    NoTelemetry,
    Report,
    ReportWriter,
    RetellingWriter,
    SystemClock,
    Telemetry,
    TimeRange,
    WriterFailedError,
)
from exporter.model.times import seconds
from exporter.state.checkpoints import gaps_within
from exporter.state.file import State
from exporter.state.incidents import incident_of, report_row, reports_of, revision_of
from exporter.state.news import news_row, unreported, unreported_news
from exporter.state.questions import Question, question_of, question_row, to_narrate, unnarrated, without_recall
from exporter.wording.text import brief, without_links
from exporter.wording.words import headline

log = logging.getLogger(__name__)

RECALL_AT_ONCE = timedelta(milliseconds=500)
"""What the first delivery waits for memory; what comes later follows as an update."""

AT_ONCE = 20
"""Revisions that are reported on together: they wait for memory at the same time."""

MOST_LATE = 100
"""Revisions whose recall is waited for, or tried again, after their first report."""

QUESTIONS_AT_ONCE = 16
"""To the writer, which may allow fewer."""

LONGEST_WAIT = timedelta(minutes=5)
"""Before what failed is tried again."""

LATER, NARRATED, COMPLETED = 1, 2, 3
"""Parts of a revision after its first report: what memory knew later, what the model wrote, and that with memory."""

Links = Callable[[Incident], tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Work:
    """A revision that is being reported on."""

    number: int
    incident: Incident
    change: Change
    at: datetime
    gaps: tuple[tuple[str, TimeRange, str], ...]
    recall: asyncio.Task[Recalled]


class Enricher:
    """Writes the report of each revision; the model's version follows when there is a model."""

    def __init__(
        self,
        state: State,
        memory: Memory,
        redactor: Redactor,
        links: Links,
        writer: ReportWriter | None = None,
        telemetry: Telemetry | None = None,
        clock: Clock | None = None,
        chance: Chance = random.random,
    ) -> None:
        self._state = state
        self._memory = memory
        self._redactor = redactor
        self._links = links
        self._writer = writer
        self._telemetry = telemetry or NoTelemetry()
        self._clock = clock or SystemClock()
        self._chance = chance
        self._breaker = Breaker(LONGEST_WAIT, chance)
        """Of the writer: one that does not answer is left alone, whatever it would be asked about."""
        self._failing: dict[int, tuple[int, datetime]] = {}
        """News that could not be reported on: how often, and when it is tried again."""
        self._late: list[Work] = []
        self._unasked: dict[str, tuple[int, datetime]] | None = None
        """Incidents that were reported on without memory: how often that was tried, and when it is tried again."""

    async def enrich(self) -> int:
        """Report on every revision that has none. Returns how many there were; one that fails holds up no other."""
        numbers = await unreported(self._state)
        self._failing = {number: self._failing[number] for number in numbers if number in self._failing}
        due = [number for number in numbers if self._is_time(number)]
        wait = RECALL_AT_ONCE
        for start in range(0, len(due), AT_ONCE):
            # What kept the first of many waiting keeps the others, too.
            wait = wait if await self._report(due[start : start + AT_ONCE], wait) else timedelta(0)
        return len(due)

    async def _report(self, numbers: list[int], wait: timedelta) -> bool:
        """The first reports, as soon as memory knows or does not in time; whether it always did."""
        works = [work for number in numbers if (work := await self._begin(number)) is not None]
        if works:
            await asyncio.wait([work.recall for work in works], timeout=wait.total_seconds())
        late = [work for work in works if not work.recall.done()]
        for work in works:
            found = Recalled(unasked=NOT_YET) if work in late else work.recall.result()
            written = await self._write(work, found)
            if work in late and written and len(self._late) < MOST_LATE:
                self._late.append(work)
            elif work in late:
                work.recall.cancel()
            if found.unasked and written and work not in self._late:
                await self._try_again(work.incident.id)
        return not late

    def close(self) -> None:
        """Wait no more for what memory knew later."""
        works, self._late = self._late, []
        for work in works:
            work.recall.cancel()

    async def late(self) -> int:
        """What memory knew later, as another report of the same revision. Returns how many."""
        works, self._late = self._late, []
        written = 0
        try:
            for work in works:
                written += await self._complete(work.incident, await work.recall)
        finally:
            for work in works:
                work.recall.cancel()
        return written + await self._ask_again()

    async def _ask_again(self) -> int:
        """Ask for what memory could not be asked at its time, once the wait is over. Returns how many it knew of."""
        written, now = 0, self._clock.now()
        for identity, (_, due) in list((await self._waiting()).items()):
            if due > now:
                continue
            incident = await incident_of(self._state, identity)
            found = await self._recall(incident) if incident else Recalled()
            written += await self._complete(incident, found) if incident else 0
            if found.unasked:
                # The others would wait for the same.
                break
        return written

    async def _complete(self, incident: Incident, found: Recalled) -> bool:
        """Say what memory knows in the reports of a revision that were written without it; whether there were any."""
        if found.unasked:
            await self._try_again(incident.id)
            return False
        (await self._waiting()).pop(incident.id, None)
        reports = [one for one in await reports_of(self._state, incident.id) if one.revision == incident.revision]
        links, gaps = self._links(incident), await self._gaps(incident)
        changed = 0
        # The rules' first, so that the model's stays the newest where there is one.
        for report in reversed([one for one in reports if one.unasked]):
            part = LATER if report.writer == RULES else COMPLETED
            better = completed(report, incident, found, links, gaps)
            await self._commit(incident, better, part, "reported", incident.updated_at)
            changed += 1
        return changed > 0

    async def _waiting(self) -> dict[str, tuple[int, datetime]]:
        if self._unasked is None:
            found = await without_recall(self._state, MOST_LATE)
            self._unasked = {identity: (0, self._clock.now()) for identity in found}
        return self._unasked

    async def _try_again(self, identity: str) -> None:
        waiting = await self._waiting()
        if identity in waiting or len(waiting) < MOST_LATE:
            attempts = waiting.get(identity, (0, None))[0]
            wait = max(backoff(attempts, LONGEST_WAIT, self._chance), timedelta(seconds=1))
            waiting[identity] = attempts + 1, self._clock.now() + wait

    async def _begin(self, number: int) -> Work | None:
        found = await unreported_news(self._state, number)
        if found is None:
            self._fails(number)
            return None
        incident, change, at = found
        gaps = tuple(await self._gaps(incident))
        return Work(number, incident, change, at, gaps, asyncio.ensure_future(self._recall(incident)))

    async def _write(self, work: Work, found: Recalled) -> bool:
        """The first report of a revision."""
        try:
            report = recalled(work.incident, found, self._links(work.incident), work.gaps)
        except Exception:
            log.exception("incident %s: its report could not be written, it is tried again", work.incident.id)
            self._fails(work.number)
            return False
        await self._commit(work.incident, report, 0, work.change, work.at)
        await self._retell(work.incident, report, work.at)
        if work.change != "updated":
            log.info("incident %s %s: %s", work.incident.id, work.change, headline(work.incident, report))
        return True

    def _is_time(self, number: int) -> bool:
        return number not in self._failing or self._failing[number][1] <= self._clock.now()

    def _fails(self, number: int) -> None:
        attempts = self._failing.get(number, (0, self._clock.now()))[0]
        wait = backoff(attempts, LONGEST_WAIT, self._chance)
        self._failing[number] = attempts + 1, self._clock.now() + wait

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

    async def _recall(self, incident: Incident) -> Recalled:
        """Memory helps, it never stands in the way: whatever it fails of."""
        found = await without_memory(self._memory, incident, self._redactor)
        if found.unasked:
            log.warning("memory: incident %s is reported on without it: %s", incident.id, found.unasked)
            self._telemetry.count("memory_requests", operation="recall", outcome="failed")
        return found

    async def narrate(self) -> int:
        """Let a model write about the newest revision of each open incident. Returns how many it wrote about."""
        room = self._breaker.room(self._clock.now(), 0, QUESTIONS_AT_ONCE)
        if self._writer is None or not room:
            return 0
        waiting = await unnarrated(self._state, self._writer.name, seconds(self._clock.now()))
        together = waiting[:room]
        return sum(await asyncio.gather(*(self._narrate(self._writer, incident) for incident in together)))

    async def _narrate(self, writer: ReportWriter, identity: str) -> int:
        found = await to_narrate(self._state, identity)
        if found is None:
            return 0
        incident, report, at = found
        try:
            better = await writer.write(report, incident)
        except WriterFailedError as error:
            if error.passing:
                self._breaker.failed(self._clock.now(), error.retry_after)
            await self._failed(writer, incident, error)
            return 0
        self._breaker.answered()
        if await revision_of(self._state, incident.id) != incident.revision:
            return 0
        await self._commit(incident, better, NARRATED, "reported", at)
        return 1

    async def _retell(self, incident: Incident, report: Report, at: datetime) -> None:
        """What the model said before stands also in a new revision, with its numbers, and in the last one."""
        if isinstance(self._writer, RetellingWriter) and (again := await self._writer.retell(report, incident)):
            await self._commit(incident, again, NARRATED, "reported", at)

    async def _failed(self, writer: ReportWriter, incident: Incident, error: WriterFailedError) -> None:
        """Remember the question that failed, and when it is asked again: there is no report, so none is kept."""
        before = await question_of(self._state, incident.id, writer.name)
        same = before is not None and before.revision == incident.revision
        attempts = before.attempts if before and same else 0
        wait = error.retry_after or max(backoff(attempts, LONGEST_WAIT, self._chance), timedelta(seconds=1))
        again = 0 if error.answered else seconds(self._clock.now() + wait) + 1
        why = brief(without_links(self._redactor.redact(str(error))), 300)
        asked = Question(incident.id, writer.name, incident.revision, attempts + 1, again, why)
        await self._state.write([question_row(asked)])

    async def _commit(self, incident: Incident, report: Report, part: int, change: Change, at: datetime) -> None:
        news = news_row(incident, change, at, part, report)
        await self._state.write([news, report_row(report, report.writer)])
        self._telemetry.count("reports", writer=RULES if report.writer == RULES else "model")
