"""Rank what failed, and what only numbers say, on one scale: what one reads first is what matters most.

How much each weighs was chosen on the failures of the simulated shop (`make story`, the seeds tuned on).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from math import log10

from exporter.detection.valued import ALL_LINES
from exporter.facts.groups import Group, began
from exporter.facts.roots import is_access
from exporter.model import Contribution, Severity
from exporter.model.facts import Measured
from exporter.model.faults import fault_named
from exporter.model.times import moment, seconds

ROLES = {"cause": 4.0, "strain": 2.0, "peer": 0.5, "wrapper": -2.0}
"""Of kinds of faults: what is broken, runs out, complains of another, or says only that something failed."""

LEVELS = {Severity.FATAL: 5.0, Severity.ERROR: 3.0, Severity.WARN: 1.5}

NEW, FIVE_TIMES, MORE = 2.0, 1.5, 0.5
"""For lines that the hour before has none of, a fifth of, or fewer than half of."""

SUSPECT = 0.02
"""How likely a suspect is the cause at least."""

SUSPECTED = 2.0
"""For a service that is surely the cause."""

LARGEST = 3.0
"""For a thousand lines and more."""

NAMED, FIRST = 1.0, 1.5
"""For a service that others' failing lines name, and for what began no later than the first cause."""

STRANGE = 3.0
"""Taken off what a service says that is no suspect, names none and is named by none: something fails always."""

SURE = 300.0
"""Seconds within which the likely cause need not say it twice."""

LONE = 5.0
"""Taken off where it is one line, or fewer than one in ten minutes: something always fails once somewhere."""

OF_PEER = frozenset(
    ("certificate", "refused", "reset", "unreachable", "timed_out", "upstream_5xx", "circuit_open", "slow_peer")
)
"""Kinds of faults of which the lines complain of another service."""

MOST_NAMED = 60


def role(kind: str) -> str:
    """Of a kind of fault; empty where there is none."""
    fault = fault_named(kind) if kind else None
    return fault.role if fault else ""


def failures(
    groups: Sequence[Group], services: Sequence[str], weights: Mapping[str, float], begins: float, until: float,
    spans: tuple[float, float],
) -> list[Group]:  # fmt: skip
    """The groups that are more than ordinary, what matters most first.

    weights: of services, how likely each is the cause. begins, until: seconds. spans: seconds of now and of before.
    """
    name = _names(services)
    found: list[Group] = []
    named, naming = set[str](), set[str]()
    for group in groups:
        if not group.now or group.now[-1].end < begins - 60:
            continue
        lines = sum(seen.count for seen in group.now)
        rate, usual = lines / spans[0], sum(seen.count for seen in group.before) / spans[1]
        if rate < (1.5 if group.level >= Severity.FATAL else 2) * usual:
            continue
        group.since = began(group, usual)
        group.score = _level(group.level) + ROLES.get("wrapper" if is_access(group.said()) else role(group.kind), 0.0)
        group.score += NEW if not group.before else FIVE_TIMES if rate >= 5 * usual else MORE
        group.score += SUSPECTED * weights.get(group.service, 0.0) + min(LARGEST, log10(max(1, lines)))
        others = _others(group, name)
        named |= others.keys()
        if others:
            naming.add(group.service)
        top = others.most_common(1)
        if group.kind in OF_PEER and top and top[0][1] * 2 >= others.total():
            group.about = top[0][0]
        found.append(group)
    lone = {id(group) for group in found if _is_lone(group, found, until)}
    steady = min((group.since for group in found if id(group) not in lone), default=float("inf"))
    first = min((group.since for group in found if role(group.kind) == "cause"), default=float("inf"))
    for group in found:
        group.score += NAMED * (group.service in named and role(group.kind) in ("cause", "strain"))
        weight = weights.get(group.service, 0.0)
        group.score -= STRANGE * (weight < SUSPECT and group.service not in named | naming)
        if id(group) not in lone:
            group.score += FIRST * (group.since <= first)
        elif steady + SURE < group.since:
            # What goes on began long before it.
            group.score -= LONE + STRANGE
        else:
            doubt = 1 - weight if until - group.since <= SURE else 1.0
            group.score += FIRST * (group.since <= first) - LONE * doubt
    return sorted(found, key=lambda group: (-group.score, group.since, group.service))


def _level(level: int) -> float:
    return next((value for floor, value in LEVELS.items() if level >= floor), 0.0)


def _names(services: Iterable[str]) -> re.Pattern[str]:
    longest = sorted(filter(None, services), key=lambda name: (-len(name), name))
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest)) or '(?!)'})(?![\w-])")


def _others(group: Group, name: re.Pattern[str]) -> Counter[str]:
    """Services that its lines name, beside their own."""
    found = Counter(one for line in group.lines[:MOST_NAMED] for one in set(name.findall(line.body)))
    del found[group.service]
    return found


def _is_lone(group: Group, found: Sequence[Group], until: float) -> bool:
    if group.level >= Severity.FATAL:
        return False
    followed = any(
        other.service == group.service and 0 < other.since - group.since < 120 and other.count(other.since) > 9
        for other in found
    )
    lasted = until - group.since
    return not followed and group.count(group.since) < max(2, 3 if lasted > 300 else 0, lasted / 600)


# --- What only numbers say -------------------------------------------------------------------------------

SILENT, STEADY, FEWER, SLOW, SLOWEST = 5.0, 6.5, 8.0, 3.0, 4.0
"""A service without a line, a kind of line that stopped, fewer requests in several services, slow, and what the
greatest ratio adds."""

HOUR = 3600
"""Seconds before it, with which it is compared."""

LEAST_MISSED, LEAST_GAP = 12.0, 120.0
"""Lines, and seconds, that are missing before a service is told to have stopped."""


def measured(
    minutes: Mapping[str, Mapping[int, int]], before: tuple[int, int], now: tuple[int, int], step: int,
    weights: Mapping[str, float], findings: Sequence[Contribution], requests: Mapping[str, Mapping[int, int]],
) -> list[Measured]:  # fmt: skip
    """What only numbers say, what matters most first.

    minutes, requests: lines, and requests, of each service by window. before, now: from when on and until when, in
    seconds. findings: those of detection.
    """
    found: list[Measured] = []
    whole = {window for own in minutes.values() for window in own}
    hour = (before[1] - before[0]) / step
    fewer = 0
    for service, own in sorted(minutes.items()):
        usual = sum(n for window, n in own.items() if before[0] <= window < before[1]) / hour
        silent = _longest([w for w in range(*now, step) if w in whole and w not in own], step)
        gap = len(silent) * step
        if silent and gap > LEAST_GAP and usual * len(silent) > LEAST_MISSED:
            score = SILENT + 3 * weights.get(service, 0.0)
            found.append(Measured("stopped", service, "", moment(silent[0]), float(gap), usual * 60 / step, score))
        fewer += _first_low(own, usual, now, step) is not None
    less = {one.service: one for one in findings if one.kind in WHOLE and one.observed * 2 <= one.expected}
    if fewer >= 3:
        found += [one for one in _fewer(requests, before, now, step) if one.service in less]
    told = {one.service for one in found}
    found += [
        _less(one, minutes[service], before[0], now[1], step, weights.get(service, 0.0))
        for service, one in sorted(less.items())
        if service in minutes and service not in told and one.since
    ]
    found += [one for finding in findings if (one := _found(finding, weights.get(finding.service, 0.0)))]
    return _once(sorted(found, key=lambda one: (-one.score, one.since, one.service)))


WHOLE = frozenset({"volume", "silence"})
"""Kinds of findings that are of all lines of a service."""


def _less(finding: Contribution, own: Mapping[int, int], first: int, until: int, step: int, weight: float) -> Measured:
    """A service that says less since a finding: so many lines a minute since then, and in the hour before."""
    assert finding.since is not None  # noqa: S101
    begin = seconds(finding.since) // step * step
    start = max(first, begin - HOUR)
    minute = 60 / step
    now, usual = (
        sum(own.get(window, 0) for window in range(*span, step)) * minute / max(1, (span[1] - span[0]) // step)
        for span in ((begin, until), (start, begin))
    )
    return Measured("less", finding.service, "", moment(begin), now, usual, SILENT + 3 * weight)


def _once(ranked: Sequence[Measured]) -> list[Measured]:
    """One of a service and kind: where all of it stopped, so did each kind of its lines."""
    silent = {one.service for one in ranked if one.kind == "stopped" and not one.text}
    kept: dict[object, Measured] = {}
    for one in ranked:
        if one.kind == "stopped" and one.text and one.service not in silent:
            kept[one] = one
        elif not (one.kind == "stopped" and one.text):
            kept.setdefault((one.service, one.kind), one)
    return list(kept.values())


def _found(finding: Contribution, weight: float) -> Measured | None:
    """What detection measured: slow, or a kind of line that stopped."""
    if not finding.since:
        return None
    text = "" if finding.text == ALL_LINES else finding.text
    numbers = finding.service, text, finding.since, finding.observed, finding.expected
    if finding.kind == "duration" and finding.observed >= 2 * finding.expected > 0:
        return Measured("slow", *numbers, SLOW + min(SLOWEST, finding.observed / finding.expected / 20) + 2 * weight)
    if finding.kind == "template" and finding.expected >= 2 and finding.observed * 4 <= finding.expected:
        return Measured("stopped", *numbers, STEADY) if weight > 0.3 else None
    return None


def _fewer(
    requests: Mapping[str, Mapping[int, int]], before: tuple[int, int], now: tuple[int, int], step: int
) -> list[Measured]:
    """Of several services at once: told of the one that answers most requests."""
    answered = {s: sum(n for w, n in own.items() if before[0] <= w < before[1]) for s, own in requests.items()}
    service = max(sorted(answered), key=lambda name: answered[name], default="")
    usual = answered.get(service, 0) / ((before[1] - before[0]) / step)
    low = _first_low(requests.get(service, {}), usual, now, step) if service else None
    if low is None:
        return []
    rest = [requests[service].get(window, 0) for window in range(low, now[1], step)]
    minute = 60 / step
    return [Measured("fewer", service, "", moment(low), sum(rest) * minute / len(rest), usual * minute, FEWER)]


def _first_low(own: Mapping[int, int], usual: float, now: tuple[int, int], step: int) -> int | None:
    """The first window of the first five that have less than half of what is usual together."""
    windows = range(*now, step)
    if usual * 5 <= 20:
        return None
    for start in windows[: max(0, len(windows) - 4)]:
        five = [own.get(start + n * step, 0) for n in range(5)]
        if sum(five) < 2.5 * usual:
            return next((start + n * step for n, lines in enumerate(five) if lines < usual / 2), start)
    return None


def _longest(windows: Sequence[int], step: int) -> list[int]:
    """The longest run of windows that follow each other."""
    runs = [
        [window for _, window in run]
        for _, run in groupby(enumerate(windows), key=lambda pair: pair[1] - pair[0] * step)
    ]
    return max(runs, key=len, default=[])
