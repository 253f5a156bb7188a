"""The simulated shop: the same lines at every reading, and failures that its logs show."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from elasticsearch import Elasticsearch
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.demo.shop import (
    KINDS,
    BulkWriter,
    Failure,
    FileWriter,
    Shop,
    SimulatedSource,
    SimulatorSettings,
    all_failures,
    demo_shop,
    documents,
    live_shop,
    simulate_to,
    text_lines,
)
from exporter.demo.shop.shop import base_name
from exporter.model import Context, ExporterError, PermanentError, Source, TimeRange, page_schema
from exporter.run.evaluation import load_labels

MONDAY = datetime(2025, 3, 3, tzinfo=UTC)
NOON = MONDAY + timedelta(hours=12)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(days=2, rate=5)


def hours(shop: Shop, start: datetime, count: float) -> pl.DataFrame:
    return shop.page(TimeRange(start, start + count * HOUR))


def test_a_page_has_the_columns_that_every_source_gives(shop: Shop) -> None:
    page = hours(shop, NOON, 0.5)
    assert page.schema == page_schema()
    assert page.null_count().select("id", "timestamp", "sequence", "severity", "body", "service").row(0) == (0,) * 6
    assert page["id"].is_unique().all()
    assert page["timestamp"].is_sorted()


def test_two_shops_of_one_seed_log_the_same_and_of_another_seed_something_else() -> None:
    pages = [hours(Shop(days=1, seed=seed, rate=2), NOON, 1) for seed in (3, 3, 4)]
    assert pages[0].equals(pages[1])
    assert not pages[0]["body"].equals(pages[2]["body"])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 7200), max_size=6))
def test_any_division_of_the_time_gives_the_same_lines(cuts: list[int]) -> None:
    moments = [NOON, *(NOON + timedelta(seconds=cut) for cut in sorted(cuts)), NOON + 2 * HOUR]
    shop = Shop(days=1, rate=1)
    parts = [shop.page(TimeRange(*pair)) for pair in reversed(list(pairwise(moments)))]
    together = pl.concat(parts).sort("timestamp", "id")
    assert together.equals(hours(Shop(days=1, rate=1), NOON, 2).sort("timestamp", "id"))


def test_what_a_moment_holds_does_not_depend_on_when_the_shop_began() -> None:
    early, late = (Shop(start=start, days=3, rate=1) for start in (MONDAY - timedelta(days=9), MONDAY))
    columns = ["id", "timestamp", "service", "body", "stream"]
    early = Shop(start=MONDAY - timedelta(days=9), days=12, rate=1)
    assert hours(early, NOON, 1).select(columns).equals(hours(late, NOON, 1).select(columns))


@pytest.mark.parametrize("window", [timedelta(seconds=10), MINUTE, timedelta(minutes=7), HOUR, timedelta(days=1)])
def test_counts_are_those_of_the_lines(shop: Shop, window: timedelta) -> None:
    time_range = TimeRange(NOON, NOON + HOUR)
    counted = shop.count(time_range, window)
    step = window // timedelta(microseconds=1) * 1000
    lines = shop.page(time_range).group_by(pl.col("timestamp") // step * step).len()
    expected = dict(lines.rows())
    assert {int(start.timestamp()) * 10**9: amount for start, amount in counted.items()} == expected


def test_nothing_is_logged_before_the_shop_opens_or_after_it_closes(shop: Shop) -> None:
    assert hours(shop, MONDAY - HOUR, 1).is_empty()
    assert hours(shop, shop.end, 1).is_empty()
    assert shop.count(TimeRange(MONDAY - HOUR, MONDAY), MINUTE) == {}


def test_the_rate_is_the_average_of_a_day() -> None:
    lines = sum(Shop(days=1, rate=4).count(TimeRange(MONDAY, MONDAY + timedelta(days=1)), HOUR).values())
    assert lines / 86400 == pytest.approx(4, rel=0.25)


def test_traffic_follows_the_day(shop: Shop) -> None:
    night, evening = (hours(shop, MONDAY + hour * HOUR, 1).height for hour in (4, 20))
    assert evening > 2 * night


def test_every_service_speaks_and_has_about_thirty_statements(shop: Shop) -> None:
    page = hours(shop, NOON, 8)
    assert set(page["service"]) == set(shop.services)
    reached = pl.DataFrame(shop.statements(), schema=["service", "text"], orient="row")["service"].value_counts()
    assert reached["count"].min() >= 15  # type: ignore[operator]
    assert 20 <= reached["count"].mean() <= 60  # type: ignore[operator]


def test_a_request_can_be_followed_through_the_services_by_its_trace(shop: Shop) -> None:
    page = hours(shop, NOON, 1)
    order = page.filter(pl.col("body").str.starts_with("Placing order"))["trace"][0]
    lines = page.filter(pl.col("trace") == order)
    assert {"gateway", "users", "orders", "cart", "inventory", "payments"} <= set(lines["service"])
    number = lines["body"].str.extract(r"(ORD-\d+)").drop_nulls()
    assert number.n_unique() == 1


def test_two_hundred_services_are_many_shops_with_numbers() -> None:
    shop = Shop(services=200, days=1, rate=20)
    page = hours(shop, NOON, 0.5)
    assert len(shop.services) == len(set(shop.services)) == 200
    assert page["service"].n_unique() > 190
    assert set(page["service"]) <= set(shop.services)
    assert page.height / 1800 == pytest.approx(20, rel=0.6)


def test_a_release_brings_new_instances_and_a_new_version() -> None:
    shop = Shop(days=6, rate=2)
    release = next(change for change in shop.changes() if change.service == "orders")
    before = hours(shop, release.at - HOUR, 0.9).filter(pl.col("service") == "orders")
    after = hours(shop, release.at + 0.1 * HOUR, 0.9).filter(pl.col("service") == "orders")
    start = hours(shop, release.at, 0.2).filter(pl.col("body").str.contains("Starting orders v"))
    assert not set(before["stream"]) & set(after["stream"])
    assert start["body"].str.contains(release.version, literal=True).all()
    assert start.height == 3


def test_a_shop_without_releases_has_none() -> None:
    assert Shop(days=6, releases=False).changes() == ()


def test_the_service_on_demand_comes_and_goes(shop: Shop) -> None:
    counts = hours(shop, MONDAY, 24).filter(pl.col("service") == "notifications")["timestamp"] // (1800 * 10**9)
    assert 3 < counts.n_unique() < 46


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_failure_changes_what_the_shop_logs(kind: str) -> None:
    service = KINDS[kind][1][0]
    start = NOON + 0.5 * HOUR
    failure = Failure(kind, service, start, timedelta(minutes=20))
    failing, healthy = (Shop(days=2, rate=8, failures=given) for given in ([failure], []))
    during = [shop.page(TimeRange(start, failure.end)) for shop in (failing, healthy)]
    texts, usual = (
        page.filter(pl.col("service") == service)["body"].str.replace_all(r"[0-9a-f]{8}|\d+", "0").value_counts()
        for page in during
    )
    both = texts.join(usual, on="body", how="full", coalesce=True, suffix="_usual").fill_null(0)
    different = both.select((pl.col("count").cast(pl.Int64) - pl.col("count_usual").cast(pl.Int64)).abs().max()).item()
    assert different >= 8
    assert hours(failing, start - 3 * HOUR, 1).equals(hours(healthy, start - 3 * HOUR, 1))


def test_the_cause_fails_in_its_own_words_and_its_callers_in_theirs() -> None:
    shop = demo_shop()
    first, second = shop.failures
    for failure in (first, second):
        page = shop.page(TimeRange(failure.start, failure.end)).filter(pl.col("severity") >= 13)
        found = {
            service: page.filter((pl.col("service") == service) & pl.col("body").str.contains(words)).height
            for service, words in {
                "payments": "Connection is not available",
                "orders": "Call to payments failed",
                "gateway": "502 Bad Gateway",
            }.items()
        }
        assert all(amount >= 5 for amount in found.values()), found
    quiet = shop.page(TimeRange(second.start - HOUR, second.start))
    assert quiet.filter(pl.col("body").str.contains("Connection is not available")).is_empty()


def test_labels_are_read_by_backtest(tmp_path: Path) -> None:
    plain = Shop(days=14)
    shop = Shop(days=14, failures=all_failures(plain))
    path = tmp_path / "labels.csv"
    shop.labels().write_csv(path)
    intervals = load_labels(path).intervals
    assert {interval.kind for interval in intervals} == set(KINDS)
    assert len(KINDS) == 20
    assert all(interval.start >= MONDAY + timedelta(days=3) and interval.end <= shop.end for interval in intervals)
    assert all(one.end < other.start for one, other in pairwise(sorted(intervals, key=lambda i: i.start)))


def test_failures_of_many_services_name_services_that_exist() -> None:
    shop = Shop(services=200)
    failures = all_failures(shop, seed=5)
    assert {failure.service for failure in failures} <= set(shop.services)
    assert len({failure.service for failure in failures} - set(map(base_name, shop.services))) > 5


def test_a_failure_of_an_unknown_service_is_refused() -> None:
    with pytest.raises(ValueError, match="no service 'billing'"):
        Shop(failures=[Failure("deadlock", "billing", NOON, HOUR)])


def test_a_live_shop_goes_on_where_it_was_when_it_is_started_again() -> None:
    now = MONDAY + timedelta(days=40)
    first, again = live_shop(now, timedelta(days=2), rate=1), live_shop(now + 7 * HOUR, timedelta(days=1), rate=1)
    assert hours(first, now, 1).equals(hours(again, now, 1))
    assert any(now < failure.start < now + 4 * HOUR for failure in first.failures)


async def test_the_source_gives_every_line_of_a_range_once() -> None:
    source = SimulatorSettings(duration=timedelta(days=1), rate=2, failures=False).build(Context())
    assert isinstance(source, Source)
    time_range = TimeRange(NOON + timedelta(seconds=7), NOON + 1.3 * HOUR)
    pages = [page async for page in source.query(time_range)]
    assert pl.concat(pages)["id"].is_unique().all()
    assert sum(page.height for page in pages) == sum((await source.count(time_range, MINUTE)).values())
    assert all(check.ok for check in await source.check())


def test_settings_describe_a_shop_with_failures() -> None:
    shop = SimulatorSettings(services=24, seed=2).shop()
    assert len(shop.failures) == 20
    assert len(shop.services) == 24


def test_documents_have_the_shape_of_ecs(shop: Shop) -> None:
    page = hours(shop, NOON, 0.2)
    read = [json.loads(text) for text in documents(page).to_list()]
    assert len(read) == page.height
    traced = next(document for document in read if document["trace"]["id"])
    assert traced.keys() >= {"@timestamp", "message", "log", "service", "trace", "host", "kubernetes"}
    assert datetime.fromisoformat(traced["@timestamp"]).hour == 12
    assert traced["log"]["level"] in {"debug", "info", "warn", "error", "fatal"}


def test_text_lines_begin_with_time_and_level(shop: Shop) -> None:
    lines = text_lines(hours(shop, NOON, 0.2))
    pattern = r"^2025-03-03T12:\d\d:\d\d\.\d{6}Z (DEBUG|INFO |WARN |ERROR|FATAL) \[[a-z-]+\] \[[a-z0-9-]+\]"
    assert lines.str.contains(pattern).all()


class Ticking:
    """A clock that goes on by a minute whenever somebody looks."""

    def __init__(self, start: datetime) -> None:
        self.moment = start

    def now(self) -> datetime:
        self.moment += MINUTE
        return self.moment


async def test_writing_and_following_leaves_no_gap(shop: Shop, tmp_path: Path) -> None:
    path, stop, clock = tmp_path / "shop.ndjson", asyncio.Event(), Ticking(NOON)
    file = FileWriter(path)

    async def write(page: pl.DataFrame) -> None:
        await file(page)
        if clock.moment >= NOON + 5 * MINUTE:
            stop.set()

    written = await simulate_to(write, shop, clock, NOON - MINUTE, follow=True, stop=stop, pause=timedelta(0))
    await file.close()
    expected = shop.page(TimeRange(NOON - MINUTE, NOON + 5 * MINUTE))
    assert written == expected.height
    assert path.read_text().splitlines() == documents(expected).to_list()


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExporterError, match="give --output a file"):
        FileWriter(tmp_path / "missing" / "shop.ndjson")


async def test_documents_arrive_once_in_a_real_elasticsearch(
    shop: Shop, elasticsearch_url: str, unique_name: str
) -> None:
    index = f"logs-{unique_name}-default"
    page = hours(shop, NOON, 0.3)
    for _ in range(2):
        writer = BulkWriter(elasticsearch_url, index)
        await writer(page)
        await writer.close()
    with Elasticsearch(elasticsearch_url) as client:
        client.indices.refresh(index=index)
        assert client.count(index=index)["count"] == page.height
        found = client.search(index=index, size=1, query={"match_phrase": {"message": "Placing order"}})
    assert found["hits"]["hits"][0]["_source"]["service"]["name"] == "orders"


async def test_an_index_that_refuses_documents_is_named(elasticsearch_url: str, unique_name: str, shop: Shop) -> None:
    writer = BulkWriter(elasticsearch_url, f"Not-{unique_name}")
    with pytest.raises(PermanentError, match="Not-"):
        await writer(hours(shop, NOON, 0.1))
    await writer.close()


def test_a_source_is_named_as_configured(shop: Shop) -> None:
    assert SimulatedSource("other", shop).name == "other"
