"""Play a story with the code of the checkout that it is started in; `python -P driver.py` with a task in stdin.

It may use only what every checkout has: a few parts whose place it looks for. It prints what was told, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

PLACES = {
    "assemble": ("exporter.assembly", "exporter.run.assembly"),
    "open_state": ("exporter.assembly", "exporter.run.learning"),
    "parse": ("exporter.config",),
    "page_schema": ("exporter.model",),
    "SystemClock": ("exporter.model",),
    "NoTelemetry": ("exporter.model",),
    "TimeRange": ("exporter.model",),
}
"""Where things were or are, the oldest place first: what this checkout has is found from any."""


def find(name: str) -> Any:
    """What a checkout has under this name, wherever it has it."""
    for module in PLACES[name]:
        with contextlib.suppress(ModuleNotFoundError, AttributeError):
            return getattr(import_module(module), name)
    raise SystemExit(f"{name} is in none of {', '.join(PLACES[name])}: say in {__file__} where it is now")


class Lines:
    """A source over sorted lines in memory, read from a file."""

    name = "made"

    def __init__(self, path: str) -> None:
        import polars as pl

        read = pl.read_parquet(path)
        schema = find("page_schema")()
        known = {
            "id": pl.int_range(pl.len()).cast(pl.String),
            "stream": pl.col("service"),
            "sequence": pl.int_range(pl.len()),
        }
        columns = [
            (known[name] if name in known else pl.col(name) if name in read.columns else pl.lit(None))
            .cast(kind)
            .alias(name)
            for name, kind in schema.items()
        ]
        self._lines = read.select(columns)
        self._times = self._lines["timestamp"]

    def _between(self, span: Any) -> Any:
        first, last = (self._times.search_sorted(_nanoseconds(at), "left") for at in (span.start, span.end))
        return self._lines[first:last]

    async def query(self, span: Any) -> AsyncIterator[Any]:
        found = self._between(span)
        if found.height:
            yield found

    async def count(self, span: Any, window: timedelta) -> Mapping[datetime, int]:
        found, step = self._between(span)["timestamp"], window // timedelta(microseconds=1) * 1000
        keys = (found // step * step).value_counts()
        return {datetime.fromtimestamp(at / 1e9, UTC): number for at, number in keys.iter_rows()}

    async def unusable(self) -> Mapping[str, int]:
        return {}

    async def check(self) -> Sequence[Any]:
        return []

    async def close(self) -> None:
        pass


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp()) * 10**9


def play(task: Mapping[str, Any]) -> dict[str, Any]:
    """Learn from what is before `warm`, judge up to `end`, and say what was told of it."""
    first, warm, end = (datetime.fromtimestamp(task[name], UTC) for name in ("begin", "warm", "end"))
    folder, kept = Path(task["folder"]), str(task["learnt"])
    state = folder / "state.db"
    source = {"type": "elasticsearch", "name": "made", "hosts": ["http://127.0.0.1:9"], "query_offset": "0s"}
    config = find("parse")({"state": str(state), "warmup": {"history": "2d"}, "sources": [source], **task["settings"]})
    lines, began = Lines(task["lines"]), time.process_time()
    if not os.path.exists(kept):
        asyncio.run(_through(config, lines, first, warm, warm))
        shutil.copy(state, kept)
    shutil.copy(kept, state)
    told, notices = asyncio.run(_through(config, lines, first, warm, end))
    seconds = time.process_time() - began
    return {"told": [_said(item) for item in told], "notices": notices, "seconds": seconds}


async def _through(config: Any, lines: Lines, first: datetime, warm: datetime, end: datetime) -> Any:
    state = find("open_state")(config, Path(config.state))
    assembly = find("assemble")(config, find("SystemClock")(), find("NoTelemetry")(), state, sources=[lines], sinks=())
    try:
        (pipeline,) = assembly.pipelines
        if hasattr(pipeline, "pace"):
            pipeline.pace = replace(pipeline.pace, query_offset=timedelta(0), max_catch_up=None)
        await pipeline.start(first, warm)
        await pipeline.advance(end)
        if end == warm:
            return [], []
        await assembly.grouper.calibrate(config.alarm_budget)
        told = await assembly.grouper.group(end)
        return told, await _notices(assembly.state)
    finally:
        await assembly.close()


async def _notices(state: Any) -> list[Any]:
    """Of each when it was known, of whom it is, and its kind."""
    if not await state.read("SELECT 1 FROM sqlite_master WHERE name = 'notices'"):
        return []
    return [list(row) for row in await state.read("SELECT window, service, kind FROM notices")]


def _said(item: Any) -> dict[str, Any]:
    incident = item.incident
    return {
        "id": incident.id,
        "change": item.change,
        "at": item.at.timestamp(),
        "severity": incident.severity,
        "status": incident.status,
        "service": incident.service,
        "services": list(incident.services),
        "suspects": [suspect.service for suspect in incident.suspects[:3]],
        "starts_at": incident.starts_at.timestamp(),
        "ends_at": incident.ends_at.timestamp() if incident.ends_at else None,
        "merged_into": incident.merged_into,
        "texts": [
            f"{c.service}: {c.kind}: {c.text} {c.observed:g}/{c.expected:g}"[:140] for c in incident.contributions[:4]
        ],
    }


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    print(json.dumps(play(json.load(sys.stdin))))
