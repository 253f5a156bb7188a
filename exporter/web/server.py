"""Connections: a bounded number, each with deadlines, and what is no HTTP counted and answered in our form."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from exporter.model import Telemetry

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
"""Connections at the same time; of more, the oldest that is answered nothing at the moment is closed."""

SHARE_OF_FILES = 4
"""At most one in so many files that the process may open is a connection: sources and the state file need theirs."""

IDLE = 20.0
"""Seconds until a request must have said all of its headers, and a connection that is kept is closed."""

LINGER = 1.0
"""Seconds for which a body that nobody wants is thrown away, so that the sender can read the answer."""

BUSY: web.AppKey[set[Any]] = web.AppKey("busy", set)
"""The connections of an application whose request is being answered."""

HEADERS: web.AppKey[Mapping[str, str]] = web.AppKey("headers", Mapping)
"""What every answer of an application carries."""


class Connection(web.RequestHandler):
    """One connection. What it cannot read is counted and written nowhere: it is foreign text, tokens among it."""

    def __init__(self, site: Site, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE,
            lingering_time=LINGER,
            # A path may carry what somebody typed there by mistake.
            access_log=None,  # type: ignore[arg-type]
            # A small body can be a very large one: it is inflated where the limit is known.
            auto_decompress=False,
        )
        self._site = site

    def connection_lost(self, exc: BaseException | None) -> None:
        self._site.open.pop(self, None)
        super().connection_lost(exc)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        self._site.telemetry.count("web_refused", reason="malformed")

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        self.log_exception()
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        answer = web.json_response({"error": "This is no request that can be read."}, status=status)
        answer.headers.update(self._site.headers)
        answer.force_close()
        return answer


class Site(web.BaseSite):
    """Listens on one address."""

    def __init__(self, runner: web.AppRunner, host: str, port: int, telemetry: Telemetry) -> None:
        super().__init__(runner)
        self._address = host, port
        self._app = runner.app
        self.telemetry = telemetry
        self.headers = runner.app[HEADERS]
        self.open: dict[Connection, None] = {}
        """In the order in which they were made."""

    @property
    def name(self) -> str:
        return "http://{}:{}".format(*self._address)

    async def start(self) -> None:
        await super().start()
        host, port = self._address
        self._server = await asyncio.get_running_loop().create_server(self._connect, host, port)

    def _connect(self) -> Connection:
        server = self._runner.server
        if server is None:
            raise RuntimeError("the site was stopped")
        for oldest in self._superfluous():
            self.telemetry.count("web_refused", reason="full")
            if oldest.transport is not None:
                oldest.transport.abort()
            del self.open[oldest]
        connection = Connection(self, server)
        self.open[connection] = None
        return connection

    def _superfluous(self) -> list[Connection]:
        """What makes room for one more: silent ones first, for a health check must get in."""
        over = len(self.open) + 1 - most_connections()
        if over <= 0:
            return []
        busy = self._app[BUSY]
        return sorted(self.open, key=lambda one: one in busy)[:over]


def most_connections() -> int:
    """How many there may be, of the files that this process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(4, min(MAX_CONNECTIONS, files // SHARE_OF_FILES))
