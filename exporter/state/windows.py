"""What was read and found of each window: the counts that the sweep compares with, anomalies, scores of services.

These rows are derived: a source that is learnt anew makes them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from exporter.model import Anomaly, SqlValue, TimeRange, Write, dumps
from exporter.model.times import Window, moment, seconds
from exporter.state.aside import readable
from exporter.state.file import Rows


def window_row(source: str, window: Window, lines: int, reads: int) -> Write:
    """A window, the lines that the source counts, and how often it was read."""
    return Write("windows", ("source", "window", "lines", "reads"), ((source, window.key, lines, reads),))


def without_windows(source: str, starts: Iterable[datetime]) -> Write:
    return Write("windows", ("source", "window"), tuple((source, seconds(start)) for start in starts), delete=True)


async def windows_from(rows: Rows, source: str, start: datetime) -> list[tuple[datetime, int, int]]:
    """Windows from `start` on: their start, lines and reads, in order."""
    query = "SELECT window, lines, reads FROM windows WHERE source = ? AND window >= ? ORDER BY window"
    found = await rows.read(query, (source, seconds(start)))
    return [(moment(window), lines, reads) for window, lines, reads in found]


async def lines_before(rows: Rows, source: str, end: datetime) -> dict[datetime, int]:
    """Lines of the windows that began before `end`, by their start, in order."""
    query = "SELECT window, lines FROM windows WHERE source = ? AND window < ? ORDER BY window"
    return {moment(window): lines for window, lines in await rows.read(query, (source, seconds(end)))}


def anomaly_rows(source: str, anomalies: Iterable[Anomaly], quiet: bool) -> Write:
    """What was found, for `group`; what is `quiet` was found in warm-up, is told to nobody and sets the threshold."""
    found = tuple((source, seconds(a.reached), a.id, int(quiet), dumps(a)) for a in anomalies)
    return Write("anomalies", ("source", "reached", "id", "quiet", "body"), found)


async def anomalies_of_steps(rows: Rows, source: str, ends: TimeRange) -> dict[int, list[tuple[SqlValue, ...]]]:
    """The rows of what became known of a source from one moment to another, both included, by moment; not of what was
    taken in then because it was late."""
    query = "SELECT source, reached, id, quiet, body FROM anomalies WHERE source = ? AND reached BETWEEN ? AND ?"
    values = (source, seconds(ends.start), seconds(ends.end))
    found: dict[int, list[tuple[SqlValue, ...]]] = {}
    for row in await rows.read(f"{query} AND NOT (json_valid(body) AND json_extract(body, '$.late'))", values):
        found.setdefault(row[1], []).append(row)
    return found


async def knows_anomaly(rows: Rows, anomaly: Anomaly) -> bool:
    query = "SELECT 1 FROM anomalies WHERE source = ? AND id = ?"
    return bool(await rows.read(query, (anomaly.source, anomaly.id)))


async def anomalies_reached(rows: Rows, since: datetime | None, until: datetime) -> list[Anomaly]:
    """What became known after `since`, up to `until`, and may be told."""
    query = "SELECT id, body FROM anomalies WHERE reached > ? AND reached <= ? AND quiet = 0"
    return _readable(rows, await rows.read(query, (seconds(since) if since else -1, seconds(until))))


async def anomalies_of_warmup(rows: Rows, after: Mapping[str, datetime]) -> list[Anomaly]:
    """What the warm-up of each source found after a moment of its own, in order."""
    query = "SELECT source, reached, id, body FROM anomalies WHERE quiet = 1 ORDER BY reached, source, id"
    found = await rows.read(query)
    since = {source: seconds(at) for source, at in after.items()}
    return _readable(rows, [(name, body) for source, at, name, body in found if source in since and at > since[source]])


def _readable(rows: Rows, found: Iterable[tuple[str, str]]) -> list[Anomaly]:
    read = (readable(rows, "anomalies", identity, Anomaly, body) for identity, body in found)
    return [anomaly for anomaly in read if anomaly is not None]


def scores_now(rows: Rows, source: str, span: TimeRange) -> list[tuple[int, bytes]]:
    """The scores of all services (packed frames) in the windows that begin inside a range, its ends not included."""
    query = "SELECT window, body FROM detection_scores WHERE source = ? AND window > ? AND window < ? ORDER BY window"
    return [(window, body) for window, body in rows.read_now(query, (source, seconds(span.start), seconds(span.end)))]


def facts_now(rows: Rows, source: str, span: TimeRange) -> list[tuple[int, bytes]]:
    """What the windows say that begin inside a range, its end not included."""
    query = "SELECT window, body FROM facts_windows WHERE source = ? AND window >= ? AND window < ? ORDER BY window"
    return [(window, body) for window, body in rows.read_now(query, (source, seconds(span.start), seconds(span.end)))]


async def lines_a_minute(rows: Rows, source: str, end: datetime, window: timedelta) -> float:
    """What a source holds, by the windows that are kept of the hour before a moment."""
    query = "SELECT COUNT(*), SUM(lines) FROM windows WHERE source = ? AND window >= ? AND window < ?"
    found = await rows.read(query, (source, seconds(end - timedelta(hours=1)), seconds(end)))
    windows, lines = found[0]
    return float(lines) / (windows * (window / timedelta(minutes=1))) if windows else 0.0


async def services_known(rows: Rows) -> Mapping[str, int]:
    """How many services detection has met in each source."""
    found = await rows.read("SELECT source, COUNT(*) FROM detection_services GROUP BY source")
    return {str(source): int(count) for source, count in found}


async def services_seen(rows: Rows) -> list[tuple[str, str, int, datetime, datetime]]:
    """Each service that detection has met: its source, lines, first and last window, in order of its name."""
    query = "SELECT source, service, lines, first, last FROM detection_services ORDER BY source, service"
    found = await rows.read(query)
    return [(source, name, lines, moment(first), moment(last)) for source, name, lines, first, last in found]


async def kinds_of_lines(rows: Rows) -> Mapping[tuple[str, str], int]:
    """How many templates are known of each source and service."""
    found = await rows.read("SELECT source, service, COUNT(*) FROM mining_templates GROUP BY source, service")
    return {(source, service): int(count) for source, service, count in found}


async def rows_of(rows: Rows, table: str, source: str | None = None) -> list[tuple[Any, ...]]:
    """All rows of a stage's table, of one source or of all, in key order; columns as the table defines them."""
    where, values = ("WHERE source = ?", (source,)) if source else ("", ())
    return await rows.read(f"SELECT * FROM {table} {where}", values)
