"""Clusters through event time: anomalies join, incidents open, continue, resolve and reopen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby

from exporter.incidents.blame import blamed, steady, turned
from exporter.incidents.build import incident_of, visible
from exporter.incidents.clusters import Cluster, bounded, join, new_cluster, with_members
from exporter.incidents.kinship import Kin, is_other, is_part, kin, roots_first
from exporter.incidents.members import MAX_EVIDENCE, with_end
from exporter.incidents.movers import first_movers, with_named
from exporter.incidents.settings import IncidentSettings
from exporter.model import (
    ENDS,
    Anomaly,
    Change,
    Evidence,
    Facts,
    Incident,
    NearMiss,
    Opening,
    Past,
    Release,
    Share,
    Suspect,
    TimelineEntry,
    TimeRange,
)
from exporter.wording.words import RELEASED

RELEASE_BEFORE = timedelta(hours=1)
"""A deployment this long before an incident stands on its timeline."""


@dataclass(frozen=True)
class Told:
    """A revision of an incident and what changed with it."""

    incident: Incident
    change: Change
    at: datetime
    strength: float = 0.0
    shares: tuple[Share, ...] = ()
    """What its services bring to the strength at that moment."""


RANKED = timedelta(hours=1)
"""From its first windows who is the cause is told: what shows of it later came of it."""

MAX_SHARES = 20
"""Services whose part in the strength of an incident is kept."""

MAX_REASONS = 5
"""Findings that are kept of what became no incident."""

Pasts = Callable[[str, datetime], Past | None]

Localise = Callable[[TimeRange, Cluster], tuple[Suspect, ...]]

Tell = Callable[[Cluster, Sequence[Suspect], datetime], tuple[Facts, tuple[Evidence, ...]]]
"""What is known of a cluster at a moment, and the lines that carry it, the decisive one first."""


def advance(
    clusters: Iterable[Cluster],
    anomalies: Iterable[Anomaly],
    until: datetime,
    settings: IncidentSettings,
    threshold: float,
    labels: Mapping[str, str],
    localise: Localise | None = None,
    releases: Sequence[Release] = (),
    services: int = 1,
    past: Pasts | None = None,
    missed: Callable[[NearMiss], None] | None = None,
    tell: Tell | None = None,
    warm: Mapping[str, datetime] | None = None,
) -> tuple[dict[str, Cluster], list[Told]]:
    """Take in, in order of event time, what has become known up to `until`.

    `releases` stand on the timeline of the incidents that follow them in the same service. `past` is what a source is
    compared with at a moment, for the account of why an incident opened; `missed` is given what became none. `warm`
    says up to when each source was only learnt from: of what lasted before nobody will say any more that it is over.
    Returns the clusters that are still of interest, by id, and what there is to tell, in order.
    """
    tracker = _Tracker(
        {cluster.id: cluster if warm is None else _lapsed(cluster, warm) for cluster in clusters},
        settings,
        threshold,
        labels,
        localise,
        tuple(releases),
        services,
        past,
        missed,
        tell,
    )
    ordered = sorted(anomalies, key=lambda a: (a.reached, a.window, a.source, a.service, a.kind, a.session or ""))
    for reached, batch in groupby(ordered, key=lambda a: a.reached):
        tracker.expire(reached)
        tracker.take(list(batch), reached)
    tracker.expire(until)
    return tracker.clusters, tracker.told


class _Tracker:
    """The clusters while they advance."""

    def __init__(
        self,
        clusters: dict[str, Cluster],
        settings: IncidentSettings,
        threshold: float,
        labels: Mapping[str, str],
        localise: Localise | None,
        releases: tuple[Release, ...],
        services: int,
        past: Pasts | None,
        missed: Callable[[NearMiss], None] | None,
        tell: Tell | None,
    ) -> None:
        self.tell = tell
        self.past = past
        self.missed = missed
        self.releases = releases
        self.services = services
        self.clusters = clusters
        self.settings = settings
        self.threshold = threshold
        self.labels = labels
        self.localise = localise
        self.told: list[Told] = []

    def expire(self, now: datetime) -> None:
        """End what has been quiet for long enough, in order of its end."""
        ends = {key: cluster.quiet_at(self.settings.keep_firing_for) for key, cluster in self.clusters.items()}
        for cluster in sorted(self.clusters.values(), key=lambda c: (ends[c.id], c.id)):
            deadline = ends[cluster.id]
            if cluster.status != "resolved" and cluster.lasts:
                continue
            if cluster.status != "resolved" and deadline <= now:
                self._end(cluster, deadline)
            if deadline + self.settings.reopen_within <= now:
                self.clusters.pop(cluster.id, None)

    def _end(self, cluster: Cluster, deadline: datetime) -> None:
        if cluster.incident is None:
            del self.clusters[cluster.id]
            if cluster.opening and self.missed:
                self.missed(_near_miss(cluster, cluster.opening))
            return
        ended = replace(cluster, status="resolved", ends_at=cluster.last_seen)
        self._tell(ended, "resolved", deadline)

    def take(self, batch: Sequence[Anomaly], now: datetime) -> None:
        """Join each anomaly to a cluster, then open or update those that changed."""
        touched: dict[str, None] = {}
        for anomaly in roots_first([one for one in batch if one.kind != "gap" and one.kind not in ENDS]):
            home = self._home(anomaly)
            if home is None and anomaly.shows and anomaly.contributions:
                home = new_cluster(anomaly)
            # What was in earlier windows, and is over, opens nothing again; nor does what has no reason of its own.
            if home is None or (home.status == "resolved" and not anomaly.shows):
                continue
            self.clusters[home.id] = join(home, anomaly)
            touched[home.id] = None
        for end in (one for one in batch if one.kind in ENDS):
            for cluster in self.clusters.values():
                self.clusters[cluster.id] = with_members(cluster, with_end(cluster.members, end))
        for identity in touched:
            self._judge(self.clusters[identity], now)

    def _home(self, anomaly: Anomaly) -> Cluster | None:
        alive = [(found, c) for c in self.clusters.values() if (found := self._kin(c, anomaly)) is not None]
        alive.sort(key=lambda one: (one[1].status == "resolved", one[0], one[1].incident is None, _age(one[1])))
        return alive[0][1] if alive else None

    def _kin(self, cluster: Cluster, anomaly: Anomaly) -> Kin | None:
        """What links it to a cluster, whichever source it is from; what ended is reopened by its own only.

        What a source brings late belongs to what was then, also where that has ended.
        """
        own = is_part(cluster, anomaly, self.settings.join_within)
        margin = self.settings.join_within
        if anomaly.ends_at < cluster.starts_at - (self.settings.reopen_within if own else margin):
            return None
        if own or (cluster.status == "resolved" and anomaly.ends_at > cluster.last_seen):
            return Kin.OWN if own else None
        found = kin(cluster, anomaly, margin)
        if found is None and anomaly.window <= cluster.starts_at + margin and self._no_chance(anomaly):
            # Two that fail by themselves have one cause where they begin together: else there are two failures.
            return None if is_other(cluster, anomaly) and anomaly.window != cluster.starts_at else Kin.TIME
        return found

    def _no_chance(self, anomaly: Anomaly) -> bool:
        """Whether less than one service is expected to be so unusual by chance in the time in which others join."""
        windows = 2 * self.settings.join_within / max(anomaly.duration, timedelta(minutes=1))
        return (1.0 - anomaly.score) * self.services * windows < 1.0

    def _judge(self, cluster: Cluster, now: datetime) -> None:
        strength, held = cluster.strength(self.services), cluster.last_seen - cluster.starts_at
        pending = cluster.incident is None
        account = self._opening(cluster, strength, held, now) if pending else None
        if strength >= cluster.peak:
            cluster = replace(cluster, opening=account or cluster.opening)
        if cluster.status != "resolved" and not (cluster.incident and cluster.incident.reopened):
            # Until it first ends: what came back later would have found nothing to reopen, had it not opened.
            cluster = replace(cluster, peak=max(strength, cluster.peak), held=held)
        self.clusters[cluster.id] = cluster
        if pending:
            if held >= self.settings.for_ and strength >= self.threshold:
                self._tell(replace(cluster, status="firing", opening=account), "opened", now)
        elif cluster.status == "resolved" and (cluster.lasts or cluster.quiet_at(self.settings.keep_firing_for) > now):
            self._tell(replace(cluster, status="firing", ends_at=None), "reopened", now)
        elif cluster.status == "resolved":
            # What comes so late that it would have ended again by now changes the story only.
            self._tell(replace(cluster, ends_at=cluster.last_seen), "updated", now)
        else:
            self._tell(cluster, "updated", now)

    def _opening(self, cluster: Cluster, strength: float, held: timedelta, now: datetime) -> Opening:
        """The account of a cluster at this moment."""
        shares = tuple(share for share in cluster.shares(self.services) if share.strength)[:MAX_SHARES]
        sources = sorted({member.source for member in cluster.members})
        return Opening(
            at=now,
            strength=strength,
            threshold=self.threshold,
            lasted=held,
            required=self.settings.for_,
            among=self.services,
            shares=shares,
            past=tuple(known for source in sources if self.past and (known := self.past(source, cluster.starts_at))),
        )

    def _tell(self, cluster: Cluster, change: Change, at: datetime) -> None:
        """Build the incident anew; it is told when a reader would see a difference."""
        entry = {"opened": "incident opened", "reopened": "incident reopened", "resolved": "incident resolved"}.get(
            change
        )
        if entry:
            cluster = replace(cluster, timeline=bounded(cluster.timeline, TimelineEntry(at, entry)))
        cluster = self._with_releases(cluster)
        before = cluster.incident
        suspects = before.suspects if before and change == "resolved" else self._suspects(cluster, before)
        incident = incident_of(cluster, before, suspects, at, change, self.labels)
        if before is None or visible(before) != visible(incident):
            incident = self._with_facts(incident, cluster, before, at, change)
        if before is None or visible(before) != visible(incident):
            if before and (turn := turned(before.suspects, incident.suspects, at)):
                cluster = replace(cluster, timeline=bounded(cluster.timeline, turn))
                incident = replace(incident, timeline=tuple(sorted(cluster.timeline, key=lambda entry: entry.at)))
            incident = replace(incident, revision=(before.revision if before else 0) + 1)
            shares = cluster.shares(self.services)
            self.told.append(Told(incident, change, at, sum(one.strength for one in shares), shares))
        elif before.facts:
            incident = _led_by(before.evidence, incident)
        self.clusters[cluster.id] = replace(cluster, incident=incident)

    def _suspects(self, cluster: Cluster, before: Incident | None) -> tuple[Suspect, ...]:
        """The services by how likely each is the cause, by what is known of it so far."""
        last = min(cluster.last_seen, cluster.starts_at + RANKED)
        span = TimeRange(cluster.starts_at, max(last, cluster.starts_at))
        ranked = (self.localise(span, cluster) if self.localise else ()) or first_movers(cluster)
        suspects = steady(before.suspects if before else (), with_named(ranked, cluster.services, cluster.evidence))
        return blamed(suspects, before.facts) if before and before.facts else suspects

    def _with_facts(
        self, incident: Incident, cluster: Cluster, before: Incident | None, at: datetime, change: Change
    ) -> Incident:
        """With what is known by now, and the lines that carry it before all others."""
        if self.tell is None:
            return incident
        facts, lines = self.tell(cluster, incident.suspects, at)
        blames = incident.suspects if change == "resolved" else blamed(incident.suspects, facts)
        told = incident_of(cluster, before, blames, at, change, self.labels)
        return _led_by(lines, replace(told, facts=facts))

    def _with_releases(self, cluster: Cluster) -> Cluster:
        """Deployments of its services from a while before it began."""
        timeline = cluster.timeline
        for release in self.releases:
            entry = TimelineEntry(release.at, f"version {release.version}{RELEASED}", release.service)
            near = cluster.starts_at - RELEASE_BEFORE <= release.at <= cluster.last_seen
            if near and (not release.service or release.service in cluster.services) and entry not in timeline:
                timeline = bounded(timeline, entry)
        return replace(cluster, timeline=timeline)


def _led_by(lines: Iterable[Evidence], incident: Incident) -> Incident:
    """With these lines before its own: what was told cites them."""
    first = {line.id: line for line in (*lines, *incident.evidence)}
    return replace(incident, evidence=tuple(first.values())[:MAX_EVIDENCE])


def _age(cluster: Cluster) -> tuple[datetime, str]:
    return cluster.starts_at, cluster.id


def _lapsed(cluster: Cluster, warm: Mapping[str, datetime]) -> Cluster:
    """What lasted in sources that are gone, or were learnt anew since, ends as what does not last."""
    members = tuple(
        replace(member, lasts=()) if member.lasts and not warm.get(member.source, member.last) < member.last else member
        for member in cluster.members
    )
    return cluster if members == cluster.members else replace(cluster, members=members)


def _near_miss(cluster: Cluster, opening: Opening) -> NearMiss:
    strongest = sorted(cluster.contributions, key=lambda finding: -finding.share)[:MAX_REASONS]
    return NearMiss(
        id=cluster.id,
        service=opening.shares[0].service if opening.shares else cluster.members[0].service,
        services=cluster.services[:MAX_SHARES],
        starts_at=cluster.starts_at,
        ends_at=cluster.last_seen,
        reason="weak" if opening.strength < opening.threshold else "short",
        opening=opening,
        contributions=tuple(strongest),
    )
