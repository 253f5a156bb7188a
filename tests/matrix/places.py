"""The places that are told: real Alertmanagers and a real collector, strict fakes, a fault proxy before each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tests.fakes.faulty import Fault, FaultProxy
from tests.fakes.grafana import GrafanaFake
from tests.fakes.recording import Recorder
from tests.fakes.serving import serving
from tests.fakes.slack import SlackFake
from tests.servers import running
from tests.servers.collector import Collector, Record, log_records, running_collector
from tests.servers.process import Unavailable, wait_until

PEERS = ("alertmanager 1", "alertmanager 2")
OVER_HTTP = (*PEERS, "grafana", "slack bot", "slack webhook", "webhook", "otlp")
SINKS = (*OVER_HTTP, "console")
"""The columns of the matrix; the console is the daemon's own output, which no proxy can spoil."""

RESEND = 5.0
"""Seconds after which a firing alert is repeated."""

TIMEOUT = 2
"""Seconds that each sink waits for an answer."""

EXTERNAL_URL = "https://anomalies.example.org"


@dataclass
class Places:
    """All that a daemon tells, and what has come to them."""

    proxies: dict[str, FaultProxy]
    peers: list[str]
    """The addresses of the Alertmanagers themselves."""
    collector: Collector | Recorder
    grafana: GrafanaFake = field(default_factory=GrafanaFake)
    bot: SlackFake = field(default_factory=SlackFake)
    hook: SlackFake = field(default_factory=SlackFake)
    webhook: Recorder = field(default_factory=Recorder)
    pager: Recorder = field(default_factory=Recorder)
    """Whom the Alertmanagers notify."""

    async def become(self, fault: Fault, names: tuple[str, ...] = OVER_HTTP) -> None:
        """What happens from now on to what is sent to them."""
        for name in names:
            await self.proxies[name].become(fault)

    def sinks(self) -> list[dict[str, Any]]:
        """How a configuration names them."""
        url = {name: proxy.url for name, proxy in self.proxies.items()}
        timeout = f"{TIMEOUT}s"
        bot = {"token": self.bot.token, "channel": self.bot.channel, "api_url": f"{url['slack bot']}/api"}
        hook = {"webhook_url": url["slack webhook"] + self.hook.webhook_path}
        return [
            {
                "type": "alertmanager",
                "urls": [url[peer] for peer in PEERS],
                "resend": f"{RESEND:g}s",
                "timeout": timeout,
            },
            {"type": "grafana", "url": url["grafana"], "token": self.grafana.token, "timeout": timeout},
            {"type": "slack", "name": "slack-bot", "timeout": timeout, **bot},
            {"type": "slack", "name": "slack-webhook", "timeout": timeout, **hook},
            {"type": "webhook", "url": f"{url['webhook']}/hook", "timeout": timeout},
            {"type": "otlp", "endpoint": url["otlp"], "timeout": timeout},
            {"type": "console", "color": False, "width": 100},
        ]

    async def alerts(self, peer: str) -> list[Any]:
        """What fires at an Alertmanager, by its own word."""
        url = self.peers[PEERS.index(peer)]
        async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v2/alerts") as answer:
            found: list[Any] = await answer.json()
            return found

    def records(self) -> list[Record]:
        """The log records that were taken, in order."""
        if isinstance(self.collector, Collector):
            return self.collector.records()
        return [
            record
            for request in self.collector.requests
            for record in log_records(_numbered(MessageToDict(ExportLogsServiceRequest.FromString(request.body))))
        ]


def _numbered(value: Any) -> Any:
    """As the collector writes it: a severity is a number there, and a name in protobuf's own JSON."""
    if isinstance(value, dict):
        return {key: 0 if key == "severityNumber" else _numbered(item) for key, item in value.items()}
    return [_numbered(item) for item in value] if isinstance(value, list) else value


@asynccontextmanager
async def places(folder: Path) -> AsyncIterator[Places]:
    """All places, running and calm. Raises Unavailable where there is no Alertmanager."""
    webhook, pager, recorder = Recorder(), Recorder(), Recorder()
    grafana, bot, hook = GrafanaFake(), SlackFake(), SlackFake()
    async with AsyncExitStack() as stack:

        async def serve(of: Any) -> str:
            return await stack.enter_async_context(serving(of.app()))

        paged = await serve(pager)
        servers = await stack.enter_async_context(_in_thread(partial(_servers, folder, paged)))
        peers, collector = servers
        behind = {
            **dict(zip(PEERS, peers, strict=True)),
            "grafana": await serve(grafana),
            "slack bot": await serve(bot),
            "slack webhook": await serve(hook),
            "webhook": await serve(webhook),
            "otlp": collector.http_endpoint if collector else await serve(recorder),
        }
        proxies = {name: await stack.enter_async_context(FaultProxy(url)) for name, url in behind.items()}
        yield Places(proxies, peers, collector or recorder, grafana, bot, hook, webhook, pager)


@contextmanager
def _servers(folder: Path, receiver: str) -> Iterator[tuple[list[str], Collector | None]]:
    first, second = running.alertmanager_pair(folder / "alertmanagers", receiver)
    with ExitStack() as stack:
        urls = [stack.enter_context(server).url for server in (first, second)]
        for url in urls:
            wait_until(partial(running.clustered, url), "the meeting of the two Alertmanagers")
        try:
            collector = stack.enter_context(running_collector(folder))
        except Unavailable:
            collector = None
        yield urls, collector


@asynccontextmanager
async def _in_thread(make: Any) -> AsyncIterator[Any]:
    """A context that blocks, away from the loop that the fakes answer in."""
    stack = ExitStack()
    entered = await asyncio.to_thread(stack.enter_context, make())
    try:
        yield entered
    finally:
        await asyncio.to_thread(stack.close)
