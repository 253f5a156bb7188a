"""What leaves the process is a line of our own log: where to, how much, and what was redacted in it, by kind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from exporter.config import parse
from exporter.model import (
    Context,
    Earlier,
    ExporterError,
    LLMSettings,
    MemorySettings,
    ReportSettings,
)
from exporter.telemetry import PrometheusTelemetry, TelemetrySettings
from integrations.elasticsearch_incidents import ElasticsearchIncidents, ElasticsearchIncidentsSettings
from integrations.otlp import OtlpSettings
from tests import samples
from tests.contracts.test_stores import document
from tests.fakes.recording import Recorded, recording
from tests.fakes.serving import serving
from tests.integrations.uses import count, deliver
from tests.servers.collector import Collector

SAID = "login of <email:3fa9c1> with <token:5e1c00> and <token:77aa01> refused"
"""What a log line reads once it is redacted."""


@dataclass(frozen=True)
class Line:
    """A line of the audit."""

    where: str
    size: int
    redacted: str


class Audit:
    """The lines of the audit that were written."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    @property
    def text(self) -> str:
        return "\n".join(one.getMessage() for one in self._caplog.records if one.name == "exporter.audit")

    @property
    def lines(self) -> list[Line]:
        found = re.findall(r"^left to (.+): (\d+) bytes, redacted: (.+)$", self.text, re.MULTILINE)
        return [Line(where, int(size), redacted) for where, size, redacted in found]


@pytest.fixture
def audit(caplog: pytest.LogCaptureFixture) -> Audit:
    caplog.set_level(logging.INFO, "exporter.audit")
    return Audit(caplog)


@asynccontextmanager
async def anything(requests: list[Recorded]) -> AsyncIterator[str]:
    """A place that takes everything, and says so as each of them would."""

    async def take(request: web.Request) -> web.Response:
        headers = {"X-Elastic-Product": "Elasticsearch"}
        if request.path.endswith("/_mget"):
            return web.json_response({"docs": []}, headers=headers)
        if request.method == "GET" and "lae-incidents" in request.path:
            return web.json_response({}, status=404, headers=headers)
        if request.path.endswith("/_search"):
            return web.json_response({}, status=503, headers=headers)
        if request.method == "GET":
            return web.json_response([])
        if request.content_type.endswith("protobuf"):
            return web.Response(content_type=request.content_type)
        return web.json_response({"ok": True, "channel": "C01", "ts": "1.2", "id": 7}, headers=headers)

    app = web.Application(client_max_size=16 * 2**20)
    app.router.add_route("*", "/{path:.*}", take)
    async with serving(recording(app, requests)) as url:
        yield url


async def complete(settings: LLMSettings) -> None:
    llm = settings.build(Context())
    try:
        await llm.complete("the system", SAID, {"type": "object", "required": ["ok"]})
    finally:
        await llm.close()


async def put(settings: MemorySettings) -> None:
    store = settings.build(Context())
    try:
        await store.put(document("a", SAID))
    finally:
        await store.close()


async def write(settings: ReportSettings) -> None:
    writer = settings.build(Context())
    try:
        await writer.write(samples.report(SAID), samples.incident(SAID))
    finally:
        await writer.close()


async def push(settings: TelemetrySettings) -> None:
    def pushed() -> None:
        telemetry = PrometheusTelemetry(settings)
        with telemetry.span("poll shop", source="shop"):
            telemetry.count("source_gaps", source="shop")
        telemetry.close()

    await asyncio.to_thread(pushed)


Use = Callable[[Any], Awaitable[None]]

FILE = {"type": "file", "name": "file", "path": "/var/log/*.log"}


def told(named: str = "sink x", **sink: Any) -> tuple[Callable[[str], dict[str, Any]], Use, str]:
    """The configuration of a place at an address, what uses it, and how its lines name it."""
    (key,) = [name for name, value in sink.items() if value == "URL"]
    return lambda url: {"sinks": [{**sink, "name": "x", key: url}]}, partial(deliver, text=SAID), named


WAYS: dict[str, tuple[Callable[[str], dict[str, Any]], Use, str]] = {
    "alertmanager": told("sink x: HOST", type="alertmanager", urls="URL"),
    "grafana": told("sink x: URL", type="grafana", url="URL", token="t"),
    "slack": told(type="slack", channel="C01", token="xoxb-t", api_url="URL"),
    "webhook": told(type="webhook", url="URL"),
    "otlp": told(type="otlp", endpoint="URL"),
    "llm": (lambda url: {"llm": {"type": "openai", "base_url": f"{url}/v1", "model": "m"}}, complete, "llm m at HOST"),
    "memory in elasticsearch": (
        lambda url: {"memory": {"type": "elasticsearch", "hosts": [url]}},
        put,
        "memory: Elasticsearch at URL",
    ),
    "memory elsewhere": (lambda url: {"memory": {"type": "remote", "url": url}}, put, "memory: URL"),
    "reports elsewhere": (lambda url: {"report": {"type": "remote", "url": url}}, write, "report: URL"),
    "telemetry": (lambda url: {"telemetry": {"otlp_endpoint": url}}, push, "telemetry: HOST"),
}


async def used(way: str, requests: list[Recorded]) -> str:
    """Send by a way what it sends. Returns how the audit is to name it."""
    configuration, use, named = WAYS[way]
    async with anything(requests) as url:
        raw = configuration(url)
        settings = getattr(parse({"sources": [FILE], **raw}), next(iter(raw)))
        with contextlib.suppress(ExporterError):
            await use(settings[0] if isinstance(settings, tuple) else settings)
        return named.replace("URL", url).replace("HOST", url.removeprefix("http://"))


@pytest.mark.parametrize("way", WAYS)
async def test_each_request_that_carries_something_is_a_line_with_where_to_and_its_bytes(
    way: str, audit: Audit
) -> None:
    requests: list[Recorded] = []
    named = await used(way, requests)
    sent = sorted(len(one.body) for one in requests if one.body)
    assert sent
    assert sorted(line.size for line in audit.lines) == sent
    assert {line.where for line in audit.lines} == {named}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "telemetry"])
async def test_it_says_what_was_redacted_by_kind_and_nothing_of_what_was_sent(way: str, audit: Audit) -> None:
    requests: list[Recorded] = []
    await used(way, requests)
    # As they are sent where markup is taken, too; what was cut in the midst of one is none.
    whole = [re.findall(rb"(?:<|&lt;)(email|token):\w{6}(?:>|&gt;)", one.body) for one in requests]
    expected = [f"{found.count(b'email')} email, {found.count(b'token')} token" for found in whole if found]
    assert expected
    assert sorted(line.redacted for line in audit.lines if line.redacted != "nothing") == sorted(expected)
    assert "login of" not in audit.text


async def test_what_a_source_is_asked_holds_nothing_of_logs_and_is_no_line(audit: Audit) -> None:
    requests: list[Recorded] = []
    async with anything(requests) as url:
        loki = {"type": "loki", "name": "loki", "url": url, "query": '{app="x"}'}
        for source in (loki, {"type": "elasticsearch", "name": "es", "hosts": [url]}):
            with contextlib.suppress(ExporterError):
                await count(parse({"sources": [source]}).sources[0])
    assert any(one.body for one in requests)
    assert audit.lines == []


async def test_what_memory_in_elasticsearch_writes_and_recalls_leaves_and_is_noted(
    elasticsearch_url: str, unique_name: str, audit: Audit
) -> None:
    settings = ElasticsearchIncidentsSettings.model_validate(
        {"type": "elasticsearch", "hosts": [elasticsearch_url], "index": unique_name}
    )
    store = ElasticsearchIncidents(settings)
    await store.put(document("a", SAID))
    written = audit.lines
    await store.matching(SAID, 5, Earlier("none", datetime.now(UTC)))
    recalled = audit.lines[len(written) :]
    await store.close()
    assert written[-1].redacted == "1 email, 2 token"
    # Words are looked for, and no placeholder is one.
    assert [line.redacted for line in recalled] == ["nothing"]
    assert {line.where for line in audit.lines} == {f"memory: Elasticsearch at {elasticsearch_url}"}


async def test_what_goes_over_grpc_is_noted_too(collector: Collector, audit: Audit) -> None:
    await push(TelemetrySettings(otlp_endpoint=collector.grpc_endpoint, protocol="grpc"))
    pushed: Sequence[Line] = audit.lines
    assert len(pushed) == 2, "metrics and traces"
    sink = OtlpSettings(type="otlp", endpoint=collector.grpc_endpoint, protocol="grpc").build(Context())
    await sink.deliver(samples.notification(text=SAID))
    await sink.close()
    assert all(line.size > 100 for line in audit.lines)
    assert "email" in audit.lines[-1].redacted
