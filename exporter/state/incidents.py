"""Incidents, the clusters that they are made from, their reports, and how strong an incident must be to open."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from exporter.model import RULES, Incident, IncidentStatus, NearMiss, Report, SqlValue, TimeRange, Write
from exporter.model.times import moment, seconds
from exporter.state.aside import readable
from exporter.state.bodies import pack
from exporter.state.file import Rows, meta_row

C = TypeVar("C")

_COLUMNS = ("id", "status", "revision", "service", "starts_at", "updated_at", "body", "cluster")


def incident_row(incident: Incident, updated_at: datetime, cluster: Any = None) -> Write:
    """The row of an incident; without a cluster no anomaly can join it any more."""
    return _row(incident.id, incident.status, incident.service, incident.starts_at, updated_at, incident, cluster)


def pending_row(identity: str, service: str, starts_at: datetime, updated_at: datetime, cluster: Any) -> Write:
    """The row of a cluster that is no incident yet."""
    return _row(identity, "pending", service, starts_at, updated_at, None, cluster)


def _row(
    identity: str,
    status: str,
    service: str,
    starts_at: datetime,
    updated_at: datetime,
    incident: Incident | None,
    cluster: Any,
) -> Write:
    row: tuple[SqlValue, ...] = (
        identity,
        status,
        incident.revision if incident else 0,
        service,
        seconds(starts_at),
        seconds(updated_at),
        pack(incident) if incident else "",
        pack(cluster) if cluster else "",
    )
    return Write("incidents", _COLUMNS, (row,))


def without_cluster(identity: str) -> Write:
    """Forget a cluster that became no incident."""
    return Write("incidents", ("id",), ((identity,),), delete=True)


async def incident_list(rows: Rows, status: IncidentStatus | None = None, limit: int = 100) -> list[Incident]:
    """Incidents, the newest first."""
    query = "SELECT id, body FROM incidents WHERE body != ''" + (" AND status = ?" if status else "")
    found = await rows.read(f"{query} ORDER BY starts_at DESC LIMIT ?", (*([status] if status else []), limit))
    return _readable(rows, Incident, found)


async def incident_of(rows: Rows, identity: str) -> Incident | None:
    found = await rows.read("SELECT body FROM incidents WHERE id = ? AND body != ''", (identity,))
    return readable(rows, "incidents", identity, Incident, found[0][0]) if found else None


async def revision_of(rows: Rows, identity: str) -> int | None:
    """The newest revision of an incident."""
    found = await rows.read("SELECT revision FROM incidents WHERE id = ?", (identity,))
    return int(found[0][0]) if found else None


async def firing_count(rows: Rows) -> int:
    found = await rows.read("SELECT COUNT(*) FROM incidents WHERE status = 'firing'")
    return int(found[0][0])


async def clusters_of(rows: Rows, kind: type[C]) -> list[C]:
    """The clusters that anomalies may still join."""
    return _readable(rows, kind, await rows.read("SELECT id, cluster FROM incidents WHERE cluster != ''"))


async def cluster_of(rows: Rows, identity: str, kind: type[C]) -> C | None:
    """The cluster of an incident, while anomalies may join it."""
    found = await rows.read("SELECT cluster FROM incidents WHERE id = ? AND cluster != ''", (identity,))
    return readable(rows, "incidents", identity, kind, found[0][0]) if found else None


def _readable(rows: Rows, kind: type[C], found: Iterable[tuple[str, str]]) -> list[C]:
    values = (readable(rows, "incidents", identity, kind, body) for identity, body in found)
    return [value for value in values if value is not None]


def report_row(report: Report, writer: str) -> Write:
    """The newest report of each writer on an incident."""
    row = (report.incident, writer, report.revision, pack(report))
    return Write("reports", ("incident", "writer", "revision", "body"), (row,))


async def reports_of(rows: Rows, identity: str) -> tuple[Report, ...]:
    """The newest report of each writer, the rules' last."""
    query = "SELECT body FROM reports WHERE incident = ? ORDER BY writer = ?, writer"
    found = [readable(rows, "reports", identity, Report, body) for (body,) in await rows.read(query, (identity, RULES))]
    return tuple(report for report in found if report is not None)


def near_miss_row(found: NearMiss) -> Write:
    """What came near to an incident; `ratio` is its strength against the threshold of that moment."""
    ratio = found.opening.strength / max(found.opening.threshold, 1e-9)
    return Write(
        "near_misses", ("id", "ends_at", "ratio", "body"), ((found.id, seconds(found.ends_at), ratio, pack(found)),)
    )


def without_near_misses(ids: Iterable[str]) -> Write:
    """Forget near misses that are none any more."""
    return Write("near_misses", ("id",), tuple((identity,) for identity in sorted(ids)), delete=True)


async def near_misses(rows: Rows, limit: int) -> list[NearMiss]:
    """What became no incident, that which came nearest first."""
    query = "SELECT id, body FROM near_misses ORDER BY ratio DESC, ends_at DESC, id LIMIT ?"
    found = [readable(rows, "near_misses", key, NearMiss, body) for key, body in await rows.read(query, (limit,))]
    return [miss for miss in found if miss is not None]


@dataclass(frozen=True)
class Calibration:
    """What warm-up set: the strength from which an incident opens, for which budget, among how many services."""

    threshold: float
    services: int
    budget: str
    learnt: Mapping[str, TimeRange]
    """What each source had learnt from."""

    def holds(self, budget: str, sources: Collection[str], learnt: Mapping[str, TimeRange]) -> bool:
        """Whether it is what would be set now, with these sources, of which those in `learnt` are not learning."""
        current = all(self.learnt.get(source) == span for source, span in learnt.items() if source in sources)
        return current and self.learnt.keys() <= set(sources) and self.budget in ("", budget)


async def calibration(rows: Rows) -> Calibration | None:
    """What was set last; None before warm-up has ended."""
    threshold = await rows.meta("alarm_threshold")
    if threshold is None:
        return None
    services, budget = await rows.meta("alarm_services"), await rows.meta("alarm_budget")
    learnt = json.loads(await rows.meta("alarm_learnt") or "{}")
    spans = {source: TimeRange(*map(moment, span)) for source, span in learnt.items()}
    return Calibration(float(threshold), int(services or 1), budget or "", spans)


def calibration_rows(found: Calibration) -> list[Write]:
    learnt = {source: (seconds(span.start), seconds(span.end)) for source, span in found.learnt.items()}
    return [
        meta_row("alarm_learnt", json.dumps(learnt)),
        meta_row("alarm_threshold", repr(found.threshold)),
        meta_row("alarm_services", str(found.services)),
        meta_row("alarm_budget", found.budget),
    ]


def uncalibrated_row() -> Write:
    names = ("alarm_threshold", "alarm_services", "alarm_budget", "alarm_learnt")
    return Write("meta", ("key",), tuple((name,) for name in names), delete=True)


async def grouped_through(rows: Rows) -> datetime | None:
    """How far anomalies have been grouped, in event time."""
    value = await rows.meta("grouped_through")
    return moment(int(value)) if value is not None else None


def grouped_row(horizon: datetime) -> Write:
    return meta_row("grouped_through", str(seconds(horizon)))
