"""The fake of Loki answers and refuses as the real one does; where there is a real one, these tests hold it to the same."""  # noqa: E501

from __future__ import annotations

import gzip
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.fakes.logql import MAX_QUERY
from tests.fakes.loki import LokiFake
from tests.fakes.loki_push import BURST, MAX_LABELS, MAX_LINE, MAX_METADATA, MAX_METADATA_BYTES, MAX_NAME, MAX_VALUE
from tests.fakes.serving import serving
from tests.servers.process import Server

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOW = time.time_ns()
START = (NOW // HOUR - 1) * HOUR
"""A whole hour that is over."""

APART = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
WHOLE: Mapping[str, Any] = {"start": START, "end": START + HOUR}


@dataclass(frozen=True)
class Reply:
    """An answer; errors are text."""

    status: int
    type: str
    text: str

    @property
    def data(self) -> Any:
        assert self.status == 200, self.text
        return json.loads(self.text)["data"]

    @property
    def streams(self) -> list[dict[str, Any]]:
        assert self.data["resultType"] == "streams"
        found: list[dict[str, Any]] = self.data["result"]
        return found

    @property
    def lines(self) -> list[str]:
        """Stream by stream, in the order of the answer."""
        return [value[1] for stream in self.streams for value in stream["values"]]

    def refuses(self, words: str, status: int = 400) -> bool:
        return self.status == status and words in self.text and self.type == "text/plain"


@dataclass
class Client:
    """Somebody who asks a server in words of HTTP, about a label that nobody else has."""

    url: str
    app: str
    session: aiohttp.ClientSession

    async def ask(self, path: str, headers: Mapping[str, str] | None = None, **form: object) -> Reply:
        sent = {name.replace("match", "match[]"): str(value) for name, value in form.items()}
        async with self.session.post(f"{self.url}/loki/api/v1/{path}", data=sent, headers=headers) as response:
            return Reply(response.status, response.content_type, await response.text())

    async def query(self, stages: str = "", headers: Mapping[str, str] | None = None, **form: object) -> Reply:
        return await self.ask("query_range", headers, query=f'{{app="{self.app}"}}{stages}', **{**WHOLE, **form})

    async def send(self, body: object, headers: Mapping[str, str] | None = None) -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        async with self.session.post(f"{self.url}/loki/api/v1/push", data=data, headers=headers) as response:
            return Reply(response.status, response.content_type, await response.text())

    async def push(self, values: Sequence[Sequence[Any]], **labels: str) -> Reply:
        return await self.send(streams({"app": self.app, **labels}, values))

    async def fill(self, values: Sequence[Sequence[Any]], **labels: str) -> None:
        reply = await self.push(values, **labels)
        assert reply.status == 204, reply.text


@pytest.fixture
async def loki(loki_url: str, unique_name: str) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(loki_url, unique_name, session)


@asynccontextmanager
async def faked(**options: Any) -> AsyncIterator[Client]:
    async with serving(LokiFake(**options).app()) as url, aiohttp.ClientSession() as session:
        yield Client(url, "shop", session)


def at(second: float, nanosecond: int = 0) -> str:
    return str(START + round(second * SECOND) + nanosecond)


def streams(labels: Mapping[str, Any], values: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The body of a push of one stream."""
    return {"streams": [{"stream": labels, "values": values}]}


def counted(app: str, duration: str) -> str:
    return f'sum(count_over_time({{app="{app}"}} [{duration}]))'


# --- Taking lines -----------------------------------------------------------------------------------


async def test_a_server_that_can_be_asked_is_ready(loki: Client) -> None:
    async with loki.session.get(f"{loki.url}/ready") as response:
        assert (response.status, await response.text()) == (200, "ready\n")


async def test_a_push_is_answered_with_nothing_and_may_be_compressed(loki: Client) -> None:
    body = streams({"app": loki.app}, [[at(1), "line"]])
    reply = await loki.send(gzip.compress(json.dumps(body).encode()), {"Content-Encoding": "gzip"})
    assert (reply.status, reply.text) == (204, "")
    assert (await loki.query()).lines == ["line"]


@pytest.mark.parametrize(
    "value",
    [
        [START, "a time that is a number"],
        ["2026-11-01T00:00:00Z", "a time in words"],
        [at(1), 7],
        [at(1), "nested metadata", {"trace": {"id": "1"}}],
        [at(1), "a number in metadata", {"trace": 1}],
        [at(1), "metadata that is no object", "trace"],
    ],
)
async def test_a_malformed_line_is_refused_with_all_that_comes_with_it(loki: Client, value: Sequence[Any]) -> None:
    assert (await loki.push([[at(0), "good"], value])).status == 400
    assert (await loki.query()).streams == []


async def test_what_is_no_push_is_refused(loki: Client) -> None:
    assert (await loki.send(b'{"streams": [')).status == 400
    assert (await loki.send({"streams": [{}]}, {"Content-Type": "text/plain"})).status == 400
    for nothing in b"{}", b'{"streams": []}', b'{"strooms": [{}]}':
        assert (await loki.send(nothing)).refuses("at least one valid stream is required", 422)
    async with loki.session.get(f"{loki.url}/loki/api/v1/push") as response:
        assert response.status == 405


async def test_a_stream_has_labels_few_and_short_ones(loki: Client) -> None:
    many = {f"label_{n}": "x" for n in range(MAX_LABELS)}
    line = [[at(0), "line"]]
    assert (await loki.send(streams({}, line))).refuses("at least one label pair")
    assert (await loki.push(line, **{"not-a-name": "x"})).refuses("error parsing labels")
    assert (await loki.push(line, **many)).refuses("has 16 label names; limit 15")
    assert (await loki.push(line, **{"n" * (MAX_NAME + 1): "x"})).refuses("label name too long")
    assert (await loki.push(line, pod="ü" * (MAX_VALUE // 2) + "x")).refuses("label value too long")
    assert (await loki.query()).streams == []
    # The name of the service, which Loki itself may add, does not count.
    await loki.fill(line, **dict(list(many.items())[2:]), service_name="orders", pod="x" * MAX_VALUE)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([str(NOW - 8 * DAY), "old"], "has timestamp too old"),
        ([str(NOW + 20 * MINUTE), "early"], "has timestamp too new"),
        ([at(0), "x" * (MAX_LINE + 1)], "bytes exceeded for stream"),
        ([at(0), "line", {f"key_{n}": "x" for n in range(MAX_METADATA + 1)}], "too many structured metadata labels"),
        ([at(0), "line", {"key": "x" * MAX_METADATA_BYTES}], "structured metadata too large"),
    ],
)
async def test_a_line_over_a_limit_is_refused_and_those_beside_it_are_taken(
    loki: Client, value: Sequence[Any], words: str
) -> None:
    reply = await loki.push([[at(0), "one"], value, [at(1), "two"]])
    assert reply.refuses(words)
    assert sorted((await loki.query()).lines) == ["one", "two"]


async def test_what_is_just_within_the_limits_is_taken(loki: Client) -> None:
    await loki.fill([[at(0), "x" * MAX_LINE]])
    await loki.fill([[at(0), "line", {f"key_{n}": "x" for n in range(MAX_METADATA - 1)}]], pod="b")
    await loki.fill([[str(NOW + 5 * MINUTE), "early"], [str(NOW - 50 * MINUTE), "late"]], pod="c")


@pytest.mark.parametrize(
    ("labels", "value"),
    [({"app": 7}, [at(0), "line"]), ({"app": "shop"}, [at(0)]), ({"app": "shop"}, [at(0), "", {}, ""])],
)
async def test_the_fake_takes_nothing_that_it_would_have_to_guess(
    labels: Mapping[str, Any], value: Sequence[Any]
) -> None:
    async with faked() as loki:
        assert (await loki.send(streams(labels, [value]))).status == 400
        assert (await loki.query()).streams == []


async def test_a_line_may_come_an_hour_behind_the_newest_of_its_stream(loki: Client) -> None:
    newest = START + HOUR
    await loki.fill([[str(newest), "newest"]])
    await loki.fill([[str(newest - HOUR), "late"]])
    assert (await loki.push([[str(newest - HOUR - SECOND), "too late"]])).refuses("too far behind")
    await loki.fill([[str(newest - HOUR - SECOND), "late"]], pod="of another stream")


async def test_the_same_line_with_the_same_metadata_is_one_line(loki: Client) -> None:
    same: list[list[Any]] = [[at(1), "same"], [at(1), "same", {"trace_id": "1"}], [at(1), "same", {"trace_id": "2"}]]
    for _ in range(2):
        await loki.fill([*same, *same])
    assert (await loki.query()).lines == ["same"] * 3


async def test_more_at_once_than_a_tenant_may_write_is_refused_for_now() -> None:
    async with faked() as loki:
        values = [[at(n), "x" * MAX_LINE] for n in range(BURST // MAX_LINE + 1)]
        assert (await loki.push(values)).refuses("ingestion rate limit exceeded", 429)
        assert (await loki.query()).streams == []
        await loki.fill(values[1:])


# --- What it adds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "metadata", "labels", "level"),
    [
        ("all is well", {}, {}, "unknown"),
        ("ERROR no route to host", {}, {}, "error"),
        ("level=warn msg=slow", {}, {}, "warn"),
        ('{"severity": "critical", "message": "an error"}', {}, {}, "critical"),
        ("an error", {"level": "info"}, {}, "info"),
        ("an error", {}, {"level": "debug"}, "debug"),
        ("an error", {"detected_level": "trace"}, {"level": "debug"}, "trace"),
    ],
)
async def test_every_line_gets_a_detected_level(
    loki: Client, line: str, metadata: Mapping[str, str], labels: Mapping[str, str], level: str
) -> None:
    await loki.fill([[at(1), line, metadata]], **labels)
    [stream] = (await loki.query(headers=APART)).streams
    assert stream["values"] == [[at(1), line, {"structuredMetadata": {**metadata, "detected_level": level}}]]


@pytest.mark.parametrize(
    ("labels", "service"),
    [
        ({"service_name": "orders", "app": "shop"}, "orders"),
        ({"job": "batch", "container": "nginx"}, "nginx"),
        ({"zone": "b"}, "unknown_service"),
    ],
)
async def test_every_stream_gets_the_name_of_a_service(loki: Client, labels: Mapping[str, str], service: str) -> None:
    given = {"test": loki.app, **labels}
    assert (await loki.send(streams(given, [[at(1), "line"]]))).status == 204
    reply = await loki.ask("series", match=f'{{test="{loki.app}"}}', **WHOLE)
    assert reply.data == [{**given, "service_name": service}]


# --- Lines of a range -------------------------------------------------------------------------------


async def test_a_range_begins_with_its_start_and_ends_before_its_end(loki: Client) -> None:
    stamps = [at(0, -1), at(0), at(60, -1), at(60)]
    await loki.fill([[stamp, stamp] for stamp in stamps])
    reply = await loki.query(start=START, end=START + MINUTE, direction="forward")
    assert reply.lines == stamps[1:3]
    assert reply.type == "application/json"
    [stream] = reply.streams
    assert [value[0] for value in stream["values"]] == stamps[1:3], "as strings, to the nanosecond"


async def test_lines_come_backward_and_a_hundred_unless_asked_otherwise(loki: Client) -> None:
    await loki.fill([[at(n), f"line {n}"] for n in range(120)])
    assert (await loki.query()).lines == [f"line {n}" for n in reversed(range(20, 120))]
    assert (await loki.query(limit=2)).lines == ["line 119", "line 118"]
    assert (await loki.query(limit=2, direction="forward")).lines == ["line 0", "line 1"]


async def test_a_page_cuts_what_shares_a_nanosecond_and_the_next_begins_with_all_of_it(loki: Client) -> None:
    for pod in "ab":
        await loki.fill([[at(n // 8), f"line {n} of {pod}"] for n in range(40)], pod=pod)
    first = await loki.query(limit=40, direction="forward")
    times = [value[0] for stream in first.streams for value in stream["values"]]
    assert (len(times), max(times), times.count(max(times))) == (40, at(2), 8)
    again = await loki.query(limit=40, direction="forward")
    assert sorted(again.lines) == sorted(first.lines), "which of them are in a page lasts, their order does not"
    second = await loki.query(limit=16, direction="forward", start=at(2))
    assert len(second.lines) == 16
    assert {value[0] for stream in second.streams for value in stream["values"]} == {at(2)}
    shared = sorted(f"line {n} of {pod}" for n in range(16, 24) for pod in "ab")
    assert sorted(second.lines) == shared
    exactly = await loki.query(limit=5000, start=at(2), end=at(2, 1))
    assert sorted(exactly.lines) == shared


async def test_a_page_has_five_thousand_lines_at_most(loki: Client) -> None:
    await loki.fill([[at(n / 10), f"line {n}"] for n in range(5001)])
    assert len((await loki.query(limit=5000)).lines) == 5000
    words = "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)"
    assert (await loki.query(limit=5001)).refuses(words)


async def test_structured_metadata_stands_apart_for_those_who_ask_so(loki: Client) -> None:
    metadata = {"trace_id": "4bf9", "detected_level": "info"}
    await loki.fill([[at(1), "one", metadata], [at(2), "two", {"detected_level": "info"}]], service_name="orders")
    labels = {"app": loki.app, "service_name": "orders"}
    together = sorted((await loki.query()).streams, key=lambda stream: str(stream["values"]))
    assert together == [
        {"stream": {**labels, **metadata}, "values": [[at(1), "one"]]},
        {"stream": {**labels, "detected_level": "info"}, "values": [[at(2), "two"]]},
    ]
    apart = await loki.query(headers=APART, direction="forward")
    assert apart.data["encodingFlags"] == ["categorize-labels"]
    assert "encodingFlags" not in (await loki.query()).data
    [stream] = apart.streams
    assert stream["stream"] == labels
    assert stream["values"] == [
        [at(1), "one", {"structuredMetadata": metadata}],
        [at(2), "two", {"structuredMetadata": {"detected_level": "info"}}],
    ]


async def test_what_a_query_adds_to_lines_stands_apart_too(loki: Client) -> None:
    await loki.fill([[at(1), "one", {"detected_level": "info"}]])
    stage = " | label_format stamp=`{{ __timestamp__ | unixEpochNanos }}`"
    [stream] = (await loki.query(stage, APART)).streams
    assert stream["values"][0][2] == {"structuredMetadata": {"detected_level": "info"}, "parsed": {"stamp": at(1)}}
    [stream] = (await loki.query(stage)).streams
    assert stream["stream"]["stamp"] == at(1)


async def test_lines_are_chosen_by_labels_by_their_text_and_by_their_metadata(loki: Client) -> None:
    await loki.fill([[at(1), "GET /a", {"trace_id": "1"}], [at(2), "PUT /b", {"trace_id": "2"}]], pod="x-1")
    await loki.fill([[at(3), "GET /c"]], pod="y")
    for stages, wanted in {
        ' |= "GET"': ["GET /a", "GET /c"],
        ' != "GET"': ["PUT /b"],
        ' |~ "/[ab]$"': ["GET /a", "PUT /b"],
        ' !~ "^GET"': ["PUT /b"],
        ' | trace_id="2"': ["PUT /b"],
        ' | trace_id!="2" |= `GET`': ["GET /a", "GET /c"],
    }.items():
        assert sorted((await loki.query(stages)).lines) == wanted, stages
    for matcher, n in {'pod=~"x"': 0, 'pod=~"x-.*"': 2, 'pod!~"x-.*"': 1, 'pod!="y"': 2, 'absent=""': 3}.items():
        query = f'{{app="{loki.app}", {matcher}}}'
        assert len((await loki.ask("query_range", query=query, **WHOLE)).lines) == n, matcher


async def test_nothing_is_an_answer_without_streams(loki: Client) -> None:
    assert (await loki.query()).data["result"] == []


# --- What it does not answer ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        '{{app="{app}"',
        '{{app="{app}"}} |= shop',
        '{{app="{app}"}} |= "shop" and',
        "{{app={app}}}",
        "{{app=~`(`}}",
        '{{app="{app}"}} |~ "(?=shop)"',
        '{{app="{app}" pod="x"}}',
        "{{}}",
        '{{app=~".*"}}',
        '{{app!="{app}"}}',
        'sum(count_over_time({{app="{app}"}} [5minutes]))',
        'sum(count_over_time({{app="{app}"}}))',
        "shop",
        "",
    ],
)
async def test_a_malformed_query_is_a_parse_error(loki: Client, query: str) -> None:
    text = query.format(app=loki.app)
    assert (await loki.ask("query_range", query=text, **WHOLE)).refuses("parse error")
    if not text.startswith("{"):
        assert (await loki.ask("query", query=text, time=START)).refuses("parse error")


async def test_a_query_may_not_be_longer_than_128_kilobytes(loki: Client) -> None:
    assert (await loki.query(f' |= "{"x" * MAX_QUERY}"')).status == 400
    assert (await loki.query(f' |= "{"x" * (MAX_QUERY - 100)}"')).status == 200


async def test_a_range_over_thirty_days_and_an_hour_is_refused(loki: Client) -> None:
    words = "the query time range exceeds the limit (query length: 721h0m1s, limit: 30d1h)"
    longest = 721 * HOUR
    assert (await loki.query(start=NOW - longest - SECOND, end=NOW)).refuses(words)
    assert (await loki.query(start=NOW - longest, end=NOW)).status == 200
    asked = counted(loki.app, "1h")
    reply = await loki.ask("query_range", query=asked, start=NOW - 800 * HOUR, end=NOW, step=3600)
    assert reply.refuses("(query length: 800h0m0s, limit: 30d1h)")


async def test_a_question_that_makes_no_sense_is_refused_with_text(loki: Client) -> None:
    assert (await loki.query(start=START + 1, end=START)).refuses("end timestamp must not be before")
    assert (await loki.query(limit=0)).refuses("limit must be a positive value")
    assert (await loki.query(limit="many")).status == 400
    assert (await loki.query(start="yesterday")).status == 400
    assert (await loki.query(direction="sideways")).refuses("invalid direction")
    assert (await loki.ask("query", query=f'{{app="{loki.app}"}}')).refuses("not supported as an instant query type")
    assert (await loki.ask("series", match=f'{{app="{loki.app}"}} |= "x"')).refuses("only label matchers are supported")


# --- Counts -----------------------------------------------------------------------------------------


async def test_a_count_leaves_out_where_it_begins_and_has_where_it_ends(loki: Client) -> None:
    await loki.fill([[at(second, shift), f"{second} {shift}"] for second in (0, 60) for shift in (-1, 0, 1)])
    for moment, n in (at(0, -1), 1), (at(0), 2), (at(60, -1), 3), (at(60), 3), (at(120), 1):
        reply = await loki.ask("query", query=counted(loki.app, "1m"), time=moment)
        assert reply.data["resultType"] == "vector"
        [series] = reply.data["result"]
        assert (series["metric"], series["value"][1]) == ({}, str(n)), moment
    nothing = await loki.ask("query", query=counted(loki.app, "1m"), time=at(200))
    assert nothing.data["result"] == []


async def test_counts_of_a_range_lie_on_whole_steps_around_it_and_leave_out_what_is_empty(loki: Client) -> None:
    await loki.fill([[at(second), f"line {second}"] for second in (0, 1, 59, 60, 61, 200)])
    reply = await loki.ask(
        "query_range", query=counted(loki.app, "60s"), start=at(10), end=at(230), step="60", direction="forward"
    )
    assert reply.data["resultType"] == "matrix"
    [series] = reply.data["result"]
    begin = START // SECOND
    assert series["values"] == [[begin, "1"], [begin + 60, "3"], [begin + 120, "1"], [begin + 240, "1"]]


async def test_the_time_of_a_line_can_be_asked_for_to_the_nanosecond(loki: Client) -> None:
    await loki.fill([[at(1, shift), f"line {shift}"] for shift in (-1, 0, 0, 1)])
    stamp = "label_format stamp=`{{ __timestamp__ | unixEpochNanos }}`"
    query = f'sum(count_over_time({{app="{loki.app}"}} | {stamp} | stamp="{at(1)}" [1ms]))'
    [series] = (await loki.ask("query", query=query, time=at(1))).data["result"]
    assert series["value"][1] == "1"


async def test_an_answer_has_eleven_thousand_points_at_most(loki: Client) -> None:
    reply = await loki.ask("query_range", query=counted(loki.app, "1s"), start=START, end=at(11_001), step="1")
    assert reply.refuses("exceeded maximum resolution of 11,000 points")
    for step in "0", "-1":
        reply = await loki.ask("query_range", query=counted(loki.app, "1s"), step=step, **WHOLE)
        assert reply.refuses("zero or negative query resolution")


# --- Streams, tenants, load -------------------------------------------------------------------------


async def test_series_are_those_whose_lines_lie_around_the_time(loki: Client) -> None:
    await loki.fill([[at(0), "first"], [at(600), "last"]], pod="around")
    await loki.fill([[at(600), "line"]], pod="later")
    reply = await loki.ask("series", match=f'{{app="{loki.app}"}}', start=at(300), end=at(301))
    assert "around" in {stream["pod"] for stream in reply.data}
    assert {"app", "pod", "service_name"} <= set((await loki.ask("labels", **WHOLE)).data)


async def test_series_know_no_lines_before_the_first_of_a_stream() -> None:
    async with faked() as loki:
        await loki.fill([[at(600), "line"]], pod="later")
        assert (await loki.ask("series", match='{app="shop"}', start=at(300), end=at(301))).data == []


async def test_without_labels_there_is_no_data_in_the_answer() -> None:
    async with faked() as loki:
        assert json.loads((await loki.ask("labels")).text) == {"status": "success"}


async def test_tenants_see_their_own_lines_and_nobody_without_one_is_served() -> None:
    async with faked(tenants=True) as loki:
        body = streams({"app": "shop"}, [[at(1), "of a"]])
        assert (await loki.send(body)).refuses("no org id", 401)
        assert (await loki.send(body, {"X-Scope-OrgID": "a|b"})).status == 400
        assert (await loki.send(body, {"X-Scope-OrgID": "a"})).status == 204
        assert (await loki.query(headers={"X-Scope-OrgID": "a"})).lines == ["of a"]
        assert (await loki.query(headers={"X-Scope-OrgID": "b"})).lines == []
        for path in "query_range", "query", "series", "labels":
            assert (await loki.ask(path, query='{app="shop"}', match='{app="shop"}')).refuses("no org id", 401)


async def test_more_questions_than_it_queues_are_refused_for_now() -> None:
    async with faked(max_in_flight=0) as loki:
        assert (await loki.query()).refuses("too many outstanding requests", 429)


async def test_an_empty_answer_is_kept_for_those_who_do_not_ask_for_a_fresh_one() -> None:
    async with faked() as loki:
        assert (await loki.query()).lines == []
        await loki.fill([[at(1), "late"]])
        assert (await loki.query()).lines == []
        assert (await loki.query(headers={"Cache-Control": "no-cache"})).lines == ["late"]


# --- Its life ---------------------------------------------------------------------------------------


async def test_a_fake_has_its_lines_again_after_a_kill(fake_loki_server: Server, unique_name: str) -> None:
    async with aiohttp.ClientSession() as session:
        loki = Client(fake_loki_server.url, unique_name, session)
        await loki.fill([[at(1), "kept", {"trace_id": "1"}], [at(2), "kept"]], pod="a")
        before = (await loki.query(headers=APART)).streams
        fake_loki_server.kill()
        with pytest.raises(aiohttp.ClientConnectionError):
            await loki.query()
        fake_loki_server.start()
        assert (await loki.query(headers=APART)).streams == before
        await loki.fill([[at(1), "kept", {"trace_id": "1"}], [at(3), "new"]], pod="a")
        assert len((await loki.query()).lines) == 3
