"""Every client goes by the proxy that the environment names where it is told to, and only there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from exporter.config import parse
from exporter.model import Context, ExporterError, LLMSettings
from exporter.telemetry import PrometheusTelemetry, TelemetrySettings
from tests.fakes.serving import serving
from tests.integrations.uses import count, deliver

NOWHERE = "http://shop.invalid:8080"
"""No name server knows it: only a proxy can be asked about it."""


async def complete(settings: LLMSettings) -> None:
    llm = settings.build(Context())
    try:
        await llm.complete("system", "user", {"type": "object"})
    finally:
        await llm.close()


async def push(settings: TelemetrySettings) -> None:
    PrometheusTelemetry(settings).close()


LOKI = {"type": "loki", "name": "loki", "url": NOWHERE, "query": '{app="x"}'}
FILE = {"type": "file", "name": "file", "path": "/var/log/*.log"}
CLIENTS: dict[str, tuple[dict[str, Any], Callable[[Any], Awaitable[None]]]] = {
    "elasticsearch": ({"sources": [{"type": "elasticsearch", "name": "es", "hosts": [NOWHERE]}]}, count),
    "loki": ({"sources": [LOKI]}, count),
    "alertmanager": ({"sinks": [{"type": "alertmanager", "urls": NOWHERE}]}, deliver),
    "grafana": ({"sinks": [{"type": "grafana", "url": NOWHERE, "token": "t"}]}, deliver),
    "webhook": ({"sinks": [{"type": "webhook", "url": NOWHERE}]}, deliver),
    "otlp": ({"sinks": [{"type": "otlp", "endpoint": NOWHERE, "timeout": "2s"}]}, deliver),
    "llm": ({"llm": {"type": "openai", "base_url": f"{NOWHERE}/v1", "model": "m", "allow_remote": True}}, complete),
    "telemetry": ({"telemetry": {"otlp_endpoint": NOWHERE, "timeout": "2s"}}, push),
}


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_asks_the_proxy_where_it_is_told_to(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked.append(request.headers["Host"])
        return web.Response(status=404)

    raw, use = CLIENTS[name]
    async with serving(web.Application(middlewares=[refuse])) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("http_proxy", proxy)
        for trusted in (False, True):
            config = parse({"sources": [FILE], **raw, "trust_env": trusted})
            part = next(iter(raw))
            settings = getattr(config, part)
            with contextlib.suppress(ExporterError):
                await _in_thread(use, settings[0] if isinstance(settings, tuple) else settings)
            assert bool(asked) is trusted, f"{name}: the proxy was {'not ' if trusted else ''}asked"
    assert set(asked) == {"shop.invalid:8080"}


async def _in_thread(use: Callable[[Any], Awaitable[None]], settings: Any) -> None:
    """Pushing blocks, and the proxy answers in this loop."""
    if use is push:
        await asyncio.to_thread(lambda: asyncio.run(use(settings)))
    else:
        await use(settings)


def test_one_client_can_say_otherwise() -> None:
    sinks = [{"type": "webhook", "name": "a", "url": NOWHERE}, {"type": "webhook", "name": "b", "url": NOWHERE}]
    config = parse({"sources": [FILE], "sinks": [sinks[0], {**sinks[1], "trust_env": False}], "trust_env": True})
    assert [getattr(sink, "trust_env", None) for sink in config.sinks] == [True, False]
    assert parse({"sources": [FILE], "sinks": sinks}).sinks[0].model_dump()["trust_env"] is False
