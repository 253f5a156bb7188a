"""What is told while places fail: incidents of several services that open, change, resolve and reopen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Literal

from exporter.model import RULES, Change, Incident, Report, Severity, Suspect, Write, stable_key
from exporter.report.rules import write
from exporter.state.incidents import incident_row, report_row
from exporter.state.news import news_row
from tests import samples

Kind = Literal["open", "severity", "services", "report", "resolve", "reopen"]

LEAD = 2.5
"""Seconds of calm at the beginning, in which some incidents open."""

AFTERWARDS = 2.0
"""Seconds after the fault in which others still change."""

EARLY: tuple[tuple[Kind, ...], ...] = (
    ("open", "severity", "services", "report"),
    ("open", "resolve"),
    ("open", "services", "resolve", "reopen", "resolve"),
)
"""Incidents that are known when the fault begins."""

DURING: tuple[tuple[Kind, ...], ...] = (
    ("open", "report", "severity", "resolve"),
    ("open", "resolve", "reopen"),
    ("open", "resolve"),
    ("open", "services", "severity"),
)

LATE: tuple[tuple[Kind, ...], ...] = (("open", "severity", "resolve"),)
"""Incidents whose last change comes when the fault is over."""

SHORT = (*EARLY[1:], *DURING[:1])
"""What is told where time is short: what a chat takes, one message a second, is what a story lasts."""

PROLOGUE = "billing"
"""The service of the one incident that is told before the story begins, so that it begins with a daemon at work."""

SERVICES = ("payments", "checkout", "catalog", "search", "shipping", "identity", "mail", "ledger")

SEEN_BEFORE = samples.similar("the pool of connections was too small")
"""What memory finds a moment too late for the first report: by this the second part of a revision is known."""


LIKE_NOTHING = ("errors", "transition")
"""Kinds of findings that memory compares nothing by: what is remembered would depend on what was told when."""


@dataclass(frozen=True)
class Step:
    """News, so many seconds after the story began."""

    after: float
    change: Change
    at: datetime
    incident: Incident
    part: int = 0

    @property
    def event_id(self) -> str:
        return f"{self.incident.id}:{self.incident.revision}:{self.part}"

    @property
    def rows(self) -> list[Write]:
        """What the product writes: the report of part 0 is the daemon's to write."""
        report = self.report
        news = news_row(self.incident, self.change, self.at, self.part, report)
        return [
            incident_row(self.incident, self.incident.updated_at),
            news,
            *([report_row(report, RULES)] if report else []),
        ]

    @property
    def report(self) -> Report | None:
        return write(self.incident, (SEEN_BEFORE,)) if self.part else None


Life = tuple[Step, ...]
"""What is told of one incident, in order."""


@dataclass(frozen=True)
class Story:
    """What is told; `seconds` is how long the fault lasts in the middle of it."""

    lives: tuple[Life, ...]
    seconds: float

    @property
    def prologue(self) -> Story:
        """What is told before all else."""
        return Story(self.lives[:1], 0)

    @property
    def ids(self) -> list[str]:
        return [life[0].incident.id for life in self.lives]

    @property
    def ends(self) -> dict[str, Step]:
        """The last state of each incident."""
        return {life[-1].incident.id: life[-1] for life in self.lives}

    @property
    def steps(self) -> Iterator[Step]:
        for life in self.lives:
            yield from life

    @property
    def open(self) -> list[Step]:
        return [step for step in self.ends.values() if step.incident.status == "firing"]


def story(seed: int, seconds: float, base: datetime, short: bool = False) -> Story:
    """The same for the same arguments. Event time runs as the clock does, from `base`."""
    chance = Random(seed)
    services = chance.sample(SERVICES, len(SERVICES))
    plans = SHORT if short else (*EARLY, *DURING, *LATE)
    lives = [
        life(seed, service, kinds, _moments(chance, kinds, seconds), base)
        for service, kinds in zip(services, plans, strict=False)
    ]
    return Story((life(seed, PROLOGUE, ("open",), (0,), base), *lives), seconds)


def _moments(chance: Random, kinds: Sequence[Kind], seconds: float) -> list[float]:
    """When each step comes: in its own part of the time, so that none follows at the heels of another."""
    first = [chance.uniform(0, 1)] if kinds in EARLY else []
    last = [LEAD + seconds + chance.uniform(0.5, AFTERWARDS)] if kinds in LATE else []
    between = len(kinds) - len(first) - len(last)
    slot = seconds / max(between, 1)
    return [*first, *(LEAD + slot * (place + chance.uniform(0.1, 0.7)) for place in range(between)), *last]


def life(seed: int, service: str, kinds: Sequence[Kind], moments: Sequence[float], base: datetime) -> Life:
    """An incident of a service, step by step."""
    steps: list[Step] = []
    for kind, after in zip(kinds, moments, strict=True):
        at = base + timedelta(seconds=int(after))
        before = steps[-1].incident if steps else None
        if before is None:
            steps.append(Step(after, "opened", at, opened(f"{seed}/{service}", service, at)))
        elif kind == "report":
            steps.append(Step(after, "reported", steps[-1].at, before, part=1))
        else:
            steps.append(Step(after, CHANGES[kind], at, changed(before, kind, at)))
    return tuple(steps)


CHANGES: dict[Kind, Change] = {
    "severity": "updated",
    "services": "updated",
    "resolve": "resolved",
    "reopen": "reopened",
}


def opened(key: str, service: str, at: datetime) -> Incident:
    identity = f"{stable_key(key):016x}"
    said = f"{service} lost its database"
    told = samples.incident(said)
    return samples.incident(
        said,
        id=identity,
        fingerprint=f"{stable_key(f'{key}/fingerprint'):016x}",
        revision=1,
        severity="warning",
        service=service,
        services=(service,),
        starts_at=at,
        updated_at=at,
        labels=samples.labels(service=service, severity="warning", incident_id=identity),
        suspects=(Suspect(service, 1.0, "first to change", at),),
        timeline=(),
        contributions=tuple(one for one in told.contributions if one.kind in LIKE_NOTHING),
        evidence=tuple(replace(line, severity=Severity.INFO) for line in told.evidence),
    )


def changed(before: Incident, kind: Kind, at: datetime) -> Incident:
    after = replace(before, revision=before.revision + 1, updated_at=at)
    match kind:
        case "severity":
            labels = {**before.labels, "severity": "critical"}
            retired = (*before.retired_labels, before.labels)
            return replace(after, severity="critical", labels=labels, retired_labels=retired)
        case "services":
            return replace(after, services=(*before.services, f"{before.service}-replica"))
        case "resolve":
            return replace(after, status="resolved", ends_at=at)
        case _:
            return replace(after, status="firing", ends_at=None, reopened=before.reopened + 1)
