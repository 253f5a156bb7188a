"""The labelled set: past incidents, new ones, and which of the past ones is the same failure."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from exporter.model import stable_key
from tests.recall import shops
from tests.recall.generated import unseen as generated
from tests.recall.reworded import reworded

DATA = Path(__file__).parent / "data"
START = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
"""When new incidents begin; past ones lie before."""

SHOPS = (31, 32)
"""Seeds of the shops: the first to tune on, the second to report."""

Incident = Mapping[str, Any]
"""What is kept of an incident, as `tests.recall.shops.plain` makes it."""


@dataclass(frozen=True)
class Query:
    """A new incident, and the ids of the past ones that are the same failure: none where it was never seen."""

    incident: Incident
    same: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Case:
    """Queries that are put to the same memory."""

    name: str
    documents: tuple[Incident, ...]
    queries: tuple[Query, ...]


@cache
def hand(name: str) -> list[Any]:
    """The entries of a hand-written file."""
    found: list[Any] = yaml.safe_load((DATA / f"{name}.yaml").read_text())[name]
    return found


_MASKED = re.compile(r"'[^']*\d[^']*'|\"[^\"]*\d[^\"]*\"|\d+(?:\.\d+)*")


def incident(key: str, service: str, lines: Sequence[str], start: datetime) -> Incident:
    """An incident of these lines, beside what else is unusual of a service: the most telling line comes first."""
    chance = random.Random(key)
    templates = [_MASKED.sub("<*>", line) for line in lines]
    shares = [0.5 / (number + 1) for number in range(len(lines))]
    findings = [
        _finding("new_template", text, chance.randint(4, 400), 0, share, service)
        for text, share in zip(templates, shares, strict=True)
    ]
    return {
        "kind": "",
        "id": key,
        "fingerprint": f"{stable_key(chr(10).join((service, *sorted(templates[:3])))):016x}",
        "severity": "critical",
        "service": service,
        "services": [service, "frontend"],
        "starts_at": start.isoformat(),
        "ends_at": (start + timedelta(minutes=20)).isoformat(),
        "contributions": [*findings, *_usual(service, chance)],
        "evidence": [
            {
                "id": f"L{key}-{number}",
                "source": "all",
                "service": service,
                "timestamp": start.isoformat(),
                "body": line,
                "severity": 17 if number == 0 else 13,
                "template": template,
            }
            for number, (line, template) in enumerate(zip(lines, templates, strict=True))
        ],
    }


_USUAL = (
    ("transition", "incoming request -> request completed", 0.4, 0.97, "of times"),
    ("gap", "request completed", 4.0, 0.4, "seconds"),
    ("volume", "lines of {service}", 900, 400, "lines"),
    ("errors", "errors of {service}", 90, 1.5, "lines"),
    ("template", "request <*> completed in <*> ms", 40, 400, "lines"),
    ("transition", "job started -> job finished", 0.1, 0.9, "of times"),
    ("volume", "lines of frontend", 300, 700, "lines"),
    ("template", "health check answered", 12, 30, "lines"),
)


def _usual(service: str, chance: random.Random) -> Iterator[dict[str, Any]]:
    for kind, text, seen, expected, unit in chance.sample(_USUAL, chance.randint(2, 5)):
        found = _finding(kind, text.format(service=service), seen, expected, 0.08, service)
        yield {**found, "unit": unit}


def _finding(kind: str, text: str, seen: float, expected: float, share: float, service: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "text": text,
        "observed": seen,
        "expected": expected,
        "unit": "lines",
        "share": round(share, 4),
        "service": service,
    }


def halved(entries: Sequence[Any], report: bool) -> list[tuple[int, Any]]:
    """The half to tune on, or that to report: every second one, with its number."""
    return [(number, entry) for number, entry in enumerate(entries) if (number % 2 == 0) == report]


def past(number: int) -> Incident:
    """The first of a pair."""
    service, lines = hand("pairs")[number]["past"]
    return incident(f"past-{number}", service, lines, START - timedelta(days=3 + number))


def _new(key: str, service: str, lines: Sequence[str]) -> Incident:
    return incident(key, service, lines, START)


def _remembered() -> tuple[Incident, ...]:
    others = [
        incident(f"other-{number}", service, lines, START - timedelta(days=2 + number))
        for number, (service, lines) in enumerate(hand("distractors"))
    ]
    return (*(past(number) for number in range(len(hand("pairs")))), *others)


def kin(number: int) -> set[str]:
    """Ids of the past incidents whose causes are kin to that of a pair."""
    families = [family for family in hand("families") if number in family]
    return {f"past-{other}" for other in {number, *(one for family in families for one in family)}}


def written(report: bool) -> Iterator[Case]:
    """Hand-written pairs among distractors, and what was never seen."""
    documents = _remembered()
    pairs = halved(hand("pairs"), report)
    yield Case(
        "hand-written",
        documents,
        tuple(Query(_new(f"now-{n}", *pair["now"]), frozenset({f"past-{n}"})) for n, pair in pairs),
    )
    yield Case(
        "same lines",
        documents,
        tuple(Query(_new(f"again-{n}", *p["past"]), frozenset({f"past-{n}"})) for n, p in pairs),
    )
    yield Case(
        "unseen, hand-written",
        documents,
        tuple(Query(_new(f"unseen-{n}", *entry)) for n, entry in halved(hand("unseen"), report)),
    )
    services = sorted({one["service"] for one in documents})
    made = list(generated(services, seed=1 if report else 0))
    queries = tuple(Query(_new(f"made-{n}", service, lines)) for n, (_, service, lines) in enumerate(made))
    yield Case("unseen, generated", documents, queries)
    for number, pair in pairs:
        unknown = kin(number)
        rest = tuple(one for one in documents if one["id"] not in unknown)
        yield Case("unseen, its kind taken away", rest, (Query(_new(f"alone-{number}", *pair["now"])),))


def shop(report: bool) -> Iterator[Case]:
    """A shop's second failure of each kind, against its first ones; as it is, and reworded and renamed."""
    firsts, seconds = firsts_and_seconds(shops.load(SHOPS[report]))
    documents, known = tuple(firsts), {one["kind"] for one in firsts}
    again = [one for one in seconds if one["kind"] and one["kind"] in known]
    for name, change in (("shop", _same), ("shop, reworded", reworded)):
        queries = tuple(Query(change(one), _of_kind(documents, one["kind"])) for one in again)
        yield Case(name, documents, queries)
        for kind in sorted({one["kind"] for one in again}):
            rest = tuple(one for one in documents if one["kind"] != kind)
            unseen = tuple(Query(change(one)) for one in again if one["kind"] == kind)
            yield Case(f"unseen, {name}", rest, unseen)


def firsts_and_seconds(found: Sequence[Incident]) -> tuple[list[Incident], list[Incident]]:
    """The incidents of the time in which each kind came first, and those of the time in which it came again."""
    starts = [_start(one) for one in found]
    middle = min(starts) + (max(starts) - min(starts)) / 2
    return [one for one in found if _start(one) < middle], [one for one in found if _start(one) >= middle]


def _same(found: Incident) -> Incident:
    return found


def _of_kind(documents: Iterable[Incident], kind: str) -> frozenset[str]:
    return frozenset(one["id"] for one in documents if one["kind"] == kind)


def _start(found: Incident) -> datetime:
    return datetime.fromisoformat(found["starts_at"].replace("Z", "+00:00"))
