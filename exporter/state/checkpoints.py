"""How far each source has been read, and what wall time decided about it: warm-up, gaps, stalls, deployments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from exporter.model import Choice, Release, TimeRange, Write
from exporter.model.times import moment, seconds
from exporter.state.file import Rows

CHOSEN = "fields"
"""Decisions about where records keep what."""

MOST_CHOICES = 64
"""Of a source that are kept: one is made on a day at most, and seldom."""

CLOCK = "clock"
AHEAD = "ahead"
"""Decisions about the clock of the machine, and about what was read ahead of it."""


@dataclass(frozen=True)
class Checkpoint:
    """How far a source has been read, in event time; windows before `warm_until` were only learnt from."""

    read_through: datetime
    settled_through: datetime
    started_at: datetime
    warm_until: datetime

    @property
    def learnt_through(self) -> datetime:
        """What was learnt from, or is to be learnt from and told to nobody."""
        return max(self.settled_through, self.warm_until)


@dataclass(frozen=True)
class Decision:
    """Something that wall time decided about a range of a source."""

    source: str
    span: TimeRange
    detail: str


async def checkpoint(rows: Rows, source: str) -> Checkpoint | None:
    """The committed checkpoint of a source, or None before its first start."""
    query = "SELECT read_through, settled_through, started_at, warm_until FROM checkpoints WHERE source = ?"
    found = await rows.read(query, (source,))
    return Checkpoint(*map(moment, found[0])) if found else None


def checkpoint_row(source: str, reached: Checkpoint) -> Write:
    names = ("source", "read_through", "settled_through", "started_at", "warm_until")
    times = (reached.read_through, reached.settled_through, reached.started_at, reached.warm_until)
    return Write("checkpoints", names, ((source, *map(seconds, times)),))


def decision_row(source: str, span: TimeRange, kind: str, detail: str, now: datetime) -> Write:
    """Put on the record what wall time decided: `kind` is "warmup", "fields", "gap", "stalled", "clock" or
    "ahead"."""
    names = ("source", "start", "kind", "end", "at", "detail")
    return Write("decisions", names, ((source, seconds(span.start), kind, seconds(span.end), seconds(now), detail),))


def choice_row(source: str, span: TimeRange, choice: Choice) -> Write:
    """Put on the record where records keep what, from the start of a range on; chosen from what the range had."""
    return decision_row(source, span, CHOSEN, json.dumps(choice, ensure_ascii=False), span.end)


async def choices(rows: Rows, source: str) -> list[tuple[datetime, Choice]]:
    """What was chosen of a source, in order of the moments from which on it holds."""
    query = f"SELECT start, detail FROM decisions WHERE source = ? AND kind = '{CHOSEN}' ORDER BY start DESC LIMIT ?"
    found = await rows.read(query, (source, MOST_CHOICES))
    read = [(moment(start), _choice(detail)) for start, detail in reversed(found)]
    return [(since, choice) for since, choice in read if choice]


def _choice(detail: str) -> Choice:
    """Empty where it cannot be read."""
    try:
        return {str(column): tuple(map(str, paths)) for column, paths in json.loads(detail).items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def without_decisions(source: str, kind: str) -> Write:
    """Forget the decisions of a kind."""
    return Write("decisions", ("source", "kind"), ((source, kind),), delete=True)


async def planned(rows: Rows, source: str) -> list[TimeRange]:
    """The ranges that warm-up was decided to learn from, in order; none where it is all of them."""
    query = "SELECT start, end FROM decisions WHERE source = ? AND kind = 'warmup' ORDER BY start"
    return [TimeRange(moment(start), moment(end)) for start, end in await rows.read(query, (source,))]


async def learnt_from(rows: Rows) -> dict[str, list[TimeRange]]:
    """The ranges that warm-up learns from, of each source, in order."""
    found = await rows.read("SELECT source, start, end FROM decisions WHERE kind = 'warmup' ORDER BY start")
    found = found or await rows.read("SELECT source, started_at, warm_until FROM checkpoints ORDER BY source")
    spans: dict[str, list[TimeRange]] = {}
    for source, start, end in found:
        spans.setdefault(source, []).append(TimeRange(moment(start), moment(end)))
    return spans


async def learnt(rows: Rows) -> dict[str, TimeRange]:
    """The sources whose warm-up is over, and what it took: from the first range to the last."""
    query = "SELECT source, started_at, warm_until FROM checkpoints WHERE read_through >= warm_until"
    return {source: TimeRange(moment(start), moment(end)) for source, start, end in await rows.read(query)}


async def starts(rows: Rows) -> dict[str, datetime]:
    """Where each source was begun."""
    found = await rows.read("SELECT source, started_at FROM checkpoints ORDER BY source")
    return {source: moment(since) for source, since in found}


async def warm_until(rows: Rows) -> dict[str, datetime]:
    """Up to when each source was only learnt from."""
    found = await rows.read("SELECT source, warm_until FROM checkpoints ORDER BY source")
    return {source: moment(until) for source, until in found}


async def decided_until(rows: Rows, source: str, kind: str, end: datetime, detail: str) -> datetime | None:
    """Where a decision of a kind, for the same reason, begins that ends at `end`; None when there is none."""
    query = "SELECT start FROM decisions WHERE source = ? AND kind = ? AND end = ? AND detail = ?"
    found = await rows.read(query, (source, kind, seconds(end), detail))
    return moment(found[0][0]) if found else None


async def gaps_within(rows: Rows, span: TimeRange) -> list[Decision]:
    """Gaps of all sources that touch a range, ends included, in order."""
    query = "SELECT source, start, end, detail FROM decisions WHERE kind = 'gap' AND start <= ? AND end > ?"
    found = await rows.read(f"{query} ORDER BY start, source", (seconds(span.end), seconds(span.start)))
    return [Decision(source, TimeRange(moment(start), moment(end)), why) for source, start, end, why in found]


async def gaps_from(rows: Rows, source: str, start: datetime) -> list[TimeRange]:
    """What was given up of a source after a moment, in order."""
    query = "SELECT start, end FROM decisions WHERE source = ? AND kind = 'gap' AND end > ? ORDER BY start"
    return [TimeRange(moment(start), moment(end)) for start, end in await rows.read(query, (source, seconds(start)))]


async def gap_count(rows: Rows, source: str) -> int:
    found = await rows.read("SELECT COUNT(*) FROM decisions WHERE source = ? AND kind = 'gap'", (source,))
    return int(found[0][0])


def release_row(release: Release) -> Write:
    row = (release.service, seconds(release.at), release.version)
    return Write("changes", ("service", "at", "version"), (row,))


async def release_count(rows: Rows) -> int:
    found = await rows.read("SELECT COUNT(*) FROM changes")
    return int(found[0][0])


async def releases(rows: Rows, span: TimeRange) -> list[Release]:
    """Deployments that we were told of in a range, in order."""
    query = "SELECT service, version, at FROM changes WHERE at >= ? AND at < ? ORDER BY at, service"
    found = await rows.read(query, (seconds(span.start), seconds(span.end)))
    return [Release(service, version, moment(at)) for service, version, at in found]
