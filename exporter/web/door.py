"""Who gets in, what everybody hears who does not, and where is listened: the same of pages and of layers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from exporter.model import OWN_NAME, ConfigError, NoTelemetry, Seldom, StateError, Telemetry
from exporter.web import auth
from exporter.web.full import Full
from exporter.web.guards import WrongTokens, is_our_name
from exporter.web.server import BUSY, HEADERS, Site
from exporter.web.settings import Guarded, ListenSettings, split_listen

log = logging.getLogger(__name__)

_PLAIN = {404: "There is nothing at this address.", 405: "This address does not take requests of this kind."}

ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  # where the operator says so
"""Every address of IPv4, and of IPv6."""

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


ALL_HEADERS = {**SECURITY_HEADERS, "Server": OWN_NAME}
"""Of every answer; whose versions we are made of is nobody's business."""

ANY_NAME = ("/metrics", "/-/", "/webhooks/")
"""What machines ask, by whatever name they know us; nothing there is a secret that a browser could be made to read."""

SAY_EVERY = timedelta(minutes=1)
"""Between two entries in the log of the same, where somebody outside can bring it about."""


class Say(Protocol):
    """How an error is said to the reader of a path."""

    def __call__(self, request: web.Request, status: int, text: str) -> web.Response: ...


def guarded(door: Door, client_max_size: int) -> web.Application:
    """An application without routes, behind a door."""
    app = web.Application(
        client_max_size=client_max_size, middlewares=[in_hand, door.errors, door.names, door.readers_only]
    )
    app[BUSY], app[HEADERS] = set(), {**ALL_HEADERS, "Cache-Control": "no-store"}
    app.on_response_prepare.append(secure)
    return app


async def listen(
    app: web.Application, settings: ListenSettings, telemetry: Telemetry | None = None, name: str = "web"
) -> web.AppRunner:
    """Listen; `runner.addresses` says where, `runner.cleanup()` stops. Raises ConfigError when the port is taken.

    `name` is that of the settings.
    """
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=3.0)
    await runner.setup()
    asyncio.get_running_loop().set_exception_handler(Full().handle)
    try:
        await _listen(runner, *split_listen(settings.listen), telemetry or NoTelemetry())
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(
            f"{name}.listen: cannot listen on {settings.listen}: {error.strerror}; "
            "stop what uses the port, or choose another one"
        ) from error
    log.info("listening on %s", ", ".join(f"http://{_address(*one[:2])}" for one in runner.addresses))
    return runner


@contextlib.asynccontextmanager
async def reached(runner: web.AppRunner) -> AsyncIterator[str]:
    """Serve while the block runs, which is given the address on this machine."""
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{_address({'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host), port)}"  # noqa: S104
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int, telemetry: Telemetry) -> None:
    """On one address; without a host on all, also where the machine has no IPv6, or nothing else."""
    if host:
        await Site(runner, host, port, telemetry).start()
        return
    failed: list[OSError] = []
    for family in ANY_ADDRESS:
        try:
            await Site(runner, family, port, telemetry).start()
        except OSError as error:
            failed.append(error)
    if len(failed) == len(ANY_ADDRESS) or any(error.errno == errno.EADDRINUSE for error in failed):
        raise failed[0]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@web.middleware
async def in_hand(request: web.Request, handler: Handler) -> web.StreamResponse:
    """While a request is answered, its connection is not the one that makes room for another."""
    busy = request.app[BUSY]
    busy.add(request.protocol)
    try:
        return await handler(request)
    finally:
        busy.discard(request.protocol)


class Door:
    """Who gets in, and what everybody hears who does not."""

    def __init__(
        self,
        access: Callable[[], Guarded],
        telemetry: Telemetry,
        own_token: str,
        say: Say,
        open_paths: tuple[str, ...],
        signed_in: Callable[[web.Request], object] = lambda _: None,
        wrong_tokens: WrongTokens | None = None,
    ) -> None:
        self._access = access
        self._telemetry = telemetry
        self._own_token = own_token
        self._say = say
        self._open_paths = open_paths
        self._signed_in = signed_in
        self._wrong_tokens = wrong_tokens or WrongTokens()
        self._minutely = Seldom(SAY_EVERY)

    @property
    def errors(self) -> Middleware:
        """Errors in the form that the reader of this path expects; what went wrong inside stays inside."""

        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            except web.HTTPException as error:
                if error.status < 400:
                    raise
                return await self._refused(request, error)
            except StateError as error:
                # Nothing was accepted: whoever sent it sends it again.
                log.error("answering %s %s: %s", request.method, request.rel_url.path, error)
                return self._error(request, 503, "The state file cannot be used now; try again.", {"Retry-After": "30"})
            except ConfigError as error:
                # Whoever asks can make us say it.
                if self._minutely.is_time(str(error)):
                    log.error("%s", error)
                text = "Who may do this cannot be told now; the log of the exporter says why."
                return self._error(request, 503, text, {"Retry-After": "30"})
            except Exception:
                log.exception("Answering %s %s failed.", request.method, request.rel_url.path)
                return self._error(request, 500, "Something went wrong here; the log of the exporter says what.", {})

        return answer

    async def _refused(self, request: web.Request, error: web.HTTPException) -> web.StreamResponse:
        if error.status == 401 and auth.claims(request):
            self._telemetry.count("web_refused", reason="token")
            await self._wrong_tokens.wait(request.remote or "")
        headers = {
            name: error.headers[name] for name in ("WWW-Authenticate", "Retry-After", "Allow") if name in error.headers
        }
        # aiohttp's own errors say only their number and name.
        plain = not error.text or error.text == f"{error.status}: {error.reason}"
        text = _PLAIN.get(error.status, error.reason) if plain else error.text
        return self._error(request, error.status, text or error.reason, headers)

    @property
    def names(self) -> Middleware:
        """Only by a name of ours, for what a browser could be made to ask."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            host = request.headers.get("Host")
            if request.path.startswith(ANY_NAME) or is_our_name(host, self._access()) or self._is_known(request):
                return await handler(request)
            self._telemetry.count("web_refused", reason="host")
            text = "By this name nobody is known here; if it is yours, give it in web.hosts, or as external_url."
            raise _Misdirected(text=text)

        return check

    def _is_known(self, request: web.Request) -> bool:
        """No foreign page in a browser has a token."""
        settings = self._access().settings
        with contextlib.suppress(ConfigError):
            return auth.is_known(request, (*settings.tokens(), *settings.read_tokens(), self._own_token))
        return False

    @property
    def readers_only(self) -> Middleware:
        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            reads = request.method in {"GET", "HEAD"} and not request.path.startswith(self._open_paths)
            if reads and not self._signed_in(request):
                settings = self._access().settings
                auth.require_read(request, settings.read_tokens, settings.tokens)
            return await handler(request)

        return check

    def _error(self, request: web.Request, status: int, text: str, headers: dict[str, str]) -> web.Response:
        response = self._say(request, status, text)
        response.headers.update(headers)
        if request.body_exists and not request.content.at_eof():
            # What is left of the body is not read.
            response.force_close()
        return response


def unknown_incident() -> web.HTTPNotFound:
    return web.HTTPNotFound(text="There is no incident of this id; it may be older than what is kept.")


def unknown_rule() -> web.HTTPNotFound:
    return web.HTTPNotFound(text="There is no rule of this name; it may have been taken back longer ago than is kept.")


class _Misdirected(web.HTTPClientError):
    status_code = 421


async def secure(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(ALL_HEADERS)
    cached = request.path.startswith("/static/") and response.status in {200, 304}
    response.headers["Cache-Control"] = "max-age=3600" if cached else "no-store"
