"""The model's version of a report, written by another process (`serve report`) and checked there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

from exporter.model import (
    Check,
    Context,
    Duration,
    Incident,
    PermanentError,
    Report,
    ReportSettings,
    TransientError,
    WriterFailedError,
)
from exporter.model.layers import Reported, ReportRequest
from integrations._layers import LayerClient, LayerSettings


class RemoteReportSettings(LayerSettings, ReportSettings):
    """Who has the model, and writes its version of each report."""

    type: Literal["remote"]
    timeout: Duration = timedelta(minutes=4)
    """Of one report: a model takes its time. The deterministic report waits for nobody."""

    def build(self, context: Context) -> RemoteReport:
        return RemoteReport(self)


class RemoteReport:
    """A writer of reports over HTTP."""

    name = "remote"

    def __init__(self, settings: RemoteReportSettings) -> None:
        self._layer = LayerClient(settings, "report")

    async def write(self, report: Report, incident: Incident) -> Report:
        asked = ReportRequest(incident=incident, similar=report.similar, report=report, model=True)
        try:
            answer: Reported = await self._layer.ask(Reported, "POST", "/report", asked)
        except TransientError as error:
            raise WriterFailedError(str(error), error.retry_after) from error
        except PermanentError as error:
            raise WriterFailedError(str(error)) from error
        if failed := answer.failed:
            wait = timedelta(seconds=failed.retry_after) if failed.retry_after is not None else None
            raise WriterFailedError(failed.why, wait, failed.answered)
        if (answer.report.incident, answer.report.revision) != (report.incident, report.revision):
            raise WriterFailedError(f"{self._layer.place}: answers with the report of another incident")
        return answer.report

    async def check(self) -> Sequence[Check]:
        return [await self._layer.check()]

    async def close(self) -> None:
        await self._layer.close()
