"""What was told of an incident stays: what its windows hold by now is told as a change of that."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from exporter.incidents.build import RANKS
from exporter.incidents.clusters import Cluster
from exporter.incidents.tracker import Told
from exporter.model import Change, Incident, TimelineEntry

NOTHING_LEFT = "late lines left too little of it"


def standing(incident: Incident, told: Incident | None, at: datetime) -> Incident:
    """An incident as its windows have it, with the name, the labels and the count of revisions that it was told by."""
    if told is None or told == incident:
        return incident
    severity = max(incident.severity, told.severity, key=lambda one: RANKS[one])
    retired = (told.labels,) if severity != told.severity else ()
    names = {"service": told.service, "severity": severity, "incident_id": told.id}
    return replace(
        incident,
        id=told.id,
        fingerprint=told.fingerprint,
        revision=told.revision,
        severity=severity,
        service=told.service,
        labels={**incident.labels, **names},
        retired_labels=(*told.retired_labels, *retired),
        retired_at=(*told.retired_at, *[at for _ in retired]),
        reopened=told.reopened + (told.status == "resolved" and incident.status == "firing"),
        fix=told.fix,
    )


class Standing:
    """What was told last of incidents, by id, while more is told."""

    def __init__(self, *told: Incident | None) -> None:
        self.last: dict[str, Incident] = {incident.id: incident for incident in told if incident}

    def tell(self, item: Told) -> Told:
        """News that windows make of an incident, as news to who was told of it before."""
        before = self.last.get(item.incident.id)
        if before is None:
            news = item
        else:
            incident = standing(item.incident, before, item.at)
            change = _change(before, incident) if item.change == "opened" else item.change
            news = replace(item, incident=replace(incident, revision=before.revision + 1), change=change)
        self.last[item.incident.id] = news.incident
        return news

    def correct(self, incident: Incident | None, identity: str, at: datetime) -> Told | None:
        """News where something else was told than is so, now that windows were read again; None: nothing is left."""
        before = self.last[identity]
        now = standing(incident, before, at) if incident else _withdrawn(before, at)
        if replace(now, updated_at=before.updated_at) == before:
            return None
        now = replace(now, revision=before.revision + 1)
        self.last[identity] = now
        return Told(now, _change(before, now), at)


def _change(before: Incident, now: Incident) -> Change:
    if before.status == now.status:
        return "updated"
    return "resolved" if now.status == "resolved" else "reopened"


def _withdrawn(told: Incident, at: datetime) -> Incident:
    if any(entry.text == NOTHING_LEFT for entry in told.timeline) and told.status == "resolved":
        return told
    timeline = (*told.timeline, TimelineEntry(at, NOTHING_LEFT))
    return replace(told, status="resolved", ends_at=told.ends_at or at, timeline=timeline)


def names(now: Mapping[str, Incident], told: Collection[Incident]) -> dict[str, str]:
    """Incidents that have another first window since late lines came, and so another id, by the id that was told."""
    lost = sorted((one for one in told if one.id not in now), key=lambda one: (one.starts_at, one.id))
    known = {one.id for one in told}
    free = sorted((one for one in now.values() if one.id not in known), key=lambda one: (one.starts_at, one.id))
    found: dict[str, str] = {}
    for before in lost:
        like = next((one for one in free if one.id not in found and _alike(one, before)), None)
        if like is not None:
            found[like.id] = before.id
    return found


def _alike(one: Incident, other: Incident) -> bool:
    apart = one.starts_at > other.last_seen or other.starts_at > one.last_seen
    return not apart and not set(one.services).isdisjoint(other.services)


def renamed(cluster: Cluster, identity: str) -> Cluster:
    incident = replace(cluster.incident, id=identity) if cluster.incident else None
    return replace(cluster, id=identity, incident=incident)
