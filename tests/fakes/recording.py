"""Servers that keep what they are sent over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Recorded:
    """One request, whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def recording(app: web.Application, requests: list[Recorded]) -> web.Application:
    """The application, made to keep each request before it answers."""

    @web.middleware
    async def keep(request: web.Request, handler: Any) -> web.StreamResponse:
        body = await request.read()
        requests.append(Recorded(request.method, request.path_qs, dict(request.headers), body))
        answer: web.StreamResponse = await handler(request)
        return answer

    app.middlewares.insert(0, keep)
    return app


@dataclass
class Recorder:
    """Takes everything: JSON is answered by an empty object, anything else by nothing. Each so-manieth is refused."""

    refuses_each: int | None = None
    requests: list[Recorded] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._take)
        return recording(app, self.requests)

    async def _take(self, request: web.Request) -> web.Response:
        if self.refuses_each and len(self.requests) % self.refuses_each == 0:
            return web.Response(status=503)
        if request.content_type == "application/json":
            return web.json_response({})
        return web.Response(content_type=request.content_type)
