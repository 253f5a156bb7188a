"""The labelled logs, as the product's own configuration and labels describe them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from exporter.config import Config, parse
from exporter.run.backtest import Result, backtest
from exporter.run.evaluation import Interval, Labels

REPOSITORY = Path(__file__).parent.parent.parent

WARMUP_FAULTS = 2
"""The first faults of the TrainTicket day: there is nothing before them to learn from."""


def shared_data() -> Path | None:
    """Where the labelled logs are, which are not part of the repository."""
    path = Path(os.environ.get("LAE_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    return path if path.is_dir() else None


def hdfs_config(data: Path) -> Config:
    """HDFS: one service, sessions by block."""
    source = {
        "type": "file",
        "name": "hdfs",
        "path": str(data / "hdfs" / "events.parquet"),
        "service": "hdfs",
        "fields": {"body": "m_message", "timestamp": "m_timestamp", "severity": "level"},
        "sessions": {"field": "seq_id"},
    }
    return parse({"sources": [source]})


def hdfs_labels(data: Path) -> Labels:
    """Which blocks are anomalous."""
    frame = pl.read_parquet(data / "hdfs" / "labels.parquet")
    return Labels(
        sessions=dict(zip(frame["seq_id"].to_list(), frame["anomaly"].cast(pl.Boolean).to_list(), strict=True))
    )


TRAIN_TICKET = ("faults_2023-01-29.parquet", "normal_2023-01-29.parquet")
TRAIN_TICKET_LABELS = "labels_2023-01-29.csv"


def move_train_ticket(data: Path, folder: Path, by: timedelta) -> None:
    """Write the day and its labels as if all had happened later: minutes then divide it elsewhere."""
    source, target = data / "trainticket", folder / "trainticket"
    target.mkdir()
    for name in TRAIN_TICKET:
        time = pl.col("TimeUnixNano") + by // timedelta(microseconds=1) * 1000
        pl.read_parquet(source / name).with_columns(time).write_parquet(target / name)
    times = pl.col("start", "end").str.to_datetime(time_zone="UTC") + by
    labels = pl.read_csv(source / TRAIN_TICKET_LABELS).with_columns(times.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    labels.write_csv(target / TRAIN_TICKET_LABELS)


def train_ticket_config(data: Path) -> Config:
    """TrainTicket: 27 services of which every line has its trace."""
    source = {
        "type": "file",
        "name": "train-ticket",
        "path": [str(data / "trainticket" / name) for name in TRAIN_TICKET],
        "fields": {
            "body": "message",
            "timestamp": "TimeUnixNano",
            "service": "PodName",
            "trace": "TraceID",
            "host": "Node",
        },
    }
    return parse({"sources": [source]})


def train_ticket_labels(data: Path) -> Labels:
    """The injected faults, without those that serve as warm-up."""
    frame = pl.read_csv(data / "trainticket" / TRAIN_TICKET_LABELS)
    rows = [Interval(_moment(start), _moment(end), service, kind) for start, end, service, kind in frame.rows()]
    return Labels(intervals=tuple(sorted(rows, key=lambda row: row.start)[WARMUP_FAULTS:]))


def simulator_config(
    services: int, days: float, failures: bool, seed: int, rate: float | None = None, releases: bool = True
) -> Config:
    """The simulated shop: daily rhythm, cron jobs and noise, with or without releases and one failure of each kind."""
    source: dict[str, Any] = {
        "type": "simulator",
        "name": "shop",
        "services": services,
        "seed": seed,
        "duration": f"{int(days * 24)}h",
        "failures": failures,
        "releases": releases,
    }
    if rate is not None:
        source["rate"] = rate
    return parse({"sources": [source], "warmup": {"history": "3d"}})


async def run(
    config: Config, labels: Labels | None = None, start: datetime | None = None, end: datetime | None = None
) -> Result:
    """The product's own backtest."""
    return await backtest(config, start=start, end=end, labels=labels)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


HEALTHY = timedelta(days=3)
"""The part of the simulated shop that it learns from."""
