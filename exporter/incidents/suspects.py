"""Rank the services of an incident by how likely each is the cause, from what their sources show of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from exporter.detection.scoring.windows import NOTHING
from exporter.incidents.clusters import Cluster
from exporter.incidents.movers import first_movers
from exporter.model import Suspect

BYSTANDER = 0.1
"""What the ranking of a service counts that has no anomaly of its own in the incident."""


def suspected(cluster: Cluster, rankings: Sequence[Sequence[Suspect]]) -> tuple[Suspect, ...]:
    """The services of an incident, and others that were unusual, by what each shows in its source and adds to it."""
    own, movers = _evidence_of(cluster), first_movers(cluster)
    first = {suspect.service: suspect.first_seen for suspect in movers}
    speaking = [
        [
            replace(s, weight=s.weight * own.get(s.service, BYSTANDER), first_seen=first.get(s.service, s.first_seen))
            for s in ranking
            if s.service in own or s.reason != NOTHING
        ]
        for ranking in rankings
    ]
    return merged_suspects([*speaking, _silent(movers, rankings, own)])


def _silent(
    members: Sequence[Suspect], rankings: Sequence[Sequence[Suspect]], own: Mapping[str, float]
) -> list[Suspect]:
    """Members that say nothing have no scores to be ranked by: they weigh what those that do weigh on average."""
    scores = {suspect.service: suspect.weight for ranking in rankings for suspect in ranking}
    known = [scores[service] for service in own if service in scores]
    usual = sum(known) / len(known) if known else 1.0
    return [replace(s, weight=usual * own[s.service]) for s in members if s.service not in scores]


def _evidence_of(cluster: Cluster) -> dict[str, float]:
    """The share of each service in what made the incident, errors weighing more; at least that of a bystander."""
    sums: dict[str, float] = {}
    for member in cluster.members:
        sums[member.service] = sums.get(member.service, 0.0) + member.surprise
    total = sum(sums.values()) or 1.0
    return {service: max(BYSTANDER, value / total) for service, value in sums.items()}


def merged_suspects(rankings: Sequence[Sequence[Suspect]]) -> tuple[Suspect, ...]:
    """One ranking of several sources' services: what a service weighs in its strongest source."""
    best: dict[str, Suspect] = {}
    for suspect in (suspect for ranking in rankings for suspect in ranking):
        known = best.get(suspect.service)
        if known is None or suspect.weight > known.weight:
            best[suspect.service] = suspect
    total = sum(suspect.weight for suspect in best.values()) or 1.0
    ranked = sorted(best.values(), key=lambda suspect: (-suspect.weight, suspect.service))
    return tuple(replace(suspect, weight=suspect.weight / total) for suspect in ranked)
