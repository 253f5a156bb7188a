"""The Loki source over a fake that has the limits of the real one, and over a real one: every line once, or counted as lost."""  # noqa: E501

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from exporter.model import (
    OWN_NAME,
    Context,
    NoTelemetry,
    PermanentError,
    Severity,
    TimeRange,
    TransientError,
    floor,
    nanoseconds,
    page_schema,
)
from exporter.telemetry import PrometheusTelemetry
from integrations.loki import LokiSettings
from integrations.loki.logql import guarded, selector_end, with_matchers
from integrations.loki.source import LokiSource
from tests.fakes.logql import parse
from tests.fakes.loki import LokiFake
from tests.fakes.serving import serving
from tests.servers.process import request

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
# A server asks its own memory for the last three hours only, and what tests push is nowhere else yet.
START = floor(datetime.now(UTC), HOUR) - HOUR
RANGE = TimeRange(START, START + HOUR)


class Clock:
    def now(self) -> datetime:
        return START + HOUR


@dataclass
class Counts(NoTelemetry):
    """What was counted, by name and labels."""

    seen: Counter[str] = field(default_factory=Counter)

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        self.seen[" ".join((name, *(value for key, value in labels.items() if key != "source")))] += amount


@dataclass
class Loki:
    """A server, real or not, and a label that no other test has."""

    url: str
    app: str
    fake: LokiFake | None = None
    counts: Counts = field(default_factory=Counts)

    def push(self, values: Sequence[Sequence[Any]], **labels: str) -> None:
        body = {"streams": [{"stream": {"app": self.app, **labels}, "values": values}]}
        if self.fake:
            self.fake.push(body["streams"][0]["stream"], values)  # type: ignore[arg-type]
            return
        answer = request(f"{self.url}/loki/api/v1/push", body)
        assert answer.status == 204, answer.text

    def source(self, query: str | None = None, **options: Any) -> LokiSource:
        query = query or f'{{app="{self.app}"}}'
        built = LokiSettings(name="shop", url=self.url, query=query, **options)
        return built.build(Context(clock=Clock(), telemetry=self.counts))


@pytest.fixture
def loki(loki_url: str, unique_name: str) -> Loki:
    return Loki(loki_url, unique_name)


@asynccontextmanager
async def faked(**options: Any) -> AsyncIterator[tuple[Loki, LokiFake]]:
    fake = LokiFake(**options)
    async with serving(fake.app()) as url:
        yield Loki(url, "shop", fake), fake


def at(seconds: float, nanosecond: int = 0) -> str:
    return str(nanoseconds(START + timedelta(seconds=seconds)) + nanosecond)


async def read(source: LokiSource, time_range: TimeRange = RANGE) -> pl.DataFrame:
    pages = [page async for page in source.query(time_range)]
    return pl.concat([pl.DataFrame(schema=page_schema()), *pages]).sort("timestamp", "stream", "id")


# --- Every line -------------------------------------------------------------------------------------


async def test_every_line_is_read_once_however_small_the_pages(loki: Loki) -> None:
    # Fifty lines share each nanosecond, in two streams, so that page borders fall between them.
    for pod in "ab":
        loki.push([[at(n // 25), f"line {n} of {pod}"] for n in range(500)], pod=pod)
    wanted = sorted(f"line {n} of {pod}" for pod in "ab" for n in range(500))
    orders = set()
    for page_size in (60, 73, 1000, 5000):
        source = loki.source(page_size=page_size)
        lines = await read(source)
        assert sorted(lines["body"]) == wanted
        assert lines["id"].n_unique() == 1000
        orders.add(tuple(lines["body"]))
        await source.close()
    assert len(orders) == 1, "ids are the same wherever pages end"


async def test_a_page_smaller_than_one_nanosecond_gets_on(loki: Loki) -> None:
    loki.push([[at(n // 30), f"line {n}"] for n in range(90)])
    source = loki.source(page_size=4)
    assert sorted((await read(source))["body"]) == sorted(f"line {n}" for n in range(90))
    assert not loki.counts.seen["source_lines_dropped same_nanosecond"]
    await source.close()


async def test_a_range_is_half_open_to_the_nanosecond(loki: Loki) -> None:
    stamps = [at(0, -1), at(0), at(3600, -1), at(3600)]
    loki.push([[stamp, stamp] for stamp in stamps])
    source = loki.source()
    lines = await read(source)
    assert lines["body"].to_list() == stamps[1:3]
    assert lines["timestamp"].to_list() == [int(stamp) for stamp in stamps[1:3]]
    assert await source.count(RANGE, HOUR) == {START: 2}
    await source.close()


async def test_lines_on_the_borders_are_counted_in_the_window_that_they_begin(loki: Loki) -> None:
    moments = [at(second, shift) for second in (0, 60, 120, 180) for shift in (-1_000_000, -999_999, -1, 0, 1, 999_999)]
    loki.push([[moment, f"line {n}"] for n, moment in enumerate(moments)])
    loki.push([[at(60), f"other {n}"] for n in range(5)], pod="b")
    source = loki.source()
    range_ = TimeRange(START, START + 3 * MINUTE)
    assert await source.count(range_, MINUTE) == {START: 6, START + MINUTE: 11, START + 2 * MINUTE: 6}
    for window in range_.split(MINUTE):
        assert (await read(source, window)).height == (await source.count(window, MINUTE))[window.start]
    await source.close()


async def test_windows_that_the_range_cuts_are_counted_as_far_as_it_reaches(loki: Loki) -> None:
    loki.push([[at(n), f"line {n}"] for n in range(180)])
    source = loki.source()
    cut = TimeRange(START + 20 * SECOND, START + 130 * SECOND)
    assert await source.count(cut, MINUTE) == {START: 40, START + MINUTE: 60, START + 2 * MINUTE: 10}
    inside = TimeRange(START + 70 * SECOND, START + 75 * SECOND + timedelta(microseconds=1))
    assert await source.count(inside, MINUTE) == {START + MINUTE: 6}
    assert await source.count(TimeRange(START, START), MINUTE) == {}
    await source.close()


async def test_more_lines_in_one_nanosecond_than_a_page_holds_are_read_stream_by_stream(loki: Loki) -> None:
    for zone in "ab":
        for pod in range(3):
            loki.push([[at(60), f"line {n}"] for n in range(1200)], zone=zone, pod=f"p-{pod}")
    loki.push([[at(60, 1), "the next"]])
    source = loki.source()
    lines = await read(source)
    assert (lines.height, lines["id"].n_unique()) == (7201, 7201)
    assert not loki.counts.seen["source_lines_dropped same_nanosecond"]
    await source.close()


async def test_what_one_stream_has_over_the_limit_in_one_nanosecond_is_lost_and_counted(loki: Loki) -> None:
    loki.push([[at(60), f"line {n}"] for n in range(5200)])
    loki.push([[at(60, 1), "the next"], [at(61), "and one more"]])
    source = loki.source()
    lines = await read(source)
    assert lines.height == 5002
    assert loki.counts.seen["source_lines_dropped same_nanosecond"] == 200
    await source.close()


async def test_the_limit_is_learnt_from_the_servers_refusal(loki: Loki) -> None:
    loki.push([[at(n / 10), f"line {n}"] for n in range(6000)])
    source = loki.source(page_size=10_000)
    assert (await read(source)).height == 6000
    assert (await read(source)).height == 6000
    # Once, and never again.
    assert loki.counts.seen["source_requests permanent"] == 1
    await source.close()


async def test_identical_lines_differ_by_stream_and_metadata(loki: Loki) -> None:
    loki.push([[at(1), "same", {"trace_id": "t1"}], [at(1), "same", {"trace_id": "t2"}], [at(1), "same"]], pod="a")
    loki.push([[at(1), "same"], [at(1), "same"]], pod="b")
    source = loki.source()
    lines = await read(source)
    assert (lines.height, lines["id"].n_unique()) == (4, 4)
    assert await source.count(RANGE, MINUTE) == {START: 4}
    again = await read(source)
    assert lines.equals(again)
    await source.close()


Moments = st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abc"), st.sampled_from(("", "t1", "t2"))), max_size=60)  # fmt: skip  # noqa: E501


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(moments=Moments, page_size=st.integers(1, 12), limit=st.integers(2, 12), spacing=st.sampled_from((1, 10**9)))
def test_whatever_shares_a_nanosecond_each_line_is_read_once_or_counted(
    moments: list[tuple[int, str, str]], page_size: int, limit: int, spacing: int
) -> None:
    async def example() -> None:
        async with faked(max_entries=limit) as (loki, fake):
            for number, (moment, pod, trace) in enumerate(moments):
                loki.push([[at(0, moment * spacing), f"line {number}", {"trace_id": trace} if trace else {}]], pod=pod)
            source = loki.source(page_size=page_size)
            lines = await read(source)
            assert lines["id"].n_unique() == lines.height
            assert set(lines["body"]) <= {line.text for line in fake.lines}
            lost = loki.counts.seen["source_lines_dropped same_nanosecond"]
            assert lines.height + lost == len(moments)
            alike = Counter((moment, pod) for moment, pod, _ in moments)
            assert lost == sum(max(0, n - limit) for n in alike.values())
            counted = await source.count(TimeRange(START, START + MINUTE), 4 * SECOND)
            assert counted == dict(
                Counter(START + moment * spacing // 10**9 // 4 * 4 * SECOND for moment, *_ in moments)
            )
            await source.close()

    asyncio.run(example())


# --- What a line says -------------------------------------------------------------------------------


async def test_labels_and_structured_metadata_say_who_and_how_bad(loki: Loki) -> None:
    metadata = {"severity_text": "ERROR", "trace_id": "4bf9", "span_id": "00f0", "k8s_pod_name": "orders-1"}
    loki.push([[at(1), "pool exhausted", metadata]], service_name="orders")
    loki.push([[at(2), "all is well", {"detected_level": "info"}]])
    source = loki.source()
    first, second = (await read(source)).rows(named=True)
    assert (first["service"], first["severity"], first["body"]) == ("orders", Severity.ERROR, "pool exhausted")
    assert (first["trace"], first["host"]) == ("4bf9", "orders-1")
    assert (second["service"], second["severity"]) == (loki.app, -Severity.INFO), "the line itself knows better"
    assert first["stream"] != second["stream"]
    await source.close()


async def test_a_service_that_loki_does_not_know_is_left_to_the_line(loki: Loki) -> None:
    loki.push(
        [[at(1), '{"service": "orders", "level": "error", "message": "refused"}']], service_name="unknown_service"
    )
    source = loki.source(fields={"service": "service_name"})
    assert (await read(source))["service"].to_list() == [None]
    await source.close()


async def test_metadata_that_an_older_server_mixes_into_the_labels_is_found_as_well() -> None:
    async with faked(categorizes=False) as (loki, _):
        loki.push([[at(1), "refused", {"trace_id": "4bf9"}], [at(1), "refused", {"trace_id": "77aa"}]])
        source = loki.source(page_size=2)
        assert sorted((await read(source))["trace"]) == ["4bf9", "77aa"]
        await source.close()


async def test_hostile_lines_and_labels_are_data(loki: Loki) -> None:
    texts = ['"} or {app="', "`|~ .*`", "\x00\x1b[31m", "", "ü" * 2000, "{{ __timestamp__ }}", "a\nb"]
    loki.push([[at(n), text] for n, text in enumerate(texts)], pod='a"} | b=~"\\`')
    source = loki.source()
    assert (await read(source))["body"].to_list() == [text.replace("\x1b[31m", "") for text in texts]
    await source.close()


async def test_our_own_lines_and_those_that_loki_writes_itself_are_not_read(loki: Loki) -> None:
    loki.push([[at(1), "theirs"]])
    loki.push([[at(1), "ours"]], service_name=OWN_NAME)
    loki.push([[at(1), "ours"]], job=f"monitoring/{OWN_NAME}")
    loki.push([[at(1), "excluded"]], container="debug")
    loki.push([[at(1), "bytes=3 count=1"]], __aggregated_metric__="shop")
    loki.push([[at(1), "a pattern"]], __pattern__="shop")
    source = loki.source(exclude_services=("debug",))
    assert (await read(source))["body"].to_list() == ["theirs"]
    assert await source.count(RANGE, MINUTE) == {START: 1}
    await source.close()


async def test_line_filters_of_the_operator_hold_for_lines_and_counts(loki: Loki) -> None:
    loki.push([[at(n), f"{word} {n}"] for n, word in enumerate(["get", "healthz", "put", "healthz"])])
    source = loki.source(f'{{app="{loki.app}"}} != "healthz" |~ "get|put"')
    assert (await read(source))["body"].to_list() == ["get 0", "put 2"]
    assert await source.count(RANGE, MINUTE) == {START: 2}
    await source.close()


# --- What can go wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("mishap", ["429", "503", "500", "504", "truncated", "html", "reset", "partial"])
async def test_a_passing_fault_changes_no_line_and_no_count(mishap: str) -> None:
    async with faked() as (loki, fake):
        loki.push([[at(n), f"line {n}"] for n in range(100)])
        source = loki.source(page_size=30)
        wanted, counts = await read(source), await source.count(RANGE, MINUTE)
        for position in (0, 2):
            fake.mishaps.extend([*["", "", "", ""][:position], mishap])
            assert (await read(source)).equals(wanted)
        fake.mishaps.append(mishap)
        assert await source.count(RANGE, MINUTE) == counts
        assert not fake.mishaps
        await source.close()


async def test_a_server_that_stays_partial_is_a_transient_error() -> None:
    async with faked() as (loki, fake):
        loki.push([[at(1), "line"]])
        source = loki.source()
        fake.mishaps.extend(["partial"] * 4)
        with pytest.raises(TransientError, match="a partial answer"):
            await read(source)
        await source.close()


async def test_ranges_that_are_too_much_for_the_server_are_halved() -> None:
    async with faked(slow_beyond=600 * 10**9) as (loki, fake):
        loki.push([[at(10 * n), f"line {n}"] for n in range(360)])
        source = loki.source()
        assert (await read(source)).height == 360
        assert (await source.count(RANGE, MINUTE)) == {START + n * MINUTE: 6 for n in range(60)}
        assert len(fake.queries) < 60
        await source.close()


async def test_pages_that_do_not_fit_into_a_message_are_asked_for_with_fewer_lines() -> None:
    async with faked(max_bytes=5000) as (loki, _):
        loki.push([[at(n), "x" * 400] for n in range(50)])
        source = loki.source()
        assert (await read(source)).height == 50
        await source.close()


async def test_late_lines_are_seen_though_the_server_caches_empty_answers() -> None:
    async with faked() as (loki, _):
        source = loki.source()
        assert (await read(source)).is_empty()
        loki.push([[at(1), "late"]])
        assert (await read(source))["body"].to_list() == ["late"]
        await source.close()


async def test_few_requests_are_in_flight_however_many_ask() -> None:
    async with faked(max_in_flight=2) as (loki, fake):
        loki.push([[at(n), f"line {n}"] for n in range(100)])
        source = loki.source(page_size=20)
        frames = await asyncio.gather(*(read(source) for _ in range(8)))
        assert {frame.height for frame in frames} == {100}
        assert fake.peak <= 2
        await source.close()


async def test_requests_say_who_asks_and_for_whom() -> None:
    async with faked(tenants=True, token="secret") as (loki, fake):
        source = loki.source(tenant="team-a", token="secret")
        await read(source)
        sent = fake.headers[-1]
        assert sent["X-Scope-OrgID"] == "team-a"
        assert sent["User-Agent"] == OWN_NAME
        assert sent["Content-Type"] == "application/x-www-form-urlencoded"
        await source.close()
        named = loki.source(username="u", password="p", tenant="team-a")
        with pytest.raises(PermanentError, match="401"):
            await read(named)
        assert fake.headers[-1]["Authorization"] == "Basic " + base64.b64encode(b"u:p").decode()
        await named.close()


# --- Words ------------------------------------------------------------------------------------------


async def test_check_says_how_many_lines_there_are(loki: Loki) -> None:
    loki.push([[at(n), f"line {n}"] for n in range(5)])
    source = loki.source()
    [check] = await source.check()
    assert (check.ok, check.detail) == (True, "5 lines in the last day")
    await source.close()


async def test_check_names_the_labels_when_nothing_matches(loki: Loki) -> None:
    loki.push([[at(1), "line"]])
    source = loki.source('{app="absent"}')
    [check] = await source.check()
    assert not check.ok
    assert "app" in check.remedy
    await source.close()


async def test_check_explains_a_query_that_is_malformed(loki: Loki) -> None:
    source = loki.source(f'{{app="{loki.app}"}} |= shop')
    [check] = await source.check()
    assert not check.ok
    assert "parse error" in check.detail
    assert "Correct `query`" in check.remedy
    await source.close()


async def test_check_tells_a_missing_tenant_from_wrong_credentials() -> None:
    async with faked(tenants=True) as (loki, _):
        source = loki.source()
        [check] = await source.check()
        assert "set `tenant`" in check.remedy
        await source.close()
    async with faked(token="secret") as (loki, _):
        source = loki.source(token="wrong")
        [check] = await source.check()
        assert "`token`" in check.remedy
        assert "wrong" not in str(check)
        await source.close()


async def test_check_tells_that_the_address_is_not_that_of_a_loki() -> None:
    async with faked() as (loki, _):
        loki.url += "/grafana"
        source = loki.source()
        [check] = await source.check()
        assert "/loki/api/v1" in check.remedy
        await source.close()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"query": "rate({a='b'}[1m])"}, "stream selector"),
        ({"query": '{app="shop"'}, "stream selector"),
        ({"url": "loki:3100"}, "http://host:3100"),
        ({"tenant": "a", "headers": {"x-scope-orgid": "b"}}, "either tenant or"),
        ({"limit": 3}, "limit"),
    ],
)
def test_settings_that_cannot_work_are_refused(values: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LokiSettings(**{"name": "shop", "url": "http://loki:3100", "query": '{app="shop"}', **values})


def test_the_url_may_end_with_the_path_of_the_api() -> None:
    for end in ("", "/", "/loki/api/v1", "/loki/api/v1/", "/loki/api/v1/query_range"):
        assert LokiSettings(name="s", url=f"http://h:1/x{end}", query='{a="b"}').url == "http://h:1/x"


label_values = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(value=label_values, name=st.text("abc.-+*", min_size=1, max_size=8))
def test_no_value_of_a_label_breaks_out_of_a_query(value: str, name: str) -> None:

    query = guarded(f"{{app={json.dumps(value)}}} |= {json.dumps(value)}", ("service", "job"), (name,))
    matchers, stages = parse(query)
    assert matchers[0] == ("app", "=", value)
    assert stages[0] == ("", "|=", value)
    assert [stage[:2] for stage in stages[1:]] == [("__pattern__", "="), ("__aggregated_metric__", "=")]


def test_the_selector_ends_where_its_brace_closes() -> None:
    assert selector_end('{a="}", b=`}`} |= "}"') == 14
    assert selector_end('{a="\\"}"}') == 9
    assert selector_end('{a="b"') is None
    with pytest.raises(PermanentError):
        with_matchers("rate", [])


async def test_what_a_query_costs_the_store_is_measured() -> None:
    async with faked() as (loki, _):
        telemetry = PrometheusTelemetry()
        own = LokiSettings(name="shop", url=loki.url, query='{app="shop"}')
        shop = own.build(Context(clock=Clock(), telemetry=telemetry))
        await shop.count(RANGE, HOUR)
        await shop.close()
        assert (telemetry.value("log_anomaly_exporter_source_store_seconds_sum", source="shop") or 0) > 0
