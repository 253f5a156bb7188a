"""The aiohttp application: pages, API, webhooks, metrics and health, behind one set of headers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from exporter.model import (
    Clock,
    ExporterError,
    IncidentStatus,
    NoTelemetry,
    StateError,
    SystemClock,
    Telemetry,
    to_json,
)
from exporter.model.questions import Backend, IncidentRecord
from exporter.web import auth, lists, pages
from exporter.web.acting import Acting, everything
from exporter.web.door import Door, guarded, listen, reached, unknown_incident, unknown_rule
from exporter.web.forms import Forms
from exporter.web.guards import WrongTokens
from exporter.web.sessions import Sessions
from exporter.web.settings import Access, WebSettings
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
    door = Door(access, telemetry, own_token, _error, OPEN_PATHS, sessions.of, wrong_tokens)
    app = guarded(door, settings.client_max_size)
    app.add_routes(
        [
            web.get("/", site.incidents),
            web.get("/incidents", site.incidents),
            web.get("/overview", site.overview),
            web.get("/glossary", site.glossary),
            web.get("/rules/{name}", site.rule),
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
    """As `listen`, and say in the log what is open and what is shut."""
    runner = await listen(app, settings, telemetry)
    if not (settings.token or settings.token_file):
        open_ones = "" if settings.auth == "none" or settings.grafana_signature else "webhooks, "
        log.info("web.token_file is not set: %sresolving and reloading by web are shut", open_ones)
    if Access(settings).open_to_all:
        log.warning("whoever reaches %s can read every incident: set web.read_token_file", settings.listen)
    if settings.auth == "none":
        log.warning("web.auth is none: who reaches %s may send alerts to be analysed.", settings.listen)
    return runner


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
    async with reached(await start(app, settings, telemetry)) as url:
        yield url


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
        rules, can_act = await self._backend.rules(), self._access().can_act
        return _again(_html(pages.overview(seen, readiness, rules, _root(request), can_act)))

    async def rule(self, request: web.Request) -> web.Response:
        story = await self._backend.rule(request.match_info["name"])
        if story is None:
            raise unknown_rule()
        return _html(pages.rule_page(story, _root(request), self._access().can_act))

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
            raise unknown_incident()
        return record


def _error(request: web.Request, status: int, text: str) -> web.Response:
    if request.path.startswith(("/api/", "/webhooks/", "/-/", "/metrics")):
        return web.json_response({"error": text}, status=status)
    return _html(pages.error_page(status, HTTPStatus(status).phrase, text, _root(request)), status)


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


def _again(response: web.Response) -> web.Response:
    """To be loaded again by the browser, which needs no script for that."""
    response.headers["Refresh"] = str(REFRESHED)
    return response


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(to_json(value), status=status)
