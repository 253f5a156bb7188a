"""What people and webhooks may ask of an installation: show, resolve, analyse an alert, note a change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Literal

from exporter.flow.source import SourcePipeline
from exporter.incidents.alerts import from_alert, resolved_by_hand, with_alert
from exporter.incidents.clusters import Cluster
from exporter.incidents.standing import Standing
from exporter.incidents.tracker import Told
from exporter.model import (
    RULES,
    Anomaly,
    Incident,
    IncidentStatus,
    Release,
    Report,
    Severity,
    TimeRange,
    floor,
    stable_key,
)
from exporter.model.questions import AlertTrigger, DeliveryStatus, IncidentRecord
from exporter.model.times import moment
from exporter.report.llm import without_model
from exporter.run.assembly import Assembly
from exporter.state.checkpoints import release_row
from exporter.state.deliveries import Delivery, deliveries_of
from exporter.state.incidents import cluster_of, incident_list, incident_of, incident_row, reports_of
from exporter.state.news import news_row
from exporter.state.questions import questions_of
from exporter.state.triggers import knows_trigger, trigger_row, waiting, waiting_count

MAX_WAITING_ALERTS = 500
"""Alerts that may wait for their analysis; more are refused, and Alertmanager sends them again."""

MAX_ALERTS_AT_ONCE = 20
"""Alerts that are analysed in one run; those whose logs cannot be read yet do not count, and hold nobody back."""

BEFORE_ALERT = timedelta(minutes=10)
AFTER_ALERT = timedelta(minutes=5)


class Operations:
    """Requests on one assembly; everything that it changes goes through the rows."""

    def __init__(self, assembly: Assembly) -> None:
        self.assembly = assembly
        self._state = assembly.state

    async def list_incidents(self, status: IncidentStatus | None, limit: int) -> Sequence[IncidentRecord]:
        """The newest first, with their reports."""
        found = await incident_list(self._state, status, limit)
        return [IncidentRecord(incident, await reports_of(self._state, incident.id)) for incident in found]

    async def incident(self, incident_id: str) -> IncidentRecord | None:
        """One incident with its reports and how far each sink is with it."""
        incident = await incident_of(self._state, incident_id)
        if incident is None:
            return None
        return IncidentRecord(
            incident,
            await self._reports(incident),
            tuple(map(_delivery_status, await deliveries_of(self._state, incident.id))),
            self.assembly.links(incident),
        )

    async def _reports(self, incident: Incident) -> tuple[Report, ...]:
        """The newest of each writer; that of the rules says why there is none of a model on this revision."""
        reports = await reports_of(self._state, incident.id)
        failed = [q for q in await questions_of(self._state, incident.id) if q.revision == incident.revision]
        return tuple(
            reduce(lambda report, question: without_model(report, question.error), failed, report)
            if report.writer == RULES
            else report
            for report in reports
        )

    async def resolve(self, incident_id: str, fix: str | None) -> IncidentRecord | None:
        """Close it by hand and remember what fixed it; None when there is no such incident."""
        async with self.assembly.lock:
            incident = await incident_of(self._state, incident_id)
            if incident is None:
                return None
            safe = self.assembly.redactor.redact(fix)[:2000] if fix else None
            told = resolved_by_hand(incident, safe, self.assembly.clock.now())
            await self._tell(told)
        return await self.incident(incident_id)

    async def _tell(self, told: Told) -> None:
        """Commit a revision that no anomaly made; the cluster, if it is still open, carries it on."""
        incident = told.incident
        cluster = await cluster_of(self._state, incident.id, Cluster)
        if cluster:
            cluster = replace(
                cluster,
                status=incident.status,
                incident=incident,
                ends_at=incident.ends_at,
                timeline=incident.timeline,
            )
        row = incident_row(incident, incident.updated_at, cluster)
        await self._state.write([row, news_row(incident, told.change, told.at)])

    async def analyze(self, alert: AlertTrigger) -> Literal["accepted", "duplicate", "overloaded"]:
        """Keep an alert, durably, until its logs are analysed."""
        if await knows_trigger(self._state, alert):
            return "duplicate"
        if await waiting_count(self._state) >= MAX_WAITING_ALERTS:
            return "overloaded"
        await self._state.write([trigger_row(alert, self.assembly.clock.now(), done=False)])
        return "accepted"

    async def change(self, service: str, version: str, at: datetime) -> None:
        """Remember that a version of a service was deployed; it stands on the timeline of what follows."""
        await self._state.write([release_row(Release(service[:200], version[:200], at))])

    async def analyze_waiting(self) -> int:
        """Analyse the alerts that wait. Returns how many were done; one whose logs cannot be read yet waits on."""
        done = 0
        for alert, received_at in await waiting(self._state):
            if done == MAX_ALERTS_AT_ONCE:
                break
            if alert.status == "resolved":
                await self._alert_resolved(alert)
            # What came before it began was sent by a clock that is ahead: it is about now.
            elif not await self._alert_fired(alert, min(alert.starts_at, received_at)):
                continue
            await self._state.write([trigger_row(alert, self.assembly.clock.now(), done=True)])
            done += 1
        return done

    async def _alert_fired(self, alert: AlertTrigger, at: datetime) -> bool:
        """False while the logs around the alert, which is of that time, cannot be read yet."""
        service = _service_of(alert)
        name = self.assembly.redactor.redact(alert.labels.get("alertname", "alert"))[:200]
        anomalies: list[Anomaly] = []
        for pipeline in self.assembly.pipelines:
            span = await self._around(pipeline, at)
            if span is None:
                return False
            anomalies += await pipeline.preview(span)
        shown = [a for a in anomalies if a.contributions]
        # Alerts often name their service otherwise than its logs do: then what fails at that time is all that we know.
        related = [a for a in shown if a.service == service] or [a for a in shown if a.severity >= Severity.WARN]
        async with self.assembly.lock:
            open_one = await self._open_on({a.service for a in related} | ({service} if service else set()))
            if open_one:
                await self._tell(with_alert(open_one, name, service, at))
            else:
                identity = _alert_incident(alert)
                labels = self.assembly.config.external_labels
                # It may fire on for longer than that it was heard of is remembered.
                said = Standing(await incident_of(self._state, identity))
                await self._tell(said.tell(from_alert(identity, name, service, at, related, labels)))
        return True

    async def _around(self, pipeline: SourcePipeline, at: datetime) -> TimeRange | None:
        """The windows around an alert that have been read; None while the alert's own window has not been."""
        checkpoint = await pipeline.checkpoint()
        if checkpoint is None or checkpoint.read_through < floor(at, pipeline.window) + pipeline.window:
            return None
        start = floor(at - BEFORE_ALERT, pipeline.window)
        end = min(floor(at + AFTER_ALERT, pipeline.window), checkpoint.read_through)
        return TimeRange(start, max(end, start))

    async def _open_on(self, services: set[str]) -> Incident | None:
        """An incident that is firing on one of the services."""
        firing = await incident_list(self._state, "firing", 1000)
        return next((i for i in firing if services & set(i.services)), None)

    async def _alert_resolved(self, alert: AlertTrigger) -> None:
        """What the alert alone had opened ends with it."""
        async with self.assembly.lock:
            incident = await incident_of(self._state, _alert_incident(alert))
            if incident and incident.status == "firing":
                told = resolved_by_hand(incident, None, alert.ends_at or self.assembly.clock.now())
                await self._tell(told)


def _alert_incident(alert: AlertTrigger) -> str:
    return f"a{stable_key(f'{alert.fingerprint}/{alert.starts_at.isoformat()}'):016x}"[:12]


def _service_of(alert: AlertTrigger) -> str:
    for name in ("service", "service_name", "app", "job", "deployment"):
        if alert.labels.get(name):
            return alert.labels[name][:200]
    return ""


def _delivery_status(delivery: Delivery) -> DeliveryStatus:
    outcome: Literal["delivered", "pending", "failed"] = "failed" if delivery.error else "delivered"
    at = moment(delivery.delivered_at) if delivery.delivered_at else None
    error = delivery.error
    return DeliveryStatus(delivery.sink, outcome, delivery.revision, at, delivery.attempts, error, delivery.peer)
