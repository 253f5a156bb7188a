"""A language model as a writer of reports: it is asked, and what it says is checked, in this process."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.ingest.redaction import Redactor
from exporter.model import LLM, Check, Incident, Report, Telemetry, WriterFailedError
from exporter.report.llm import ModelFailedError, write_with_llm


class ModelWriter:
    """A `ReportWriter` over a model."""

    def __init__(self, llm: LLM, redactor: Redactor, telemetry: Telemetry | None = None) -> None:
        self.name = llm.model
        self._llm = llm
        self._redactor = redactor
        self._telemetry = telemetry

    async def write(self, report: Report, incident: Incident) -> Report:
        try:
            return await write_with_llm(report, incident, report.similar, self._llm, self._redactor, self._telemetry)
        except ModelFailedError as error:
            raise WriterFailedError(str(error), error.retry_after, error.answered) from error

    async def check(self) -> Sequence[Check]:
        return await self._llm.check()

    async def close(self) -> None:
        await self._llm.close()
