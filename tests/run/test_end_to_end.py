"""The daemon over real logs in a real Elasticsearch, telling a real Alertmanager, with a clock that the test steps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import polars as pl
import pytest

from exporter.config import Config, parse
from exporter.flow.group import incident_list
from exporter.model import Incident
from exporter.run.assembly import assemble
from exporter.run.backtest import Record, backtest
from exporter.run.daemon import Daemon
from exporter.run.evaluation import hits, load_labels, session_metrics
from exporter.telemetry import PrometheusTelemetry
from tests import filebeat

MINUTE = timedelta(minutes=1)


class StepClock:
    """A clock that moves when a test says so."""

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


def config(tmp_path: Path, url: str, index: str, source: Mapping[str, Any], **other: Any) -> Config:
    return parse(
        {
            "state": str(tmp_path / "state.db"),
            "external_url": "https://anomalies.example.org",
            "max_catch_up": "52w",
            "sources": [{"type": "elasticsearch", "name": "logs", "hosts": [url], "index": index, **source}],
            **other,
        }
    )


async def alerts(url: str, label: str) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as session:
        parameters = {"filter": f'run="{label}"'}
        async with session.get(f"{url}/api/v2/alerts", params=parameters) as response:
            found: list[dict[str, Any]] = await response.json()
            return found


@pytest.mark.timeout(600)
async def test_hdfs_in_elasticsearch_becomes_session_verdicts(
    shared_data: Path, elasticsearch_url: str, unique_name: str, tmp_path: Path
) -> None:
    await asyncio.to_thread(filebeat.load, elasticsearch_url, unique_name, filebeat.hdfs(shared_data))
    sessions = {"field": "fields.block", "idle": "1h", "max_age": "48h"}
    source = {"sessions": sessions, "window": "5m"}
    settings = config(tmp_path, elasticsearch_url, unique_name, source, warmup={"history": "5m"})
    start, end = datetime(2008, 11, 9, 20, 30, tzinfo=UTC), datetime(2008, 11, 11, 12, tzinfo=UTC)
    clock, record = StepClock(start), Record()
    async with daemon(settings, clock) as running:
        pipeline = running.assembly.pipelines[0]
        pipeline.watch = lambda window, judgement: record.add(window, pipeline.window, judgement)
        while clock.moment < end:
            await running.once()
            clock.moment += timedelta(hours=4)
        await running.once()
        finished = (await pipeline.brain()).detector.finish()
    for row in finished.sessions.iter_rows(named=True):
        record.sessions[row["session"]] = (row["score"], bool(row["anomalous"]))
    truth = pl.read_parquet(shared_data / "hdfs" / "labels.parquet")
    anomalous = dict(truth.select("seq_id", pl.col("anomaly").cast(pl.Boolean)).rows())
    assert session_metrics(anomalous, {key: bad for key, (_, bad) in record.sessions.items()})["f1"] > 0.85


@pytest.mark.timeout(600)
async def test_train_ticket_faults_become_alerts_with_the_right_service_that_resolve(
    shared_data: Path, elasticsearch_url: str, alertmanager_url: str, unique_name: str, tmp_path: Path
) -> None:
    await asyncio.to_thread(filebeat.load, elasticsearch_url, unique_name, filebeat.train_ticket(shared_data))
    settings = config(
        tmp_path,
        elasticsearch_url,
        unique_name,
        {},
        warmup={"history": "15m"},
        # Somebody injects a fault every ten minutes, and wants to hear of each.
        alarm_budget="20/hour",
        external_labels={"run": unique_name},
        sinks=[{"type": "alertmanager", "urls": [alertmanager_url]}],
    )
    start, end = datetime(2023, 1, 29, 8, 56, tzinfo=UTC), datetime(2023, 1, 29, 16, tzinfo=UTC)
    clock = StepClock(start)
    seen: dict[str, set[str]] = {}
    async with daemon(settings, clock) as running:
        while clock.moment < end:
            await running.once()
            for alert in await alerts(alertmanager_url, unique_name):
                seen.setdefault(alert["labels"]["incident_id"], set()).add(alert["annotations"].get("cause", ""))
            clock.moment += 2 * MINUTE
        found = {i.id: i for i in await incident_list(running.assembly.state, limit=1000)}
        left = [a for a in await alerts(alertmanager_url, unique_name) if a["status"]["state"] == "active"]
    assert set(seen) == set(found), "every incident was an alert, and every alert is an incident"
    assert all(incident.status == "resolved" for incident in found.values())
    assert left == []
    faults = load_labels(shared_data / "trainticket" / "labels_2023-01-29.csv").intervals[2:]
    ranked = [ranking(found.values(), fault.start, fault.end) for fault in faults]
    # Nothing but faults was recorded, and what a fault looks like is soon a part of the past: only the clear ones
    # are told, and of those the cause must be among the first.
    shown = [(fault.service, services) for fault, services in zip(faults, ranked, strict=True) if services]
    assert len(shown) >= 5
    assert hits([cause for cause, _ in shown], [services for _, services in shown])["as@3"] >= 0.6

    replayed = await backtest(settings.model_copy(update={"sinks": ()}), start, end)
    assert sorted(told(i) for i in replayed.incidents) == sorted(told(i) for i in found.values())


def told(incident: Incident) -> str:
    """What a reader of an incident sees, less what depends on when it was looked at."""
    return json.dumps([incident.id, incident.starts_at.isoformat(), sorted(incident.services), incident.severity])


def ranking(incidents: Any, start: datetime, end: datetime) -> list[str]:
    """Services as ranked by the earliest incident that overlaps."""
    tolerance = 2 * MINUTE
    overlapping = [i for i in incidents if i.starts_at < end + tolerance and i.last_seen > start - tolerance]
    first = min(overlapping, key=lambda incident: incident.starts_at, default=None)
    return [suspect.service for suspect in first.suspects] if first else []
