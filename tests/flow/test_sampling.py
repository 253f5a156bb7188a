"""Windows with more lines than may be read: which seconds are read, what stands, and that it is said."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import SOURCES, parse, resolve
from exporter.flow import windows
from exporter.flow.windows import WindowReader
from exporter.ingest import sampling
from exporter.ingest.sampling import SECOND, choose
from exporter.model import Anomaly, Context, NoTelemetry, Report, Source, SystemClock, TimeRange, floor, loads
from exporter.model.times import Window, seconds
from exporter.run.assembly import Assembly, assemble
from exporter.run.learning import open_state
from exporter.state.checkpoints import decision_row
from exporter.state.incidents import incident_list
from exporter.telemetry import PrometheusTelemetry
from tests.memory_source import START, MemorySource, at, page
from tests.servers.process import request as ask

MINUTE = timedelta(minutes=1)
FIRST = Window(START, MINUTE)
LIMIT = 100

by_second = st.dictionaries(st.integers(0, 59), st.integers(0, 50), min_size=1)


def counted(lines: Mapping[int, int]) -> dict[datetime, int]:
    return {START + n * SECOND: amount for n, amount in lines.items()}


def read_seconds(sample: sampling.Sample | None) -> set[datetime]:
    return {second.start for span in (sample.ranges if sample else ()) for second in span.windows(SECOND)}


# --- The choice ---------------------------------------------------------------------------------------


@given(by_second, st.integers(1, 300))
def test_what_is_chosen_fits_and_is_never_nothing(lines: dict[int, int], limit: int) -> None:
    counts = counted(lines)
    sample = choose("shop", FIRST, counts, limit)
    if sum(lines.values()) <= limit:
        assert sample is None
        return
    assert sample is not None
    held = sum(counts[second] for second in read_seconds(sample))
    assert 0 < sample.lines <= limit
    assert sample.lines == min(held, limit)
    assert sample.lines + sample.left_out == sample.exact == sum(lines.values())


@given(by_second, st.integers(50, 300), st.integers(1, 300))
def test_a_smaller_limit_chooses_among_what_a_larger_one_does(lines: dict[int, int], limit: int, more: int) -> None:
    wide, narrow = (choose("shop", FIRST, counted(lines), n) for n in (limit + more, limit))
    if wide and narrow:
        assert read_seconds(narrow) <= read_seconds(wide)


@given(by_second, st.randoms(use_true_random=False))
def test_the_order_in_which_counts_come_decides_nothing(lines: dict[int, int], chance: Any) -> None:
    shuffled = list(lines.items())
    chance.shuffle(shuffled)
    assert choose("shop", FIRST, counted(lines), 100) == choose("shop", FIRST, counted(dict(shuffled)), 100)


def test_another_source_reads_other_seconds() -> None:
    counts = counted(dict.fromkeys(range(60), 10))
    chosen = [read_seconds(choose(name, FIRST, counts, LIMIT)) for name in ("shop", "bank")]
    assert len(chosen[0]) == len(chosen[1]) == 10
    assert chosen[0] != chosen[1]


def test_the_choice_never_changes_between_versions() -> None:
    sample = choose("shop", FIRST, counted(dict.fromkeys(range(60), 50)), LIMIT)
    assert sample is not None
    assert read_seconds(sample) == {START + 4 * SECOND, START + 51 * SECOND}


def test_windows_are_taken_together_while_they_fit() -> None:
    counts = {START: 60, START + MINUTE: 5000, START + 2 * MINUTE: 1}
    whole = TimeRange(START, START + 3 * MINUTE)
    assert sampling.at_once(whole, MINUTE, counts, LIMIT, 300) == whole
    assert sampling.at_once(whole, MINUTE, counts, LIMIT, 150).end == START + MINUTE
    assert sampling.at_once(whole, MINUTE, counts, LIMIT, 10).end == START + MINUTE


# --- The pipeline -------------------------------------------------------------------------------------


def row(second: float, body: str, number: int, service: str = "orders") -> dict[str, Any]:
    return {
        "id": f"{second}/{number}", "timestamp": at(second), "service": service, "severity": 9, "body": body,
        "stream": service, "trace": f"t{number}", "session": f"s{number}",
    }  # fmt: skip


def steady(start: int, count: int, each: int) -> list[dict[str, Any]]:
    return [row(start + n, "order taken", n * each + m) for n in range(count) for m in range(each)]


class World:
    def __init__(self, folder: Path, rows: list[dict[str, Any]], limit: int | None = LIMIT) -> None:
        self.telemetry = PrometheusTelemetry()
        self.source = MemorySource(page(rows), page_size=7)
        config = parse(
            {
                "state": str(folder / "state.db"),
                "detection": {"min_windows": 5, "min_service_windows": 2},
                "sources": [
                    {
                        "type": "elasticsearch",
                        "name": "shop",
                        "hosts": ["http://127.0.0.1:9"],
                        "max_lines_per_window": limit,
                        "query_offset": "0s",
                    }
                ],
            }
        )
        state = open_state(config)
        self.assembly: Assembly = assemble(
            config, SystemClock(), self.telemetry, state, sources=[self.source], sinks=[]
        )
        self.pipeline = self.assembly.pipelines[0]
        self.seen: dict[int, Any] = {}

    async def run(self, minutes: int) -> int:
        await self.pipeline.start(START, START + MINUTE)
        return await self.pipeline.advance(START + minutes * MINUTE)

    def counted(self, name: str) -> float:
        return self.telemetry.value(f"log_anomaly_exporter_{name}_total", source="shop") or 0.0

    async def windows(self) -> list[int]:
        rows = await self.assembly.state.read("SELECT lines FROM windows ORDER BY window")
        return [lines for (lines,) in rows]


@pytest.fixture
async def worlds() -> AsyncIterator[list[World]]:
    made: list[World] = []
    yield made
    for world in made:
        await world.assembly.close()


async def test_of_a_window_above_the_limit_only_chosen_seconds_are_read(tmp_path: Path, worlds: list[World]) -> None:
    world = World(tmp_path, steady(0, 60, 1) + steady(60, 60, 10))
    worlds.append(world)
    assert await world.run(2) == 60 + LIMIT
    assert await world.windows() == [60, 600]
    spans = [span for span in world.source.queries if span.start >= START + MINUTE]
    assert sum((span.duration for span in spans), timedelta(0)) == 10 * SECOND
    assert world.counted("source_windows_sampled") == 1
    assert world.counted("source_lines_left_out") == 500


async def test_what_is_read_around_an_alert_is_a_sample_too_and_never_all_at_once(
    tmp_path: Path, worlds: list[World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "GLANCE_LINES", 50)
    world = World(tmp_path, steady(0, 180, 10))
    worlds.append(world)
    await world.pipeline.start(START + 3 * MINUTE, START + 3 * MINUTE)
    await world.pipeline.preview(TimeRange(START, START + 3 * MINUTE))
    assert world.counted("source_lines_read") == 3 * 50
    assert max(span.duration for span in world.source.queries) < MINUTE


async def test_without_a_limit_nothing_is_counted_beforehand(tmp_path: Path, worlds: list[World]) -> None:
    world = World(tmp_path, steady(0, 60, 10), limit=None)
    worlds.append(world)
    assert await world.run(1) == 600
    assert world.counted("source_windows_sampled") == 0


async def test_a_second_above_the_limit_is_read_up_to_it(tmp_path: Path, worlds: list[World]) -> None:
    world = World(tmp_path, steady(5, 1, 1000))
    worlds.append(world)
    assert await world.run(1) == LIMIT
    assert await world.windows() == [1000]
    assert world.counted("source_lines_left_out") == 900


async def test_an_unchanged_sample_is_not_read_again_and_a_changed_one_is(tmp_path: Path, worlds: list[World]) -> None:
    world = World(tmp_path, steady(0, 60, 10))
    worlds.append(world)
    await world.run(1)
    assert await world.pipeline.sweep(START + MINUTE) == 0
    late = page([row(30.5, "order taken", 99_999)])
    world.source.lines = pl.concat([world.source.lines, late])
    assert await world.pipeline.sweep(START + MINUTE) == 1
    assert await world.windows() == [601]
    assert await world.pipeline.sweep(START + MINUTE) == 0


async def test_however_a_range_is_divided_the_same_lines_are_read(tmp_path: Path, worlds: list[World]) -> None:
    world = World(tmp_path, steady(0, 180, 10))
    worlds.append(world)
    whole = TimeRange(START, START + 3 * MINUTE)
    read = WindowReader(world.source, world.pipeline.settings, NoTelemetry(), limit=LIMIT).read
    together = await read(whole, await world.source.count(whole, MINUTE))
    for part in whole.split(MINUTE):
        alone = await read(part, await world.source.count(part, MINUTE))
        window = Window(part.start, MINUTE)
        one, other = alone[window], together[window]
        assert one.lines.equals(other.lines)
        assert one.sampled == other.sampled == {window.key: LIMIT / 600}
        assert one.exact == {window.key: 600}


async def test_a_new_message_in_a_sampled_window_is_found_and_said_to_rest_on_a_sample(
    tmp_path: Path, worlds: list[World]
) -> None:
    failing = [row(n / 10, "disk is full on volume data", n) | {"severity": 17} for n in range(36_000, 38_400)]
    world = World(tmp_path, steady(0, 60 * 60, 1) + failing)
    worlds.append(world)
    await world.run(64)
    told = await world.assembly.state.read("SELECT body FROM anomalies")
    anomalies = [loads(Anomaly, body) for (body,) in told]
    sampled = [one for one in anomalies if one.sampled < 1]
    assert {one.sampled for one in sampled} == {LIMIT / 600}
    kinds = {reason.kind for one in sampled for reason in one.contributions}
    assert "new_template" in kinds
    assert not kinds & {"transition", "gap", "session", "silence"}
    assert not {one.kind for one in anomalies} & {"absence", "session", "gap"}
    await world.assembly.grouper.group(START + 64 * MINUTE)
    (incident,) = await incident_list(world.assembly.state)
    assert incident.sampled == LIMIT / 600
    await world.assembly.enricher.enrich()
    ((body,),) = await world.assembly.state.read("SELECT body FROM reports")
    assert any("only 16.7% of the lines were read" in note for note in loads(Report, body).notes)


# --- What could not be read ---------------------------------------------------------------------------


async def test_a_report_says_what_could_not_be_read_while_the_incident_lasted(
    tmp_path: Path, worlds: list[World]
) -> None:
    from tests.samples import incident

    world = World(tmp_path, [])
    worlds.append(world)
    one = incident()
    gaps = [
        decision_row("shop", TimeRange(start, start + MINUTE), "gap", "the server answers 503", start)
        for start in (one.starts_at, one.starts_at + MINUTE, one.starts_at - 9 * MINUTE)
    ]
    await world.assembly.state.write(gaps)
    found = await world.assembly.enricher._gaps(one)
    assert found == [("shop", TimeRange(one.starts_at, one.starts_at + 2 * MINUTE), "the server answers 503")]
    from exporter.report.rules import write

    note = write(one, gaps=found).notes[0]
    assert "nothing could be read from `shop`: the server answers 503." in note


# --- Over servers -------------------------------------------------------------------------------------

NOW = floor(datetime.now(UTC), MINUTE) - 10 * MINUTE
"""Loki asks its own memory for the last hours only."""


async def read_sample(source: Source, folder: Path) -> None:
    """One minute of ten lines a second, of which a hundred may be read."""
    world = World(folder, [])
    try:
        reader = WindowReader(source, world.pipeline.settings, NoTelemetry(), limit=LIMIT)
        span = TimeRange(NOW, NOW + MINUTE)
        by_window = await reader.read(span, await reader.counts(span))
        reduced = by_window[Window(NOW, MINUTE)]
        assert reduced.exact == {seconds(NOW): 600}
        assert reduced.lines.height == LIMIT
        read = set(reduced.lines["timestamp"] // 10**9)
        counts = {NOW + n * SECOND: 10 for n in range(60)}
        assert read == {seconds(second) for second in read_seconds(choose("shop", Window(NOW, MINUTE), counts, LIMIT))}
    finally:
        await source.close()
        await world.assembly.close()


async def test_a_sample_of_elasticsearch(elasticsearch_url: str, unique_name: str, tmp_path: Path) -> None:
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.create(index=unique_name, mappings={"properties": {"@timestamp": {"type": "date_nanos"}}})
        documents = [
            {"@timestamp": (NOW + n * SECOND / 10).isoformat(), "service.name": "orders", "message": f"order {n} taken"}
            for n in range(600)
        ]
        bulk(client, ({"_index": unique_name, "_source": document} for document in documents), refresh=True)
    settings = resolve(SOURCES["elasticsearch"])(name="shop", hosts=(elasticsearch_url,), index=unique_name)
    await read_sample(settings.build(Context()), tmp_path)


async def test_a_sample_of_loki(loki_url: str, unique_name: str, tmp_path: Path) -> None:
    values = [[str(seconds(NOW) * 10**9 + n * 10**8), f"order {n} taken"] for n in range(600)]
    stream = {"stream": {"app": unique_name, "service_name": "orders"}, "values": values}
    answer = ask(f"{loki_url}/loki/api/v1/push", {"streams": [stream]})
    assert answer.status == 204, answer.text
    settings = resolve(SOURCES["loki"])(name="shop", url=loki_url, query=f'{{app="{unique_name}"}}')
    await read_sample(settings.build(Context()), tmp_path)
