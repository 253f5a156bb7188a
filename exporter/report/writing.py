"""A language model as a writer of reports: asked where it must be, within its budget, and checked in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

from exporter.ingest.redaction import Redactor
from exporter.model import (
    LLM,
    Asked,
    Check,
    Clock,
    Incident,
    InMemory,
    Ledger,
    LLMSettings,
    Meter,
    NoTelemetry,
    Report,
    SystemClock,
    Telemetry,
    WriterFailedError,
)
from exporter.model.times import seconds
from exporter.report.budget import added, day_of, exhausted
from exporter.report.llm import MODEL_DEADLINE, Question, ask, tell, tell_again

GRACE = timedelta(seconds=5)
"""Beyond what the client allows itself for an answer."""


class ModelWriter:
    """A `ReportWriter` over a model: what it was asked and answered, and what that cost, stands in a ledger.

    While the facts of an incident stay the same, its answer is told again with their new numbers, and nothing is asked.
    """

    def __init__(
        self,
        llm: LLM,
        redactor: Redactor,
        telemetry: Telemetry | None = None,
        settings: LLMSettings | None = None,
        ledger: Ledger | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`settings` say how much may be asked; without them there is no limit but that of time."""
        self.name = llm.model
        self._llm = llm
        self._settings = settings
        self._redactor = redactor
        self._ledger = ledger or InMemory()
        self._telemetry = telemetry or NoTelemetry()
        self._clock = clock or SystemClock()
        self._slots = asyncio.Semaphore(settings.concurrency if settings else 1)
        self._deadline = 2 * settings.timeout + GRACE if settings else MODEL_DEADLINE
        self._spent: Mapping[int, tuple[int, int]] | None = None

    async def write(self, report: Report, incident: Incident) -> Report:
        question = Question.of(incident, report)
        before = await self.asked(incident.id)
        same = before is not None and before.evidence == question.known.evidence_key
        asked = before if before and same else await self._ask(question)
        return tell(question, asked, self._redactor, self._telemetry)

    async def asked(self, incident: str) -> Asked | None:
        return await self._ledger.asked(incident, self.name)

    async def retell(self, report: Report, incident: Incident) -> Report | None:
        """What it said before, with the numbers of now; None where it would have to be asked."""
        known = await self.asked(incident.id)
        if known is None:
            return None
        return tell_again(report, incident, known, redactor=self._redactor, telemetry=self._telemetry)

    async def check(self) -> Sequence[Check]:
        return await self._llm.check()

    async def close(self) -> None:
        await self._llm.close()

    async def _ask(self, question: Question) -> Asked:
        async with self._slots:
            await self._within_budget()
            meter = Meter()
            try:
                now = seconds(self._clock.now())
                asked = await ask(question, self._llm, self._redactor, now, meter, self._deadline)
            finally:
                await self._account(meter)
        await self._ledger.keep(asked, self.name)
        return asked

    async def _within_budget(self) -> None:
        now = self._clock.now()
        if self._spent is None:
            self._spent = await self._ledger.spent(self.name, day_of(now))
        if self._settings and (found := exhausted(self._settings, self._spent, now)):
            raise WriterFailedError(found.why, found.wait)

    async def _account(self, meter: Meter) -> None:
        if meter.calls:
            self._spent = added(self._spent or {}, self._clock.now(), meter.calls, meter.tokens)
            await self._ledger.spend(self.name, self._spent)
