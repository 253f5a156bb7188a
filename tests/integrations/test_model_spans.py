"""Each request to a model is a span by OpenTelemetry's conventions for generative models (`gen_ai`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from exporter.model import ExporterError
from exporter.telemetry import PrometheusTelemetry, TelemetrySettings
from integrations.openai.client import OpenAI
from tests.fakes.llm import Reply, fails, says, scripted
from tests.fakes.recording import Recorder
from tests.fakes.serving import serving
from tests.integrations.test_openai import GOOD, SCHEMA, settings

CLIENT, ERROR = 3, 2
"""Numbers of OTLP: a span's kind, and its status."""


@dataclass(frozen=True)
class Span:
    """A span as it was pushed."""

    name: str
    kind: int
    status: int
    attributes: Mapping[str, Any] = field(default_factory=dict)


def spans_of(recorder: Recorder) -> list[Span]:
    bodies = [one.body for one in recorder.requests if one.path.endswith("/v1/traces")]
    pushed = [
        span
        for body in bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    return [
        Span(
            span.name,
            span.kind,
            span.status.code,
            {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes},
        )
        for span in pushed
    ]


@asynccontextmanager
async def asked(*script: Reply, forms: tuple[str, ...] = ("json_schema",)) -> AsyncIterator[Recorder]:
    """One question, whatever comes of it; its spans are pushed."""
    recorder = Recorder()
    async with serving(recorder.app()) as pushed, scripted(*script, forms=forms) as fake:
        telemetry = PrometheusTelemetry(TelemetrySettings(otlp_endpoint=pushed))
        llm = OpenAI(settings(fake.url), telemetry)
        with suppress(ExporterError):
            await llm.complete("the system", "the user", SCHEMA)
        await llm.close()
        await asyncio.to_thread(telemetry.close)
        yield recorder


async def test_a_question_is_a_span_that_says_whom_was_asked_for_what_and_how_many_tokens_it_took() -> None:
    async with asked(says(GOOD)) as recorder:
        (span,) = spans_of(recorder)
    assert (span.name, span.kind) == ("chat qwen", CLIENT)
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "qwen",
        "gen_ai.output.type": "json",
        "gen_ai.request.max_tokens": 1200,
        "gen_ai.usage.input_tokens": len("the systemthe user") // 4,
        "gen_ai.usage.output_tokens": 20,
        "server.address": "127.0.0.1",
    }


async def test_each_request_of_a_question_is_a_span_of_its_own() -> None:
    async with asked(says(GOOD), forms=()) as recorder:
        spans = spans_of(recorder)
    assert [span.attributes["gen_ai.output.type"] for span in spans] == ["json", "json", "text"]
    assert [span.status == ERROR for span in spans] == [True, True, False]


@pytest.mark.parametrize("reply", [fails(500), fails(401), says("no object")], ids=["500", "401", "no answer"])
async def test_a_request_that_fails_is_a_span_that_says_so_where_the_server_failed(reply: Reply) -> None:
    async with asked(reply) as recorder:
        spans = spans_of(recorder)
    answered = ["gen_ai.usage.input_tokens" in span.attributes for span in spans]
    assert answered == [span.status != ERROR for span in spans]


async def test_no_span_says_what_was_asked_or_answered() -> None:
    secret = "the answer that was given"
    async with asked(says({"answer": secret})) as recorder:
        traces = b"".join(one.body for one in recorder.requests)
    assert b"chat qwen" in traces
    assert not any(text in traces for text in (b"the system", b"the user", secret.encode()))
