"""The Elasticsearch source against a real server: every shape, every line once, and clear words when it cannot."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk

from exporter.cli.check import connect
from exporter.config import parse
from exporter.model import Context, NoTelemetry, PermanentError, Severity, TimeRange, TransientError, nanoseconds
from exporter.telemetry import PrometheusTelemetry
from integrations.elasticsearch import ElasticsearchSettings, ElasticsearchSource
from tests.fakes.serving import serving

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RANGE = TimeRange(NOON, NOON + HOUR)


class Clock:
    def now(self) -> datetime:
        return NOON + HOUR


def source(url: str, index: str, **settings: Any) -> ElasticsearchSource:
    built = ElasticsearchSettings(name="shop", hosts=(url,), index=index, **settings)
    return built.build(Context(clock=Clock(), telemetry=NoTelemetry()))


def load(url: str, index: str, documents: Iterable[Mapping[str, Any]], **properties: Any) -> None:
    mappings = {"properties": {"@timestamp": {"type": "date_nanos"}, **properties}}
    with Elasticsearch(url) as client:
        if not client.indices.exists(index=index):
            client.indices.create(index=index, mappings=mappings, settings={"number_of_shards": 2})
        bulk(client, ({"_index": index, "_source": document} for document in documents))
        client.indices.refresh(index=index)


def at(seconds: float) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat()


async def read(found: ElasticsearchSource, time_range: TimeRange = RANGE) -> pl.DataFrame:
    pages = [page async for page in found.query(time_range)]
    return pl.concat(pages).sort("timestamp", "sequence", "id") if pages else pl.DataFrame()


async def test_every_line_is_read_once_however_small_the_pages(elasticsearch_url: str, unique_name: str) -> None:
    # Many lines share a timestamp, so that page borders fall between them.
    load(elasticsearch_url, unique_name, ({"@timestamp": at(n // 50), "message": f"line {n}"} for n in range(1000)))
    for page_size, slices in ((7, 1), (100, 2), (5000, 4)):
        shop = source(elasticsearch_url, unique_name, page_size=page_size, slices=slices)
        lines = await read(shop)
        assert sorted(lines["body"]) == sorted(f"line {n}" for n in range(1000))
        assert lines["id"].n_unique() == 1000
        await shop.close()


async def test_a_range_is_half_open_to_the_nanosecond(elasticsearch_url: str, unique_name: str) -> None:
    stamps = ["11:59:59.999999999", "12:00:00.000000000", "12:59:59.999999999", "13:00:00.000000000"]
    load(elasticsearch_url, unique_name, ({"@timestamp": f"2026-03-01T{s}Z", "message": s} for s in stamps))
    shop = source(elasticsearch_url, unique_name)
    lines = await read(shop)
    assert lines["body"].to_list() == stamps[1:3]
    assert lines["timestamp"][1] == nanoseconds(NOON + HOUR) - 1
    assert await shop.count(RANGE, HOUR) == {NOON: 2}
    await shop.close()


SHAPES: dict[str, dict[str, Any]] = {
    "ecs": {
        "message": "pool exhausted",
        "log": {"level": "ERROR", "offset": 7},
        "service": {"name": "orders"},
        "trace": {"id": "t1"},
        "host": {"name": "node-1"},
    },
    "dotted": {
        "message": "pool exhausted",
        "log.level": "error",
        "service.name": "orders",
        "trace.id": "t1",
        "host.name": "node-1",
    },
    "fluent bit": {
        "log": "pool exhausted",
        "level": "err",
        "kubernetes": {"container_name": "orders", "pod_name": "node-1"},
        "trace_id": "t1",
    },
    "otel": {
        "body": {"text": "pool exhausted"},
        "severity_number": 17,
        "resource": {"attributes": {"service.name": "orders", "host.name": "node-1"}},
        "trace_id": "t1",
    },
    "structured log": {
        "log": {"message": "pool exhausted"},
        "severity": "Error",
        "service": "orders",
        "traceId": "t1",
        "hostname": "node-1",
    },
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_each_shippers_shape_is_understood(shape: str, elasticsearch_url: str, unique_name: str) -> None:
    load(elasticsearch_url, unique_name, [{"@timestamp": at(1), **SHAPES[shape]}])
    shop = source(elasticsearch_url, unique_name)
    line = (await read(shop)).row(0, named=True)
    assert (line["body"], line["severity"], line["service"]) == ("pool exhausted", Severity.ERROR, "orders")
    assert (line["trace"], line["host"]) == ("t1", "node-1")
    await shop.close()


async def test_field_aliases_are_read_though_no_source_has_them(elasticsearch_url: str, unique_name: str) -> None:
    alias = {"text_of_it": {"type": "keyword"}, "message": {"type": "alias", "path": "text_of_it"}}
    load(elasticsearch_url, unique_name, [{"@timestamp": at(1), "text_of_it": "hello"}], **alias)
    shop = source(elasticsearch_url, unique_name)
    assert (await read(shop))["body"].to_list() == ["hello"]
    await shop.close()


async def test_indices_with_dates_of_different_precision_are_read_together(
    elasticsearch_url: str, unique_name: str
) -> None:
    load(elasticsearch_url, f"{unique_name}-a", ({"@timestamp": at(n), "message": f"a{n}"} for n in range(30)))
    coarse = {"@timestamp": {"type": "date"}}
    load(
        elasticsearch_url, f"{unique_name}-b", ({"@timestamp": at(n), "message": f"b{n}"} for n in range(30)), **coarse
    )
    shop = source(elasticsearch_url, f"{unique_name}-*", page_size=7)
    assert len(set((await read(shop))["body"])) == 60
    await shop.close()


async def test_lines_with_impossible_times_are_counted_and_never_read(elasticsearch_url: str, unique_name: str) -> None:
    wrong = {"@timestamp": {"type": "date"}}
    times = ["0001-01-01T00:00:00Z", "2099-01-01T00:00:00Z", None, at(1)]
    load(
        elasticsearch_url,
        unique_name,
        ({"@timestamp": t, "message": "m"} if t else {"message": "m"} for t in times),
        **wrong,
    )
    shop = source(elasticsearch_url, unique_name)
    assert (await read(shop)).height == 1
    assert await shop.unusable() == {"absent_timestamp": 1, "before_1990": 1, "in_the_future": 1}
    await shop.close()


async def test_our_own_lines_and_excluded_services_are_left_out(elasticsearch_url: str, unique_name: str) -> None:
    names = ["log-anomaly-exporter", "noisy", "orders"]
    load(elasticsearch_url, unique_name, ({"@timestamp": at(1), "message": n, "service": {"name": n}} for n in names))
    shop = source(elasticsearch_url, unique_name, exclude_services=("noisy",))
    assert (await read(shop))["body"].to_list() == ["orders"]
    await shop.close()


async def test_windows_are_counted_on_the_grid(elasticsearch_url: str, unique_name: str) -> None:
    load(elasticsearch_url, unique_name, ({"@timestamp": at(n * 10), "message": "m"} for n in range(12)))
    shop = source(elasticsearch_url, unique_name)
    assert await shop.count(RANGE, timedelta(minutes=1)) == {NOON: 6, NOON + timedelta(minutes=1): 6}
    await shop.close()


async def test_services_may_be_grouped_by_other_fields(elasticsearch_url: str, unique_name: str) -> None:
    document = {"@timestamp": at(1), "message": "m", "kubernetes": {"namespace": "eu"}, "app": "orders"}
    load(elasticsearch_url, unique_name, [document])
    shop = source(elasticsearch_url, unique_name, group_by=("kubernetes.namespace", "app"))
    assert (await read(shop))["service"].to_list() == ["eu/orders"]
    await shop.close()


async def test_a_pattern_that_matches_no_index_says_so(elasticsearch_url: str, unique_name: str) -> None:
    shop = source(elasticsearch_url, f"{unique_name}-*")
    with pytest.raises(PermanentError, match="matches no index"):
        await read(shop)
    assert not (await shop.check())[0].ok
    await shop.close()


async def test_a_server_that_cannot_be_reached_is_transient_and_named() -> None:
    shop = source("http://127.0.0.1:9", "logs-*", timeout=timedelta(seconds=0.2))
    with pytest.raises(TransientError, match="source shop: no answer"):
        await shop.count(RANGE, HOUR)
    await shop.close()


async def test_a_secret_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("b2xkOm9sZA==")

    async def answer(request: web.Request) -> web.Response:
        known = request.headers["Authorization"] == "ApiKey bmV3Om5ldw=="
        body = {"error": {"type": "security_exception", "reason": "no"}} if not known else {"_shards": {"total": 0}}
        return web.json_response(body, status=200 if known else 401, headers={"X-Elastic-Product": "Elasticsearch"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        shop = source(url, "logs-*", api_key_file=key)
        with pytest.raises(PermanentError, match=r"source shop: 401 .*check api_key"):
            await read(shop)
        key.write_text("bmV3Om5ldw==")
        with pytest.raises(PermanentError, match="matches no index"):
            await read(shop)
        await shop.close()


async def test_a_reader_that_stops_early_leaves_nothing_running(elasticsearch_url: str, unique_name: str) -> None:
    load(elasticsearch_url, unique_name, ({"@timestamp": at(n), "message": "m"} for n in range(500)))
    shop = source(elasticsearch_url, unique_name, page_size=10, slices=2)
    pages = shop.query(RANGE)
    await anext(pages)
    before = len(asyncio.all_tasks())
    await pages.aclose()  # type: ignore[attr-defined]
    assert len(asyncio.all_tasks()) < before
    await shop.close()


@pytest.mark.parametrize(
    "settings",
    [{"hosts": ["es:9200"]}, {"api_key": "k", "username": "u"}, {"window": "7s"}, {"link": "https://k/{begin}"}],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"URL|give one of|divides a day|knows"):
        ElasticsearchSettings(**{"name": "shop", "hosts": ["http://localhost:9200"], **settings})


async def test_what_a_query_costs_the_store_is_measured(elasticsearch_url: str, unique_name: str) -> None:
    load(elasticsearch_url, unique_name, ({"@timestamp": at(n), "message": "m"} for n in range(50)))
    telemetry = PrometheusTelemetry()
    settings = ElasticsearchSettings(name="shop", hosts=(elasticsearch_url,), index=unique_name)
    shop = settings.build(Context(clock=Clock(), telemetry=telemetry))
    await shop.count(RANGE, HOUR)
    await shop.close()
    assert telemetry.value("log_anomaly_exporter_source_store_seconds_count", source="shop") == 1.0


async def test_check_config_says_what_its_queries_cost_the_store(elasticsearch_url: str, unique_name: str) -> None:
    load(elasticsearch_url, unique_name, ({"@timestamp": at(n), "message": "m"} for n in range(50)))
    source = {"type": "elasticsearch", "name": "shop", "hosts": [elasticsearch_url], "index": unique_name}
    (cost,) = [check for check in await connect(parse({"sources": [source]})) if check.subject.endswith("cost")]
    assert re.match(r"\d+ queries of this check cost the store \d+\.\d\d s of its own time", cost.detail)
