"""Incidents of the shop's kinds of failure, told by the real flow: what pages of them show is asked of a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from exporter.config import parse
from exporter.demo.shop import Shop, SimulatedSource
from exporter.demo.shop.failures import KINDS, Failure
from exporter.incidents.build import incident_of
from exporter.incidents.clusters import join, new_cluster
from exporter.model import Anomaly, Contribution, NoTelemetry, Suspect
from exporter.model.questions import IncidentRecord
from exporter.report.rules import write
from exporter.run.assembly import Assembly, assemble, teller
from exporter.run.operations import Operations
from exporter.state.incidents import incident_list

START = datetime(2025, 3, 3, 6, tzinfo=UTC)
PAUSE = timedelta(minutes=40)
"""Between the end of one failure and the beginning of the next."""
LINES_A_SECOND = 4.0


class Moment:
    """A clock that stands where it is put."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


def shop_of(kinds: Sequence[str], seed: int, healthy: timedelta) -> Shop:
    """A shop in which these kinds of failure happen, one after the other."""
    failures, at = [], START + healthy
    for number, kind in enumerate(kinds):
        _, candidates, lasts = KINDS[kind]
        service = candidates[(seed + number) % len(candidates)]
        failures.append(Failure(kind, service, at, lasts))
        at += lasts + PAUSE
    return Shop(seed=seed, start=START, days=(at - START) / timedelta(days=1), rate=LINES_A_SECOND, failures=failures)


@asynccontextmanager
async def read(shop: Shop, folder: Path, warm: datetime) -> AsyncIterator[Assembly]:
    """An installation that has read a shop to its end, of which it has learnt from what was before a moment."""
    source = {"type": "simulator", "name": "shop", "start": START.isoformat(), "query_offset": "0s"}
    settings = {
        "state": str(folder / "state.db"),
        "warmup": {"history": "36h"},
        "external_url": "https://anomalies.example.org",
        "sources": [source],
    }
    clock = Moment(warm)
    assembly = assemble(
        parse(settings), clock, NoTelemetry(), sources=[SimulatedSource("shop", shop)], sinks=(), wall=clock
    )
    try:
        (pipeline,) = assembly.pipelines
        pipeline.pace = replace(pipeline.pace, query_offset=timedelta(0), max_catch_up=None)
        await pipeline.start(START, warm)
        await pipeline.advance(warm)
        await assembly.grouper.calibrate(assembly.config.alarm_budget)
        clock.moment = shop.end
        await pipeline.advance(shop.end)
        yield assembly
    finally:
        await assembly.close()


@asynccontextmanager
async def told(kinds: Sequence[str], folder: Path, seed: int, healthy: timedelta) -> AsyncIterator[Failed]:
    """What an installation tells of these kinds, once all is over."""
    shop = shop_of(kinds, seed, healthy)
    async with read(shop, folder, START + healthy - timedelta(minutes=10)) as assembly:
        await assembly.grouper.group(shop.end)
        await assembly.enricher.enrich()
        yield Failed(assembly, shop)


async def record_of(kind: str, folder: Path, seed: int) -> IncidentRecord:
    """What is told of a kind of failure from its lines and those of the hour before, without waiting for detection,
    which would have to learn for hours: somebody has seen that its service fails."""
    minute = timedelta(minutes=1)
    failure = Failure(kind, KINDS[kind][1][0], START + 70 * minute, 10 * minute)
    shop = Shop(seed=seed, start=START, days=80 * minute / timedelta(days=1), rate=2.0, failures=[failure])
    seen = Contribution("errors", f"errors of {failure.service}", 30, 0.1, share=1.0, service=failure.service)
    start = failure.start.replace(second=0, microsecond=0)
    anomaly = Anomaly(
        *("shop", failure.service, start, minute, "window", 0.999, 0.99, 17), (seen,), reached=start + minute
    )
    cluster = join(new_cluster(anomaly), anomaly)
    async with read(shop, folder, START + 65 * minute) as assembly:
        suspects = (Suspect(failure.service, 1.0, "its own errors", start),)
        facts, lines = teller(assembly.state, assembly.pipelines)(cluster, suspects, failure.end)
    incident = incident_of(cluster, None, suspects, failure.end, "opened", {})
    incident = replace(incident, facts=facts, evidence=lines)
    return IncidentRecord(incident, (write(incident),))


class Failed:
    """An installation after failures, and which incident each of them became."""

    def __init__(self, assembly: Assembly, shop: Shop) -> None:
        self.operations = Operations(assembly)
        self._assembly = assembly
        self._shop = shop

    async def incidents(self) -> list[tuple[str, str]]:
        """Each kind of failure with the id of the incident that overlaps it most; those of which nothing was told are
        left out."""
        found = await incident_list(self._assembly.state, None, 1_000)
        told = []
        for failure in self._shop.failures:
            shared = {
                one.id: min(one.last_seen, failure.end) - max(one.starts_at, failure.start)
                for one in found
                if not one.merged_into
            }
            best = max(sorted(shared), key=lambda key: shared[key], default="")
            if best and shared[best] > timedelta(0):
                told.append((failure.kind, best))
        return told
