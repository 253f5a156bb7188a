"""The incident that a cluster makes: what a reader sees of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from exporter.incidents.clusters import MIN_STRENGTH, Cluster
from exporter.model import (
    OWN_NAME,
    Change,
    Contribution,
    Evidence,
    Incident,
    IncidentSeverity,
    Severity,
    Suspect,
    stable_key,
)

MAX_SUSPECTS = 10

RANKS: Mapping[IncidentSeverity, int] = {"info": 0, "warning": 1, "critical": 2}
"""An incident that was told never becomes less severe."""


def _severity(cluster: Cluster) -> IncidentSeverity:
    """From breadth and error words: several services with errors are critical, one is a warning."""
    failing = {m.service for m in cluster.members if m.severity >= Severity.ERROR}
    if any(m.severity >= Severity.FATAL for m in cluster.members) or len(failing) >= 3:
        return "critical"
    if failing or cluster.strength() >= 3 * MIN_STRENGTH:
        return "warning"
    return "info"


def fingerprint(service: str, contributions: Sequence[Contribution]) -> str:
    """What kind of failure this is: the service and its three most telling texts."""
    texts = sorted(c.text for c in contributions[:3])
    key = stable_key("\n".join((service, *texts)))
    return f"{key:016x}"


def incident_of(
    cluster: Cluster,
    before: Incident | None,
    suspects: tuple[Suspect, ...],
    at: datetime,
    change: Change,
    external: Mapping[str, str],
) -> Incident:
    cause = suspects[0].service if suspects else cluster.members[0].service
    contributions = _by_suspicion(cluster.contributions, suspects)
    severity = _severity(cluster)
    # What is only odd gets no worse by going on.
    if before and (RANKS[before.severity] > RANKS[severity] or not any(member.fails for member in cluster.members)):
        severity = before.severity
    service = before.service if before else cause
    labels = {
        **external,
        "alertname": "LogAnomaly",
        "service": service,
        "severity": severity,
        "source": OWN_NAME,
        "incident_id": cluster.id,
    }
    retired, retired_at = (before.retired_labels, before.retired_at) if before else ((), ())
    if before and before.severity != severity:
        retired, retired_at = (*retired, before.labels), (*retired_at, at)
    return Incident(
        id=cluster.id,
        fingerprint=before.fingerprint if before else fingerprint(cause, contributions),
        revision=before.revision if before else 0,
        status="resolved" if cluster.status == "resolved" else "firing",
        severity=severity,
        score=max(member.peak for member in cluster.members),
        service=service,
        services=cluster.services,
        sources=tuple(dict.fromkeys(member.source for member in cluster.members)),
        starts_at=cluster.starts_at,
        updated_at=at,
        ends_at=cluster.ends_at,
        labels=labels,
        contributions=contributions,
        evidence=_telling_first(cluster.evidence, suspects),
        suspects=suspects[:MAX_SUSPECTS],
        timeline=tuple(sorted(cluster.timeline, key=lambda entry: entry.at)),
        retired_labels=retired,
        retired_at=retired_at,
        reopened=(before.reopened if before else 0) + (change == "reopened"),
        merged_into=before.merged_into if before else None,
        fix=before.fix if before else None,
        anomalies=cluster.anomalies,
        sampled=cluster.sampled,
        opening=before.opening if before and before.opening else cluster.opening,
        peak=cluster.peak or None,
        held=cluster.held if cluster.peak else None,
        facts=before.facts if before else None,
    )


def _by_suspicion(contributions: Iterable[Contribution], suspects: Iterable[Suspect]) -> tuple[Contribution, ...]:
    """What speaks most of the likely causes first; symptoms elsewhere may be as strong."""
    weights = {suspect.service: suspect.weight for suspect in suspects}
    return tuple(sorted(contributions, key=lambda c: -c.share * weights.get(c.service, 0.0)))


def _telling_first(evidence: Iterable[Evidence], suspects: Iterable[Suspect]) -> tuple[Evidence, ...]:
    """What fails before what does not, each kind of line once before any twice, those of the likely cause first.

    Places with room for a few lines show the first.
    """
    ranks = {suspect.service: rank for rank, suspect in enumerate(suspects)}
    seen: Counter[tuple[str, str]] = Counter()
    keyed = []
    for line in evidence:
        kind = (line.service, line.template or line.body)
        keyed.append(((line.severity < Severity.WARN, seen[kind], ranks.get(line.service, len(ranks))), line))
        seen[kind] += 1
    return tuple(line for _, line in sorted(keyed, key=lambda pair: pair[0]))


def visible(incident: Incident) -> tuple[object, ...]:
    """What makes a new revision: a reader would see the difference."""
    cause = incident.suspects[0].service if incident.suspects else None
    known = incident.services, incident.sources, cause
    return incident.status, incident.severity, incident.reopened, incident.merged_into, *known
