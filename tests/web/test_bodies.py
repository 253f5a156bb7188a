"""A JSON body is read in one way, wherever it is sent: acts of people, webhooks, and layers that are served alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from exporter.memory.embedding import HashingEmbedder
from exporter.memory.recall import Memory
from exporter.model import SystemClock
from exporter.run.serving import MemoryService, ReportService
from exporter.telemetry import PrometheusTelemetry
from tests.layers import serving as layers
from tests.memory.test_memory import kept
from tests.web.backend import MemoryBackend, shop_record
from tests.web.test_web import BEARER, ID, serving

Post = Callable[..., Awaitable[tuple[int, Any]]]
Place = Callable[[], Any]


@asynccontextmanager
async def posting(url: str, headers: Mapping[str, str]) -> AsyncIterator[Post]:
    async def post(body: bytes, kind: str = "application/json") -> tuple[int, Any]:
        sent = {**headers, "Content-Type": kind}
        async with session.post(url, data=body, headers=sent) as answer:
            return answer.status, await answer.json()

    async with aiohttp.ClientSession() as session:
        yield post


def of_the_page(path: str) -> Place:
    """A place of the daemon's own web side."""

    @asynccontextmanager
    async def place() -> AsyncIterator[Post]:
        async with serving(MemoryBackend(shop_record())) as site, posting(site.base + path, BEARER) as post:
            yield post

    return place


@asynccontextmanager
async def memory() -> AsyncIterator[Post]:
    telemetry = PrometheusTelemetry()
    service = MemoryService(Memory(kept(), HashingEmbedder()), str, telemetry, SystemClock())
    headers = {"Authorization": f"Bearer {layers.TOKEN}"}
    async with layers.served(service, telemetry) as url, posting(f"{url}/v1/recall", headers) as post:
        yield post


@asynccontextmanager
async def reports() -> AsyncIterator[Post]:
    telemetry = PrometheusTelemetry()
    headers = {"Authorization": f"Bearer {layers.TOKEN}"}
    service = ReportService(None, str, telemetry)
    async with layers.served(service, telemetry) as url, posting(f"{url}/v1/report", headers) as post:
        yield post


PLACES: dict[str, Place] = {
    "an act": of_the_page(f"/api/incidents/{ID}/ack"),
    "a rule": of_the_page("/api/rules"),
    "a preview": of_the_page("/api/rules/preview"),
    "what another memory held": of_the_page("/api/memory"),
    "alerts": of_the_page("/webhooks/alertmanager"),
    "a deployment": of_the_page("/webhooks/change"),
    "memory": memory,
    "reports": reports,
}

WRONG = {
    b"": "is not JSON: Expecting value at line 1, column 1",
    b'{"a": }': "is not JSON: Expecting value at line 1, column 7",
    b'{\n"a" 1}': "is not JSON: Expecting ':' delimiter at line 2, column 5",
    b'{"a": "\xe9"}': "is not JSON: no UTF-8 at byte 7",
    b"[" * 100_000: "is not JSON: too deep",
    b'{"a": 1' + b"0" * 5_000 + b"}": "is not JSON: too deep, or a number too long",
    b"null": "is not a JSON object",
    b"[]": "is not a JSON object",
    b'"text"': "is not a JSON object",
    b"NaN": "is not a JSON object",
    b'{"a": NaN}': "a is no number that JSON has",
    b'{"a": [1, {"b": -Infinity}]}': "a[1].b is no number that JSON has",
    b'{"a": 1e999}': "a is no number that JSON has",
    b'{"<script>": {"b": NaN}}': "\N{HORIZONTAL ELLIPSIS}.b is no number that JSON has",
}


@pytest.mark.parametrize("place", PLACES)
async def test_what_is_no_json_object_is_a_400_that_names_what_is_wrong_and_where(place: str) -> None:
    async with PLACES[place]() as post:
        for body, said in WRONG.items():
            if not body and place in ("an act", "a rule", "a preview", "what another memory held"):
                continue  # what people do needs no body, or says itself what is missing
            status, answer = await post(body)
            assert (status, said in answer["error"]) == (400, True), (body[:40], answer)


@pytest.mark.parametrize("place", PLACES)
async def test_another_type_than_json_is_not_read(place: str) -> None:
    async with PLACES[place]() as post:
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            status, answer = await post(b"{}", kind)
            assert (status, "Send JSON" in answer["error"]) == (415, True)


@pytest.mark.parametrize("place", PLACES)
async def test_utf8_with_a_mark_of_its_order_of_bytes_and_utf16_are_read_as_json_is(place: str) -> None:
    async with PLACES[place]() as post:
        for body in ('{"a": [}'.encode("utf-8-sig"), '{"a": [}'.encode("utf-16")):
            status, answer = await post(body)
            assert (status, "at line 1, column 8" in answer["error"]) == (400, True), answer
