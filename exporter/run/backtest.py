"""The same pipeline over recorded time, with no delivery: how many pages a configuration would have sent."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from exporter.config import Config
from exporter.detection import localise
from exporter.flow import flow
from exporter.flow.brain import Judgement
from exporter.flow.flow import Flow
from exporter.flow.source import SourcePipeline
from exporter.incidents.suspects import merged_suspects
from exporter.incidents.threshold import paging
from exporter.incidents.tracker import Told
from exporter.model import ConfigError, Incident, NoTelemetry, Source, SystemClock, TimeRange, floor, to_json
from exporter.model.times import Window
from exporter.run.assembly import Assembly, assemble
from exporter.run.evaluation import (
    Alarm,
    Labels,
    ServiceScore,
    frame_scores,
    interval_metrics,
    opening_metrics,
    session_metrics,
)
from exporter.run.learning import open_state
from exporter.state.incidents import incident_list
from exporter.state.notices import notices

Progress = Callable[[str, float], None]
"""Told the name of a source and how much of its range is done, from 0 to 1."""

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Record:
    """What is collected while windows are judged, by source."""

    scores: list[ServiceScore] = field(default_factory=list)
    frames: list[tuple[datetime, Any]] = field(default_factory=list)
    sessions: dict[str, tuple[float, bool]] = field(default_factory=dict)
    learning: tuple[datetime, str] | None = None
    """The end of the last window at which too little was known to call any anomalous, and what was missing."""

    def add(self, window: Window, judgement: Judgement) -> None:
        """Keep the scores of a window and the newest verdict of each session."""
        for detection in judgement.detections:
            if detection.learning:
                self.learning = window.end, detection.learning
            if detection.scores.height:
                self.scores += frame_scores(detection.scores, window.span)
                self.frames.append((window.start, detection.scores))
            for row in detection.sessions.iter_rows(named=True):
                self.sessions[row["session"]] = (row["score"], bool(row["anomalous"]))


@dataclass(frozen=True)
class Result:
    """What a backtest found. `days` is the length of the judged range.

    pages: incidents that opened, or opened again. `escalations`: those that became more severe later, each a page of
    its own. `notices`: what was told without an incident.
    """

    time_range: TimeRange
    incidents: tuple[Incident, ...]
    pages: int
    escalations: int
    notices: int
    sessions: Mapping[str, tuple[float, bool]]
    metrics: Mapping[str, Any]
    learning: Mapping[str, tuple[datetime, str]] = field(default_factory=dict)
    """Of each source that had to learn first: until when, and what was missing before."""

    @property
    def days(self) -> float:
        return self.time_range.duration / DAY

    def to_json(self, with_sessions: bool) -> dict[str, Any]:
        """The format that backtest, evaluations and comparisons share."""
        out: dict[str, Any] = {
            "start": to_json(self.time_range.start),
            "end": to_json(self.time_range.end),
            "incidents": to_json(self.incidents),
            "pages": self.pages,
            "escalations": self.escalations,
            "notices": self.notices,
            "metrics": dict(self.metrics),
        }
        if with_sessions:
            out["sessions"] = [
                {"session": key, "score": score, "anomalous": int(bad)} for key, (score, bad) in self.sessions.items()
            ]
        return out


async def backtest(
    config: Config,
    start: datetime | None = None,
    end: datetime | None = None,
    labels: Labels | None = None,
    tolerance: timedelta = timedelta(minutes=2),
    progress: Progress | None = None,
    sources: Sequence[Source] | None = None,
) -> Result:
    """Warm up on `warmup.history` before `start`, then judge [start, end) as the daemon would have.

    Without `start` it begins with the first line there is, and nothing is known at first. Raises ConfigError
    when there is nothing to read.
    """
    with tempfile.TemporaryDirectory(prefix="backtest-") as folder:
        state = open_state(config, Path(folder) / "state.db")
        assembly = assemble(config, SystemClock(), NoTelemetry(), state, sources=sources, sinks=())
        try:
            return await _run(assembly, start, end, labels or Labels(), tolerance, progress)
        finally:
            await assembly.close()


async def _run(
    assembly: Assembly,
    start: datetime | None,
    end: datetime | None,
    labels: Labels,
    tolerance: timedelta,
    progress: Progress | None,
) -> Result:
    judged = await _range(assembly.pipelines, start, end)
    history = assembly.config.warmup.history if start else timedelta(0)
    records = [Record() for _ in assembly.pipelines]
    for pipeline, record in zip(assembly.pipelines, records, strict=True):
        await _prepare(pipeline, record, judged, history, progress)
    end = max(_grid_end(judged.end, pipeline.window) for pipeline in assembly.pipelines)
    budget = assembly.config.alarm_budget if start else None
    told: list[Told] = []
    for moment in _stops(judged.start, end):
        told += await flow.once(Flow(StoppedClock(moment), assembly.pipelines, assembly.grouper, alarm_budget=budget))
    for pipeline, record in zip(assembly.pipelines, records, strict=True):
        finished = (await pipeline.brain()).detector.finish()
        record.add(Window(end, pipeline.window), Judgement(detections=(finished,)))
    found = await incident_list(assembly.state, limit=1_000_000)
    sessions = {key: verdict for record in records for key, verdict in record.sessions.items()}
    noticed = await notices(assembly.state, 1_000_000, judged)
    counts = {"pages": len(_openings(told)), "escalations": escalations(told), "notices": len(noticed)}
    metrics = counts | _metrics(assembly, labels, tuple(found), told, records, judged, sessions, tolerance)
    learning = {p.name: r.learning for p, r in zip(assembly.pipelines, records, strict=True) if r.learning}
    ordered = tuple(sorted(found, key=lambda i: (i.starts_at, i.id)))
    return Result(judged, ordered, **counts, sessions=sessions, metrics=metrics, learning=learning)


async def _prepare(
    pipeline: SourcePipeline, record: Record, judged: TimeRange, history: timedelta, progress: Progress | None
) -> None:
    """Let a source begin where its history does, and keep what is judged of it."""
    first = floor(judged.start - history, pipeline.window)
    warm_until = floor(judged.start, pipeline.window)
    until = _grid_end(judged.end, pipeline.window)

    def watch(window: Window, judgement: Judgement) -> None:
        if window.start >= warm_until:
            record.add(window, judgement)
        if progress:
            progress(pipeline.name, (window.end - first) / (until - first))

    pipeline.watch = watch
    # All of it has arrived long ago, and all of it is read.
    pipeline.pace = replace(pipeline.pace, query_offset=timedelta(0), max_catch_up=None)
    await pipeline.start(first, warm_until)


@dataclass(frozen=True)
class StoppedClock:
    """The end of what is replayed."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment


def _stops(start: datetime, end: datetime) -> list[datetime]:
    """Up to where it is judged and grouped at a time: what incidents are told by is kept for days, not for months."""
    days = range(1, -(-(end - start) // DAY))
    return [*(start + number * DAY for number in days), end]


def _grid_end(moment: datetime, window: timedelta) -> datetime:
    floored = floor(moment, window)
    return floored if floored == moment else floored + window


async def _range(pipelines: Sequence[SourcePipeline], start: datetime | None, end: datetime | None) -> TimeRange:
    """The range to judge: what is not given is where the logs begin and end."""
    spans = [] if start and end else [await _extent(p) for p in pipelines]
    known = [span for span in spans if span]
    if not (start and end) and not known:
        raise ConfigError("sources: hold no line with a usable timestamp; check paths, index and fields.timestamp")
    first = start or min(span.start for span in known)
    last = end or max(span.end for span in known)
    if last <= first:
        raise ConfigError(f"--end {last.isoformat()} is not after --start {first.isoformat()}")
    return TimeRange(first, last)


async def _extent(pipeline: SourcePipeline) -> TimeRange | None:
    days = await pipeline.source.count(TimeRange(EARLIEST, floor(datetime.now(UTC), DAY) + 2 * DAY), DAY)
    filled = sorted(day for day, lines in days.items() if lines)
    if not filled:
        return None
    ends = [TimeRange(day, day + DAY) for day in {filled[0], filled[-1]}]
    windows = [w for span in ends for w, lines in (await pipeline.source.count(span, pipeline.window)).items() if lines]
    return TimeRange(min(windows), max(windows) + pipeline.window)


def _openings(told: Sequence[Told]) -> list[Alarm]:
    return [Alarm(item.incident, item.at) for item in told if item.change in ("opened", "reopened")]


def escalations(told: Sequence[Told]) -> int:
    """How often an incident that was open became more severe: its alert is then another one, and pages again."""
    return sum(item.change == "updated" for item in paging(told))


def _metrics(
    assembly: Assembly,
    labels: Labels,
    found: tuple[Incident, ...],
    told: Sequence[Told],
    records: Sequence[Record],
    judged: TimeRange,
    sessions: Mapping[str, tuple[float, bool]],
    tolerance: timedelta,
) -> dict[str, Any]:
    if labels.sessions is not None:
        return session_metrics(labels.sessions, {key: bad for key, (_, bad) in sessions.items()})
    if not labels.intervals:
        return {}
    inside = [i for i in labels.intervals if i.overlaps(judged.start, judged.end)]
    opened = {item.incident.id: item.at for item in reversed(told) if item.change == "opened"}
    alarms = [Alarm(incident, opened[incident.id]) for incident in found if incident.id in opened]
    steps = [pipeline.window for pipeline in assembly.pipelines]
    rankings = [
        merged_suspects([localise(r.frames, TimeRange(i.start, i.end), s) for r, s in zip(records, steps, strict=True)])
        for i in inside
    ]
    scores = [score for record in records for score in record.scores]
    days = judged.duration / DAY
    return {
        **interval_metrics(inside, alarms, rankings, scores, days, tolerance),
        **opening_metrics(inside, _openings(told), days, tolerance),
    }
