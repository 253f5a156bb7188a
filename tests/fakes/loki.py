"""A Loki of one process: streams, the LogQL that sources need, and the limits and failures of the real one.

`python -m tests.fakes.loki PORT FOLDER` serves one that has its lines again when it is started again.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from aiohttp import web

from tests.fakes.logql import METRIC, BadQuery, Labels, Stage, metric, parse, passes, selects
from tests.fakes.loki_push import (
    INTERNAL,
    Entry,
    Refused,
    check_entry,
    check_labels,
    check_size,
    decode,
    entries,
    with_level,
    with_service,
)

SECOND = 10**9
HOUR = 3600 * SECOND
ONLY = "fake"
"""The tenant where there are none; the real one calls it so."""
RESOLUTION = 11_000
"""Points of an answer."""


class Line(NamedTuple):
    """One line of a stream; `variant` is its structured metadata."""

    timestamp: int
    variant: str
    arrival: int
    text: str


@dataclass
class Stream:
    """Lines in order of time; the same line with the same metadata is one."""

    labels: Labels
    lines: list[Line] = field(default_factory=list)
    known: set[tuple[int, str, str]] = field(default_factory=set)

    def add(self, entry: Entry) -> bool:
        """Whether the line is new."""
        variant = json.dumps(with_level(self.labels, entry), sort_keys=True)
        if (key := (entry.timestamp, variant, entry.text)) in self.known:
            return False
        self.known.add(key)
        insort(self.lines, Line(entry.timestamp, variant, len(self.lines), entry.text))
        return True

    def within(self, start: int, end: int) -> Sequence[Line]:
        """The lines of [start, end)."""
        first, last = (bisect_left(self.lines, moment, key=_timestamp) for moment in (start, end))
        return self.lines[first:last]

    def spans(self, start: int, end: int) -> bool:
        """Whether the time from its first line to its last one meets [start, end): no closer does an index know it."""
        return bool(self.lines) and self.lines[0].timestamp < end and start <= self.lines[-1].timestamp


class Found(NamedTuple):
    """A line that a query selects, and the labels that its stages add."""

    stream: Stream
    line: Line
    parsed: Labels


@dataclass
class LokiFake:
    """`mishaps` are taken one a query, first come first served: a status, `truncated`, `html`, `reset` or `partial`."""

    max_entries: int = 5000
    max_query_length: int = 721 * HOUR
    max_in_flight: int = 100
    slow_beyond: int | None = None
    """Nanoseconds; longer ranges end in 504."""
    max_bytes: int | None = None
    """Of the lines of an answer; more does not fit into a message between its parts."""
    tenants: bool = False
    token: str | None = None
    categorizes: bool = True
    journal: Path | None = None
    """A file of all that was taken."""
    mishaps: deque[str] = field(default_factory=deque)
    queries: list[dict[str, str]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    peak: int = 0
    _streams: dict[str, dict[str, Stream]] = field(default_factory=dict)
    _in_flight: int = 0
    _cached_empty: set[tuple[str, ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.journal and self.journal.exists():
            for tenant, labels, entry in map(json.loads, self.journal.read_text().splitlines()):
                self._stream(tenant, labels).add(Entry(*entry))

    @property
    def lines(self) -> list[Line]:
        return [line for streams in self._streams.values() for stream in streams.values() for line in stream.lines]

    def push(self, labels: Labels, values: Iterable[Sequence[Any]]) -> None:
        """Take lines as `[nanoseconds, line]` or with structured metadata. Raises Refused."""
        if refused := self._take(ONLY, labels, entries(values)):
            raise refused[0]

    def _take(self, tenant: str, labels: Labels, given: Iterable[Entry]) -> list[Refused]:
        """Take the lines of a stream that can be taken."""
        try:
            check_labels(labels)
        except Refused as error:
            return [error]
        stream, refused, taken = self._stream(tenant, with_service(labels)), [], []
        now = time.time_ns()
        for entry in given:
            newest = stream.lines[-1].timestamp if stream.lines else 0
            try:
                check_entry(stream.labels, entry, now, newest)
            except Refused as error:
                refused.append(error)
            else:
                if stream.add(entry):
                    taken.append(json.dumps([tenant, stream.labels, entry]) + "\n")
        if self.journal:
            with self.journal.open("a") as journal:
                journal.writelines(taken)
        return refused

    def _stream(self, tenant: str, labels: Labels) -> Stream:
        return self._streams.setdefault(tenant, {}).setdefault(_key(labels), Stream(labels))

    # --- HTTP ---

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_get("/ready", self._ready)
        app.router.add_post("/loki/api/v1/push", self._push)
        for name, handler in {
            "query_range": self._query_range,
            "query": self._query,
            "series": self._series,
            "labels": self._labels,
        }.items():
            for method in ("GET", "POST"):
                app.router.add_route(method, f"/loki/api/v1/{name}", self._guarded(handler))
        return app

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response(text="ready\n")

    async def _push(self, request: web.Request) -> web.Response:
        if isinstance(tenant := self._tenant(request), web.Response):
            return tenant
        if "|" in tenant:
            return web.Response(status=400, text="multiple org IDs present")
        try:
            streams = decode(await request.read(), request.content_type)
            check_size(streams, tenant)
        except Refused as error:
            return web.Response(status=error.status, text=f"{error}\n")
        # The rest of a push is taken though a part of it is refused.
        refused = [error for labels, given in streams for error in self._take(tenant, labels, given)]
        if refused:
            return web.Response(status=400, text="\n".join(map(str, refused)))
        return web.Response(status=204)

    def _tenant(self, request: web.Request) -> str | web.Response:
        """Whose lines it is about, or the refusal."""
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, text="unauthorized\n")
        if not self.tenants:
            return ONLY
        return request.headers.get("X-Scope-OrgID") or web.Response(status=401, text="no org id\n")

    def _guarded(self, handler: Callable[[Question], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self._in_flight += 1
            self.peak = max(self.peak, self._in_flight)
            try:
                return await self._answer(handler, request)
            finally:
                self._in_flight -= 1

        return handle

    async def _answer(self, handler: Callable[[Question], Any], request: web.Request) -> web.StreamResponse:
        form = {**request.query, **{key: str(value) for key, value in (await request.post()).items()}}
        self.queries.append(form)
        self.headers.append(dict(request.headers))
        await asyncio.sleep(0)
        if isinstance(tenant := self._tenant(request), web.Response):
            return tenant
        if self._in_flight > self.max_in_flight:
            return web.Response(status=429, text="too many outstanding requests\n")
        mishap = self.mishaps.popleft() if self.mishaps else ""
        if mishap.isdigit():
            return web.Response(status=int(mishap), text=f"{mishap}: the server is not itself\n")
        if mishap == "html":
            return web.Response(text="<html>Sign in</html>", content_type="text/html")
        if mishap == "reset" and request.transport:
            request.transport.abort()
        try:
            data = handler(Question(tenant, form, request.headers))
        except BadQuery as error:
            return web.Response(status=400, text=str(error))
        except web.HTTPException as error:
            return web.Response(status=error.status, text=error.text)
        # An empty list of labels is left out.
        if isinstance(data, dict):
            # Seconds, as the real one measures its own work.
            data = {**data, "stats": {"summary": {"execTime": 0.0125, "queueTime": 0.0001}}}
        content = {"status": "success", **({} if data is None else {"data": data})}
        if mishap == "partial":
            content["warnings"] = ["maximum of series (500) reached for a single query; returning partial results"]
        body = json.dumps(content, separators=(",", ":")).encode()
        return web.Response(body=body[: len(body) // 2] if mishap == "truncated" else body, content_type="application/json")  # fmt: skip  # noqa: E501

    # --- Lines ---

    def _query_range(self, question: Question) -> Any:
        start, end = self._range(question)
        if METRIC.match(question.query.strip()):
            return {"resultType": "matrix", "result": self._matrix(question, start, end)}
        limit, backward = self._limit(question), question.backward
        parse(question.query)
        cached = (question.tenant, question.query, str(start), str(end))
        if cached in self._cached_empty and question.headers.get("Cache-Control") != "no-cache":
            return {"resultType": "streams", "result": []}
        found = sorted(self._select(question, start, end), key=lambda f: f.line.timestamp, reverse=backward)[:limit]
        if not found:
            self._cached_empty.add(cached)
        self._fits(found)
        flag = "categorize-labels"
        if flag not in question.headers.get("X-Loki-Response-Encoding-Flags", "") or not self.categorizes:
            return {"resultType": "streams", "result": _streams(_shaken(found), apart=False)}
        return {"resultType": "streams", "encodingFlags": [flag], "result": _streams(_shaken(found), apart=True)}

    def _range(self, question: Question) -> tuple[int, int]:
        end = question.moment("end", time.time_ns())
        start = question.moment("start", end - HOUR)
        if end < start:
            raise BadQuery("end timestamp must not be before or equal to start time")
        if end - start > self.max_query_length:
            length, limit = (end - start) // SECOND, self.max_query_length // HOUR
            asked, allowed = f"{length // 3600}h{length // 60 % 60}m{length % 60}s", f"{limit // 24}d{limit % 24}h"
            raise BadQuery(f"the query time range exceeds the limit (query length: {asked}, limit: {allowed})")
        if self.slow_beyond is not None and end - start > self.slow_beyond:
            raise web.HTTPGatewayTimeout(text="Request timed out, decrease the duration of the request\n")
        return start, end

    def _limit(self, question: Question) -> int:
        limit = question.number("limit", 100)
        if limit <= 0:
            raise BadQuery("limit must be a positive value")
        if limit > self.max_entries:
            name = "max_entries_limit_per_query"
            raise BadQuery(f"max entries limit per query exceeded, limit > {name} ({limit} > {self.max_entries})")
        return limit

    def _fits(self, found: Sequence[Found]) -> None:
        size = sum(len(f.line.text) for f in found)
        if self.max_bytes is not None and size > self.max_bytes:
            text = f"rpc error: code = ResourceExhausted desc = received message larger than max ({size} vs {self.max_bytes})"  # noqa: E501
            raise web.HTTPInternalServerError(text=text)

    def _select(self, question: Question, start: int, end: int, query: str | None = None) -> Iterator[Found]:
        """Lines of [start, end) that a query selects, stream by stream."""
        matchers, stages = parse(query or question.query)
        for stream in self._selected(question.tenant, matchers):
            for line in stream.within(start, end):
                parsed = _parsed(stream, line, stages)
                if parsed is not None:
                    yield Found(stream, line, parsed)

    def _selected(self, tenant: str, matchers: Sequence[tuple[str, str, str]]) -> list[Stream]:
        if any(name in INTERNAL for name, _, _ in matchers):
            # Kept for its own user interface.
            return []
        return [stream for stream in self._streams.get(tenant, {}).values() if selects(matchers, stream.labels)]

    # --- Counts ---

    def _matrix(self, question: Question, start: int, end: int) -> list[dict[str, Any]]:
        query, duration = metric(question.query)
        step = question.step
        if (end - start) // step > RESOLUTION:
            raise BadQuery(f"exceeded maximum resolution of {RESOLUTION:,} points per time series")
        # As the real one does: the start moves down and the end up to whole steps.
        start, end = start // step * step, -(-end // step) * step
        times = self._times(question, query, start - duration, end)
        points = ((t, _count(times, t, duration)) for t in range(start, end + 1, step))
        values = [[t / SECOND, str(n)] for t, n in points if n]
        return [{"metric": {}, "values": values}] if values else []

    def _query(self, question: Question) -> Any:
        if not METRIC.match(question.query.strip()):
            parse(question.query)
            words = "please change your query to a range query type"
            raise BadQuery(f"log queries are not supported as an instant query type, {words}")
        query, duration = metric(question.query)
        at = question.moment("time", time.time_ns())
        found = _count(self._times(question, query, at - duration, at), at, duration)
        result = [{"metric": {}, "value": [at // 10**6 / 1000, str(found)]}] if found else []
        return {"resultType": "vector", "result": result}

    def _times(self, question: Question, query: str, start: int, end: int) -> list[int]:
        """When the lines of [start, end] are, in order."""
        return sorted(found.line.timestamp for found in self._select(question, start, end + 1, query))

    # --- Streams ---

    def _series(self, question: Question) -> Any:
        start, end = self._range(question)
        matchers, stages = parse(question.text("match[]"))
        if stages:
            raise BadQuery("only label matchers are supported")
        return [stream.labels for stream in self._selected(question.tenant, matchers) if stream.spans(start, end)]

    def _labels(self, question: Question) -> Any:
        streams = self._streams.get(question.tenant, {}).values()
        return sorted({name for stream in streams if stream.lines for name in stream.labels}) or None


class Question(NamedTuple):
    """What is asked, and by whom."""

    tenant: str
    form: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def query(self) -> str:
        return self.text("query")

    @property
    def backward(self) -> bool:
        direction = self.form.get("direction", "backward").lower()
        if direction not in ("forward", "backward"):
            raise BadQuery(f"invalid direction '{direction}'")
        return direction == "backward"

    @property
    def step(self) -> int:
        """Nanoseconds; asked for in seconds."""
        try:
            step = round(float(self.form.get("step", "60")) * SECOND)
        except ValueError as error:
            raise BadQuery(f"cannot parse {self.form['step']!r} to a valid duration") from error
        if step <= 0:
            raise BadQuery("zero or negative query resolution step widths are not accepted. Try a positive integer")
        return step

    def text(self, name: str) -> str:
        if name not in self.form:
            raise BadQuery("parse error at line 0, col 0: syntax error: unexpected $end")
        return self.form[name]

    def moment(self, name: str, default: int) -> int:
        """Nanoseconds; the real one knows other forms of time too."""
        return self.number(name, default)

    def number(self, name: str, default: int) -> int:
        try:
            return int(self.form.get(name, default))
        except ValueError as error:
            raise BadQuery(f"could not parse '{name}': {self.form[name]!r}") from error


def _shaken(found: list[Found]) -> list[Found]:
    """As the real one sends a page: which lines of a nanosecond are in it lasts, in which order they come does not.

    It sorts its answer again, unstably; sorting so few by insertion is stable.
    """
    if len(found) <= 12:
        return found
    backward = found[0].line.timestamp > found[-1].line.timestamp
    found.sort(key=lambda f: crc32(f"{f.line}{len(found)}".encode()))
    return sorted(found, key=lambda f: f.line.timestamp, reverse=backward)


def _streams(found: Iterable[Found], apart: bool) -> list[dict[str, Any]]:
    """An answer by streams; structured metadata stands apart, or makes streams of its own."""
    groups: dict[str, dict[str, Any]] = {}
    for stream, line, parsed in found:
        metadata = json.loads(line.variant)
        labels = stream.labels if apart else {**stream.labels, **metadata, **parsed}
        group = groups.setdefault(_key(labels), {"stream": labels, "values": []})
        categories = {name: texts for name, texts in (("structuredMetadata", metadata), ("parsed", parsed)) if texts}
        group["values"].append([str(line.timestamp), line.text, *([categories] if apart else [])])
    return list(groups.values())


def _parsed(stream: Stream, line: Line, stages: Sequence[Stage]) -> Labels | None:
    if not stages:
        return {}
    return passes(stages, line.timestamp, line.text, {**stream.labels, **json.loads(line.variant)})


def _count(times: Sequence[int], at: int, duration: int) -> int:
    """How many are in (at - duration, at]."""
    return bisect_right(times, at) - bisect_right(times, at - duration)


def _timestamp(line: Line) -> int:
    return line.timestamp


def _key(labels: Labels) -> str:
    return json.dumps(labels, sort_keys=True)


def main() -> None:
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    fake = LokiFake(journal=folder / "pushed.ndjson")
    web.run_app(fake.app(), host="127.0.0.1", port=port, access_log=None, print=None, shutdown_timeout=0.1)


if __name__ == "__main__":
    main()
