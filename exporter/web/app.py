"""The aiohttp application: pages, API, webhooks, metrics and health, behind one set of headers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from exporter.model import (
    OWN_NAME,
    Clock,
    ConfigError,
    ExporterError,
    IncidentStatus,
    NoTelemetry,
    Seldom,
    StateError,
    SystemClock,
    Telemetry,
    to_json,
)
from exporter.model.questions import Backend, IncidentRecord
from exporter.web import auth, lists, pages
from exporter.web.acting import Acting, everything
from exporter.web.forms import Forms
from exporter.web.full import Full
from exporter.web.guards import WrongTokens, is_our_name
from exporter.web.server import BUSY, HEADERS, Site
from exporter.web.sessions import Sessions
from exporter.web.settings import Access, WebSettings, split_listen
from exporter.web.webhooks import Webhooks
from exporter.wording import words

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
MAX_LISTED = 500
"""Incidents that one request to the API may ask for."""

LISTED = 100
NOTICED = 10
MARKED = 200
REFRESHED = 60
"""Seconds after which lists are loaded again."""
"""Incidents on the page, and in an answer of the API that was asked for no number."""

OPEN_PATHS = ("/metrics", "/-/healthy", "/-/ready", "/-/warm", "/static/", "/login")
"""What everybody may read: monitoring asks without a token."""

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


def create_app(
    settings: WebSettings,
    backend: Backend,
    telemetry: Telemetry | None = None,
    clock: Clock | None = None,
    access: Callable[[], Access] | None = None,
    own_token: str = "",
) -> web.Application:
    """Everything that is served, over whatever answers the questions of `Backend`.

    `access` answers the settings by which each request is judged, where they may change while it is served.
    `own_token` lets commands on this machine do what the token of the configuration allows, but for webhooks.
    """
    pages.load()
    access = access or (lambda: Access(settings))
    telemetry = telemetry or NoTelemetry()
    site = _Site(access, backend, own_token)
    webhooks = Webhooks(access, backend, telemetry, clock or SystemClock())
    sessions, wrong_tokens = Sessions(access, clock or SystemClock()), WrongTokens()
    door = _Door(access, telemetry, own_token, sessions, wrong_tokens)
    app = web.Application(
        client_max_size=settings.client_max_size, middlewares=[_in_hand, door.errors, door.names, door.readers_only]
    )
    app[BUSY], app[HEADERS] = set(), {**ALL_HEADERS, "Cache-Control": "no-store"}
    app.on_response_prepare.append(_secure)
    app.add_routes(
        [
            web.get("/", site.incidents),
            web.get("/incidents", site.incidents),
            web.get("/overview", site.overview),
            web.get("/glossary", site.glossary),
            web.get("/incidents/{id}", site.incident),
            web.get("/api/incidents", site.api_incidents),
            web.get("/api/incidents/{id}", site.api_incident),
            *Acting(access, backend, own_token).routes(),
            *Forms(access, backend, sessions, wrong_tokens).routes(),
            web.post("/webhooks/alertmanager", webhooks.alertmanager),
            web.post("/webhooks/change", webhooks.change),
            web.get("/metrics", site.metrics),
            web.get("/-/healthy", site.healthy),
            web.get("/-/ready", site.ready),
            web.get("/-/warm", site.warm),
            web.post("/-/reload", site.reload),
            web.static("/static", STATIC),
        ]
    )
    return app


async def start(app: web.Application, settings: WebSettings, telemetry: Telemetry | None = None) -> web.AppRunner:
    """Listen; `runner.addresses` says where, `runner.cleanup()` stops. Raises ConfigError when the port is taken."""
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=3.0)
    await runner.setup()
    asyncio.get_running_loop().set_exception_handler(Full().handle)
    try:
        await _listen(runner, *split_listen(settings.listen), telemetry or NoTelemetry())
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(
            f"web.listen: cannot listen on {settings.listen}: {error.strerror}; "
            "stop what uses the port, or choose another one"
        ) from error
    log.info("listening on %s", ", ".join(f"http://{_address(*one[:2])}" for one in runner.addresses))
    if not (settings.token or settings.token_file):
        open_ones = "" if settings.auth == "none" or settings.grafana_signature else "webhooks, "
        log.info("web.token_file is not set: %sresolving and reloading by web are shut", open_ones)
    if Access(settings).open_to_all:
        log.warning("whoever reaches %s can read every incident: set web.read_token_file", settings.listen)
    if settings.auth == "none":
        log.warning("web.auth is none: who reaches %s may send alerts to be analysed.", settings.listen)
    return runner


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


@contextlib.asynccontextmanager
async def serve(
    settings: WebSettings,
    backend: Backend,
    telemetry: Telemetry | None = None,
    access: Callable[[], Access] | None = None,
    own_token: str = "",
) -> AsyncIterator[str]:
    """Serve while the block runs, which is given its address on this machine; the rest as for `create_app`."""
    app = create_app(settings, backend, telemetry, access=access, own_token=own_token)
    runner = await start(app, settings, telemetry)
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{_address({'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host), port)}"  # noqa: S104
    finally:
        await runner.cleanup()


class _Site:
    """Pages and API; each handler asks the backend one question and renders the answer."""

    def __init__(self, access: Callable[[], Access], backend: Backend, own_token: str) -> None:
        self._own_token = own_token
        self._access = access
        self._backend = backend

    async def incidents(self, request: web.Request) -> web.Response:
        asked = lists.asked(request)
        records = await self._backend.find(asked, LISTED)
        readiness = await self._backend.readiness()
        noticed = await self._backend.notices(NOTICED)
        stays = request.query.get("refresh") == "off"
        stay = "" if stays else f"?{request.rel_url.update_query(refresh='off').raw_query_string}"
        open_to_all = self._access().open_to_all
        page = pages.incident_list(records, asked, readiness, _root(request), open_to_all, noticed, LISTED, stay)
        return _html(page) if stays else _again(_html(page))

    async def overview(self, request: web.Request) -> web.Response:
        seen, readiness = await self._backend.overview(), await self._backend.readiness()
        return _again(_html(pages.overview(seen, readiness, await self._backend.rules(), _root(request))))

    async def glossary(self, request: web.Request) -> web.Response:
        return _html(pages.glossary(_root(request)))

    async def incident(self, request: web.Request) -> web.Response:
        can_act = self._access().can_act
        record = await self._find(request)
        noticed = await self._backend.notices(MARKED)
        return _html(pages.incident_page(record, _root(request), can_act, noticed))

    async def api_incidents(self, request: web.Request) -> web.Response:
        records = await self._backend.list_incidents(_status(request), _limit(request))
        return _json({"incidents": [{"headline": words.title(item), **to_json(item.incident)} for item in records]})

    async def api_incident(self, request: web.Request) -> web.Response:
        return _json(everything(await self._find(request)))

    async def reload(self, request: web.Request) -> web.Response:
        auth.require_write(request, self._access().settings.tokens, own=self._own_token)
        try:
            await self._backend.reload()
        except StateError:
            raise
        except ExporterError as error:
            raise web.HTTPBadRequest(text=f"Nothing has changed: {error}") from None
        return _json({"reloaded": True})

    async def metrics(self, _: web.Request) -> web.Response:
        text = self._backend.metrics()
        return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def healthy(self, _: web.Request) -> web.Response:
        health = await self._backend.health()
        return _json({"healthy": health.ok, "why": health.why}, 200 if health.ok else 503)

    async def ready(self, _: web.Request) -> web.Response:
        """Whether to send requests here: sources that learn or are stalled are no reason to take the pages away."""
        readiness = await self._backend.readiness()
        reasons = [] if readiness.serving else ["the state file cannot be used now: the page and the log say why"]
        answer = {"ready": readiness.serving, "warm": readiness.ok, "reasons": reasons}
        return _json(answer, 200 if readiness.serving else 503)

    async def warm(self, _: web.Request) -> web.Response:
        """Whether incidents are complete: every source has learnt and none is stalled."""
        readiness = await self._backend.readiness()
        answer = {"warm": readiness.ok, "reasons": readiness.reasons, "sources": readiness.sources}
        return _json(answer, 200 if readiness.ok else 503)

    async def _find(self, request: web.Request) -> IncidentRecord:
        record = await self._backend.incident(request.match_info["id"])
        if record is None:
            raise _unknown()
        return record


@web.middleware
async def _in_hand(request: web.Request, handler: Handler) -> web.StreamResponse:
    """While a request is answered, its connection is not the one that makes room for another."""
    busy = request.app[BUSY]
    busy.add(request.protocol)
    try:
        return await handler(request)
    finally:
        busy.discard(request.protocol)


class _Door:
    """Who gets in, and what everybody hears who does not."""

    def __init__(
        self,
        access: Callable[[], Access],
        telemetry: Telemetry,
        own_token: str,
        sessions: Sessions,
        wrong_tokens: WrongTokens,
    ) -> None:
        self._access = access
        self._telemetry = telemetry
        self._own_token = own_token
        self._sessions = sessions
        self._wrong_tokens = wrong_tokens
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
                return _error(request, 503, "The state file cannot be used now; try again.", {"Retry-After": "30"})
            except ConfigError as error:
                # Whoever asks can make us say it.
                if self._minutely.is_time(str(error)):
                    log.error("%s", error)
                text = "Who may do this cannot be told now; the log of the exporter says why."
                return _error(request, 503, text, {"Retry-After": "30"})
            except Exception:
                log.exception("Answering %s %s failed.", request.method, request.rel_url.path)
                return _error(request, 500, "Something went wrong here; the log of the exporter says what.", {})

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
        return _error(request, error.status, text or error.reason, headers)

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
            if (
                request.method in {"GET", "HEAD"}
                and not request.path.startswith(OPEN_PATHS)
                and not self._sessions.of(request)
            ):
                settings = self._access().settings
                auth.require_read(request, settings.read_tokens, settings.tokens)
            return await handler(request)

        return check


class _Misdirected(web.HTTPClientError):
    status_code = 421


def _error(request: web.Request, status: int, text: str, headers: dict[str, str]) -> web.Response:
    response = _error_for(request, status, text, headers)
    if request.body_exists and not request.content.at_eof():
        # What is left of the body is not read.
        response.force_close()
    return response


def _error_for(request: web.Request, status: int, text: str, headers: dict[str, str]) -> web.Response:
    if request.path.startswith(("/api/", "/webhooks/", "/-/", "/metrics")):
        return web.json_response({"error": text}, status=status, headers=headers)
    response = _html(pages.error_page(status, HTTPStatus(status).phrase, text, _root(request)), status)
    response.headers.update(headers)
    return response


async def _secure(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(ALL_HEADERS)
    cached = request.path.startswith("/static/") and response.status in {200, 304}
    response.headers["Cache-Control"] = "max-age=3600" if cached else "no-store"


def _root(request: web.Request) -> str:
    return pages.root_of(request.rel_url.raw_path)


def _status(request: web.Request) -> IncidentStatus | None:
    match request.query.get("status", "all"):
        case "firing":
            return "firing"
        case "resolved":
            return "resolved"
        case "all":
            return None
    raise web.HTTPBadRequest(text="status is none of all, firing, resolved.")


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(LISTED))
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MAX_LISTED):
        raise web.HTTPBadRequest(text=f"limit is not a number from 1 to {MAX_LISTED}.")
    return int(text)


def _unknown() -> web.HTTPNotFound:
    return web.HTTPNotFound(text="There is no incident of this id; it may be older than what is kept.")


def _again(response: web.Response) -> web.Response:
    """To be loaded again by the browser, which needs no script for that."""
    response.headers["Refresh"] = str(REFRESHED)
    return response


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(to_json(value), status=status)
