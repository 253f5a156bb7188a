"""LogHub's files as they are published, so that anyone can repeat what is said of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from exporter.cli.mine import mine_lines
from exporter.config import Config, parse
from exporter.run.evaluation import Labels
from tests.bench.mining import accuracy
from tests.evaluate.data import run

LABELS = ("anomaly_label.csv", "Event_traces.csv")
"""Either says of each block whether it failed."""

BAD = ("Anomaly", "Fail")


def hdfs_files(folder: Path) -> tuple[Path, Path] | None:
    """The log of HDFS and its labels, wherever in the folder they lie; None where either is missing."""
    logs, labels = (sorted(folder.rglob(name)) for name in ("HDFS.log", "*.csv"))
    known = [path for name in LABELS for path in labels if path.name == name]
    return (logs[0], known[0]) if logs and known else None


def hdfs_config(log: Path) -> Config:
    """One service, and sessions by block, as in the copy that is evaluated."""
    sessions = {"pattern": r"(blk_-?[0-9]+)"}
    return parse(
        {"sources": [{"type": "file", "name": "hdfs", "path": str(log), "service": "hdfs", "sessions": sessions}]}
    )


def hdfs_labels(labels: Path) -> Labels:
    """Which blocks are anomalous."""
    frame = pl.read_csv(labels, columns=["BlockId", "Label"])
    bad = frame["Label"].is_in(BAD).to_list()
    return Labels(sessions=dict(zip(frame["BlockId"].to_list(), bad, strict=True)))


def sessions(log: Path, labels: Path) -> dict[str, Any]:
    """Score, then learn, from the first line on."""
    return dict(asyncio.run(run(hdfs_config(log), hdfs_labels(labels))).metrics)


def mined(folder: Path) -> Iterator[tuple[str, float, float]]:
    """Each 2k sample with structured lines: its name, grouping accuracy, and the F1 of the same a template."""
    for path in sorted(folder.rglob("*_2k.log_structured.csv")):
        frame = pl.read_csv(path, columns=["Content", "EventId"], infer_schema=False)
        ids, _ = mine_lines(frame["Content"].fill_null("").rename("body"))
        yield path.name.removesuffix("_2k.log_structured.csv"), *accuracy(ids, frame["EventId"])
