"""The model's version of a report, written by another process (`serve report`) and checked there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

from exporter.model import (
    Asked,
    Check,
    Context,
    Duration,
    Incident,
    Ledger,
    PermanentError,
    Report,
    ReportSettings,
    TellAgain,
    TransientError,
    WriterFailedError,
    dumps,
)
from exporter.model.layers import Reported, ReportRequest
from integrations._layers import LayerClient, LayerSettings

MOST_KEPT = 256 * 1024
"""Characters of a question with its answer: a prompt of ours has 13,000, and of an answer 200,000 are read."""


class RemoteReportSettings(LayerSettings, ReportSettings):
    """Who has the model, and writes its version of each report."""

    type: Literal["remote"]
    timeout: Duration = timedelta(minutes=4)
    """Of one report: a model takes its time. The deterministic report waits for nobody."""

    def build(self, context: Context) -> RemoteReport:
        return RemoteReport(self, context.ledger, context.tell_again)


class RemoteReport:
    """A writer of reports over HTTP. What the model answered there is kept here, and told again without asking."""

    name = "remote"

    def __init__(self, settings: RemoteReportSettings, ledger: Ledger, tell_again: TellAgain | None) -> None:
        self._layer = LayerClient(settings, "report")
        self._ledger = ledger
        self._tell_again = tell_again

    async def write(self, report: Report, incident: Incident) -> Report:
        if again := await self.retell(report, incident):
            return again
        asked = ReportRequest(incident=incident, similar=report.similar, report=report, model=True)
        try:
            answer: Reported = await self._layer.ask(Reported, "POST", "/report", asked)
        except TransientError as error:
            raise WriterFailedError(str(error), error.retry_after, passing=True) from error
        except PermanentError as error:
            raise WriterFailedError(str(error)) from error
        if failed := answer.failed:
            wait = timedelta(seconds=failed.retry_after) if failed.retry_after is not None else None
            raise WriterFailedError(failed.why, wait, failed.answered, failed.passing)
        if (answer.report.incident, answer.report.revision) != (report.incident, report.revision):
            raise WriterFailedError(f"{self._layer.place}: answers with the report of another incident")
        await self._keep(answer.asked, incident)
        return answer.report

    async def _keep(self, asked: Asked | None, incident: Incident) -> None:
        """An older release sends none."""
        if asked and asked.incident == incident.id and len(dumps(asked)) <= MOST_KEPT:
            await self._ledger.keep(asked, self.name)

    async def asked(self, incident: str) -> Asked | None:
        return await self._ledger.asked(incident, self.name)

    async def retell(self, report: Report, incident: Incident) -> Report | None:
        known = await self.asked(incident.id)
        return self._tell_again(report, incident, known) if known and self._tell_again else None

    async def check(self) -> Sequence[Check]:
        return [await self._layer.check()]

    async def close(self) -> None:
        await self._layer.close()
