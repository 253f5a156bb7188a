"""One failure that several sources show is one incident, in whatever order they are polled, and whoever is stalled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import Config, parse
from exporter.incidents.clusters import Cluster
from exporter.incidents.settings import IncidentSettings
from exporter.incidents.tracker import Told, advance
from exporter.model import Anomaly, Evidence, Incident, floor, nanoseconds
from exporter.run.assembly import assemble
from exporter.run.daemon import Daemon
from exporter.state.incidents import grouped_through, incident_list
from exporter.telemetry import PrometheusTelemetry
from tests.incidents.test_incidents import anomaly
from tests.memory_source import START, MemorySource, at, page
from tests.run.test_daemon import StepClock, config, lines, running
from tests.servers.process import request as ask

MINUTE = timedelta(minutes=1)
WARM = timedelta(minutes=26)
"""What the daemon learns from: a few windows more than its detector needs."""

FAILS = 30
"""The minute in which what fails begins to."""

MINUTES = 40
SETTINGS = IncidentSettings()
Shared = dict[str, str]
ERROR = "connection pool exhausted: no connection within 30 s"


# --- As a function ------------------------------------------------------------------------------------------


def tell(*steps: tuple[int, Iterable[Anomaly]], threshold: float = 2.0, own: IncidentSettings = SETTINGS) -> list[Told]:
    """What is told when these become known up to these minutes."""
    clusters: dict[str, Cluster] = {}
    told: list[Told] = []
    for minute, found in steps:
        until = anomaly(minute).window
        clusters, news = advance(clusters.values(), found, until, own, threshold, {})
        told += news
    return told


def ids(told: Iterable[Told]) -> set[str]:
    return {item.incident.id for item in told}


def begins(found: Anomaly, second: float) -> Anomaly:
    """The anomaly, shown by a line of that second of its window."""
    moment = found.window + timedelta(seconds=second)
    line = Evidence(f"L{found.source}{second}", found.source, found.service, moment, ERROR)
    return replace(found, evidence=(line,))


def test_the_same_service_in_two_sources_is_one_incident_however_long_it_lasts() -> None:
    told = tell((60, [*(anomaly(m, source="loki") for m in range(20)), anomaly(15, source="elastic")]))
    assert len(ids(told)) == 1
    assert told[-1].incident.sources == ("loki", "elastic")


@pytest.mark.parametrize("shared", [{"hosts": ("node-7",)}, {"traces": ("4bf92f35",)}])
def test_services_that_share_a_host_or_a_trace_are_one_incident_also_later(shared: dict[str, Any]) -> None:
    first = [replace(anomaly(m, "orders", source="loki"), **shared) for m in range(20)]
    other = anomaly(12, "db-proxy", source="elastic")
    assert len(ids(tell((60, [*first, other])))) == 2
    joined = tell((60, [*first, replace(other, **shared)]))
    assert len(ids(joined)) == 1
    assert joined[-1].incident.services == ("orders", "db-proxy")


def test_services_that_share_nothing_join_by_time() -> None:
    told = tell((60, [anomaly(0, "orders", source="loki"), anomaly(3, "db-proxy", source="elastic")]))
    assert len(ids(told)) == 1


def test_the_timeline_begins_with_the_line_that_was_first_in_whichever_source() -> None:
    early, late = begins(anomaly(0, "db", source="elastic"), 12), begins(anomaly(0, "orders", source="loki"), 41)
    for order in permutations([early, late]):
        (opened, *_) = tell((60, order))
        seen = [entry for entry in opened.incident.timeline if "first anomaly" in entry.text]
        assert [(e.service, e.at.second) for e in seen] == [("db", 12), ("orders", 41)]
        assert "in elastic" in seen[0].text
        assert opened.incident.timeline[0] == seen[0]


def test_another_source_that_joins_is_news() -> None:
    told = tell((60, [*(anomaly(m, source="loki") for m in range(5)), anomaly(2, source="elastic")]))
    updated = [item.incident.sources for item in told if item.change == "updated"]
    assert updated == [("loki", "elastic")]


def test_what_a_stalled_source_brings_late_joins_the_incident_that_ended_and_does_not_reopen_it() -> None:
    late = [replace(anomaly(m, source="elastic"), late=True, reached=anomaly(20).window) for m in (1, 2, 4)]
    told = tell((18, [anomaly(m, source="loki") for m in range(4)]), (60, late))
    assert [item.change for item in told] == ["opened", "resolved", "updated"]
    assert len(ids(told)) == 1
    last = told[-1].incident
    assert (last.status, last.sources) == ("resolved", ("loki", "elastic"))
    assert last.ends_at == anomaly(5).window, "it lasted longer than was known"


def test_what_a_stalled_source_brings_late_of_another_service_joins_by_its_own_time() -> None:
    old = replace(anomaly(1, "db", source="elastic"), late=True, reached=anomaly(20).window)
    told = tell((18, [anomaly(m, source="loki") for m in range(4)]), (60, [old]))
    assert len(ids(told)) == 1
    assert told[-1].incident.services == ("orders", "db")
    much_older = replace(old, window=anomaly(-40).window)
    assert len(ids(tell((18, [anomaly(m, source="loki") for m in range(4)]), (60, [much_older])))) == 2


def test_what_is_much_older_does_not_move_the_start_of_an_incident_that_fires() -> None:
    old = replace(anomaly(-90, "db", source="elastic"), late=True, reached=anomaly(3).window)
    told = tell((60, [*(anomaly(m, source="loki") for m in range(5)), old]))
    assert min(item.incident.starts_at for item in told if item.incident.service == "orders") == anomaly(0).window


found_in_two = st.lists(
    st.builds(
        anomaly,
        st.integers(0, 40),
        st.sampled_from(["orders", "payments", "db"]),
        st.sampled_from([0.95, 0.999]),
        source=st.sampled_from(["loki", "elastic"]),
    ),
    max_size=25,
)


@given(found_in_two, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_in_which_sources_bring_anomalies_decides_nothing(found: list[Anomaly], chance: Any) -> None:
    distinct = list({one.id: one for one in found}.values())
    shuffled = list(distinct)
    chance.shuffle(shuffled)
    assert tell((80, distinct)) == tell((80, shuffled))


# --- Through the daemon -------------------------------------------------------------------------------------


def failing(
    service: str, minutes: int, begin: int = FAILS, second: float = 1, shared: Shared | None = None
) -> pl.DataFrame:
    """A service that says the same each minute, and errors while it fails."""
    rows: list[dict[str, Any]] = []
    for minute in range(minutes):
        for number in range(6):
            moment = 60 * minute + 9 * number
            body = f"request {number} served in {number + 3} ms"
            line = {"timestamp": at(moment), "service": service, "severity": 9, "body": body, **(shared or {})}
            rows.append({**line, "trace": None})
            if begin <= minute < begin + 4:
                rows.append({**line, "timestamp": at(moment + second), "severity": 17, "body": ERROR})
    return page(rows)


def warmed(tmp_path: Path, *names: str, **other: Any) -> Config:
    return config(tmp_path, *names, warmup={"history": "26m"}, detection={"min_windows": 20}, **other)


async def run(tmp_path: Path, order: Sequence[int], sources: Sequence[MemorySource]) -> list[Incident]:
    """The daemon over some sources, polled in this order; grouped after each poll, as its jobs are not in step."""
    clock = StepClock(START + WARM)
    names = [source.name for source in sources]
    async with running(warmed(tmp_path, *names, alarm_budget="10/day"), clock, *sources) as daemon:
        while clock.moment < START + MINUTES * MINUTE:
            for number in order:
                await daemon.pollings[number].poll()
                await daemon.group()
            clock.moment += MINUTE
        return await incident_list(daemon.assembly.state)


def pair(second: str = "orders", begin: int = FAILS, shared: Shared | None = None) -> list[MemorySource]:
    """Two sources: orders fails in Loki, and something in Elasticsearch."""
    first = failing("orders", MINUTES, second=8, shared=shared)
    return [MemorySource(first, "loki"), MemorySource(failing(second, MINUTES, begin, shared=shared), "elastic")]


JOINED: list[tuple[str, int, Shared]] = [
    ("orders", FAILS, {}),
    ("db", FAILS, {}),
    ("db", FAILS + 3, {"host": "node-7"}),
    ("db", FAILS + 3, {"trace": "4bf92f35"}),
]


@pytest.mark.parametrize(("service", "begin", "shared"), JOINED, ids=["service", "time", "host", "trace"])
async def test_a_failure_in_two_sources_is_one_incident_in_any_order_of_polls(
    service: str, begin: int, shared: Shared, tmp_path: Path
) -> None:
    outcomes = []
    for order in permutations(range(2)):
        folder = tmp_path / str(order[0])
        folder.mkdir()
        outcomes.append(await run(folder, order, pair(service, begin, shared=shared)))
    assert outcomes[0] == outcomes[1]
    (incident,) = outcomes[0]
    assert set(incident.sources) == {"loki", "elastic"}
    first = incident.timeline[0]
    assert first.service == ("orders" if begin > FAILS else service)
    assert ("in loki" if begin > FAILS else "in elastic") in first.text
    moments = [entry.at for entry in incident.timeline]
    assert moments == sorted(moments)


async def test_a_source_that_stalls_delays_the_incidents_of_the_other_by_stall_after_and_joins_when_it_is_back(
    tmp_path: Path,
) -> None:
    clock = StepClock(START + WARM)
    loki, elastic = pair()
    loki.lines = failing("orders", 80)
    elastic.lines = failing("orders", 80)
    async with running(warmed(tmp_path, "loki", "elastic"), clock, loki, elastic) as daemon:
        await daemon.once()
        clock.moment = START + (FAILS - 1) * MINUTE
        elastic.fail_next = 10_000
        failed_at = clock.moment
        while not (found := await incident_list(daemon.assembly.state)) and clock.moment < START + 80 * MINUTE:
            await daemon.once()
            clock.moment += MINUTE
        assert [incident.sources for incident in found] == [("loki",)]
        assert clock.moment - MINUTE - failed_at <= daemon.assembly.config.stall_after
        elastic.fail_next = 0
        for _ in range(4):
            await daemon.once()
            clock.moment += MINUTE
        (incident,) = await incident_list(daemon.assembly.state)
        assert sorted(incident.sources) == ["elastic", "loki"]


async def test_a_source_that_never_answered_holds_the_others_back_no_longer_either(tmp_path: Path) -> None:
    clock = StepClock(START + WARM)
    good, dead = MemorySource(lines(60, failing=range(FAILS, FAILS + 5)), "good"), MemorySource(lines(60), "dead")
    dead.fail_next = 10_000
    async with running(warmed(tmp_path, "good", "dead"), clock, good, dead) as daemon:
        while clock.moment < START + WARM + 20 * MINUTE:
            await daemon.once()
            clock.moment += MINUTE
        assert [incident.sources for incident in await incident_list(daemon.assembly.state)] == [("good",)]
        assert any("dead: stalled" in reason for reason in (await daemon.readiness()).reasons)
        dead.fail_next = 0
        await daemon.once()
        assert (await daemon.readiness()).ok
        assert await grouped_through(daemon.assembly.state) == clock.moment


async def test_a_source_whose_pages_break_us_stalls_as_one_that_does_not_answer(tmp_path: Path) -> None:
    clock = StepClock(START + WARM)
    good, broken = MemorySource(lines(60), "good"), MemorySource(lines(60), "broken")
    async with running(warmed(tmp_path, "good", "broken"), clock, good, broken) as daemon:
        await daemon.once()
        broken.lines = broken.lines.rename({"body": "text"})
        while clock.moment < START + WARM + 15 * MINUTE:
            clock.moment += MINUTE
            await daemon.pollings[0].poll()
            with pytest.raises(pl.exceptions.PolarsError):
                await daemon.pollings[1].poll()
            await daemon.group()
        assert await grouped_through(daemon.assembly.state) == clock.moment
        assert any("unexpectedly" in reason for reason in (await daemon.readiness()).reasons)


async def test_the_measured_lateness_and_skew_of_a_source_are_metrics(tmp_path: Path) -> None:
    clock = StepClock(START + WARM)
    delay = pl.when(pl.int_range(pl.len()) % 50 == 0).then(-3).otherwise(4).cast(pl.Int64) * 1_000_000_000
    measured = lines(26).with_columns((pl.col("timestamp") + delay).alias("ingested_at"))
    shop, other = MemorySource(measured, "shop"), MemorySource(lines(26), "other")
    async with running(warmed(tmp_path, "shop", "other"), clock, shop, other) as daemon:
        await daemon.once()
        name = "log_anomaly_exporter_source_lateness_seconds"
        assert daemon.telemetry.value(name, source="shop", quantile="0.5") == pytest.approx(4, rel=0.1)
        assert daemon.telemetry.value(name, source="shop", quantile="0.99") == pytest.approx(4, rel=0.1)
        assert daemon.telemetry.value(name, source="other", quantile="0.5") is None
        assert daemon.telemetry.value("log_anomaly_exporter_source_lines_ahead", source="shop") == 4


# --- Over servers -------------------------------------------------------------------------------------------


def fill(elasticsearch_url: str, loki_url: str, name: str, begin: datetime) -> None:
    """The same two services in both: in Elasticsearch the database, which fails first, in Loki who calls it."""
    database, caller = failing("db", MINUTES, second=1), failing("orders", MINUTES, second=7)
    shift = nanoseconds(begin) - nanoseconds(START)
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.create(index=name, mappings={"properties": {"@timestamp": {"type": "date_nanos"}}})
        documents = [
            {
                "@timestamp": moment.isoformat(),
                "message": row["body"],
                "service.name": row["service"],
                "log.level": "error" if row["severity"] == 17 else "info",
                "event.ingested": (moment + 2 * timedelta(seconds=1)).isoformat(),
            }
            for row in database.iter_rows(named=True)
            for moment in [begin + timedelta(microseconds=(row["timestamp"] + shift - nanoseconds(begin)) // 1000)]
        ]
        bulk(client, ({"_index": name, "_source": document} for document in documents))
        client.indices.refresh(index=name)
    values = [
        [str(row["timestamp"] + shift), f'level={"error" if row["severity"] == 17 else "info"} msg="{row["body"]}"']
        for row in caller.iter_rows(named=True)
    ]
    body = {"streams": [{"stream": {"app": name, "service_name": "orders"}, "values": values}]}
    answer = ask(f"{loki_url}/loki/api/v1/push", body)
    assert answer.status == 204, answer.text


async def test_a_failure_in_a_loki_and_in_an_elasticsearch_is_one_incident(
    elasticsearch_url: str, loki_url: str, unique_name: str, tmp_path: Path
) -> None:
    # Loki asks its own memory for the last three hours only, and what tests push is nowhere else yet.
    begin = floor(datetime.now(UTC), MINUTE) - (MINUTES + 5) * MINUTE
    await asyncio.to_thread(fill, elasticsearch_url, loki_url, unique_name, begin)
    common = {"query_offset": "0s", "late_window": "2m"}
    settings_ = parse(
        {
            "state": str(tmp_path / "state.db"),
            "warmup": {"history": "26m"},
            "alarm_budget": "10/day",
            "detection": {"min_windows": 20},
            "sources": [
                {"type": "loki", "name": "loki", "url": loki_url, "query": f'{{app="{unique_name}"}}', **common},
                {
                    "type": "elasticsearch",
                    "name": "elastic",
                    "hosts": [elasticsearch_url],
                    "index": unique_name,
                    **common,
                },
            ],
        }
    )
    clock, telemetry = StepClock(begin + WARM), PrometheusTelemetry()
    assembly = assemble(settings_, clock, telemetry)
    daemon = Daemon(assembly, telemetry)
    try:
        while clock.moment < begin + MINUTES * MINUTE:
            await daemon.once()
            clock.moment += 2 * MINUTE
        (incident,) = await incident_list(assembly.state)
        assert set(incident.sources) == {"loki", "elastic"}
        assert set(incident.services) == {"orders", "db"}
        assert incident.timeline[0].service == "db", "the first mover"
        assert incident.timeline[0].at >= begin + FAILS * MINUTE
        lateness = telemetry.value("log_anomaly_exporter_source_lateness_seconds", source="elastic", quantile="0.99")
        assert lateness == pytest.approx(2, rel=0.1), "event.ingested is read"
    finally:
        await assembly.close()
