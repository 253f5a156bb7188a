"""A proxy before a server that spoils chosen requests, the way networks, gateways and clusters do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
from aiohttp import web

from tests.fakes.serving import serving

Fault = Literal[
    "latency", "reset", "429", "503", "truncated body", "partial shards", "duplicate page", "expired pit", "hook"
]

OF_A_HOP = {"host", "connection", "transfer-encoding", "content-length", "content-encoding", "accept-encoding"}
"""Headers that a proxy writes itself."""


@dataclass(frozen=True)
class Exchange:
    """A request, and what the server answered."""

    method: str
    path: str
    body: bytes
    status: int
    headers: Mapping[str, str]
    answer: bytes

    def json(self) -> Any:
        return json.loads(self.answer)


@dataclass
class Proxy:
    """`faults` says which page asked for (from 0) meets which fault; each acts once, and `met` says that it did.

    A "hook" calls `hook` and then lets the request through: a restart of the server, a jump of the clock.
    """

    target: str
    faults: dict[int, Fault] = field(default_factory=dict)
    hook: Callable[[], Awaitable[None]] | None = None
    seen: int = 0
    met: list[Fault] = field(default_factory=list)
    _pages: dict[str, Exchange] = field(default_factory=dict)
    _session: aiohttp.ClientSession | None = None

    def begin(self, faults: Mapping[int, Fault], hook: Callable[[], Awaitable[None]] | None = None) -> None:
        """Count pages from 0 again."""
        self.faults, self.hook, self.seen = dict(faults), hook, 0
        self.met.clear()
        self._pages.clear()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        fault = self._fault(request.path)
        if fault == "reset":
            return self._reset(request)
        if fault in ("429", "503"):
            return web.Response(status=int(fault), text=f"{fault}: come back later\n", headers={"Retry-After": "0"})
        if fault == "latency":
            # Longer than any client waits.
            await asyncio.Event().wait()
        if fault == "hook" and self.hook:
            await self.hook()
        if fault == "expired pit":
            await self._expire(body)
        if fault == "duplicate page" and (previous := self._pages.get(_reader(body))):
            self.met.append(fault)
            return _respond(previous)
        exchange = await self._forward(request, body)
        if fault == "truncated body":
            return await self._truncated(request, exchange)
        if fault == "partial shards":
            return _respond(exchange, _partial(exchange.json()))
        if fault == "duplicate page":
            # Its reader has had no page yet that could come again: the next request may do.
            self.faults.setdefault(self.seen, fault)
        if _is_page(exchange):
            self._pages[_reader(body)] = exchange
        return _respond(exchange)

    def _fault(self, path: str) -> Fault | None:
        if not path.endswith(("/_search", "/query_range")):
            return None
        fault = self.faults.pop(self.seen, None)
        self.seen += 1
        if fault and fault != "duplicate page":
            self.met.append(fault)
        return fault

    async def _forward(self, request: web.Request, body: bytes) -> Exchange:
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=True)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in OF_A_HOP}
        url = self.target + request.path_qs
        async with self._session.request(request.method, url, data=body, headers=headers) as response:
            answer = await response.read()
            kept = {name: value for name, value in response.headers.items() if name.lower() not in OF_A_HOP}
            return Exchange(request.method, request.path, body, response.status, kept, answer)

    async def _expire(self, body: bytes) -> None:
        """End the point in time that a search is about to use, at the server itself."""
        pit = json.loads(body).get("pit", {}).get("id") if body.startswith(b"{") else None
        if pit and self._session:
            async with self._session.delete(f"{self.target}/_pit", json={"id": pit}) as response:
                assert response.status == 200

    def _reset(self, request: web.Request) -> web.Response:
        if request.transport:
            request.transport.abort()
        return web.Response()

    async def _truncated(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        """The head says how long the body is; half of it comes."""
        headers = {**exchange.headers, "Content-Length": str(len(exchange.answer))}
        response = web.StreamResponse(status=exchange.status, headers=headers)
        await response.prepare(request)
        await response.write(exchange.answer[: len(exchange.answer) // 2])
        return self._reset(request)

    async def close(self) -> None:
        if self._session:
            await self._session.close()


def _reader(body: bytes) -> str:
    """Whose request it is: readers of other parts of a range have pages of their own."""
    return str(json.loads(body).get("slice")) if body.startswith(b"{") else ""


def _is_page(exchange: Exchange) -> bool:
    """Whether it is an answer with lines: what a cache on the way could give a second time."""
    return exchange.status == 200 and (b'"hits":[{' in exchange.answer or b'"resultType":"streams"' in exchange.answer)


def _partial(answer: dict[str, Any]) -> bytes:
    """The answer of a cluster that has lost a part of it, and says so."""
    if "_shards" in answer:
        shards = answer["_shards"]
        shards.update(failed=1, successful=shards["total"] - 1)
        hits = answer.get("hits", {})
        hits["hits"] = hits.get("hits", [])[::2]
    else:
        answer["warnings"] = ["one querier did not answer; returning partial results"]
        result = answer["data"]["result"] if isinstance(answer.get("data"), dict) else []
        for stream in result:
            stream["values"] = stream.get("values", [])[::2]
    return json.dumps(answer).encode()


def _respond(exchange: Exchange, body: bytes | None = None) -> web.Response:
    return web.Response(
        status=exchange.status, headers=exchange.headers, body=exchange.answer if body is None else body
    )


@asynccontextmanager
async def proxied(target: str) -> AsyncIterator[tuple[str, Proxy]]:
    """The address of a proxy before a server, and the proxy."""
    proxy = Proxy(target.rstrip("/"))
    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    try:
        async with serving(app) as url:
            yield url, proxy
    finally:
        await proxy.close()
