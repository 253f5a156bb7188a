"""Say whose an anomaly is: by its service, traces and hosts, by whom failing lines name, and by what they say.

What fails by texts of its own is another failure than what fails by others, unless something links the two.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from enum import IntEnum

from exporter.incidents.clusters import Cluster
from exporter.incidents.members import Member, failing_texts, fails
from exporter.model import Anomaly, Evidence
from exporter.model.faults import fault_in

LATER = timedelta(minutes=20)
"""So long after a cluster was seen last what names it, is named by it, or carries its failing text is still its own."""


class Kin(IntEnum):
    """What links an anomaly to a cluster, the surest first."""

    OWN = 1
    TRACE = 2
    NAMED = 3
    HOST = 4
    TEXT = 5
    PEER = 6
    NEIGHBOUR = 7
    TIME = 8


_SAID_OF = r"(?:\b(?:to|from|with|for|host|upstream|peer|server|backend|broker|lookup|resolve|tcp)[\s=:\"'(]{1,3}|://)"
_ADDRESS = re.compile(
    rf"{_SAID_OF}(?:[^\s@/]{{1,80}}@)?((?:[a-z][a-z0-9_]*|(?:\d{{1,3}}\.){{3}}\d)[a-z0-9_.-]{{0,80}})(?![A-Z])"
)
"""Whom a complaint names, where it is said to be one: words, names of classes and amounts are none."""

HERE = ("localhost", "127.0.0.1")


def kin(cluster: Cluster, anomaly: Anomaly, join_within: timedelta) -> Kin | None:
    """What links an anomaly to a cluster that goes on, but for TIME; None: nothing does.

    A caller names whoever fails below it: a service that fails by texts of its own is not joined through a caller that
    also names another which does.
    """
    own = [member for member in cluster.members if member.service == anomaly.service]
    if own and _is_part(own, anomaly, join_within):
        return Kin.OWN
    if not set(cluster.traces).isdisjoint(anomaly.traces):
        return Kin.TRACE
    is_soon = anomaly.window <= cluster.last_seen + LATER
    if is_soon and _is_named(cluster, anomaly):
        return Kin.NAMED
    # Where a failure has many hosts, as where they are shared by all, having one of them says nothing.
    if len(cluster.hosts) == 1 and set(cluster.hosts) == set(anomaly.hosts):
        return Kin.HOST
    if not is_soon:
        return None
    shared = set(failing_texts(anomaly)) & {text for member in cluster.members for text in member.failing}
    if shared:
        return Kin.TEXT
    if _have_a_peer(cluster, anomaly):
        return Kin.PEER
    return Kin.NEIGHBOUR if _is_beside(cluster, anomaly) else None


def is_part(cluster: Cluster, anomaly: Anomaly, join_within: timedelta) -> bool:
    """Whether a service that a cluster has goes on with what it showed there."""
    own = [member for member in cluster.members if member.service == anomaly.service]
    return bool(own) and _is_part(own, anomaly, join_within)


def is_other(cluster: Cluster, anomaly: Anomaly) -> bool:
    """Whether both fail by texts, of which none is the same."""
    texts = {text for member in cluster.members for text in member.failing}
    return bool(texts) and bool(found := failing_texts(anomaly)) and texts.isdisjoint(found)


def _is_part(own: Sequence[Member], anomaly: Anomaly, join_within: timedelta) -> bool:
    """A service begins another failure where it fails by other texts, long after it came, and not as it was told to."""
    texts = failing_texts(anomaly)
    lasting = any(member.failing and anomaly.kind in member.lasts for member in own)
    goes_on = anomaly.lasts and anomaly.shows and lasting
    is_soon = any(anomaly.window <= member.first + join_within for member in own)
    alike = any(member.is_of_an_older_release or not set(texts).isdisjoint(member.failing) for member in own)
    return not texts or goes_on or is_soon or alike


def _is_named(cluster: Cluster, anomaly: Anomaly) -> bool:
    services = [service for service in cluster.services if service != anomaly.service]
    if named_in(anomaly.evidence, services).get(anomaly.service):
        return True
    named = named_in(cluster.evidence, [*services, anomaly.service])
    callers = [one for one, others in named.items() if anomaly.service in others]
    if not failing_texts(anomaly):
        return bool(callers)
    failing = {member.service for member in cluster.members if member.failing} - {anomaly.service}
    return any(failing.isdisjoint(named[caller]) for caller in callers)


def _have_a_peer(cluster: Cluster, anomaly: Anomaly) -> bool:
    """Whether both complain of one that is no part of it: a database, another company's API, a service without lines.

    Not through a caller that names a member which fails: it complains of whoever fails below it.
    """
    others = set(anomaly.neighbours) - {*cluster.services}
    peers = peers_in(anomaly.evidence, others)
    if not peers:
        return False
    failing = {member.service for member in cluster.members if member.failing}
    named = named_in(cluster.evidence, cluster.services)
    own = [line for line in cluster.evidence if failing.isdisjoint(named.get(line.service, ()))]
    return not peers.isdisjoint(peers_in(own, others))


def _is_beside(cluster: Cluster, anomaly: Anomaly) -> bool:
    """Whether it fails by no text of its own, and is in touch with who fails in an incident that has opened; or, where
    nobody says so, with who was first: what it shows came of that. By itself it opens none."""
    if cluster.incident is None or failing_texts(anomaly):
        return False
    roots = [member for member in cluster.members if member.failing] or [
        member for member in cluster.members if member.first == cluster.starts_at
    ]
    return not {member.service for member in roots}.isdisjoint(anomaly.neighbours)


def peers_in(evidence: Iterable[Evidence], services: Collection[str] = ()) -> set[str]:
    """The addresses of which failing lines say that nobody answers there, or badly, but for this machine's own; and
    which of these services they name so.

    A name counts where it has more than letters: two that lose "the database" may each have one.
    """
    complaints = [line for line in evidence if fails(line) and (one := fault_in(line.body)) and one.role == "peer"]
    found = (name.rstrip(".-_") for line in complaints for name in _ADDRESS.findall(line.body))
    named = named_in(complaints, services)
    return {name for name in found if not name.isalpha() and name not in HERE}.union(*named.values())


def roots_first(batch: Sequence[Anomaly]) -> list[Anomaly]:
    """What becomes known at one moment, whoever is named by failing lines of others before these."""
    own: dict[str, list[Anomaly]] = {}
    for anomaly in batch:
        own.setdefault(anomaly.service, []).append(anomaly)
    named = named_in((line for anomaly in batch for line in anomaly.evidence), list(own))
    ordered: dict[str, None] = {}
    for service in own:
        # A path from a caller to whom it names, and back; whoever is on it already names in a circle.
        path = [service]
        while path:
            waits = [n for n in sorted(named.get(path[-1], ())) if n not in ordered and n not in path]
            if waits:
                path.append(waits[0])
            else:
                ordered[path.pop()] = None
    return [anomaly for service in ordered for anomaly in own[service]]


def named_in(evidence: Iterable[Evidence], services: Collection[str]) -> Mapping[str, set[str]]:
    """Which of these services, and not themselves, the failing lines of each service name."""
    found: dict[str, set[str]] = {}
    lines = [line for line in evidence if fails(line)]
    if not services or not lines:
        return found
    longest_first = sorted(services, key=lambda name: (-len(name), name))
    name = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])")
    for line in lines:
        found.setdefault(line.service, set()).update({*name.findall(line.body)} - {line.service})
    return found
