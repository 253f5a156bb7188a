"""The aiohttp application: pages, API, webhooks, metrics and health, behind one set of headers."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from exporter.model import (
    Clock,
    ConfigError,
    ExporterError,
    IncidentStatus,
    NoTelemetry,
    StateError,
    SystemClock,
    Telemetry,
    to_json,
)
from exporter.model.questions import Backend, IncidentRecord
from exporter.web import auth, pages
from exporter.web.settings import WebSettings, split_listen
from exporter.web.webhooks import Webhooks
from exporter.wording import words
from exporter.wording.text import storable

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
MAX_LISTED = 500
"""Incidents that one request to the API may ask for."""

LISTED = 100
"""Incidents on the page, and in an answer of the API that was asked for no number."""

MAX_FIX = 2_000
"""Characters that say what fixed an incident."""

OPEN_PATHS = ("/metrics", "/-/healthy", "/-/ready", "/-/warm", "/static/")
"""What everybody may read: monitoring asks without a token."""

_PLAIN = {404: "There is nothing at this address.", 405: "This address does not take requests of this kind."}

ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  # where the operator says so
"""Every address of IPv4, and of IPv6."""

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def create_app(
    settings: WebSettings,
    backend: Backend,
    telemetry: Telemetry | None = None,
    clock: Clock | None = None,
    access: Callable[[], WebSettings] | None = None,
    own_token: str = "",
) -> web.Application:
    """Everything that is served, over whatever answers the questions of `Backend`.

    `access` answers the settings by which each request is judged, where they may change while it is served.
    `own_token` lets commands on this machine do what the token of the configuration allows, but for webhooks.
    """
    access = access or (lambda: settings)
    site = _Site(access, backend, own_token)
    webhooks = Webhooks(access, backend, telemetry or NoTelemetry(), clock or SystemClock())
    app = web.Application(client_max_size=settings.client_max_size, middlewares=[_errors, site.readers_only])
    app.on_response_prepare.append(_secure)
    app.add_routes(
        [
            web.get("/", site.incidents),
            web.get("/incidents", site.incidents),
            web.get("/incidents/{id}", site.incident),
            web.get("/api/incidents", site.api_incidents),
            web.get("/api/incidents/{id}", site.api_incident),
            web.post("/api/incidents/{id}/resolve", site.api_resolve),
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


async def start(app: web.Application, settings: WebSettings) -> web.AppRunner:
    """Listen; `runner.addresses` says where, `runner.cleanup()` stops. Raises ConfigError when the port is taken."""
    # No access log: a path may carry what somebody typed there by mistake.
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=3.0)
    await runner.setup()
    try:
        await _listen(runner, *split_listen(settings.listen))
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
    if settings.auth == "none":
        log.warning("web.auth is none: who reaches %s may send alerts to be analysed.", settings.listen)
    return runner


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    """On one address; without a host on all, also where the machine has no IPv6, or nothing else."""
    if host:
        await web.TCPSite(runner, host, port).start()
        return
    failed: list[OSError] = []
    for family in ANY_ADDRESS:
        try:
            await web.TCPSite(runner, family, port).start()
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
    access: Callable[[], WebSettings] | None = None,
    own_token: str = "",
) -> AsyncIterator[str]:
    """Serve while the block runs, which is given its address on this machine; the rest as for `create_app`."""
    runner = await start(create_app(settings, backend, telemetry, access=access, own_token=own_token), settings)
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{_address({'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host), port)}"  # noqa: S104
    finally:
        await runner.cleanup()


class _Site:
    """Pages and API; each handler asks the backend one question and renders the answer."""

    def __init__(self, access: Callable[[], WebSettings], backend: Backend, own_token: str) -> None:
        self._own_token = own_token
        self._access = access
        self._backend = backend

    @property
    def readers_only(self) -> Middleware:
        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.method in {"GET", "HEAD"} and not request.path.startswith(OPEN_PATHS):
                auth.require_read(request, self._access().read_tokens(), self._access().tokens())
            return await handler(request)

        return check

    async def incidents(self, request: web.Request) -> web.Response:
        status = _status(request)
        records = await self._backend.list_incidents(status, LISTED)
        readiness = await self._backend.readiness()
        return _html(pages.incident_list(records, status or "all", readiness, _root(request)))

    async def incident(self, request: web.Request) -> web.Response:
        return _html(pages.incident_page(await self._find(request), _root(request)))

    async def api_incidents(self, request: web.Request) -> web.Response:
        records = await self._backend.list_incidents(_status(request), _limit(request))
        return _json({"incidents": [{"headline": words.title(item), **to_json(item.incident)} for item in records]})

    async def api_incident(self, request: web.Request) -> web.Response:
        return _json(_everything(await self._find(request)))

    async def api_resolve(self, request: web.Request) -> web.Response:
        auth.require_write(request, self._access().tokens(), own=self._own_token)
        fix = await _fix(request)
        record = await self._backend.resolve(request.match_info["id"], fix)
        if record is None:
            raise _unknown()
        return _json(_everything(record))

    async def reload(self, request: web.Request) -> web.Response:
        auth.require_write(request, self._access().tokens(), own=self._own_token)
        try:
            await self._backend.reload()
        except StateError:
            raise
        except ExporterError as error:
            log.error("the configuration was not read again, all goes on as before: %s", error)
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
        answer = {"ready": readiness.serving, "warm": readiness.ok, "reasons": readiness.reasons}
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
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors in the form that the reader of this path expects; what went wrong inside stays inside."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        headers = {
            name: error.headers[name] for name in ("WWW-Authenticate", "Retry-After", "Allow") if name in error.headers
        }
        # aiohttp's own errors say only their number and name.
        plain = not error.text or error.text == f"{error.status}: {error.reason}"
        text = _PLAIN.get(error.status, error.reason) if plain else error.text
        return _error(request, error.status, text or error.reason, headers)
    except StateError as error:
        # Nothing was accepted: whoever sent it sends it again.
        log.error("answering %s %s: %s", request.method, request.rel_url.path, error)
        return _error(request, 503, "The state file cannot be used now; try again.", {"Retry-After": "30"})
    except Exception:
        log.exception("Answering %s %s failed.", request.method, request.rel_url.path)
        return _error(request, 500, "Something went wrong here; the log of the exporter says what.", {})


def _error(request: web.Request, status: int, text: str, headers: dict[str, str]) -> web.Response:
    if request.path.startswith(("/api/", "/webhooks/", "/-/", "/metrics")):
        return web.json_response({"error": text}, status=status, headers=headers)
    response = _html(pages.error_page(status, HTTPStatus(status).phrase, text, _root(request)), status)
    response.headers.update(headers)
    return response


async def _secure(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SECURITY_HEADERS)
    cached = request.path.startswith("/static/") and response.status in {200, 304}
    response.headers["Cache-Control"] = "max-age=3600" if cached else "no-store"


def _root(request: web.Request) -> str:
    """The way back to /, relative, so that pages also work under a path of a reverse proxy."""
    return "../" * (request.rel_url.raw_path.count("/") - 1) or "./"


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


async def _fix(request: web.Request) -> str | None:
    """What fixed it, from a body `{"fix": …}`; a body is not needed."""
    if not request.can_read_body:
        return None
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="Send JSON with `Content-Type: application/json`.")
    try:
        payload = await request.json()
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest(text="The body is not JSON.") from None
    fix = payload.get("fix") if isinstance(payload, dict) else payload
    if fix is not None and not isinstance(fix, str):
        raise web.HTTPBadRequest(text='The body is not `{"fix": "what fixed it"}`.')
    if fix and len(fix) > MAX_FIX:
        raise web.HTTPBadRequest(text=f"fix has more than {MAX_FIX:,} characters.")
    return storable(fix).strip() or None if fix else None


def _everything(record: IncidentRecord) -> Any:
    return {"headline": words.title(record), **to_json(record)}


def _unknown() -> web.HTTPNotFound:
    return web.HTTPNotFound(text="There is no incident of this id; it may be older than what is kept.")


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(to_json(value), status=status)
