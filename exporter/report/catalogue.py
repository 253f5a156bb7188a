"""What is known of an incident as ranked sentences that code tells: a model chooses among them by id, and adds none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from exporter.model import (
    OWN_NAME,
    Contribution,
    Evidence,
    Incident,
    Report,
    Severity,
    SimilarIncident,
    failure_in,
    stable_key,
)
from exporter.model.facts import UNKNOWN, Facts, Failing, Impact, Measured, Start
from exporter.report.rules import LEAST_TELLING, citations, known_fixes, spread
from exporter.report.samples import MAX_SAMPLES, samples
from exporter.wording import headlines, words
from exporter.wording.text import amount, brief, clock, hour, number, one_line, took

Sort = Literal[
    "failure", "value", "silence", "release", "impact", "finding", "order", "host", "past", "fix", "unseen", "line"
]

CAUSES: frozenset[Sort] = frozenset({"failure", "value", "silence", "release"})
"""What can be a cause; the rest shows what followed, or what was before."""

ASIDE: frozenset[Sort] = frozenset({"past", "fix", "unseen", "line"})
"""What is told in places of its own, whatever a model chooses."""

MAX_FINDINGS, MAX_RELEASES, MAX_PAST, MAX_UNSEEN = 8, 5, 3, 4

MAX_QUOTE = 240

_VALUES = frozenset({"status", "duration", "value"})

SLOTS = ("count", "expected", "rate", "first", "last", "service", "subject", "quote", "time")
"""What may stand in a model's sentence as `{F7.count}`: not every fact has each."""

FILLED = re.compile(r"\{([kL][0-9a-f]{8,16})\.([a-z_]+)\}")
"""Such a slot once its id is the key of a fact or a line."""


@dataclass(frozen=True)
class Known:
    """A fact as it is told: `key` is the same in every revision, `values` are what slots are filled with."""

    key: str
    sort: Sort
    text: str
    evidence: tuple[str, ...] = ()
    service: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Catalogue:
    """The facts of an incident, what matters most first, and its lines.

    services: names that a model's own words may not say. fixes: what people confirmed, in their words.
    """

    facts: tuple[Known, ...]
    lines: tuple[Known, ...]
    services: frozenset[str] = frozenset()
    fixes: tuple[str, ...] = ()

    @property
    def ids(self) -> dict[str, str]:
        """Keys by the short ids of a prompt: F1, F2 …, L1, L2 …"""
        named = {f"F{place}": one.key for place, one in enumerate(self.facts, start=1)}
        return named | {f"L{place}": one.key for place, one in enumerate(self.lines, start=1)}

    @property
    def by_key(self) -> dict[str, Known]:
        return {one.key: one for one in (*self.lines, *self.facts)}

    @property
    def has_cause(self) -> bool:
        """Whether anything of it can be a cause."""
        return any(one.sort in CAUSES for one in self.facts)

    @property
    def evidence_key(self) -> str:
        """The same while the facts, what they are about, and what is remembered stay the same, whatever the numbers."""
        return f"{stable_key(' '.join(sorted(one.key for one in self.facts if one.sort != 'unseen'))):016x}"


def catalogue(incident: Incident, report: Report) -> Catalogue:
    """Of an incident and the report of the rules on it, which knows what is remembered and what could not be read."""
    facts = incident.facts or Facts(incident.last_seen)
    kept = {line.id: line for line in incident.evidence}
    main = sorted(_main(facts, kept), key=lambda each: -each[0])
    ranked = [one for _, one in main]
    if (top := facts.decisive) and facts.fails_first:
        ranked.sort(key=lambda one: one.key != _key("failing", *_about(top)))
    impact = [_impact(facts, facts.impact)] if facts.impact else []
    found = [
        *ranked[:1],
        *impact,
        *ranked[1:],
        *_releases(incident, facts),
        *_findings(incident, facts, kept),
        *_order(incident),
        *_whence(facts),
        *_remembered(report.similar),
        *(Known(_key("unseen", note), "unseen", note) for note in _about_it(report)),
    ]
    unique: dict[str, Known] = {}
    for one in found:
        unique.setdefault(one.key, one)
    return Catalogue(
        tuple(unique.values()),
        tuple(_line(line) for line in _shown(incident, ranked)),
        frozenset(_services(incident, facts)),
        tuple(past.fix for past in report.similar if past.fix and not past.elsewhere),
    )


def _about_it(report: Report) -> list[str]:
    """Notes of the rules on the incident; what people are asked to do is not of it."""
    return [note for note in report.notes if OWN_NAME not in note][:MAX_UNSEEN]


def _key(*parts: str) -> str:
    return f"k{stable_key('/'.join(parts)):016x}"[:13]


def _shown(incident: Incident, ranked: Sequence[Known]) -> list[Evidence]:
    """Lines for the prompt: those that show a fact first, then some of each kind."""
    shows = {line for one in ranked for line in one.evidence}
    chosen = samples(incident.evidence)
    return sorted(chosen, key=lambda line: line.id not in shows)[:MAX_SAMPLES]


def _services(incident: Incident, facts: Facts) -> Iterator[str]:
    yield from (incident.service, *incident.services)
    for told in (incident.suspects, incident.evidence, incident.contributions):
        yield from (one.service for one in told)
    for known in (facts.failing, facts.measured, facts.starts):
        yield from (one.service for one in known)
    yield from (one.about for one in facts.failing)


# --- What failed, what numbers say, what began -----------------------------------------------------------


def _main(facts: Facts, kept: Mapping[str, Evidence]) -> Iterator[tuple[float, Known]]:
    yield from ((one.score, _failing(facts, one, kept)) for one in facts.failing)
    yield from ((one.score, _measured(facts, one)) for one in facts.measured)


def _about(one: Failing) -> tuple[str, str, str, str]:
    return one.service, one.kind, one.about, one_line(one.words)


def _failing(facts: Facts, one: Failing, kept: Mapping[str, Evidence]) -> Known:
    ((text, line),) = headlines.sentences(Facts(facts.until, failing=(one,)))
    fails = one.kind or one.level >= Severity.ERROR or failure_in(one.words)
    minutes = max((facts.until - one.since) / timedelta(minutes=1), 1)
    return Known(
        _key("failing", *_about(one)),
        "failure" if fails else "finding",
        text,
        (line,) if line in kept else (),
        one.service,
        {
            "count": amount(one.count, "lines"),
            **({} if one.usual == UNKNOWN else {"expected": headlines.often(one.usual) if one.usual else "none"}),
            "rate": f"{number(one.count / minutes)} a minute",
            **_when(one.since, facts.until),
            "service": brief(one.service, 60),
            "subject": f"“{brief(one.words, MAX_QUOTE)}”",
        },
    )


def _measured(facts: Facts, one: Measured) -> Known:
    ((text, _),) = headlines.sentences(Facts(facts.until, measured=(one,)))
    say = took if one.kind == "slow" else number
    unit = "" if one.kind == "slow" else " a minute"
    return Known(
        _key("measured", one.kind, one.service, one.text),
        "silence" if one.kind == "stopped" else "value",
        text,
        (),
        one.service,
        {
            "count": "none" if one.kind == "stopped" else f"{say(one.observed)}{unit}",
            "expected": f"{say(one.expected)}{unit}",
            "rate": "none" if one.kind == "stopped" else f"{say(one.observed)}{unit}",
            **_when(one.since, facts.until),
            "service": brief(one.service, 60),
            "subject": f"“{brief(one.text, MAX_QUOTE)}”" if one.text else brief(one.service, 60),
        },
    )


def _impact(facts: Facts, hit: Impact) -> Known:
    ((text, _),) = headlines.sentences(Facts(facts.until, impact=hit))
    values = {
        "count": f"{hit.failed:,} of {hit.of:,} requests",
        "service": brief(hit.service, 60),
        "subject": "requests",
    }
    return Known(_key("impact", hit.service), "impact", text, (), hit.service, values | _when(hit.since, facts.until))


def _when(first: datetime, last: datetime) -> dict[str, str]:
    return {"first": clock(first), "last": clock(last)}


def _releases(incident: Incident, facts: Facts) -> Iterator[Known]:
    """Versions that were deployed, as we were told, and services that said that they start."""
    starts: dict[tuple[str, str], Start] = {}
    for one in facts.starts:
        starts.setdefault((one.service, one.version), one)
    for one in list(starts.values())[-MAX_RELEASES:]:
        text = f"{brief(one.service, 60)}: started {brief(one.version, 40) or 'anew'} at {clock(one.at)}."
        yield _release(one.service, one.version, text, one.at)
    told = [entry for entry in incident.timeline if entry.text.endswith(words.RELEASED)]
    for entry in told[-MAX_RELEASES:]:
        service = brief(entry.service, 60) or "all services"
        text = f"{service}: {brief(entry.text, 120)} at {clock(entry.at)}."
        yield _release(entry.service, entry.text, text, entry.at)


def _release(service: str, version: str, text: str, at: datetime) -> Known:
    values = {"first": clock(at), "last": clock(at), "service": brief(service, 60), "subject": brief(version, 60)}
    return Known(_key("release", service, version), "release", text, (), service, values)


# --- What detection found ---------------------------------------------------------------------------------


def _findings(incident: Incident, facts: Facts, kept: Mapping[str, Evidence]) -> Iterator[Known]:
    """Findings that no failing line tells better, order and pauses last."""
    lines = {one.line for one in facts.failing}
    told = {(line.source, line.template_id) for line in incident.evidence if line.id in lines}
    ranked = sorted(incident.contributions, key=lambda one: (one.kind in LEAST_TELLING, -one.share))
    telling = [one for one in ranked if not (one.templates and told.issuperset((one.source, t) for t in one.templates))]
    for one in telling[:MAX_FINDINGS]:
        cited = citations(one, kept)
        services = list(dict.fromkeys(kept[line].service for line in cited)) or [one.service] * bool(one.service)
        yield Known(
            _key("finding", str(one.kind), one.service, one.text),
            _sort(one, [kept[line] for line in cited]),
            words.sentence(one, services),
            cited,
            services[0] if services else "",
            {
                "count": amount(one.observed, one.unit),
                "expected": number(one.expected),
                **({"first": clock(one.since)} if one.since else {}),
                "service": brief(services[0], 60) if services else "",
                "subject": f"“{brief(one.text, MAX_QUOTE)}”",
            },
        )


def _sort(finding: Contribution, lines: Sequence[Evidence]) -> Sort:
    if finding.kind == "silence":
        return "silence"
    if finding.kind in _VALUES:
        return "value"
    if finding.kind in LEAST_TELLING or finding.kind == "volume" or finding.observed < finding.expected:
        return "finding"
    speaks = failure_in(finding.text) or any(line.severity >= Severity.ERROR for line in lines)
    return "failure" if speaks or finding.kind == "errors" else "finding"


def _order(incident: Incident) -> Iterator[Known]:
    for claim in spread(incident):
        yield Known(_key("order", *incident.services), "order", claim.text, claim.evidence)


def _whence(facts: Facts) -> Iterator[Known]:
    """From which hosts, versions or instances the lines come that decide."""
    if facts.decisive is None:
        return
    told = headlines.sentences(Facts(facts.until, failing=(facts.decisive,), spread=facts.spread))
    for one, (text, _) in zip(facts.spread, told[1:], strict=True):
        yield Known(_key("host", one.what, one.name), "host", text, (), one.service, {"subject": brief(one.name, 80)})


# --- What is remembered, and lines -------------------------------------------------------------------------


def _remembered(similar: Sequence[SimilarIncident]) -> Iterator[Known]:
    for past in similar[:MAX_PAST]:
        yield Known(_key("past", past.id), "past", f"Seen before: {words.similar(past)}.", (), "", {"subject": past.id})
    for claim in known_fixes(similar):
        yield Known(_key("fix", claim.text), "fix", claim.text)


def _line(line: Evidence) -> Known:
    quote, when = f"“{brief(line.body, MAX_QUOTE)}”", clock(line.timestamp)
    service = brief(line.service, 60)
    return Known(
        line.id,
        "line",
        f"{service} wrote at {when}: {quote}",
        (line.id,),
        line.service,
        {"quote": quote, "subject": quote, "time": when, "first": hour(line.timestamp), "service": service},
    )
