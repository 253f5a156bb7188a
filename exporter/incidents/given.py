"""The incident of what others have found: of facts and lines that somebody gives us, and no window of ours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from exporter.incidents.build import fingerprint
from exporter.model import (
    EPOCH,
    Contribution,
    Evidence,
    Facts,
    Incident,
    IncidentSeverity,
    PermanentError,
    Severity,
    failure_in,
    stable_key,
)
from exporter.model.facts import UNKNOWN, Failing
from exporter.model.faults import fault_in

GIVEN = "what was given"
"""The `trigger` of such an incident."""

MOST_LINES = 200
"""That are kept, the alarming ones before others."""

MOST_TEXT = 100_000
"""Characters of a text that are looked at."""

MOST_FAILING = 8

MOST_WORDS = 300
"""Characters of what a line says of a failure."""

MOST_CHARS = 4_000
"""Of a line."""


def given_incident(facts: Facts | None, evidence: Sequence[Evidence]) -> Incident:
    """An incident of facts and lines. Raises PermanentError where there is neither."""
    lines = tuple(sorted(_alarming_first(evidence)[:MOST_LINES], key=lambda line: (line.timestamp, line.id)))
    moments = [line.timestamp for line in lines] + ([facts.began or facts.until] if facts else [])
    if not moments:
        raise PermanentError("there is nothing to tell of: give an incident, or facts and lines")
    until = max([*moments, *([facts.until] if facts else [])])
    if facts is None:
        facts = counted(lines)
    services = tuple(dict.fromkeys([*_failing(facts), *(line.service for line in _alarming_first(lines))]))
    service = services[0] if services else ""
    texts = [Contribution("template", one.words, one.count, one.usual) for one in facts.failing]
    key = f"{service}/{min(moments).isoformat()}/{'/'.join(line.body for line in lines)}"
    return Incident(
        id=f"g{stable_key(key):016x}"[:12],
        fingerprint=fingerprint(service, texts),
        revision=1,
        status="firing",
        severity=_severity(facts, lines),
        score=1.0,
        service=service,
        services=services,
        sources=tuple(dict.fromkeys(line.source for line in lines if line.source)),
        starts_at=min(moments),
        updated_at=until,
        ends_at=None,
        labels={},
        evidence=tuple(_alarming_first(lines)),
        anomalies=max(1, len(lines)),
        trigger=GIVEN,
        facts=facts,
    )


def lines_of(text: str, at: datetime, service: str = "") -> list[Evidence]:
    """The lines of any text as evidence of one moment, with the severity that their words speak of."""
    found = []
    for number, line in enumerate(text[:MOST_TEXT].splitlines()):
        if body := line.strip()[:MOST_CHARS]:
            key = f"L{stable_key(f'{number}/{body}'):016x}"[:11]
            found.append(Evidence(key, "", service, at, body, failure_in(body)))
    if found and not any(_is_alarming(line) for line in found):
        # Somebody found it worth asking about.
        found = [Evidence(one.id, "", service, at, one.body, int(Severity.WARN)) for one in found]
    return found[:MOST_LINES]


def _alarming_first(lines: Sequence[Evidence]) -> list[Evidence]:
    return sorted(lines, key=lambda line: not _is_alarming(line))


def _is_alarming(line: Evidence) -> bool:
    return line.severity >= Severity.WARN or fault_in(line.body) is not None


def _failing(facts: Facts) -> list[str]:
    top = [facts.decisive.service] if facts.decisive else []
    return [*top, *(one.service for one in facts.failing), *(one.service for one in facts.measured)]


def counted(lines: Sequence[Evidence]) -> Facts:
    """What alarming lines say, and how often they were given; what is usual nobody knows."""
    alike: dict[tuple[str, str], list[Evidence]] = {}
    for line in lines:
        if _is_alarming(line):
            alike.setdefault((line.service, line.template or line.body), []).append(line)
    ranked = sorted(alike.items(), key=lambda item: (-max(one.severity for one in item[1]), -len(item[1]), item[0]))
    return Facts(
        until=max((line.timestamp for line in lines), default=EPOCH),
        failing=tuple(_said(service, own) for (service, _), own in ranked[:MOST_FAILING]),
    )


def _said(service: str, alike: Sequence[Evidence]) -> Failing:
    first = min(alike, key=lambda line: line.timestamp)
    fault = fault_in(first.body)
    level = max(line.severity for line in alike)
    kind = fault.id if fault else ""
    return Failing(service, first.body[:MOST_WORDS], kind, level, len(alike), UNKNOWN, first.timestamp, first.id)


def _severity(facts: Facts, lines: Sequence[Evidence]) -> IncidentSeverity:
    worst = max([line.severity for line in lines] + [one.level for one in facts.failing], default=0)
    return "critical" if worst >= Severity.FATAL else "warning" if worst >= Severity.ERROR else "info"
