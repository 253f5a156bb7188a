"""What people and webhooks may ask of an installation: show, resolve, analyse an alert, note a change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from exporter.flow.group import incident_list, incident_row, news
from exporter.flow.source import SourcePipeline
from exporter.incidents.alerts import from_alert, resolved_by_hand, with_alert
from exporter.incidents.clusters import Cluster
from exporter.incidents.tracker import Told
from exporter.model import Anomaly, Incident, IncidentStatus, Report, Severity, TimeRange, Write, floor, stable_key
from exporter.model.questions import AlertTrigger, DeliveryStatus, IncidentRecord
from exporter.model.times import moment, seconds
from exporter.run.assembly import Assembly
from exporter.state.bodies import pack, unpack

MAX_WAITING_ALERTS = 500
"""Alerts that may wait for their analysis; more are refused, and Alertmanager sends them again."""

MAX_ALERTS_AT_ONCE = 20
"""Alerts that are analysed in one run; those whose logs cannot be read yet do not count, and hold nobody back."""

BEFORE_ALERT = timedelta(minutes=10)
AFTER_ALERT = timedelta(minutes=5)


class Operations:
    """Requests on one assembly; everything that it changes goes through the rows."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._state = assembly.state

    async def list_incidents(self, status: IncidentStatus | None, limit: int) -> Sequence[IncidentRecord]:
        """The newest first, with their reports."""
        found = await incident_list(self._state, status, limit)
        return [IncidentRecord(incident, await self._reports(incident.id)) for incident in found]

    async def incident(self, incident_id: str) -> IncidentRecord | None:
        """One incident with its reports and how far each sink is with it."""
        incident = await self._find(incident_id)
        if incident is None:
            return None
        return IncidentRecord(
            incident,
            await self._reports(incident.id),
            await self._deliveries(incident.id),
            self._assembly.links(incident),
        )

    async def _find(self, incident_id: str) -> Incident | None:
        rows = await self._state.read("SELECT body FROM incidents WHERE id = ? AND body != ''", (incident_id,))
        return unpack(Incident, rows[0][0]) if rows else None

    async def _reports(self, incident_id: str) -> tuple[Report, ...]:
        rows = await self._state.read("SELECT body FROM reports WHERE incident = ? ORDER BY writer", (incident_id,))
        return tuple(unpack(Report, body) for (body,) in rows)

    async def _deliveries(self, incident_id: str) -> tuple[DeliveryStatus, ...]:
        query = "SELECT sink, revision, delivered_at, attempts, error FROM deliveries WHERE incident = ? ORDER BY sink"
        rows = await self._state.read(query, (incident_id,))
        return tuple(_delivery_status(*row) for row in rows)

    async def resolve(self, incident_id: str, fix: str | None) -> IncidentRecord | None:
        """Close it by hand and remember what fixed it; None when there is no such incident."""
        async with self._assembly.lock:
            incident = await self._find(incident_id)
            if incident is None:
                return None
            safe = self._assembly.redactor.redact(fix)[:2000] if fix else None
            told = resolved_by_hand(incident, safe, self._assembly.clock.now())
            await self._tell(told)
        return await self.incident(incident_id)

    async def _tell(self, told: Told) -> None:
        """Commit a revision that no anomaly made; the cluster, if it is still open, carries it on."""
        incident = told.incident
        rows = await self._state.read("SELECT cluster FROM incidents WHERE id = ?", (incident.id,))
        text = rows[0][0] if rows else ""
        if text:
            cluster = replace(
                unpack(Cluster, text), status=incident.status, incident=incident, ends_at=incident.ends_at
            )
            text = pack(replace(cluster, timeline=incident.timeline))
        row = incident_row(incident, seconds(incident.updated_at), text)
        await self._state.write([row, news(told)])

    async def analyze(self, alert: AlertTrigger) -> Literal["accepted", "duplicate", "overloaded"]:
        """Keep an alert, durably, until its logs are analysed."""
        key = (alert.fingerprint, seconds(alert.starts_at), alert.status)
        query = "SELECT 1 FROM triggers WHERE fingerprint = ? AND starts_at = ? AND status = ?"
        if await self._state.read(query, key):
            return "duplicate"
        waiting = await self._state.read("SELECT COUNT(*) FROM triggers WHERE done = 0")
        if waiting[0][0] >= MAX_WAITING_ALERTS:
            return "overloaded"
        await self._state.write([self._trigger(alert, done=False)])
        return "accepted"

    def _trigger(self, alert: AlertTrigger, done: bool) -> Write:
        names = ("fingerprint", "starts_at", "status", "received_at", "done", "body")
        now = seconds(self._assembly.clock.now())
        row = (alert.fingerprint, seconds(alert.starts_at), alert.status, now, int(done), pack(alert))
        return Write("triggers", names, (row,))

    async def change(self, service: str, version: str, at: datetime) -> None:
        """Remember that a version of a service was deployed; it stands on the timeline of what follows."""
        row = (service[:200], seconds(at), version[:200])
        await self._state.write([Write("changes", ("service", "at", "version"), (row,))])

    async def analyze_waiting(self) -> int:
        """Analyse the alerts that wait. Returns how many were done; one whose logs cannot be read yet waits on."""
        rows = await self._state.read("SELECT body, received_at FROM triggers WHERE done = 0 ORDER BY received_at")
        done = 0
        for body, received_at in rows:
            if done == MAX_ALERTS_AT_ONCE:
                break
            alert = unpack(AlertTrigger, body)
            if alert.status == "resolved":
                await self._alert_resolved(alert)
            # What came before it began was sent by a clock that is ahead: it is about now.
            elif not await self._alert_fired(alert, min(alert.starts_at, moment(received_at))):
                continue
            await self._state.write([self._trigger(alert, done=True)])
            done += 1
        return done

    async def _alert_fired(self, alert: AlertTrigger, at: datetime) -> bool:
        """False while the logs around the alert, which is of that time, cannot be read yet."""
        service = _service_of(alert)
        name = self._assembly.redactor.redact(alert.labels.get("alertname", "alert"))[:200]
        anomalies: list[Anomaly] = []
        for pipeline in self._assembly.pipelines:
            span = await self._around(pipeline, at)
            if span is None:
                return False
            anomalies += await pipeline.preview(span)
        shown = [a for a in anomalies if a.contributions]
        # Alerts often name their service otherwise than its logs do: then what fails at that time is all that we know.
        related = [a for a in shown if a.service == service] or [a for a in shown if a.severity >= Severity.WARN]
        async with self._assembly.lock:
            open_one = await self._open_on({a.service for a in related} | ({service} if service else set()))
            if open_one:
                await self._tell(with_alert(open_one, name, service, at))
            else:
                identity = _alert_incident(alert)
                labels = self._assembly.config.external_labels
                await self._tell(from_alert(identity, name, service, at, related, labels))
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
        async with self._assembly.lock:
            incident = await self._find(_alert_incident(alert))
            if incident and incident.status == "firing":
                told = resolved_by_hand(incident, None, alert.ends_at or self._assembly.clock.now())
                await self._tell(told)


def _alert_incident(alert: AlertTrigger) -> str:
    return f"a{stable_key(f'{alert.fingerprint}/{alert.starts_at.isoformat()}'):016x}"[:12]


def _service_of(alert: AlertTrigger) -> str:
    for name in ("service", "service_name", "app", "job", "deployment"):
        if alert.labels.get(name):
            return alert.labels[name][:200]
    return ""


def _delivery_status(sink: str, revision: int, delivered_at: int, attempts: int, error: str) -> DeliveryStatus:
    outcome: Literal["delivered", "pending", "failed"] = "failed" if error else "delivered"
    at = moment(delivered_at) if delivered_at else None
    return DeliveryStatus(sink, outcome, revision, at, attempts, error)
