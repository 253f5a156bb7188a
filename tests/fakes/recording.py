"""A server that takes whatever it is sent over real HTTP, and keeps it."""

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


@dataclass
class Recorder:
    """Takes everything: JSON is answered by an empty object, anything else by nothing."""

    requests: list[Recorded] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._take)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        recorded = Recorded(request.method, request.path_qs, dict(request.headers), await request.read())
        self.requests.append(recorded)
        if request.content_type == "application/json":
            return web.json_response({})
        return web.Response(content_type=request.content_type)
