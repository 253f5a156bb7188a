"""Stories of one failure that comes again: which fix held, what was no problem, and which of two causes it is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from tests.recall.cases import START, Case, Query, incident
from tests.recall.generated import CAUSES

HELD, FAILED = "moved it to another host and pinned the version", "restarted it"

SEEN_BY_OTHERS = (
    "call to {service} exceeded its deadline of 3000 ms",
    "{service} answered 503 Service Unavailable",
    "circuit breaker towards {service} opened after 20 failures",
    "no answer of {service} within 2 s, showing what was cached",
    "connection to {service} was reset while reading the answer",
)


def fixes() -> Iterator[Case]:
    """The same failure four times: the fix that held is the older one of every second story."""
    for number, (cause, lines) in enumerate(_causes(24)):
        times = (200, 100, 99, 98) if number % 2 else (200, 199, 198, 90)
        said = (HELD, FAILED, FAILED, None) if number % 2 else (FAILED, FAILED, None, HELD)
        documents = tuple(
            {**_at(f"{cause}-{n}", lines, days), "fix": fix}
            for n, (days, fix) in enumerate(zip(times, said, strict=True))
        )
        yield Case("fixes", documents, (Query(_at(f"{cause}-now", lines, 0)),))


def rejected() -> Iterator[Case]:
    """What somebody said to be no problem, beside something else that is remembered."""
    for cause, lines in _causes(24):
        documents = (
            {**_at(f"{cause}-no-problem", lines, 9), "rejected": True},
            _at("other", ["disk of node 3 is full"], 4),
        )
        yield Case("rejected", documents, (Query(_at(f"{cause}-now", lines, 0)),))


def ambiguous() -> Iterator[Case]:
    """Two causes that others saw in the same way. The query has what they saw; in every third case one cause, too."""
    causes = list(_causes(24))
    chance = random.Random(3)
    for number, ((cause, lines), (rival, others)) in enumerate(zip(causes, causes[1:] + causes[:1], strict=True)):
        seen = [text.format(service="ledger") for text in chance.sample(SEEN_BY_OTHERS, 2)]
        documents = (_at(cause, [*seen, *lines], 40), _at(rival, [*seen, *others], 20))
        known = number % 3 == 2
        new = incident(f"{cause}-now", "ledger", [*seen, *lines] if known else seen, START)
        yield Case("one of two causes" if known else "two causes", documents, (Query(new, frozenset({cause})),))


def _causes(count: int) -> Iterator[tuple[str, list[str]]]:
    for cause, wordings in list(CAUSES.items())[:count]:
        yield cause, [text.format(word="summer", n=41, m=7) for text in wordings[:2]]


def _at(key: str, lines: list[str], days: int) -> dict[str, Any]:
    return dict(incident(key, "ledger", lines, START - timedelta(days=days)))
