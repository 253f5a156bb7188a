"""Incidents that no anomaly makes: opened by an alert, ended by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from exporter.incidents.build import incident_of
from exporter.incidents.clusters import Cluster, bounded, join
from exporter.incidents.members import Member
from exporter.incidents.movers import first_movers, with_named
from exporter.incidents.tracker import Told
from exporter.model import Anomaly, Incident, Severity, TimelineEntry


def from_alert(
    identity: str, name: str, service: str, at: datetime, anomalies: Sequence[Anomaly], external: Mapping[str, str]
) -> Told:
    """The incident of an alert that somebody else raised, with what the logs around it show; maybe nothing."""
    cluster = Cluster(identity, "firing", (), at, at)
    for anomaly in anomalies:
        cluster = join(cluster, anomaly)
    if not cluster.members:
        cluster = replace(cluster, members=(Member("", service or name, at, at, 0, 0.0, (), Severity.UNSPECIFIED),))
    entry = TimelineEntry(at, f"alert {name} fired", service)
    cluster = replace(cluster, timeline=bounded(cluster.timeline, entry))
    suspects = with_named(first_movers(cluster), cluster.services, cluster.evidence) if anomalies else ()
    incident = incident_of(cluster, None, suspects, at, "opened", external)
    sources = tuple(source for source in incident.sources if source)
    return Told(
        replace(incident, revision=1, trigger=f"alert {name}", sources=sources), "opened", at, cluster.strength()
    )


def with_alert(incident: Incident, name: str, service: str, at: datetime) -> Told:
    """An alert that belongs to an incident which is open already: one more line of its story."""
    timeline = bounded(incident.timeline, TimelineEntry(at, f"alert {name} fired", service))
    ordered = tuple(sorted(timeline, key=lambda entry: entry.at))
    return Told(replace(incident, timeline=ordered, revision=incident.revision + 1), "updated", at)


def resolved_by_hand(incident: Incident, fix: str | None, at: datetime) -> Told:
    """Closed by a person, who may say what fixed it; a fix may also be added to one that has ended."""
    fixed = replace(incident, fix=fix or incident.fix, revision=incident.revision + 1)
    if incident.status == "resolved":
        return Told(fixed, "updated", at)
    ended = max(incident.updated_at, incident.starts_at)
    timeline = bounded(incident.timeline, TimelineEntry(at, "resolved by hand"))
    return Told(replace(fixed, status="resolved", ends_at=ended, timeline=timeline), "resolved", at)
