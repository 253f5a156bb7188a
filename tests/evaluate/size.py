"""What is kept of the past of many services: the rows of an hour, and what they come to in two weeks."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from exporter.detection import DetectionSettings, Detector, tables
from exporter.detection.observation import COUNTS, SERVICES, SESSIONS, TRANSITIONS, Observation
from exporter.detection.valued import values_of
from exporter.ingest import reduction
from exporter.mining.templates import TEMPLATES_SCHEMA, Mined
from exporter.model import Write

WINDOW = timedelta(minutes=1)
LATE = timedelta(minutes=15)
HOURS = 1
START = int(datetime(2025, 3, 3, tzinfo=UTC).timestamp())


def measure(services: int, templates: int, days: int, values: bool = True) -> tuple[float, float]:
    """Bytes of detection's rows after so many days, and seconds of processor time that a window takes to judge.

    values: lines of requests have codes and durations.
    """
    chance = np.random.default_rng(0)
    names = [f"service-{number:04}" for number in range(services)]
    rates = chance.gamma(0.7, 4.0, (services, templates))
    windows = HOURS * 60 + int(LATE / WINDOW)
    drawn = [_observation(START + 60 * number, names, chance.poisson(rates)) for number in range(windows)]
    if values:
        drawn = [replace(one, values=_values(one.counts, templates, chance)) for one in drawn]
    rows = sqlite3.connect(":memory:")
    rows.executescript(tables())
    detector = Detector("many", DetectionSettings(), WINDOW, LATE)
    mined = Mined(pl.DataFrame(schema=TEMPLATES_SCHEMA))
    begin = time.process_time()
    for seen in drawn:
        for found in (
            detector.judge(seen, mined, reduction.empty().exemplars),
            detector.settle(seen.window - 15 * 60),
        ):
            for write in found.writes:
                rows.executemany(_statement(write), write.rows)
    spent = (time.process_time() - begin) / windows
    blocks = _bytes(rows, "detection_blocks") / HOURS * 24 * days
    scores = _bytes(rows, "detection_scores") / windows * 2 * 24 * 60
    others = sum(_bytes(rows, name) for name in ("detection_observations", "detection_pool", "detection_services"))
    return blocks + scores + others, spent


def _observation(window: int, names: list[str], counts: np.ndarray) -> Observation:
    lines = counts.sum(axis=1)
    services = pl.DataFrame({"service": names, "lines": lines, "errors": 0, "warnings": 0, "traces": 0}, SERVICES)
    place, template = np.nonzero(counts)
    of = pl.DataFrame(
        {
            "service": [names[number] for number in place.tolist()],
            "template": place * counts.shape[1] + template + 1,
            "count": counts[place, template],
            "traces": 0,
            "severity": 9,
            "first": window * 10**9,
        },
        COUNTS,
    )
    empty = pl.DataFrame(schema=TRANSITIONS), pl.DataFrame(schema=SESSIONS)
    return Observation("many", window, WINDOW, services.filter(pl.col("lines") > 0), of, *empty)


def _values(counts: pl.DataFrame, templates: int, chance: np.random.Generator) -> pl.DataFrame:
    """What lines say beside their text: each tenth template is of requests, with a status and a duration."""
    lines = counts.select("service", "template", pl.col("count").cast(pl.UInt32)).select(
        pl.col("service", "template").repeat_by("count").explode()
    )
    requests = (lines["template"].to_numpy() - 1) % templates % 10 == 0
    status = chance.choice([200, 302, 404, 500], len(lines), p=[0.95, 0.02, 0.025, 0.005])
    seconds = np.exp(chance.normal(-3, 1, len(lines)))
    keys = {name: number for number, name in enumerate(lines["service"].unique().sort())}
    named = lines.with_columns(
        pl.col("service").replace_strict(keys, return_dtype=pl.UInt64).alias("key"),
        pl.Series("code", np.where(requests, status, 0), pl.Int16).replace(0, None),
        pl.Series("duration", np.where(requests, seconds, np.nan), pl.Float32).fill_nan(None),
        pl.lit(0, pl.UInt64).alias("fields"),
        pl.lit(1 << 40, pl.UInt64).alias("place"),
    )
    names = pl.DataFrame(schema={"key": pl.UInt64, "text": pl.String})
    return values_of(named, names, Mined(pl.DataFrame(schema=TEMPLATES_SCHEMA)))


def _statement(write: Write) -> str:
    if write.delete:
        return f"DELETE FROM {write.table} WHERE {' AND '.join(f'{name} = ?' for name in write.columns)}"
    marks = ", ".join("?" * len(write.columns))
    return f"INSERT OR REPLACE INTO {write.table} ({', '.join(write.columns)}) VALUES ({marks})"


def _bytes(rows: sqlite3.Connection, table: str) -> float:
    """Of the values of a table; what SQLite adds for keys and pages is counted as a tenth."""
    columns = [row[1] for row in rows.execute(f"PRAGMA table_info({table})")]
    lengths = " + ".join(f"COALESCE(LENGTH(CAST({column} AS BLOB)), 0)" for column in columns)
    return 1.1 * float(rows.execute(f"SELECT COALESCE(SUM({lengths}), 0) FROM {table}").fetchone()[0])
