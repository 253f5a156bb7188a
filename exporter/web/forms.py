"""What people do from the pages: sign in, act on an incident, take a rule back, by forms that need no script."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl

from aiohttp import web

from exporter.model import ConfigError, PermanentError
from exporter.model.questions import (
    MOST_SAID,
    Backend,
    IncidentRecord,
    Preview,
    Proposal,
    RuleStory,
    Said,
    UnconfirmedError,
)
from exporter.web import bodies, pages
from exporter.web.deeds import DEEDS, LASTING, Deed, Filled
from exporter.web.door import unknown_incident, unknown_rule
from exporter.web.guards import WrongTokens
from exporter.web.sessions import Session, Sessions
from exporter.web.settings import Access
from exporter.wording.text import storable

MAX_FORM = 64 * 1024
"""Bytes of a form."""

MAX_FIELDS = 20

SHUT = (
    "These pages are read-only: no token is configured. Whoever runs this installation writes one into a file and "
    "names it in web.token_file of exporter.yml; then people who know it sign in here."
)

_PLACE = re.compile(
    r"(?:overview|rules/[A-Za-z0-9_.-]{1,63}/remove|incidents/[A-Za-z0-9._~%-]{1,300}(?:/[a-z]{1,20})?)?"
)
"""Where signing in may lead: to pages of ours, relative to the first one."""


class Forms:
    """Handlers of the pages with forms."""

    def __init__(
        self, access: Callable[[], Access], backend: Backend, sessions: Sessions, wrong_tokens: WrongTokens
    ) -> None:
        self._access = access
        self._backend = backend
        self._sessions = sessions
        self._wrong_tokens = wrong_tokens

    def routes(self) -> list[web.RouteDef]:
        act = f"/incidents/{{id}}/{{verb:{'|'.join(DEEDS)}}}"
        return [
            web.get("/login", self.login),
            web.post("/login", self.sign_in),
            web.post("/logout", self.sign_out),
            web.get(act, self.ask),
            web.post(act, self.act),
            web.get("/rules/{name}/remove", self.ask_back),
            web.post("/rules/{name}/remove", self.take_back),
        ]

    # --- Signing in ---

    async def login(self, request: web.Request) -> web.Response:
        self._require_token()
        session = self._sessions.of(request)
        return _page(pages.login(_place(request.query.get("to", "")), session, "", _root(request)))

    async def sign_in(self, request: web.Request) -> web.Response:
        self._require_token()
        self._sessions.require_ours(request)
        given = await _form(request)
        place, by = _place(given.get("to", "")), given.get("by", "").strip()
        wrong = "Give your name: it stands beside what you do." if not by else ""
        cookie = None if wrong else self._sessions.opened(given.get("token", "").strip(), by)
        if cookie is None:
            if not wrong:
                await self._wrong_tokens.wait(request.remote or "")
            wrong = wrong or "This is not the token of web.token_file."
            return _page(pages.login(place, None, wrong, _root(request)), HTTPStatus.UNAUTHORIZED)
        response = _see(f"{_root(request)}{place}")
        self._sessions.give(request, response, cookie)
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        given = await _form(request)
        self._sessions.require(request, given.get("form", ""))
        response = _see(_root(request))
        self._sessions.take(response)
        return response

    # --- Acting ---

    async def ask(self, request: web.Request) -> web.StreamResponse:
        self._require_token()
        record, verb = await self._find(request), request.match_info["verb"]
        session = self._sessions.of(request)
        if session is None:
            return _see(f"{_root(request)}login?to=incidents/{pages.segment(record.incident.id)}/{verb}")
        return await self._asked(request, record, session, Filled())

    async def act(self, request: web.Request) -> web.StreamResponse:
        self._require_token()
        given = await _form(request)
        session = self._sessions.require(request, given.get("form", ""))
        record, deed = await self._find(request), DEEDS[request.match_info["verb"]]
        filled = _filled(given, deed)
        if given.get("step") == "preview":
            return await self._asked(request, record, session, filled)
        if deed.needed and not filled.text:
            return await self._asked(request, record, session, replace(filled, wrong="Say something."), 400)
        try:
            await self._do(record, deed, session, filled)
        except UnconfirmedError as error:
            wrong = f"{error}: see what, and say that you mean it."
            return await self._asked(request, record, session, replace(filled, wrong=wrong), 409)
        except (PermanentError, ConfigError) as error:
            wrong = f"Nothing has changed: {error}"
            return await self._asked(request, record, session, replace(filled, wrong=wrong), 400)
        return _see(f"../{pages.segment(record.incident.id)}")

    async def _do(self, record: IncidentRecord, deed: Deed, session: Session, filled: Filled) -> None:
        lasting = LASTING[filled.lasts][1] if filled.lasts else None
        said = Said(session.by, filled.text, None, lasting, filled.confirmed)
        if deed.verb:
            await self._backend.act(record.incident.id, deed.verb, said)
            return
        settings = await self._backend.proposed(record.incident.id, cast(Proposal, filled.proposal))
        if settings is None:
            raise PermanentError("nothing of it was seen in logs, so no rule can be made of it")
        await self._backend.add_rule(settings, said)

    async def _asked(
        self, request: web.Request, record: IncidentRecord, session: Session, filled: Filled, status: int = 200
    ) -> web.Response:
        """The form, with what the rule that it makes would have hidden."""
        deed = DEEDS[request.match_info["verb"]]
        proposal = filled.proposal or next(iter(deed.proposals), "")
        preview = await self._previewed(record, deed, proposal) if proposal else None
        shown = replace(filled, proposal=proposal, lasts=filled.lasts or next(iter(deed.lasts), ""))
        return _page(pages.act(record, deed, shown, session, preview, _root(request)), status)

    async def _previewed(self, record: IncidentRecord, deed: Deed, proposal: str) -> Preview | None:
        settings = await self._backend.proposed(record.incident.id, cast(Proposal, proposal))
        if settings is None:
            return None
        found = await self._backend.preview(settings)
        if not deed.verb:
            return found
        # It ends with this, whatever the rule.
        others = tuple(one for one in found.hidden if one.id != record.incident.id)
        return replace(found, hidden=others, among=max(0, found.among - 1))

    # --- Rules ---

    async def ask_back(self, request: web.Request) -> web.StreamResponse:
        self._require_token()
        story, session = await self._rule(request), self._sessions.of(request)
        name = pages.segment(story.record.rule.name)
        if not story.can_be_taken_back:
            return _see(f"../{name}")
        if session is None:
            return _see(f"{_root(request)}login?to=rules/{name}/remove")
        return _page(pages.take_back(story, session, "", "", _root(request)))

    async def take_back(self, request: web.Request) -> web.StreamResponse:
        self._require_token()
        given = await _form(request)
        session = self._sessions.require(request, given.get("form", ""))
        story, text = await self._rule(request), given.get("text", "").strip()[:MOST_SAID]
        try:
            await self._backend.remove_rule(story.record.rule.name, Said(session.by, text))
        except PermanentError as error:
            wrong = f"Nothing has changed: {error}"
            return _page(pages.take_back(story, session, text, wrong, _root(request)), 400)
        return _see(f"../{pages.segment(story.record.rule.name)}")

    async def _rule(self, request: web.Request) -> RuleStory:
        story = await self._backend.rule(request.match_info["name"])
        if story is None:
            raise unknown_rule()
        return story

    async def _find(self, request: web.Request) -> IncidentRecord:
        record = await self._backend.incident(request.match_info["id"])
        if record is None:
            raise unknown_incident()
        return record

    def _require_token(self) -> None:
        if not self._access().can_act:
            raise web.HTTPForbidden(text=SHUT)


def _filled(given: Mapping[str, str], deed: Deed) -> Filled:
    """What a form says; of choices only those that it offers."""
    lasts, proposal = given.get("lasts", ""), given.get("proposal", "")
    return Filled(
        given.get("text", "").strip()[:MOST_SAID],
        lasts if lasts in deed.lasts else next(iter(deed.lasts), ""),
        proposal if proposal in deed.proposals else next(iter(deed.proposals), ""),
        given.get("confirmed") == "yes",
    )


async def _form(request: web.Request) -> dict[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise web.HTTPUnsupportedMediaType(text="Send a form of these pages.")
    body = await bodies.read(request, False, MAX_FORM)
    if len(body) > MAX_FORM:
        raise web.HTTPRequestEntityTooLarge(MAX_FORM, len(body), text="The form is too large.")
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="replace")
    except ValueError:
        raise web.HTTPBadRequest(text="The form cannot be read.") from None
    return {name: storable(value) for name, value in fields}


def _place(text: str) -> str:
    """A page of ours, or the first one."""
    return text if _PLACE.fullmatch(text) else ""


def _root(request: web.Request) -> str:
    return pages.root_of(request.rel_url.raw_path)


def _see(place: str) -> web.Response:
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": place})


def _page(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")
