"""A proxy before a place that is told things: it fails as places, gateways and networks do, until it is told not to."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import Literal, get_args

import aiohttp
from aiohttp import web

from tests.fakes.proxy import OF_A_HOP

Fault = Literal[
    "calm",
    "down",
    "slow",
    "hanging",
    "429",
    "500",
    "HTML page",
    "stored, then silent",
    "stored, then 500",
    "half-accepting",
]
"""What happens to each request. All but "calm" and "slow" keep the place's own answer from who asked."""

FAULTS: tuple[Fault, ...] = get_args(Fault)[1:]

SLOW = 1.2
"""Seconds before a slow place answers: below the time-outs of who asks."""

RETRY_AFTER = 3
"""Seconds that a place asks for with 429."""

PAGE = "<!doctype html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"


@dataclass(frozen=True)
class Exchange:
    """A request, whether the place got it, and whether who asked got the place's own answer. Times are wall times."""

    began: float
    ended: float
    method: str
    path: str
    body: bytes
    stored: bool
    answered: bool


class FaultProxy:
    """Stands before one place; `fault` is what happens to requests from now on."""

    def __init__(self, target: str) -> None:
        self.exchanges: list[Exchange] = []
        self._target = target.rstrip("/")
        self._fault: Fault = "calm"
        self._seen = 0
        self._over = asyncio.Event()
        # It has the port for as long as the proxy lives, also while nobody listens there.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.port: int = self._holder.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._site: web.TCPSite | None = None
        self._session: aiohttp.ClientSession | None = None

    async def become(self, fault: Fault) -> None:
        """From now on; what is in hand ends as it began."""
        self._fault = fault
        if fault == "down" and self._site:
            await self._site.stop()
            self._site = None
        elif fault != "down" and not self._site:
            self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_port=True)
            await self._site.start()

    async def __aenter__(self) -> FaultProxy:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        await self._runner.setup()
        await self.become("calm")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await self._runner.cleanup()
        if self._session:
            await self._session.close()
        self._holder.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fault, began = self._fault, time.time()
        body = await request.read()
        self._seen += 1
        passes = fault in ("calm", "slow", "stored, then silent", "stored, then 500")
        passes |= fault == "half-accepting" and self._seen % 2 == 0
        if fault == "slow":
            await asyncio.sleep(SLOW)
        answer = await self._pass_on(request, body) if passes else None
        # Who waits no longer, or lives no longer, is told nothing.
        listens = request.transport is not None and not request.transport.is_closing()
        told = answer is not None and listens and not fault.startswith("stored")
        self.exchanges.append(
            Exchange(began, time.time(), request.method, request.path_qs, body, answer is not None, told)
        )
        if answer is not None and told:
            return answer
        return await self._refuse(request, fault)

    async def _pass_on(self, request: web.Request, body: bytes) -> web.Response:
        assert self._session
        headers = {name: value for name, value in request.headers.items() if name.lower() not in OF_A_HOP}
        url = self._target + request.path_qs
        async with self._session.request(request.method, url, data=body, headers=headers) as response:
            content = await response.read()
            kept = {name: value for name, value in response.headers.items() if name.lower() not in OF_A_HOP}
            return web.Response(status=response.status, headers=kept, body=content)

    async def _refuse(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        match fault:
            case "429":
                return web.Response(status=429, text="slow down", headers={"Retry-After": str(RETRY_AFTER)})
            case "HTML page":
                return web.Response(status=200, text=PAGE, content_type="text/html")
            case "hanging" | "stored, then silent":
                await self._over.wait()
            case "down":
                # A connection from before it went down.
                if request.transport:
                    request.transport.abort()
            case "half-accepting":
                return web.Response(status=503, text="overloaded")
        return web.Response(status=500, text="internal error")
