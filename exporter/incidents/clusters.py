"""Anomalies that belong together, whether or not they are an incident yet."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from exporter.incidents.members import MAX_EVIDENCE, Member, merge_contributions, merge_evidence, with_member
from exporter.model import Anomaly, Contribution, Evidence, Incident, Opening, Share, TimelineEntry, stable_key

MAX_TIMELINE = 50

MIN_STRENGTH = 2.0
"""Strength from which an incident may open when warm-up taught nothing stricter: one window of a
one-in-a-hundred score in two services, or two such windows in one."""


@dataclass(frozen=True)
class Cluster:
    """Anomalies that belong together, whether or not they are an incident yet."""

    id: str
    status: str
    members: tuple[Member, ...]
    starts_at: datetime
    last_seen: datetime
    ends_at: datetime | None = None
    incident: Incident | None = None
    contributions: tuple[Contribution, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    traces: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    anomalies: int = 0
    sampled: float = 1.0
    timeline: tuple[TimelineEntry, ...] = ()
    peak: float = 0.0
    """The greatest strength that it had before it first ended, and how long it had gone on by then."""
    held: timedelta = timedelta(0)
    opening: Opening | None = None

    @property
    def services(self) -> tuple[str, ...]:
        """Each once, in the order in which they joined."""
        return tuple(dict.fromkeys(member.service for member in self.members))

    @property
    def counting(self) -> tuple[Member, ...]:
        """The members on which it lives: where some fail, what is only odd keeps nothing open."""
        failing = tuple(member for member in self.members if member.fails)
        return failing or self.members

    @property
    def lasts(self) -> bool:
        """Whether it goes on until that is said to be over."""
        return self.incident is not None and any(member.lasts for member in self.counting)

    def quiet_at(self, keep_firing_for: timedelta) -> datetime:
        """When it has been quiet for long enough, unless it goes on."""
        return max(member.quiet_at(keep_firing_for) for member in self.counting)

    def strength(self, services: int = 1) -> float:
        """Persistence, breadth and score in one number: the sum over services of their strongest windows.

        Of many services some are always unusual at the same time: each but the first counts for what it has beyond
        the choice among them, as a scan statistic pays for the subsets that it may choose (Bonferroni).
        """
        first, *others = self.shares(services)
        return first.strength + sum(other.strength for other in others)

    def shares(self, services: int = 1) -> tuple[Share, ...]:
        """What each member brings to the strength, the strongest first."""
        ranked = sorted(((member.surprise, member) for member in self.members), key=lambda pair: -pair[0])
        counted = [
            found if rank == 0 else max(0.0, found - math.log10(services)) for rank, (found, _) in enumerate(ranked)
        ]
        return tuple(
            Share(member.source, member.service, strength, tuple(sorted(member.strongest)), member.views)
            for strength, (_, member) in zip(counted, ranked, strict=True)
        )


def new_cluster(anomaly: Anomaly) -> Cluster:
    """What is found of a window when its incident has ended long ago is another incident: a session that was idle for
    hours, absence after a long `late_window`."""
    key = f"{anomaly.source}/{anomaly.service}/{anomaly.window.isoformat()}"
    if anomaly.kind != "window":
        key = f"{key}/{anomaly.kind}/{anomaly.session or ''}"
    return Cluster(
        id=f"{stable_key(key):016x}"[:12],
        status="pending",
        members=(),
        starts_at=anomaly.window,
        last_seen=anomaly.ends_at,
    )


def join(cluster: Cluster, anomaly: Anomaly) -> Cluster:
    known = any(m.service == anomaly.service and m.source == anomaly.source for m in cluster.members)
    timeline = cluster.timeline
    if not known:
        timeline = bounded(timeline, _first_anomaly(anomaly))
    return replace(
        with_members(cluster, with_member(cluster.members, anomaly)),
        starts_at=min(cluster.starts_at, anomaly.window),
        contributions=merge_contributions(cluster.contributions, anomaly),
        evidence=merge_evidence(cluster.evidence, anomaly.evidence),
        traces=tuple(dict.fromkeys((*cluster.traces, *anomaly.traces)))[:MAX_EVIDENCE],
        hosts=tuple(dict.fromkeys((*cluster.hosts, *anomaly.hosts)))[:MAX_EVIDENCE],
        anomalies=cluster.anomalies + 1,
        sampled=min(cluster.sampled, anomaly.sampled),
        timeline=timeline,
    )


def with_members(cluster: Cluster, members: tuple[Member, ...]) -> Cluster:
    """Seen last when those were on which it lives."""
    grown = replace(cluster, members=members)
    return replace(grown, last_seen=max((member.last for member in grown.counting), default=cluster.last_seen))


def _first_anomaly(anomaly: Anomaly) -> TimelineEntry:
    """Told of the moment of the line that shows it, for within a window it is the line that was first."""
    text = anomaly.contributions[0].text if anomaly.contributions else anomaly.kind
    shown = anomaly.evidence[:1]
    at = max(anomaly.window, min([anomaly.ends_at, *(line.timestamp for line in shown)])) if shown else anomaly.window
    entry = f"first anomaly in {anomaly.source}: {text}"
    return TimelineEntry(at, entry, anomaly.service, tuple(line.id for line in shown))


def bounded(timeline: tuple[TimelineEntry, ...], entry: TimelineEntry) -> tuple[TimelineEntry, ...]:
    return (*timeline, entry) if len(timeline) < MAX_TIMELINE else timeline
