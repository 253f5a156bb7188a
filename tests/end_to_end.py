"""The daemon over real logs in a real Elasticsearch, telling a real Alertmanager, with a clock that is stepped.

A test runs a slice of the recordings, `make evaluate` all of them: what is measured is computed here, once.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import polars as pl

from exporter.config import Config, parse
from exporter.model import Incident
from exporter.run.assembly import assemble
from exporter.run.backtest import Record, backtest
from exporter.run.daemon import Daemon
from exporter.run.evaluation import Interval, hits, load_labels, session_metrics
from exporter.state.incidents import incident_list
from exporter.telemetry import PrometheusTelemetry
from tests import filebeat
from tests.servers import running
from tests.servers.process import Server

HDFS = datetime(2008, 11, 9, 20, 30, tzinfo=UTC), datetime(2008, 11, 11, 12, tzinfo=UTC)
"""When the recording begins and ends."""

TRAIN_TICKET = datetime(2023, 1, 29, 8, 56, tzinfo=UTC), datetime(2023, 1, 29, 16, tzinfo=UTC)
"""From the end of what is learnt first: the first two faults."""

LEARNT_FIRST = 2
STEP = timedelta(minutes=2)
SILENCE = timedelta(minutes=20)
"""How long the clock goes on after the last line, so that what has begun ends."""


@dataclass(frozen=True)
class Servers:
    """Where the logs are put, under a name of their own, and where alerts are sent."""

    elasticsearch: str
    alertmanager: str
    name: str = ""

    def named(self) -> Servers:
        return replace(self, name=f"e{uuid.uuid4().hex[:16]}")


@contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    """Those that the environment names, or else new ones. Raises Unavailable."""
    with ExitStack() as stack:

        def url(variable: str, make: Callable[[Path], Server]) -> str:
            given = os.environ.get(variable, "").rstrip("/")
            return given or stack.enter_context(make(folder / variable)).url

        elasticsearch = url("ELASTICSEARCH_URL", running.elasticsearch)
        yield Servers(elasticsearch, url("ALERTMANAGER_URL", running.alertmanager))


class StepClock:
    """A clock that moves when it is told to."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


@asynccontextmanager
async def daemon(config: Config, clock: StepClock) -> AsyncIterator[Daemon]:
    telemetry = PrometheusTelemetry()
    assembly = assemble(config, clock, telemetry)
    try:
        yield Daemon(assembly, telemetry)
    finally:
        await assembly.close()


def configuration(folder: Path, servers: Servers, source: Mapping[str, Any], **other: Any) -> Config:
    given = {"type": "elasticsearch", "name": "logs", "hosts": [servers.elasticsearch], "index": servers.name}
    return parse(
        {
            "state": str(folder / "state.db"),
            "external_url": "https://anomalies.example.org",
            "max_catch_up": "52w",
            "sources": [{**given, **source}],
            **other,
        }
    )


# --- Sessions -----------------------------------------------------------------------------------------


async def hdfs(data: Path, servers: Servers, folder: Path, blocks: int | None = None) -> Mapping[str, float]:
    """How well anomalous blocks are told from others; with `blocks`, of the first so many."""
    await asyncio.to_thread(filebeat.load, servers.elasticsearch, servers.name, filebeat.hdfs(data, blocks))
    sessions = {"field": "fields.block", "idle": "1h", "max_age": "48h"}
    source = {"sessions": sessions, "window": "5m"}
    settings = configuration(folder, servers, source, warmup={"history": "5m"})
    begin, end = HDFS
    clock, record = StepClock(begin), Record()
    async with daemon(settings, clock) as running:
        pipeline = running.assembly.pipelines[0]
        pipeline.watch = record.add
        while clock.moment < end:
            await running.once()
            clock.moment += timedelta(hours=4)
        await running.once()
        finished = (await pipeline.brain()).detector.finish()
    for row in finished.sessions.iter_rows(named=True):
        record.sessions[row["session"]] = (row["score"], bool(row["anomalous"]))
    truth = pl.read_parquet(data / "hdfs" / "labels.parquet").select("seq_id", pl.col("anomaly").cast(pl.Boolean))
    there = truth.filter(pl.col("seq_id").is_in(filebeat.first_blocks(data, blocks)))
    return session_metrics(dict(there.rows()), {key: bad for key, (_, bad) in record.sessions.items()})


# --- Incidents ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Day:
    """What became of a day of injected faults."""

    incidents: Mapping[str, Incident]
    alerts: frozenset[str]
    """Ids of incidents that were an alert at some time."""
    left: int
    """Alerts that are active at the end."""
    faults: tuple[Interval, ...]
    replayed: tuple[Incident, ...]
    """What a backtest makes of the same stretch."""

    @property
    def told_alike(self) -> bool:
        """Every incident was an alert, and every alert is an incident."""
        return self.alerts == self.incidents.keys()

    @property
    def over(self) -> bool:
        """Every incident has ended, and no alert is left."""
        return not self.left and all(incident.status == "resolved" for incident in self.incidents.values())

    @property
    def replays(self) -> bool:
        """The backtest finds what the daemon found."""
        return sorted(map(seen, self.replayed)) == sorted(map(seen, self.incidents.values()))

    @property
    def shown(self) -> list[tuple[str, list[str]]]:
        """Of each fault that an incident overlaps: its service, and the services that were blamed, in order."""
        ranked = [(fault.service or "", ranking(self.incidents.values(), fault)) for fault in self.faults]
        return [(cause, services) for cause, services in ranked if services]

    @property
    def among_three(self) -> float:
        """Share of these whose service is among the first three."""
        return hits([cause for cause, _ in self.shown], [services for _, services in self.shown])["as@3"]


async def train_ticket(data: Path, servers: Servers, folder: Path, until: datetime | None = None) -> Day:
    """The day of faults, or what was written of it before `until` and what follows from that."""
    begin, end = TRAIN_TICKET
    if until:
        end = until + SILENCE
    documents = filebeat.train_ticket(data, until or end)
    await asyncio.to_thread(filebeat.load, servers.elasticsearch, servers.name, documents)
    settings = configuration(
        folder,
        servers,
        {},
        warmup={"history": "15m"},
        # Somebody injects a fault every ten minutes, and wants to hear of each.
        alarm_budget="20/hour",
        external_labels={"run": servers.name},
        sinks=[{"type": "alertmanager", "urls": [servers.alertmanager]}],
    )
    clock, alerts = StepClock(begin), set[str]()
    async with daemon(settings, clock) as running:
        while clock.moment < end:
            await running.once()
            alerts |= {alert["labels"]["incident_id"] for alert in await alerts_of(servers)}
            clock.moment += STEP
        found = {i.id: i for i in await incident_list(running.assembly.state, limit=1000)}
        left = [alert for alert in await alerts_of(servers) if alert["status"]["state"] == "active"]
    faults = load_labels(data / "trainticket" / "labels_2023-01-29.csv").intervals[LEARNT_FIRST:]
    replayed = await backtest(settings.model_copy(update={"sinks": ()}), begin, end)
    inside = tuple(fault for fault in faults if fault.end <= (until or end))
    return Day(found, frozenset(alerts), len(left), inside, replayed.incidents)


async def alerts_of(servers: Servers) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as session:
        parameters = {"filter": f'run="{servers.name}"'}
        async with session.get(f"{servers.alertmanager}/api/v2/alerts", params=parameters) as response:
            found: list[dict[str, Any]] = await response.json()
            return found


def seen(incident: Incident) -> str:
    """What a reader of an incident sees, less what depends on when it was looked at."""
    return json.dumps([incident.id, incident.starts_at.isoformat(), sorted(incident.services), incident.severity])


def ranking(incidents: Iterable[Incident], fault: Interval) -> list[str]:
    """Services as ranked by the earliest incident that overlaps."""
    overlapping = [i for i in incidents if i.starts_at < fault.end + STEP and i.last_seen > fault.start - STEP]
    first = min(overlapping, key=lambda incident: incident.starts_at, default=None)
    return [suspect.service for suspect in first.suspects] if first else []
