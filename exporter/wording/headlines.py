"""The line that one reads first: what failed, in the words of a real line, whom it hit, since when, what fixed it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain

from exporter.model import SimilarIncident
from exporter.model.facts import UNKNOWN, Facts, Failing, Impact, Measured, Same, Spread, Start
from exporter.model.faults import fault_named
from exporter.wording.text import (
    amount,
    brief,
    clock,
    day,
    duration,
    hour,
    listed,
    number,
    one_line,
    shorten,
    took,
    unmasked,
)

LONGEST = 160
"""Characters of a headline."""

LEAST_WORDS, ENOUGH = 24, 40
"""Characters that what failed has at least, whatever else is said, and before it is said what fixed it."""

AFTER_START = timedelta(minutes=15)
"""A start this long before it began is said."""

MANY_STARTS = 3

MOST_SENTENCES = 4
"""Failing lines, and what only numbers say, that become sentences."""


def headline(facts: Facts, similar: Sequence[SimilarIncident] = ()) -> str:
    """What matters most of the facts, in at most LONGEST characters, cut at words; empty where nothing is known."""
    if facts.measured and not facts.fails_first:
        return _of_measured(facts.measured[0], facts, similar)
    return _of_failing(facts.decisive, facts, similar) if facts.decisive else ""


def sentences(facts: Facts) -> list[tuple[str, str]]:
    """What is known, a sentence each, with the id of the line that shows it: whom it hit, then what failed and what
    only numbers say, that first of which the headline is.

    Each number is told with the time from which and up to which it counts.
    """
    found: list[tuple[str, str]] = []
    if hit := facts.impact:
        found.append((f"{brief(hit.service, 60)}: {_impact(hit)} since {_span(facts, hit.since)}.", ""))
    parts = [_of_lines(facts), _of_numbers(facts)]
    return [*found, *chain.from_iterable(parts if facts.fails_first else reversed(parts))]


def _of_lines(facts: Facts) -> Iterator[tuple[str, str]]:
    for one in told_first(facts):
        service, text = brief(one.service, 60), cut(one_line(one.words), 240)
        seen = f"{amount(one.count, 'lines')} since {_span(facts, one.since)}{usually(one)}"
        yield f"{service}: “{text}”: {seen}.", one.line
        if one is facts.decisive:
            yield from ((_whence(each, text, facts, one.since), one.line) for each in facts.spread)


def _of_numbers(facts: Facts) -> Iterator[tuple[str, str]]:
    for one in facts.measured[:MOST_SENTENCES]:
        what = f" (“{brief(unmasked(one.text), 120)}”)" if one.text else ""
        yield f"{brief(one.service, 60)}: {_measure(one)}{what}, from {hour(one.since)} on.", ""


def unchanged(facts: Facts) -> str:
    """What was compared with the hour before and is as it was, in one sentence; empty where nothing is known to be."""
    begins = next((one.since for one in facts.same if one.kind != "starts"), facts.subject_since)
    parts = [_same(one) for one in facts.same]
    return f"Not changed since {_span(facts, begins)}: {'; '.join(parts)}." if parts and begins else ""


def _same(one: Same) -> str:
    service = brief(one.service, 60)
    if one.kind == "starts":
        return f"no line of {service} tells of a start or a stop from {hour(one.since)} on"
    if one.kind == "others":
        names = [*(brief(name, 60) for name in one.names), *([f"{one.more:,} more"] if one.more else [])]
        alone = len(one.names) == 1 and not one.more
        return f"{listed(names)} {'writes' if alone else 'write'} as many lines as before"
    verb = "answers" if one.kind == "requests" else "writes"
    numbers = f"{number(one.observed)} {one.kind} a minute, {number(one.expected)} in the hour before"
    return f"{service} {verb} {numbers}"


def told_first(facts: Facts) -> list[Failing]:
    """The failing lines that become sentences, the decisive ones first."""
    ordered = sorted(facts.failing, key=lambda one: (one is not facts.decisive, one not in facts.alike))
    return ordered[:MOST_SENTENCES]


def reason(facts: Facts, service: str) -> str:
    """Why a service may be the cause: what it says itself, or what only numbers say of it; empty where neither does."""
    own = next((one for one in facts.failing if one.service == service and not one.about), None)
    if own:
        fault = fault_named(own.kind) if own.kind else None
        say = f"{fault.say}, " if fault else ""
        return f"{say}“{cut(one_line(own.words), 90)}” since {clock(own.since)}"
    other = next((one for one in facts.measured if one.service == service), None)
    return f"{_measure(other)}, since {clock(other.since)}" if other else ""


def _of_failing(top: Failing, facts: Facts, similar: Sequence[SimilarIncident]) -> str:
    service = top.about or top.service
    fault = fault_named(top.kind) if top.kind else None
    say, what = fault.say if fault else "", one_line(top.words)
    if service == top.service and say.lower() in what.lower():
        say = ""
    since = facts.began or top.since
    if service != top.service:
        who = dict.fromkeys(one.service for one in facts.alike if one.about == service)
        silent = next((m for m in facts.measured if m.kind == "stopped" and m.service == service and not m.text), None)
        say = _measure(silent) if silent else say
        what = f"{listed(list(who), 3)}: {what}"
    hit = _impact(facts.impact) if facts.impact else amount(top.count, "lines")
    tail = f"; {hit} since {_span(facts, since)}{_life(facts.starts, service, since)}"
    return _whole(service, say, what, tail, similar, spare=service == top.service)


def _of_measured(top: Measured, facts: Facts, similar: Sequence[SimilarIncident]) -> str:
    hurt = next((one for one in facts.failing if one.about == top.service), None)
    what = f"“{brief(unmasked(top.text), 70)}”" if top.text else ""
    if hurt and not what:
        what = f"{hurt.service}: {one_line(hurt.words)}"
    tail = f"; since {_span(facts, top.since)}{_life(facts.starts, top.service, top.since)}"
    return _whole(top.service, _measure(top), what, tail, similar)


def _whole(
    service: str, say: str, what: str, tail: str, similar: Sequence[SimilarIncident], spare: bool = False
) -> str:
    """Cut is what the line says, never whom it hit or since when. `spare`: what the line says may stand alone."""
    head = f"{brief(service, 60)}: "
    known = next((one for one in similar if one.fix and one.tier == "same"), None)
    fixed = f"; as on {day(known.starts_at)}, then fixed by {brief(known.fix or '', 60)}" if known else ""
    for end in (tail + fixed, tail):
        room = LONGEST - len(head) - len(end)
        # The kind stands for what is cut; where nothing is, the line says it better.
        alone = spare and what and len(what) <= room < len(what) + len(say) + 3
        told = what if alone or not say else f"{say}{' – ' if what else ''}{what}"
        if room >= min(len(told), ENOUGH):
            break
    return shorten(head + cut(told, max(room, LEAST_WORDS)) + end, LONGEST)


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, cut at words, the last one "…" where something is missing."""
    if len(text) <= limit:
        return text
    whole = text[: limit - 1].rpartition(" ")[0] or text[: limit - 1]
    return whole.rstrip(" ,;:(–…") + "…"


def _measure(one: Measured) -> str:
    """What only numbers say, with its units."""
    if one.kind == "slow":
        return f"takes {took(one.observed)} instead of {took(one.expected)}"
    if one.kind == "fewer":
        return f"{number(one.observed)} requests a minute instead of {number(one.expected)}"
    if one.kind == "less":
        return f"partly silent: {number(one.observed)} lines a minute instead of {number(one.expected)}"
    if one.text:
        return f"stopped: {amount(one.observed, 'lines')}, {number(one.expected)} expected"
    return f"stopped: none for {duration(timedelta(seconds=one.observed))}, usually {often(one.expected)}"


def usually(one: Failing) -> str:
    """How often it comes otherwise, after a comma; nothing where nobody knows."""
    if one.usual == UNKNOWN:
        return ""
    return f", usually {often(one.usual)}" if one.usual else ", none in the hour before"


def often(a_minute: float) -> str:
    """How often something comes, in the unit that a person would choose.

    >>> often(17.2), often(0.15)
    ('17 a minute', '9 an hour')
    """
    return f"{number(a_minute)} a minute" if a_minute >= 1.5 else f"{number(round(a_minute * 60, 6))} an hour"


def _whence(one: Spread, text: str, facts: Facts, since: datetime) -> str:
    service, seen = brief(one.service, 60), f"{amount(one.every, 'lines')} since {_span(facts, since)}"
    if not one.name:
        return f"{service}: “{text}”: {seen}, from all {one.of} {one.what}s that log there."
    place = f"{one.what} {brief(one.name, 60)}"
    many = f"all {seen} are" if one.lines == one.every else f"{one.lines:,} of {seen} are"
    return f"{service}: “{text}”: {many} of {place}; {one.of} {one.what}s log there."


def _impact(impact: Impact) -> str:
    return f"{impact.failed:,} of {impact.of:,} requests failed"


def _span(facts: Facts, since: datetime) -> str:
    return f"{hour(since)} until {clock(facts.until)}"


def _life(starts: Sequence[Start], service: str, since: datetime) -> str:
    own = [one for one in starts if one.service == service and one.at >= since - AFTER_START]
    if earlier := [one for one in own if one.at <= since]:
        last = earlier[-1].version
        first = next(one for one in earlier if one.version == last)
        at = f" at {hour(first.at)}" if since - first.at > timedelta(minutes=2) else ""
        return f", after start of {brief(last, 20)}{at}"
    return f", {len(own)} starts since" if len(own) >= MANY_STARTS else ""
