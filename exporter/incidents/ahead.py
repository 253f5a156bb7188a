"""Take back what was made of time that has not come: a clock that was ahead made windows of it look empty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from exporter.incidents.clusters import Cluster, bounded
from exporter.incidents.tracker import Told
from exporter.model import TimelineEntry


def taken_back(clusters: Iterable[Cluster], now: datetime) -> tuple[dict[str, Cluster], list[Told]]:
    """The clusters as far as they have been by `now`, by id, and that those are over which begin after it."""
    begun, told = {}, []
    for cluster in clusters:
        if cluster.starts_at <= now:
            members = tuple(replace(member, last=min(member.last, now)) for member in cluster.members)
            begun[cluster.id] = replace(cluster, members=members, last_seen=min(cluster.last_seen, now))
        elif cluster.incident and cluster.incident.status == "firing":
            entry = TimelineEntry(now, "taken back: the clock was ahead, and what it is about has not been yet")
            # A place that is told of an end which has not come yet keeps it until then.
            ended = replace(
                cluster.incident,
                status="resolved",
                starts_at=now,
                ends_at=now,
                timeline=bounded(cluster.incident.timeline, entry),
                revision=cluster.incident.revision + 1,
            )
            told.append(Told(ended, "resolved", now))
    return begun, told
