"""What was told of an incident stays: what its windows hold by now is told as a change of that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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
        closed=told.closed if incident.status == "resolved" or told.withheld == "muted" else None,
        acknowledged=told.acknowledged,
        withheld=told.withheld,
        ruled_by=told.ruled_by,
    )


Ruled = Callable[[Told, Incident | None], tuple[Told, Incident]]
"""What people's rules make of news, beside what was told before: the news, and the incident as it is recorded."""


def recorded(incident: Incident, told: Incident | None, at: datetime) -> Incident:
    """An incident with the numbers of now, and as severe as it was told: what makes it severer is news of its own."""
    now = standing(incident, told, at)
    if told is None:
        return now
    return replace(
        now,
        severity=told.severity,
        labels={**now.labels, "severity": told.severity},
        retired_labels=told.retired_labels,
        retired_at=told.retired_at,
    )


class Standing:
    """What was told last of incidents, by id, while more is told, as rules of people have it."""

    def __init__(self, *told: Incident | None, ruled: Ruled = lambda news, _: (news, news.incident)) -> None:
        self.last: dict[str, Incident] = {incident.id: incident for incident in told if incident}
        self._ruled = ruled

    def tell(self, item: Told) -> Told:
        """News that windows make of an incident, as news to who was told of it before."""
        before = self.last.get(item.incident.id)
        if before is None:
            news = item
        else:
            incident = standing(item.incident, before, item.at)
            change = _change(before, incident) if item.change == "opened" else item.change
            news = replace(item, incident=replace(incident, revision=before.revision + 1), change=change)
        return self._say(news, before)

    def _say(self, news: Told, before: Incident | None) -> Told:
        told, self.last[news.incident.id] = self._ruled(news, before)
        return told

    def look(self, item: Told) -> Told | None:
        """News where rules that began or ended make another thing of what was told; None: they do not."""
        before = self.last.get(item.incident.id)
        if before is None:
            return None
        now = replace(standing(item.incident, before, item.at), revision=before.revision + 1)
        told, recorded = self._ruled(replace(item, incident=now), before)
        if (recorded.withheld, recorded.severity) == (before.withheld, before.severity):
            return None
        self.last[now.id] = recorded
        return told

    def correct(self, incident: Incident | None, identity: str, at: datetime) -> Told | None:
        """News where something else was told than is so, now that windows were read again; None: nothing is left."""
        before = self.last[identity]
        now = standing(incident, before, at) if incident else _withdrawn(before, at)
        if replace(now, updated_at=before.updated_at) == before:
            return None
        now = replace(now, revision=before.revision + 1)
        return self._say(Told(now, _change(before, now), at), before)


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
