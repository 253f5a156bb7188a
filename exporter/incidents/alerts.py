"""Incidents that no anomaly makes: opened by an alert, ended by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from exporter.incidents.build import incident_of
from exporter.incidents.clusters import Cluster, bounded, join
from exporter.incidents.members import Member
from exporter.incidents.movers import first_movers, with_named
from exporter.incidents.tracker import Told
from exporter.model import Anomaly, Closing, Incident, Past, PermanentError, Severity, TimelineEntry

_ALERT = re.compile("alert .* fired(?:: .*)?", re.DOTALL)


class Fired(NamedTuple):
    """An alert: its name, its service, the moment at which it fired, and what it says of itself."""

    name: str
    service: str
    at: datetime
    summary: str = ""


def from_alerts(
    identity: str,
    fired: Sequence[Fired],
    anomalies: Sequence[Anomaly],
    external: Mapping[str, str],
    looked: Sequence[Past] = (),
) -> Told:
    """The incident of alerts that somebody else raised, with what the logs around them show; maybe nothing.

    looked: the logs that were compared with their past.
    """
    name, service, at, summary = fired[0]
    cluster = Cluster(identity, "firing", (), at, at)
    for anomaly in anomalies:
        cluster = join(cluster, anomaly)
    if not cluster.members:
        cluster = replace(cluster, members=(Member("", service or name, at, at, 0, 0.0, (), Severity.UNSPECIFIED),))
    for entry in _entries(fired):
        cluster = replace(cluster, timeline=bounded(cluster.timeline, entry))
    suspects = with_named(first_movers(cluster), cluster.services, cluster.evidence) if anomalies else ()
    incident = incident_of(cluster, None, suspects, at, "opened", external)
    sources = tuple(source for source in incident.sources if source)
    own = replace(incident, revision=1, trigger=f"alert {name}", sources=sources, summary=summary, looked=tuple(looked))
    return Told(own, "opened", at, cluster.strength())


def with_alerts(incident: Incident, fired: Sequence[Fired]) -> Told:
    """Alerts that belong to an incident which is open already: some more lines of its story."""
    timeline = incident.timeline
    for entry in _entries(fired):
        timeline = bounded(timeline, entry)
    ordered = tuple(sorted(timeline, key=lambda entry: entry.at))
    return Told(replace(incident, timeline=ordered, revision=incident.revision + 1), "updated", fired[0].at)


def _entries(fired: Sequence[Fired]) -> list[TimelineEntry]:
    """A line for each alert of a name and service: many instances of one are one line."""
    first: dict[tuple[str, str], Fired] = {}
    for one in fired:
        known = first.setdefault((one.name, one.service), one)
        first[one.name, one.service] = known if known.at <= one.at else one
    return [TimelineEntry(one.at, _said(f"alert {one.name} fired", one.summary), one.service) for one in first.values()]


BY_HAND = "resolved by hand"

_PEOPLE = re.compile("resolved by hand|(?:resolved|accepted|rejected|acknowledged|note) by .*", re.DOTALL)


def carried_on(cluster: Cluster, told: Incident) -> Cluster:
    """What people and alerts said of an incident stays when its windows are grouped again."""
    said = [entry for entry in told.timeline if _PEOPLE.fullmatch(entry.text) or _ALERT.fullmatch(entry.text)]
    for entry in said:
        if entry not in cluster.timeline:
            cluster = replace(cluster, timeline=bounded(cluster.timeline, entry))
    if cluster.incident is None or not said:
        return cluster
    incident = replace(cluster.incident, timeline=tuple(sorted(cluster.timeline, key=lambda entry: entry.at)))
    if told.status == "resolved" and (told.closed or said[-1].text == BY_HAND):
        ended = replace(incident, status="resolved", ends_at=told.ends_at)
        return replace(cluster, status="resolved", ends_at=told.ends_at, incident=ended)
    return replace(cluster, incident=incident)


def closed(incident: Incident, closing: Closing, fix: str | None, at: datetime) -> Told:
    """Ended by a person, who says how; so may one be that has ended by itself."""
    told = resolved_by_hand(incident, fix, at)
    if not closing.by:
        return told
    entry = TimelineEntry(at, _said(f"{closing.verdict} by {closing.by}", closing.reason))
    said = tuple(one for one in told.incident.timeline if one.text != BY_HAND)
    return replace(told, incident=replace(told.incident, closed=closing, timeline=bounded(said, entry)))


def noted(incident: Incident, what: str, text: str, at: datetime) -> Told:
    """Somebody says something of an incident: it stands in its story."""
    timeline = bounded(incident.timeline, TimelineEntry(at, _said(what, text)))
    return Told(replace(incident, timeline=timeline, revision=incident.revision + 1), "updated", at)


def unfixed(incident: Incident, by: str, reason: str, at: datetime) -> Told:
    """What was said to have fixed it is taken back. Raises PermanentError where nothing was."""
    if not incident.fix:
        raise PermanentError(f"incident {incident.id} has no fix to take back")
    return noted(replace(incident, fix=None), f"fix taken back by {by}", reason, at)


def _said(what: str, text: str) -> str:
    return f"{what}: {text}" if text else what


def resolved_by_hand(incident: Incident, fix: str | None, at: datetime) -> Told:
    """Closed by a person, who may say what fixed it; a fix may also be added to one that has ended."""
    fixed = replace(incident, fix=fix or incident.fix, revision=incident.revision + 1)
    if incident.status == "resolved":
        return Told(fixed, "updated", at)
    ended = max(incident.updated_at, incident.starts_at)
    timeline = bounded(incident.timeline, TimelineEntry(at, BY_HAND))
    return Told(replace(fixed, status="resolved", ends_at=ended, timeline=timeline), "resolved", at)
