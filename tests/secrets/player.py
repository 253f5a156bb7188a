"""A whole daemon of any checkout over planted rows, as a process: `python -P player.py PLAN`, with PYTHONPATH set.

It steps the clock through the rows, asks for all pages at the end, and prints where what it wrote lies. Releases up to
82d5d22 have the same parts under other names.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import polars as pl

from exporter.config import parse
from exporter.model import TransientError, page_schema
from exporter.telemetry import PrometheusTelemetry
from exporter.web.app import create_app, start

try:
    from exporter.run.assembly import assemble
    from exporter.run.daemon import Daemon
except ImportError:
    from exporter.assembly import assemble  # type: ignore[import-not-found,no-redef]
    from exporter.daemon import Daemon  # type: ignore[import-not-found,no-redef]

STEP = timedelta(minutes=4)


class Clock:
    """Moved by hand."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


class Rows:
    """A source of rows that are all there; what it says when it fails is planted, too."""

    name = "planted"

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        full = [
            {**dict.fromkeys(page_schema()), "id": str(number), "sequence": number, "stream": row["service"], **row}
            for number, row in enumerate(rows)
        ]
        self._lines = pl.DataFrame(full, schema=page_schema()).sort("timestamp", "sequence")
        self.failures: list[str] = []

    def _between(self, span: Any) -> pl.DataFrame:
        start, end = (int(moment.timestamp()) * 10**9 for moment in (span.start, span.end))
        return self._lines.filter(pl.col("timestamp").is_between(start, end, closed="left"))

    async def query(self, span: Any) -> AsyncIterator[pl.DataFrame]:
        if self.failures:
            raise TransientError(self.failures.pop())
        found = self._between(span)
        for at in range(0, found.height, 1_000):
            yield found[at : at + 1_000]

    async def count(self, span: Any, window: timedelta) -> Mapping[datetime, int]:
        seconds = window // timedelta(seconds=1)
        starts = self._between(span)["timestamp"] // (seconds * 10**9) * seconds
        return {datetime.fromtimestamp(start, UTC): len for start, len in starts.value_counts().iter_rows()}

    async def unusable(self) -> Mapping[str, int]:
        return {}

    async def check(self) -> Sequence[Any]:
        return []

    async def close(self) -> None:
        pass


class Noted:
    """An embedder that keeps what it was asked."""

    def __init__(self, embedder: Any, notes: list[str]) -> None:
        self._embedder, self._notes = embedder, notes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def embed(self, texts: Sequence[str]) -> Any:
        self._notes += texts
        return self._embedder.embed(texts)


_sleep = asyncio.sleep


async def hurried(seconds: float, result: Any = None) -> Any:
    """Only the stepped clock waits: not those who tell no more than a message a second."""
    return await _sleep(min(seconds, 0.002), result)


async def play(plan: Mapping[str, Any]) -> dict[str, list[str]]:
    """What its pages said and its embedder was asked, by the name of a file."""
    config = parse(plan["config"])
    clock, telemetry = Clock(datetime.fromisoformat(plan["start"])), PrometheusTelemetry()
    source = Rows(plan["rows"])
    assembly = assemble(config, clock, telemetry, sources=[source])
    notes = _listen_to_the_embedder(assembly)
    daemon = Daemon(assembly, telemetry)
    runner = await start(create_app(config.web, daemon, telemetry), config.web)
    try:
        end = datetime.fromisoformat(plan["end"])
        while clock.moment < end:
            await daemon.once()
            clock.moment += STEP
        source.failures = list(plan["failures"])
        while source.failures:
            await daemon.once()
            clock.moment += STEP
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession(f"http://{host}:{port}", headers=plan["headers"]) as session:
            pages = await _asked(session, plan, daemon, clock)
    finally:
        await runner.cleanup()
        await assembly.close()
    return {"pages.txt": pages, "embedded.txt": notes}


def _listen_to_the_embedder(assembly: Any) -> list[str]:
    """Wherever a release keeps it: the attribute of memory, or of a part of it, that embeds."""
    notes: list[str] = []
    waiting, seen = [assembly.memory], set()
    while waiting:
        holder = waiting.pop()
        for name, value in list(getattr(holder, "__dict__", {}).items()):
            if hasattr(value, "embed") and hasattr(value, "dimensions"):
                setattr(holder, name, Noted(value, notes))
            elif type(value).__module__.split(".")[0] in ("exporter", "integrations") and id(value) not in seen:
                seen.add(id(value))
                waiting.append(value)
    return notes


async def _asked(session: aiohttp.ClientSession, plan: Mapping[str, Any], daemon: Any, clock: Clock) -> list[str]:
    """What anybody can ask, and what webhooks and people may say."""
    pages: list[str] = []

    async def ask(method: str, path: str, **what: Any) -> str:
        async with session.request(method, path, **what) as answer:
            text = await answer.text()
            pages.append(f"{method} {path} {answer.status}\n{text}")
            return text

    for alert in plan["alerts"]:
        await ask("POST", "/webhooks/alertmanager", json=alert)
    for change in plan["changes"]:
        await ask("POST", "/webhooks/change", json=change)
    for _ in range(3):
        await daemon.once()
        clock.moment += STEP
    known = json.loads(await ask("GET", "/api/incidents?limit=1000"))
    ids = sorted(set(_ids(known)))
    for incident, fix in zip(ids, plan["fixes"], strict=False):
        await ask("POST", f"/api/incidents/{incident}/resolve", json={"fix": fix})
    await daemon.once()
    for path in ("/", "/incidents?limit=1000", "/api/incidents?limit=1000", "/metrics", "/-/ready", "/-/healthy"):
        await ask("GET", path)
    for incident in ids:
        await ask("GET", f"/incidents/{incident}")
        await ask("GET", f"/api/incidents/{incident}")
    return pages


def _ids(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["id"]] if isinstance(value.get("id"), str) and "labels" in value else []
        return own + [found for inner in value.values() for found in _ids(inner)]
    return [found for inner in value for found in _ids(inner)] if isinstance(value, list) else []


if __name__ == "__main__":
    asyncio.sleep = hurried  # type: ignore[assignment]
    logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    plan = json.loads(Path(sys.argv[1]).read_text())
    for name, texts in asyncio.run(play(plan)).items():
        Path(plan["folder"], name).write_text("\n".join(texts))
