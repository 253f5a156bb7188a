"""Compare what a backtest found with labels: how much, how fast, how falsely, and whether the cause was right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from exporter.model import ConfigError, Incident, Suspect, TimeRange, from_nanoseconds

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Interval:
    """A labelled stretch in which something was wrong; `service` is the true cause, where it is known."""

    start: datetime
    end: datetime
    service: str | None = None
    kind: str | None = None

    def overlaps(self, start: datetime, end: datetime, tolerance: timedelta = timedelta(0)) -> bool:
        """Whether the stretch [start, end) touches this one, widened on both sides."""
        return start < self.end + tolerance and end > self.start - tolerance


@dataclass(frozen=True)
class Labels:
    """Either intervals, or the truth of each session."""

    intervals: tuple[Interval, ...] = ()
    sessions: Mapping[str, bool] | None = None


@dataclass(frozen=True)
class ServiceScore:
    """How unlike its past a service was in one window."""

    service: str
    window: TimeRange
    score: float


def load_labels(path: Path) -> Labels:
    """Read CSV, NDJSON or parquet: columns start, end and optionally service and kind; or session and anomalous.

    Raises ConfigError that names the file and what is wrong in it.
    """
    import polars as pl

    readers: dict[str, Any] = {
        ".csv": pl.read_csv,
        ".ndjson": pl.read_ndjson,
        ".jsonl": pl.read_ndjson,
        ".parquet": pl.read_parquet,
    }
    reader = readers.get(path.suffix)
    if reader is None:
        raise ConfigError(f"{path}: labels are read from {', '.join(readers)} files")
    try:
        frame: pl.DataFrame = reader(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ConfigError(f"{path}: cannot be read as {path.suffix[1:]}: {error}") from error
    if {"session", "anomalous"} <= set(frame.columns):
        try:
            pairs = frame.select(pl.col("session").cast(pl.String), pl.col("anomalous").cast(pl.Int64)).rows()
        except pl.exceptions.PolarsError as error:
            raise ConfigError(f"{path}: anomalous must be 0 or 1 in each row") from error
        return Labels(sessions={key: bool(value) for key, value in pairs})
    if {"start", "end"} <= set(frame.columns):
        return Labels(intervals=tuple(_interval(row, path) for row in frame.iter_rows(named=True)))
    raise ConfigError(f"{path}: needs the columns start and end, or session and anomalous; has {frame.columns}")


def _interval(row: Mapping[str, Any], path: Path) -> Interval:
    start, end = _moment(row["start"], path), _moment(row["end"], path)
    if end <= start:
        raise ConfigError(f"{path}: the end {row['end']} is not after its start {row['start']}")
    return Interval(start, end, row.get("service"), row.get("kind"))


def _moment(value: object, path: Path) -> datetime:
    """RFC 3339, or an epoch in seconds, milliseconds, microseconds or nanoseconds, told apart by size."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        number = float(str(value))
    except ValueError:
        try:
            parsed = datetime.fromisoformat(str(value))
        except ValueError as error:
            raise ConfigError(f"{path}: {value!r} is neither an RFC 3339 time nor an epoch") from error
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    for digits, scale in ((11, 10**9), (14, 10**6), (17, 10**3)):
        if number < 10**digits:
            return from_nanoseconds(int(number * scale))
    return from_nanoseconds(int(str(value)) if str(value).isdigit() else int(number))


def session_metrics(truth: Mapping[str, bool], found: Mapping[str, bool]) -> dict[str, float]:
    """Precision, recall and F1 over the labelled sessions; one without a verdict counts as normal."""
    true = sum(1 for key, bad in truth.items() if bad and found.get(key, False))
    false = sum(1 for key, bad in truth.items() if not bad and found.get(key, False))
    missed = sum(1 for key, bad in truth.items() if bad and not found.get(key, False))
    precision = true / (true + false) if true + false else 0.0
    recall = true / (true + missed) if true + missed else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


@dataclass(frozen=True)
class Alarm:
    """An incident and the event time at which it was first told; or as it was when it opened again, and when."""

    incident: Incident
    opened_at: datetime


def interval_metrics(
    intervals: Sequence[Interval],
    alarms: Sequence[Alarm],
    rankings: Sequence[Sequence[Suspect]],
    scores: Iterable[ServiceScore],
    days: float,
    tolerance: timedelta = timedelta(minutes=2),
) -> dict[str, Any]:
    """The metrics of labelled intervals. `rankings` holds the services ranked within each interval, in order."""
    overlapping = [[a for a in alarms if _overlaps(i, a, tolerance)] for i in intervals]
    false = [a for a in alarms if not any(_overlaps(i, a, tolerance) for i in intervals)]
    delays = _delays(intervals, alarms, tolerance)
    causes = [i.service for i in intervals]
    told = [_suspects(found) for found in overlapping]
    return {
        "recall": sum(1 for found in overlapping if found) / len(intervals) if intervals else 0.0,
        "false_incidents_per_day": len(false) / days if days else 0.0,
        "median_delay_seconds": median(delays) if delays else None,
        "localisation": hits(causes, [[s.service for s in ranking] for ranking in rankings]),
        "diagnosis": hits(causes, told),
        "average_precision": average_precision(intervals, scores),
    }


def opening_metrics(
    intervals: Sequence[Interval],
    openings: Sequence[Alarm],
    days: float,
    tolerance: timedelta = timedelta(minutes=2),
) -> dict[str, Any]:
    """What of the labelled intervals was told as it came: one incident that never ends would overlap all of them.

    `openings` are those that opened and those that opened again. Each counts for one interval, the one that ends
    first of those that it lies in and nobody else has found.
    """
    own: dict[Interval, Alarm] = {}
    false = 0
    for opening in sorted(openings, key=lambda one: one.opened_at):
        around = [i for i in intervals if i.start - tolerance <= opening.opened_at < i.end + tolerance]
        false += not around
        left = [interval for interval in around if interval not in own]
        if left:
            own[min(left, key=lambda interval: interval.end)] = opening
    after = [max(0.0, (o.opened_at - _first_line(i, o)).total_seconds()) for i, o in own.items()]
    return {
        "found": len(own) / len(intervals) if intervals else 0.0,
        "false_openings_per_day": false / days if days else 0.0,
        "told_after_seconds": median(after) if after else None,
    }


def _first_line(interval: Interval, opening: Alarm) -> datetime:
    """Of the lines that the incident cited when it was told, the first of the failure; else where that begins."""
    cited = [line.timestamp for line in opening.incident.evidence if line.timestamp >= interval.start]
    return min(cited, default=interval.start)


def _overlaps(interval: Interval, alarm: Alarm, tolerance: timedelta) -> bool:
    return interval.overlaps(alarm.incident.starts_at, alarm.incident.last_seen, tolerance)


def _delays(intervals: Sequence[Interval], alarms: Sequence[Alarm], tolerance: timedelta) -> list[float]:
    """Seconds from the start of an interval to its first alarm.

    An alarm is that of the one interval whose start is nearest to its opening: one that goes on through later
    intervals says nothing of how soon those were told, nor does one that was open long before.
    """
    first: dict[Interval, float] = {}
    for alarm in alarms:
        near = [interval for interval in intervals if _overlaps(interval, alarm, tolerance)]
        if not near:
            continue
        own = min(near, key=lambda interval: abs(alarm.opened_at - interval.start))
        delay = alarm.opened_at - own.start
        if delay >= -tolerance:
            first[own] = min(first.get(own, math.inf), max(0.0, delay.total_seconds()))
    return list(first.values())


def _suspects(alarms: Sequence[Alarm]) -> list[str]:
    """The ranking of the earliest incident that overlaps."""
    if not alarms:
        return []
    first = min(alarms, key=lambda alarm: alarm.opened_at)
    return [suspect.service for suspect in first.incident.suspects]


def hits(causes: Sequence[str | None], rankings: Sequence[Sequence[str]]) -> dict[str, float]:
    """The share of intervals whose true cause is among the first 1, 3, 5 services."""
    known = [(cause, ranking) for cause, ranking in zip(causes, rankings, strict=True) if cause]
    if not known:
        return {}
    return {f"as@{k}": sum(cause in ranking[:k] for cause, ranking in known) / len(known) for k in (1, 3, 5)}


def average_precision(intervals: Sequence[Interval], scores: Iterable[ServiceScore]) -> float | None:
    """Area under precision over recall of (service, window) pairs; a pair is true when it lies in a labelled fault."""
    pairs = [(score.score, _true(intervals, score)) for score in scores]
    positives = sum(true for _, true in pairs)
    if not positives:
        return None
    area, seen = 0.0, 0
    for rank, (_, true) in enumerate(sorted(pairs, key=lambda pair: -pair[0]), start=1):
        if true:
            seen += 1
            area += seen / rank
    return area / positives


def _true(intervals: Sequence[Interval], score: ServiceScore) -> bool:
    return any(i.service == score.service and i.overlaps(score.window.start, score.window.end) for i in intervals)


def frame_scores(frame: pl.DataFrame, window: TimeRange) -> list[ServiceScore]:
    """The rows of a detection's scores."""
    return [ServiceScore(service, window, score) for service, score in frame.select("service", "score").rows()]
