"""Say what is unusual in a stretch of logs by comparing it with itself: no configuration, no history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from exporter.analysis.findings import Analysis, AnalyzeSettings, Finding, Overview, ServiceOverview
from exporter.analysis.judging import Judge, findings_of, learnt_of
from exporter.analysis.reading import MANY_WINDOWS, STEPS, extent, read_all
from exporter.analysis.stretch import MIN_WINDOWS, Logs, rare_failures
from exporter.detection.observation import survivors
from exporter.ingest import reduction
from exporter.mining.miner import Miner
from exporter.model import (
    EPOCH,
    Anomaly,
    ConfigError,
    Reduced,
    Severity,
    format_duration,
    from_nanoseconds,
)
from exporter.reading.told import TEXT, Told
from exporter.wording.text import minute, number

Floats = NDArray[np.float64]

Ints = NDArray[np.int64]

MOST_WINDOWS = 20_000

MIN_LINES = 200
"""With fewer, nothing can be said of what is usual."""

COMPARED = ("timestamp", "service", "shape", "severity", "code", "duration")
"""What comparisons look at of a record; the rest of its columns is held once, not twice."""


async def analyze(
    pages: AsyncIterator[pl.DataFrame], settings: AnalyzeSettings | None = None, told: Told | None = None
) -> Analysis:
    """Read all pages, compare the windows of the stretch with each other, and say what stands out.

    `told` is what whoever makes the pages finds out meanwhile.
    """
    settings = settings or AnalyzeSettings()
    reduced, by_position, dropped = await read_all(pages, settings)
    found = await asyncio.to_thread(_analyze, reduced, by_position, dropped, settings)
    return _with_told(found, told) if told else found


def _with_told(found: Analysis, told: Told) -> Analysis:
    """The analysis with what was found out while its lines were read."""
    fields = dict(told.shares())
    if found.overview.records:
        # What lines say inside of their text shows only when they are reduced.
        stated = sum(found.overview.levels.values()) / found.overview.records
        places = {place: share for place, share in fields["severity"].items() if place != "missing"}
        inside = round(max(0.0, stated - sum(places.values())), 4)
        own = {TEXT: inside} if inside else {}
        fields["severity"] = {**places, **own, "missing": round(max(0.0, 1 - stated), 4)}
    overview = replace(found.overview, encoding=told.encoding, fields=fields)
    return replace(found, overview=overview, notes=(*found.notes, *_told_notes(told, overview)))


_FLAGS = ("timestamp", "severity", "service", "body", "trace", "host")


def _told_notes(told: Told, overview: Overview) -> Iterable[str]:
    for column in _FLAGS:
        for place in told.chosen.get(column, ()):
            yield (
                f"The {column} was found in `{place}` by what stands there: --{column} FIELD names another one; a "
                f"source says `fields: {{{column}: {place}}}`."
            )
    if told.unzoned and overview.first:
        yield f"{number(told.unzoned)} times name no zone: they are read as {told.timezone} (--timezone)."
    for letters, lines in told.zones.most_common(3):
        yield (
            f"{number(lines)} times name the zone {letters}, which has several meanings: they are read as "
            f"{told.timezone} (--timezone)."
        )
    if told.undecoded:
        yield (
            f"{number(told.undecoded)} lines hold bytes that are no {told.encoding or 'text'}: --encoding says what "
            "they are written in."
        )
    if overview.by_position and overview.records:
        yield "Where the time of a record stands is said by --timestamp FIELD, or by a source's `pattern`."


def _analyze(reduced: Reduced, by_position: bool, dropped: Mapping[str, int], settings: AnalyzeSettings) -> Analysis:
    if reduced.lines.is_empty():
        overview = Overview(0, None, None, None, (), 0, 0, dropped)
        return Analysis(overview, (), (_nothing_read(dropped),))
    logs, anomalies, limited = _mine(reduced, settings)
    enough = logs.windows >= MIN_WINDOWS and logs.total >= MIN_LINES
    found = findings_of(anomalies, logs) if enough else []
    failures, background = rare_failures(logs, found)
    ranked = sorted([*found, *failures], key=_rank)
    overview = _overview(logs, reduced, {**dropped, **limited}, by_position)
    learnt = (_learnt(logs, by_position),) if enough else ()
    notes = (*background, *learnt, *_notes(overview, logs, len(ranked), settings.top))
    if by_position:
        overview = replace(overview, start=None, end=None, first=None, last=None)
    return Analysis(overview, tuple(ranked[: settings.top]), notes)


def _rank(finding: Finding) -> tuple[float, datetime, str, str]:
    return -finding.score, finding.since or EPOCH, finding.service, finding.text


def _mine(reduced: Reduced, settings: AnalyzeSettings) -> tuple[Logs, list[Anomaly], dict[str, int]]:
    """Mine all windows in order, and let the detector of the daemon judge them."""
    seconds = reduced.lines["timestamp"].to_numpy() // 1_000_000_000
    window = settings.window or _fitting(seconds)
    step = window // timedelta(seconds=1)
    starts = _grid(seconds, step)
    if len(starts) > MOST_WINDOWS:
        raise ConfigError(
            f"--window {format_duration(window)}: makes {number(len(starts))} windows; choose a longer one"
        )
    miner, parts = Miner("analyze", settings.mining), list[pl.DataFrame]()
    merged, texts, limited = list[tuple[int, int]](), dict[int, str](), dict[str, int]()
    judge = Judge(window, len(starts))
    by_window = reduction.windows(reduced, window)
    for index, moment in enumerate(starts.tolist()):
        part = by_window.get(moment) or reduction.empty()
        mined = miner.mine(moment, part)
        judge.take(moment, part, mined)
        merged += mined.merged
        texts.update(mined.texts)
        for reason, lines in mined.dropped.items():
            limited[reason] = limited.get(reason, 0) + lines
        records = part.lines.filter(~pl.col("continuation")).select(COMPARED)
        records = records.join(mined.templates, on=["service", "shape"], how="left")
        parts.append(records.with_columns(window=pl.lit(index, pl.Int64)))
    records = pl.concat(parts).with_columns(pl.col("template").fill_null(-1))
    moves = survivors(merged)
    if moves:
        records = records.with_columns(pl.col("template").replace(moves))
    names = dict(reduced.names.rows())
    logs = Logs(records, texts, names, reduced.exemplars, starts, window, moves)
    return logs, judge.finish(), limited


def _fitting(seconds: Ints) -> timedelta:
    """The shortest usual length of which not too many have lines."""
    return next((step for step in STEPS if len(np.unique(seconds // _seconds(step))) <= MANY_WINDOWS), STEPS[-1])


def _seconds(step: timedelta) -> int:
    return step // timedelta(seconds=1)


def _grid(seconds: Ints, step: int) -> Ints:
    """The starts of all windows; where many are empty, the logs have holes, and those with lines are compared."""
    filled = np.unique(seconds // step)
    whole = int(filled[-1] - filled[0]) + 1
    return np.asarray((np.arange(filled[0], filled[-1] + 1) if len(filled) >= 0.7 * whole else filled) * step)


def _overview(logs: Logs, reduced: Reduced, dropped: Mapping[str, int], by_position: bool) -> Overview:
    frame = (
        logs.counted.group_by("service")
        .agg(pl.col("lines", "errors", "warnings").sum(), pl.col("template").n_unique())
        .sort("lines", "service", descending=[True, False])
    )
    first, last = extent(reduced.lines["timestamp"])
    services = tuple(
        ServiceOverview(logs.names.get(key, "unknown"), lines, errors, warnings, templates)
        for key, lines, errors, warnings, templates in frame.rows()
    )
    return Overview(
        reduced.lines.height,
        from_nanoseconds(first),
        from_nanoseconds(last),
        logs.window,
        services,
        logs.kinds,
        int(reduced.lines["continuation"].sum()),
        dropped,
        by_position,
        logs.records.height,
        _levels(logs.records),
        first=from_nanoseconds(first),
        last=from_nanoseconds(last),
    )


def _levels(records: pl.DataFrame) -> dict[str, int]:
    """How many records state each level; numbers between two levels count to the lower."""
    found: dict[str, int] = {}
    for severity, lines in records.group_by("severity").len().sort("severity", descending=True).rows():
        if severity > 0:
            name = max(level for level in Severity if level <= severity).name
            found[name] = found.get(name, 0) + lines
    return found


_REASONS = {
    "absent_timestamp": "had no time stamp and were left out",
    "impossible_timestamp": "had an impossible time stamp and were left out",
    "max_lines": "were over the limit of lines and were not read",
    "max_services": "were of more services than are told apart and were left out",
    "sample": "were left out, for all would not fit into memory: what is said is of a sample of the others, by chance",
}


def _nothing_read(dropped: Mapping[str, int]) -> str:
    if dropped:
        return "No line could be used: " + "; ".join(
            f"{number(lines)} {_REASONS.get(reason, reason)}" for reason, lines in dropped.items()
        )
    return "There are no lines."


def _learnt(logs: Logs, by_position: bool) -> str:
    if by_position:
        return "The first quarter of the lines is what the rest is compared with: of it only rare failures are told."
    until = minute(logs.moment(learnt_of(logs.windows)))
    return f"What came until {until} UTC is what the rest is compared with: of it only rare failures are told."


def _notes(overview: Overview, logs: Logs, findings: int, top: int) -> Iterable[str]:
    for reason, lines in overview.dropped.items():
        if lines:
            yield f"{number(lines)} lines {_REASONS.get(reason, f'were limited ({reason})')}."
    if overview.by_position:
        yield "Most lines have no time stamp: their order stands for time, and nothing is said of rates and pauses."
    if logs.windows < MIN_WINDOWS or logs.total < MIN_LINES:
        yield (
            "The stretch is too short to say what is usual in it: only rare failures are looked for. More lines, or "
            "a shorter --window, tell more."
        )
    if findings > top:
        yield f"{findings - top} more findings are weaker; --top shows them."
