"""A Loki of one process: streams, the LogQL that sources need, and the limits and failures of the real one."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiohttp import web

from exporter.model import stable_key

Labels = Mapping[str, str]
INTERNAL = ("__pattern__", "__aggregated_metric__")
STRING = r'"(?:[^"\\]|\\.)*"|`[^`]*`'
MATCHER = re.compile(rf"\s*([A-Za-z_]\w*)\s*(=~|!~|!=|=)\s*({STRING})\s*,?")
STAGE = re.compile(rf"\s*(?:(\|=|!=|\|~|!~)\s*({STRING})|\|\s*label_format\s+(\w+)\s*=\s*({STRING})|\|\s*(\w+)\s*(=~|!~|!=|=)\s*({STRING}))")  # fmt: skip  # noqa: E501
METRIC = re.compile(r"sum\(count_over_time\((.*)\[(\w+)\]\)\)$", re.DOTALL)
DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
NANOSECONDS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9}


class Line(NamedTuple):
    """One entry, under the labels of its stream."""

    timestamp: int
    stream: int
    variant: str
    arrival: int
    text: str


class BadQuery(Exception):
    """What the server says of LogQL that it cannot parse."""


@dataclass
class LokiFake:
    """`mishaps` are taken one a query, first come first served: a status, `truncated`, `html`, `reset` or `partial`."""

    max_entries: int = 5000
    max_query_length: int = 721 * 3600 * 10**9
    max_in_flight: int = 100
    slow_beyond: int | None = None
    """Nanoseconds; longer ranges end in 504."""
    max_bytes: int | None = None
    """Of the lines of an answer; more does not fit into a message between its parts."""
    tenants: bool = False
    token: str | None = None
    categorizes: bool = True
    mishaps: deque[str] = field(default_factory=deque)
    queries: list[dict[str, str]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    streams: list[dict[str, str]] = field(default_factory=list)
    peak: int = 0
    _in_flight: int = 0
    _cached_empty: set[tuple[str, str, str]] = field(default_factory=set)

    def push(self, labels: Labels, values: Iterable[Sequence[Any]]) -> None:
        """Take lines as `[nanoseconds, line]` or with structured metadata; what is there already is one line."""
        given = dict(labels)
        if not any(name in given for name in INTERNAL):
            given.setdefault("service_name", given.get("app", "unknown_service"))
        if given not in self.streams:
            self.streams.append(given)
        stream = self.streams.index(given)
        known = {(*line[:3], line.text) for line in self.lines if line.stream == stream}
        for at, text, *metadata in values:
            variant = json.dumps(metadata[0] if metadata else {}, sort_keys=True)
            if (key := (int(at), stream, variant, text)) not in known:
                known.add(key)
                self.lines.append(Line(int(at), stream, variant, len(self.lines), text))
        self.lines.sort()

    # --- HTTP ---

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_post("/loki/api/v1/push", self._push)
        app.router.add_get("/ready", self._ready)
        for name, handler in {
            "query_range": self._query_range,
            "query": self._query,
            "series": self._series,
            "labels": self._labels,
        }.items():
            app.router.add_route("*", f"/loki/api/v1/{name}", self._guarded(handler))
        return app

    async def _ready(self, request: web.Request) -> web.Response:
        return web.Response(text="ready\n")

    async def _push(self, request: web.Request) -> web.Response:
        for stream in (await request.json())["streams"]:
            self.push(stream["stream"], stream["values"])
        return web.Response(status=204)

    def _guarded(self, handler: Callable[[dict[str, str], web.Request], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self._in_flight += 1
            self.peak = max(self.peak, self._in_flight)
            try:
                return await self._answer(handler, request)
            finally:
                self._in_flight -= 1

        return handle

    async def _answer(
        self, handler: Callable[[dict[str, str], web.Request], Any], request: web.Request
    ) -> web.StreamResponse:
        form = {**request.query, **{key: str(value) for key, value in (await request.post()).items()}}
        self.queries.append(form)
        self.headers.append(dict(request.headers))
        await asyncio.sleep(0)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, text="unauthorized\n")
        if self.tenants and "X-Scope-OrgID" not in request.headers:
            return web.Response(status=401, text="no org id\n")
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
            data = handler(form, request)
        except BadQuery as error:
            return web.Response(status=400, text=str(error))
        except web.HTTPException as error:
            return web.Response(status=error.status, text=error.text)
        content: dict[str, Any] = {"status": "success", "data": data}
        if mishap == "partial":
            content["warnings"] = ["maximum of series (500) reached for a single query; returning partial results"]
        body = json.dumps(content).encode()
        return web.Response(body=body[: len(body) // 2] if mishap == "truncated" else body, content_type="application/json")  # fmt: skip  # noqa: E501

    # --- API ---

    def _query_range(self, form: dict[str, str], request: web.Request) -> Any:
        start, end = int(form["start"]), int(form["end"])
        if end - start > self.max_query_length:
            raise BadQuery("the query time range exceeds the limit (query length: 800h0m0s, limit: 30d1h)")
        if self.slow_beyond is not None and end - start > self.slow_beyond:
            raise web.HTTPGatewayTimeout(text="Request timed out, decrease the duration of the request\n")
        if METRIC.match(form["query"].strip()):
            return {"resultType": "matrix", "result": self._matrix(form, start, end)}
        limit = int(form.get("limit", "100"))
        if limit > self.max_entries:
            name = "max_entries_limit_per_query"
            raise BadQuery(f"max entries limit per query exceeded, limit > {name} ({limit} > {self.max_entries})")
        cached = (form["query"], form["start"], form["end"])
        if cached in self._cached_empty and request.headers.get("Cache-Control") != "no-cache":
            return {"resultType": "streams", "result": []}
        found = [line for line in self._select(form["query"]) if start <= line.timestamp < end]
        if form.get("direction", "backward") == "backward":
            found.reverse()
        found = found[:limit]
        if len(found) > 12:
            # The real one sorts its answer again, unstably: what shares a nanosecond comes in another order each time.
            found.sort(key=lambda line: (line.timestamp, stable_key(f"{line.text}{len(found)}")))
        if not found:
            self._cached_empty.add(cached)
        size = sum(len(line.text) for line in found)
        if self.max_bytes is not None and size > self.max_bytes:
            text = f"rpc error: code = ResourceExhausted desc = received message larger than max ({size} vs {self.max_bytes})"  # noqa: E501
            raise web.HTTPInternalServerError(text=text)
        apart = "categorize-labels" in request.headers.get("X-Loki-Response-Encoding-Flags", "") and self.categorizes
        return {"resultType": "streams", "result": list(self._grouped(found, apart))}

    def _grouped(self, lines: Sequence[Line], apart: bool) -> Iterator[dict[str, Any]]:
        groups: dict[str, dict[str, Any]] = {}
        for line in lines:
            metadata = json.loads(line.variant)
            labels = self.streams[line.stream] if apart else {**self.streams[line.stream], **metadata}
            group = groups.setdefault(json.dumps(labels, sort_keys=True), {"stream": labels, "values": []})
            extra = [{"structuredMetadata": metadata} if metadata else {}] if apart else []
            group["values"].append([str(line.timestamp), line.text, *extra])
        yield from groups.values()

    def _matrix(self, form: dict[str, str], start: int, end: int) -> list[dict[str, Any]]:
        query, duration = metric(form["query"])
        step = round(float(form.get("step", "60")) * 10**9)
        # As the real one does: the start moves down and the end up to whole steps.
        start, end = start // step * step, -(-end // step) * step
        if (end - start) // step > 11_000:
            raise BadQuery("exceeded maximum resolution of 11,000 points per time series")
        times = [line.timestamp for line in self._select(query)]
        points = ((t, sum(1 for at in times if t - duration < at <= t)) for t in range(start, end + 1, step))
        values = [[t / 10**9, str(n)] for t, n in points if n]
        return [{"metric": {}, "values": values}] if values else []

    def _query(self, form: dict[str, str], request: web.Request) -> Any:
        query, duration = metric(form["query"])
        at = int(form["time"])
        found = sum(1 for line in self._select(query) if at - duration < line.timestamp <= at)
        result = [{"metric": {}, "value": [at // 10**6 / 1000, str(found)]}] if found else []
        return {"resultType": "vector", "result": result}

    def _series(self, form: dict[str, str], request: web.Request) -> Any:
        start, end = int(form["start"]), int(form["end"])
        found = {line.stream for line in self._select(form["match[]"]) if start <= line.timestamp < end}
        return [self.streams[number] for number in sorted(found)]

    def _labels(self, form: dict[str, str], request: web.Request) -> Any:
        return sorted({name for labels in self.streams for name in labels})

    def _select(self, query: str) -> list[Line]:
        """Lines in order of time: what is equal in it by stream, metadata and arrival."""
        matchers, stages = parse(query)
        if any(name in INTERNAL for name, _, _ in matchers):
            # Kept for its own user interface.
            return []
        streams = {n for n, labels in enumerate(self.streams) if all(_holds(m, labels) for m in matchers)}
        return [line for line in self.lines if line.stream in streams and self._passes(line, stages)]

    def _passes(self, line: Line, stages: Sequence[tuple[str, str, str]]) -> bool:
        labels = {**self.streams[line.stream], **json.loads(line.variant)}
        for name, operator, value in stages:
            if operator == "label_format":
                labels[name] = str(line.timestamp)
            elif not (_line_holds(operator, value, line.text) if not name else _holds((name, operator, value), labels)):
                return False
        return True


def metric(query: str) -> tuple[str, int]:
    """The log query inside, and the range in nanoseconds."""
    match = METRIC.match(query.strip())
    if not match:
        raise BadQuery("parse error at line 1, col 1: syntax error: unexpected IDENTIFIER")
    if DURATION.sub("", match[2]) != "":
        raise BadQuery(f'parse error at line 0, col 50: unknown unit in duration "{match[2]}"')
    return match[1].strip(), sum(int(n) * NANOSECONDS[unit] for n, unit in DURATION.findall(match[2]))


def parse(query: str) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """Matchers of the selector; then stages as (label, operator, value), without a label for line filters."""
    text = query.strip()
    if not text.startswith("{"):
        raise BadQuery("parse error at line 1, col 1: syntax error: unexpected IDENTIFIER")
    at, matchers = 1, []
    while match := MATCHER.match(text, at):
        matchers.append((match[1], match[2], _string(match[3])))
        at = match.end()
    if text[at : at + 1] != "}":
        raise BadQuery(f"parse error at line 1, col {at + 1}: syntax error: unexpected $end, expecting }} or ,")
    if not any(_excludes_empty(matcher) for matcher in matchers):
        raise BadQuery("parse error : queries require at least one regexp or equality matcher that is not empty")
    at, stages = at + 1, []
    while at < len(text):
        stage = STAGE.match(text, at)
        if not stage:
            raise BadQuery(f"parse error at line 1, col {at + 1}: syntax error: unexpected IDENTIFIER")
        filtered, value, formatted, _, label, operator, wanted = stage.groups()
        if filtered:
            stages.append(("", filtered, _string(value)))
        elif formatted:
            stages.append((formatted, "label_format", ""))
        else:
            stages.append((label, operator, _string(wanted)))
        at = stage.end()
    return matchers, stages


def _string(text: str) -> str:
    return text[1:-1] if text.startswith("`") else str(json.loads(text))


def _excludes_empty(matcher: tuple[str, str, str]) -> bool:
    return matcher[1] in ("=", "=~") and not _holds(matcher, {})


def _holds(matcher: tuple[str, str, str], labels: Labels) -> bool:
    name, operator, wanted = matcher
    value = labels.get(name, "")
    equal = re.fullmatch(wanted, value) is not None if operator.endswith("~") else value == wanted
    return equal != operator.startswith("!")


def _line_holds(operator: str, wanted: str, text: str) -> bool:
    found = re.search(wanted, text) is not None if operator.endswith("~") else wanted in text
    return found != operator.startswith("!")
