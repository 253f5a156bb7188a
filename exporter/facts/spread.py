"""Whence the lines come that decide: of one host, version or instance of several, or of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from exporter.facts.groups import Group
from exporter.facts.observed import Lines, Observed
from exporter.model.facts import PlaceKind, Places, Spread

NEARLY_ALL = 0.9
"""Share of the lines that one host, version or instance has where it is named."""

BY_CHANCE = 0.01
"""How likely it may be at most that so many lines come from one place because most lines of the service do."""

LEAST_LINES = 3

MOST_PLACES = 12
"""Hosts, versions, or instances, that are listed."""


def spread(group: Group, windows: Sequence[Observed]) -> Iterator[Spread]:
    """Of lines that say the same, by the windows in which their service fails."""
    found = (_of(what, group.service, *counted) for what, counted in _counted(group, windows))
    yield from filter(None, found)


def places(group: Group, windows: Sequence[Observed]) -> Iterator[Places]:
    """All hosts, versions and instances of which such lines come, and those of their service of which none come."""
    for what, (failed, every) in _counted(group, windows):
        if len(every) > 1 and failed:
            names = sorted(every | failed, key=lambda name: (-failed[name], -every[name], name))
            counts = tuple((name, failed[name], every[name]) for name in names[:MOST_PLACES])
            yield Places(what, group.service, counts, max(0, len(names) - MOST_PLACES))


def _counted(
    group: Group, windows: Sequence[Observed]
) -> Iterator[tuple[PlaceKind, tuple[Counter[str], Counter[str]]]]:
    """Lines that say it, and all lines of their service, of each host, of each version and of each instance."""
    run = group.run(group.since)
    own = [place for one in windows for place in one.places if place.service == group.service]
    hosts = _summed(place.hosts for place in own)
    yield "host", (_summed(seen.hosts for seen in run), hosts)
    yield "version", (_summed(seen.versions for seen in run), _summed(place.versions for place in own))
    instances = _summed(place.instances for place in own)
    # Where each host has one, they would say the same again.
    if len(instances) != len(hosts):
        yield "instance", (_summed(seen.instances for seen in run), instances)


def _of(what: PlaceKind, service: str, failed: Counter[str], every: Counter[str]) -> Spread | None:
    lines = failed.total()
    if lines < LEAST_LINES or len(every) < 2:
        return None
    ((name, most),) = failed.most_common(1)
    usual = every[name] / every.total()
    if most >= NEARLY_ALL * lines and usual**most < BY_CHANCE:
        return Spread(what, service, name, len(every), most, lines)
    if set(every) <= set(failed):
        return Spread(what, service, "", len(every), lines, lines)
    return None


def _summed(parts: Iterable[Lines]) -> Counter[str]:
    found: Counter[str] = Counter()
    for part in parts:
        for name, lines in part:
            found[name] += lines
    return found
