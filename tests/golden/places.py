"""The servers that a replay tells its incidents to: they answer as real ones do, fail now and then, and keep it all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tests.fakes.grafana import GrafanaFake
from tests.fakes.llm import FakeLLM, Request, says
from tests.fakes.recording import Recorded, Recorder, recording
from tests.fakes.serving import serving
from tests.fakes.slack import SlackFake

OF_THE_CONNECTION = ("Host", "Content-Length", "Accept", "Accept-Encoding", "Connection")


@dataclass
class Alertmanager:
    """Lists every alert that was posted to it; each eleventh request fails."""

    alerts: list[Any] = field(default_factory=list)
    asked: int = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/api/v2/alerts", self._post)
        app.router.add_get("/api/v2/alerts", self._list)
        return app

    async def _post(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.asked % 11 == 0:
            return web.Response(status=503)
        self.alerts += [{"labels": alert["labels"]} for alert in await request.json()]
        return web.Response()

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response(self.alerts)


@asynccontextmanager
async def places() -> AsyncIterator[tuple[dict[str, str], dict[str, list[Recorded]]]]:
    """Variables of the environment that say where they are, and what each has been sent so far."""
    grafana = GrafanaFake(mishaps=[*[None] * 8, "500"] * 1000)
    slack, slackhook = (SlackFake(mishaps=[*[None] * 12, "500"] * 1000) for _ in range(2))
    llm = FakeLLM([write])
    chat = web.Application(client_max_size=16 * 2**20)
    chat.router.add_post("/v1/chat/completions", llm.complete)
    webhook, otlp = Recorder(refuses_each=7), Recorder()
    sent: dict[str, list[Recorded]] = {"webhook": webhook.requests, "otlp": otlp.requests}
    apps = {"webhook": webhook.app(), "otlp": otlp.app()}
    others = {
        "alertmanager": Alertmanager().app(),
        "grafana": grafana.app(),
        "slack": slack.app(),
        "slackhook": slackhook.app(),
        "llm": chat,
    }
    for name, app in others.items():
        sent[name] = []
        apps[name] = recording(app, sent[name])
    async with AsyncExitStack() as stack:
        urls = {f"{name.upper()}_URL": await stack.enter_async_context(serving(app)) for name, app in apps.items()}
        urls["LLM_URL"] += "/v1"
        yield urls, sent


def write(request: Request) -> web.StreamResponse:
    """A model's answer that depends on the question alone: a claim that holds, and one that cites what is not there."""
    data = [json.loads(line) for line in request.user.splitlines() if line.startswith("{")]
    findings = [row["id"] for row in data if row["what"] == "finding"]
    claims = [{"text": f"{len(data)} things are known.", "evidence": findings[:1]}]
    wrong = {"text": "The moon is full.", "evidence": ["L0000000000"]}
    answer: web.StreamResponse = says({"what_happened": [*claims, wrong], "causes": [], "steps": claims})(request)
    return answer


def readable(name: str, requests: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Requests such that a difference in them can be pointed at."""
    return [
        {
            "request": f"{request.method} {request.path}",
            "headers": {key: value for key, value in request.headers.items() if key not in OF_THE_CONNECTION},
            "body": body_of(name, request),
        }
        for request in requests
    ]


def body_of(name: str, request: Recorded) -> Any:
    if not request.body:
        return None
    if name == "otlp":
        return MessageToDict(ExportLogsServiceRequest.FromString(request.body))
    return request.json()
