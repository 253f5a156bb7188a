"""Make the incidents that scripted answers are about: `python -m tests.faithful.make`, with this checkout's detection.

A shop in which five kinds of failures happen, one of them for the second time, and one in which nothing fails and
harmless new messages are written often, beside what always fails now and then. Each is kept as it was told last. Then
an alert around which the logs show nothing: an incident that has no cause in them.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from exporter.config import parse
from exporter.demo.shop import Shop
from exporter.demo.shop.failures import KINDS, Failure
from exporter.incidents.alerts import Fired, from_alerts
from exporter.memory.embedding import HashingEmbedder
from exporter.memory.recall import Memory
from exporter.model import Context, Incident, NoTelemetry, SystemClock, TimeRange, to_json
from exporter.report.rules import write
from exporter.run.assembly import assemble
from exporter.run.learning import open_state
from integrations.local_incidents import LocalIncidentsSettings
from tests.story.driver import LIVES

INCIDENTS = Path(__file__).parent / "incidents"
START = datetime(2025, 3, 3, tzinfo=UTC)
SEED, HEALTHY, EVERY = 31, timedelta(hours=26), timedelta(hours=2)
ORDER = ("pool_exhausted", "dependency_down", "bad_deploy", "slow_downstream", "third_party_errors", "pool_exhausted")
FIX = "raised the pool from 20 to 60 connections: kubectl -n shop set env deploy/checkout POOL_SIZE=60"
HARMLESS = (
    "Voucher SPRING25 shown on page {n} of the catalogue",
    "Banner of the spring sale rendered for visitor {n}",
    "Visitor {n} joined the spring sale",
    "Prices of {n} articles taken from the list of the spring sale",
    "Greeting of the spring sale sent to {n} visitors",
)


def failures(healthy: timedelta, kinds: Sequence[str]) -> list[Failure]:
    """One every two hours."""
    found = []
    for number, kind in enumerate(kinds):
        _, candidates, lasts = KINDS[kind]
        found.append(Failure(kind, candidates[0], START + healthy + number * EVERY + timedelta(minutes=7), lasts))
    return found


def lines(shop: Shop, harmless: datetime | None) -> pl.DataFrame:
    """All lines, with the harmless ones from a moment on."""
    columns = ("timestamp", "service", "severity", "body", "trace", "host")
    parts, start = [], shop.start
    while start < shop.end:
        parts.append(shop.page(TimeRange(start, min(start + EVERY, shop.end))).select(columns))
        start += EVERY
    whole = pl.concat(parts)
    if harmless is None:
        return whole
    own = (
        whole.filter(pl.col("timestamp") >= _nano(harmless))
        .group_by("service")
        .len()
        .sort("len", "service")["service"][1]
    )
    rows = [
        {
            "timestamp": _nano(harmless) + n * 50_000_000,
            "service": own,
            "severity": 9,
            "body": HARMLESS[n % len(HARMLESS)].format(n=n),
        }
        for n in range(24_000)
    ]
    made = pl.DataFrame(rows).with_columns(trace=pl.lit(None, pl.String), host=pl.lit("web-1"))
    made = made.with_columns(pl.col(name).cast(kind) for name, kind in whole.schema.items()).select(columns)
    return pl.concat([whole, made]).sort("timestamp", maintain_order=True)


def _nano(at: datetime) -> int:
    return int(at.timestamp()) * 10**9


async def tell(folder: Path, healthy: timedelta, kinds: Sequence[str]) -> None:
    """Judge a shop, and keep of each failure, or of what is harmless where nothing fails, the incident as it was told
    last."""
    made = failures(healthy, kinds)
    end = START + healthy + (len(kinds) + 1) * EVERY
    harmless = end - timedelta(minutes=50)
    shop = Shop(seed=SEED, start=START, days=(end - START) / timedelta(days=1), rate=4.0, failures=made)
    warm = START + healthy - timedelta(minutes=30)
    lines(shop, None if kinds else harmless).write_parquet(folder / "lines.parquet")
    # A low threshold: not how soon is measured, but what is said.
    source = {"type": "elasticsearch", "name": "made", "hosts": ["http://127.0.0.1:9"], "query_offset": "0s"}
    config = parse(
        {"alarm_budget": "40/day", "state": str(folder / "state.db"), "warmup": {"history": "2d"}, "sources": [source]}
    )
    given = LIVES.Lines(str(folder / "lines.parquet"))
    state = open_state(config)
    assembly = assemble(config, SystemClock(), NoTelemetry(), state, sources=[given], sinks=())
    memory = Memory(LocalIncidentsSettings(type="local").build(Context(documents=assembly.state)), HashingEmbedder())
    told: dict[str, Any] = {}
    try:
        (pipeline,) = assembly.pipelines
        pipeline.pace = replace(pipeline.pace, query_offset=timedelta(0), max_catch_up=None)
        await pipeline.start(START, warm)
        await pipeline.advance(warm)
        await assembly.grouper.calibrate(config.alarm_budget)
        until = warm
        while until < end:
            # Hour by hour, as a daemon would: of windows that are long over it keeps no facts.
            until = min(until + timedelta(hours=1), end)
            await pipeline.advance(until)
            for item in await assembly.grouper.group(until):
                told[item.incident.id] = item.incident, await memory.recall(item.incident)
            await remember([one for one, _ in told.values()], made[:1], memory)
    finally:
        await assembly.close()
    keep(told, made[1:] or [Failure("harmless", "", harmless, timedelta(minutes=20))])


async def remember(found: Sequence[Incident], first: Sequence[Failure], memory: Memory) -> None:
    for incident in (one for one in found if one.status == "resolved"):
        during = any(one.start - timedelta(minutes=5) <= incident.starts_at <= one.end for one in first)
        known = replace(incident, fix=FIX if during else None)
        await memory.remember(known, write(known))


def _says(incident: Incident) -> bool:
    """Whether it is about what was written for it."""
    return any("spring sale" in line.body for line in incident.evidence)


def keep(told: dict[str, Any], wanted: Sequence[Failure]) -> None:
    """The incident of each: that of the greatest score that began in its time."""
    INCIDENTS.mkdir(exist_ok=True)
    for failure in wanted:
        own = [
            each
            for each in told.values()
            if failure.start - timedelta(minutes=5) <= each[0].starts_at <= failure.end + timedelta(minutes=5)
        ]
        if not own:
            print(f"{failure.kind}: no incident")
            continue
        incident, similar = max(own, key=lambda each: (_says(each[0]), len(each[0].contributions), each[0].score))
        body = {"incident": to_json(incident), "similar": to_json(similar)}
        (INCIDENTS / f"{failure.kind}.json").write_text(json.dumps(body, ensure_ascii=False, indent=0) + "\n")
        print(f"{failure.kind}: {incident.id}, {write(incident, similar).headline}")


def alerted() -> None:
    """The incident of an alert, as it is opened where nothing unusual stands in the logs."""
    told = from_alerts("a1e7c0ffee00", [Fired("CheckoutLatencyHigh", "checkout", START)], (), {})
    body = {"incident": to_json(told.incident), "similar": []}
    (INCIDENTS / "alert.json").write_text(json.dumps(body, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    alerted()
    for healthy, kinds in ((HEALTHY, ORDER), (timedelta(hours=12), ())):
        with tempfile.TemporaryDirectory() as place:
            asyncio.run(tell(Path(place), healthy, kinds))
