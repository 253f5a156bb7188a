"""What people do by the API: to incidents, to rules, and to what memory holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from aiohttp import web
from aiohttp.typedefs import Handler

from exporter.model import (
    ConfigError,
    PermanentError,
    TransientError,
    Verb,
    parse_duration,
    parse_moment,
    settings_of,
    to_json,
)
from exporter.model.layers import MOST_DOCUMENTS, Documents, Written
from exporter.model.questions import (
    EVER,
    MOST_SAID,
    RULES_LAST,
    Backend,
    IncidentRecord,
    Preview,
    RuleRecord,
    Said,
    UnconfirmedError,
)
from exporter.web import auth, bodies
from exporter.web.door import unknown_incident
from exporter.web.settings import Access
from exporter.wording import words
from exporter.wording.text import storable

TEXT_OF: Mapping[Verb, str] = {
    "resolve": "fix",
    "accept": "reason",
    "reject": "reason",
    "ack": "note",
    "note": "text",
    "unfix": "reason",
}
"""What each verb calls that which somebody says."""

MAKES_A_RULE = ("accept", "reject")


class Acting:
    """Handlers; each asks for the token, reads what is said, and hands it over."""

    def __init__(self, access: Callable[[], Access], backend: Backend, own_token: str) -> None:
        self._access = access
        self._backend = backend
        self._own_token = own_token

    def routes(self) -> list[web.RouteDef]:
        verbs = "|".join(TEXT_OF)
        return [
            web.post(f"/api/incidents/{{id}}/{{verb:{verbs}}}", _answered(self.act)),
            web.get("/api/rules", self.rules),
            web.post("/api/rules", _answered(self.add)),
            web.post("/api/rules/preview", _answered(self.preview)),
            web.post("/api/rules/{name}/remove", _answered(self.remove)),
            web.post("/api/memory", _answered(self.remember)),
            web.post("/api/memory/{key}/forget", _answered(self.forget)),
        ]

    async def act(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        verb = cast(Verb, request.match_info["verb"])
        name = TEXT_OF[verb]
        known = (name, "by", *(("until", "for", "confirmed") if verb in MAKES_A_RULE else ()))
        if verb == "ack":
            known = (*known, "until", "for")
            body = {"for": EVER, **body} if "until" not in body else body
        if verb != "resolve":
            # A release that only resolved took whatever stood beside.
            _only(body, known)
        if verb == "note" and not _text(body, name).strip():
            raise web.HTTPBadRequest(text='Say something: {"text": "…"}.')
        record = await self._backend.act(request.match_info["id"], verb, _said(body, name))
        if record is None:
            raise unknown_incident()
        return _json(everything(record))

    async def rules(self, request: web.Request) -> web.Response:
        return _json({"rules": [_shown(record) for record in await self._backend.rules()]})

    async def add(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        said = _said(body, "reason")
        settings = {name: value for name, value in body.items() if name not in ("for", "confirmed", "until")}
        settings["until"] = said.until
        return _json(_shown(await self._backend.add_rule(settings, said)), 201)

    async def preview(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        settings = {name: value for name, value in body.items() if name not in ("for", "confirmed")}
        return _json(_previewed(await self._backend.preview(settings)))

    async def remove(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        _only(body, ("by", "reason"))
        removed = await self._backend.remove_rule(request.match_info["name"], _said(body, "reason"))
        return _json(_shown(removed))

    async def remember(self, request: web.Request) -> web.Response:
        """What another memory held, as `incidents import` sends it."""
        asked: Documents = await asyncio.to_thread(bodies.value, Documents, await self._body(request))
        if len(asked.documents) > MOST_DOCUMENTS:
            raise web.HTTPBadRequest(text=f"More than {MOST_DOCUMENTS} documents at once; send them in parts.")
        return _json(Written(await self._backend.remember(asked.documents)))

    async def forget(self, request: web.Request) -> web.Response:
        _only(await self._body(request), ())
        if not await self._backend.forget(request.match_info["key"]):
            raise web.HTTPNotFound(text="Nothing is remembered under this id.")
        return _json({"forgotten": True})

    async def _body(self, request: web.Request) -> dict[str, Any]:
        """The JSON object of who has the token; a body is not needed."""
        access = self._access().settings
        auth.require_write(request, access.tokens, own=self._own_token)
        if not request.can_read_body:
            return {}
        return await bodies.read_object(request, access.client_max_size)


def _answered(handler: Handler) -> Handler:
    """With what cannot be done as an answer that says why."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except UnconfirmedError as error:
            text = f'{error}; send "confirmed": true to make it all the same'
            return _json({"error": text, **_previewed(error.preview)}, 409)
        except (PermanentError, ConfigError) as error:
            raise web.HTTPBadRequest(text=f"Nothing has changed: {error}") from None
        except TransientError as error:
            raise web.HTTPServiceUnavailable(text=f"Not all has been done, send it again: {error}") from None

    return answer


def everything(record: IncidentRecord) -> Any:
    """An incident as the API shows it."""
    return {"headline": words.title(record), **to_json(record)}


def _shown(record: RuleRecord) -> dict[str, Any]:
    rule = record.rule
    own = {"origin": rule.origin, "since": rule.since, "removed_at": rule.removed_at, "hidden": record.hidden}
    return {**settings_of(rule), **own}


def _previewed(preview: Preview) -> dict[str, Any]:
    return {"rule": settings_of(preview.rule), "since": preview.since, "among": preview.among, "hidden": preview.hidden}


def _said(body: Mapping[str, Any], name: str) -> Said:
    until, lasting = body.get("until"), body.get("for")
    if until is not None and lasting is not None:
        raise web.HTTPBadRequest(text="until and for exclude each other.")
    if not isinstance(body.get("confirmed", False), bool):
        raise web.HTTPBadRequest(text="confirmed is true or false.")
    by, text = _text(body, "by").strip() or "the API", _text(body, name).strip()
    return Said(by, text, _moment(until), _lasting(lasting), body.get("confirmed", False))


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise web.HTTPBadRequest(text=f"{name} is not a text.")
    if value and len(value) > MOST_SAID:
        raise web.HTTPBadRequest(text=f"{name} has more than {MOST_SAID:,} characters.")
    return storable(value or "")


def _moment(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        return parse_moment(value)
    except (TypeError, ValueError):
        raise web.HTTPBadRequest(text="until is not an RFC 3339 time, such as 2026-12-24T18:00:00Z.") from None


def _lasting(value: Any) -> timedelta | None:
    if value is None:
        return RULES_LAST
    if value == EVER:
        return None
    try:
        return parse_duration(value)
    except (TypeError, ValueError, AttributeError):
        raise web.HTTPBadRequest(text='for is neither a duration, such as 7d, nor "ever".') from None


def _only(body: Mapping[str, Any], names: tuple[str, ...]) -> None:
    if unknown := sorted(body.keys() - set(names)):
        raise web.HTTPBadRequest(text=f"{storable(str(unknown[0]))[:80]!r} is not known here: {', '.join(names)} are.")


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(to_json(value), status=status)
