"""The facts of an incident, from the windows that it lasted, a quarter of an hour before and the hour before that."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from exporter.facts.groups import Group, grouped
from exporter.facts.observed import Observed, Saying
from exporter.facts.ranking import failures, measured
from exporter.facts.same import same
from exporter.facts.series import series
from exporter.facts.spread import places, spread
from exporter.model import Contribution, Evidence
from exporter.model.facts import Facts, Failing, Impact, Start
from exporter.model.times import moment, seconds

EARLIER = timedelta(minutes=15)
"""Before an incident began: its first line may be older than the first window that was unusual."""

ORDINARY = timedelta(hours=1)
"""Before that: what is ordinary."""

MOST_FAILING, MOST_MEASURED, MOST_STARTS = 8, 4, 10

EACH = 3
"""Lines of each failing group that are cited."""

MOST_WORDS = 300
"""Characters of what a group says that are kept."""

LEAST_FAILED = 3
"""Requests from which it is said how many failed."""


@dataclass(frozen=True)
class Told:
    """Facts, and the lines that carry them, the decisive one first."""

    facts: Facts
    lines: tuple[Evidence, ...]


def told(
    windows: Sequence[tuple[str, int, Observed]],
    step: timedelta,
    begins: datetime,
    until: datetime,
    weights: Mapping[str, float],
    findings: Sequence[Contribution] = (),
) -> Told:
    """What is known of an incident that began at `begins`, up to `until`.

    windows: of its sources, from EARLIER and ORDINARY before it on. weights: how likely each service is the cause.
    """
    length, edge, end = step // timedelta(seconds=1), seconds(begins - EARLIER), seconds(until)
    known = [one for one in windows if one[1] + length <= end]
    past = max(min((start for _, start, _ in known), default=edge), edge - ORDINARY // timedelta(seconds=1))
    spans = float(max(end - edge, 60)), float(max(edge - past, 60))
    services = sorted({service for _, _, one in known for service in one.lines})
    ordered = sorted(known, key=lambda one: (one[1] < edge, one[1], one[0]))
    groups = grouped(_sayings(ordered, edge, length))
    failing = failures(groups, services, weights, seconds(begins), end, spans)
    answering = _answering(known)
    answers = _answers(known, answering)
    lines = _minutes(known)
    numbers = measured(lines, (past, edge), (edge, end), length, weights, findings, answers)
    facts = Facts(
        until=until,
        failing=tuple(_failing(group, float(past)) for group in failing[:MOST_FAILING]),
        measured=tuple(numbers[:MOST_MEASURED]),
        starts=tuple(_starts(known, edge))[-MOST_STARTS:],
    )
    if facts.began and facts.decisive:
        deciding = next(group for group, one in zip(failing, facts.failing, strict=False) if one is facts.decisive)
        late = [one for _, start, one in known if start >= edge]
        hit = _impact(known, answering, facts.began, length)
        facts = replace(facts, impact=hit, spread=tuple(spread(deciding, late)), places=tuple(places(deciding, late)))
    facts = replace(facts, series=series(facts, failing, known, answers, lines, length))
    changed = _told_of(facts, failing, findings)
    facts = replace(facts, same=tuple(same(facts, known, answers, lines, changed, length)))
    return Told(facts, tuple(_lines(failing[:MOST_FAILING], facts)))


def _told_of(facts: Facts, failing: Sequence[Group], findings: Sequence[Contribution]) -> set[str]:
    """Services of which something is told, or which something that is told is about."""
    hit = [facts.impact.service] if facts.impact else []
    about = [name for one in failing for name in (one.service, one.about)]
    return {*hit, *about, *(one.service for one in facts.measured), *(one.service for one in findings)}


def _lines(failing: Sequence[Group], facts: Facts) -> Iterator[Evidence]:
    """A few of each group, those of the decisive one first."""
    first = facts.decisive.line if facts.decisive else ""
    for group in sorted(failing, key=lambda one: not any(line.id == first for line in one.lines)):
        yield from group.lines[:EACH]


def _sayings(
    windows: Sequence[tuple[str, int, Observed]], edge: int, length: int
) -> Iterator[tuple[bool, str, float, Saying]]:
    for source, start, one in windows:
        for saying in one.sayings:
            yield start >= edge, source, float(start + length), saying


def _failing(group: Group, first: float) -> Failing:
    """As it is told. `first`: seconds of the first window that is known."""
    span = max(60.0, min(ORDINARY / timedelta(seconds=1), group.since - first))
    return Failing(
        service=group.service,
        words=group.said()[:MOST_WORDS],
        kind=group.kind,
        level=group.level,
        count=group.count(group.since),
        usual=group.earlier(group.since, span) * 60 / span,
        since=moment_of(group.since),
        line=group.lines[0].id if group.lines else "",
        about=group.about,
        score=round(group.score, 3),
    )


def moment_of(at: float) -> datetime:
    """A moment of seconds, to the second: what is told has no smaller part."""
    return moment(int(at))


def _minutes(windows: Sequence[tuple[str, int, Observed]]) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for _, start, one in windows:
        for service, lines in one.lines.items():
            own = found.setdefault(service, {})
            own[start] = own.get(start, 0) + lines
    return found


def _answering(windows: Sequence[tuple[str, int, Observed]]) -> set[tuple[str, str, int]]:
    """Kinds of lines that say how a request ended: some of them well."""
    return {(source, r.service, r.family) for source, _, one in windows for r in one.requests if r.well}


def _answers(
    windows: Sequence[tuple[str, int, Observed]], kinds: Collection[tuple[str, str, int]]
) -> dict[str, dict[int, int]]:
    """Requests of each service by window."""
    found: dict[str, dict[int, int]] = {}
    for source, start, one in windows:
        for r in one.requests:
            if (source, r.service, r.family) in kinds:
                own = found.setdefault(r.service, {})
                own[start] = own.get(start, 0) + r.all
    return found


def _impact(
    windows: Sequence[tuple[str, int, Observed]], kinds: Collection[tuple[str, str, int]], since: datetime, length: int
) -> Impact | None:
    """Of the service that answers most requests: those that failed, from the window in which it began."""
    first = seconds(since) // length * length
    sums: dict[str, list[int]] = {}
    for source, start, one in windows:
        for r in one.requests:
            if start >= first and (source, r.service, r.family) in kinds:
                own = sums.setdefault(r.service, [0, 0])
                own[0] += r.failed
                own[1] += r.all
    ranked = sorted(sums.items(), key=lambda item: (-item[1][1], item[0]))
    found = next(((service, failed, of) for service, (failed, of) in ranked if failed >= LEAST_FAILED), None)
    return Impact(*found, since=moment(first)) if found else None


def _starts(windows: Sequence[tuple[str, int, Observed]], edge: int) -> Iterator[Start]:
    for _, start, one in sorted(windows, key=lambda each: each[1]):
        if start >= edge:
            for began in one.starts:
                yield Start(began.service, began.version, moment_of(began.at / 1e9))
