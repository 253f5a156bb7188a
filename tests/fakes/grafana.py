"""A Grafana that knows annotations only, with the limits and the habits of the real one."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

TAGS_LENGTH = 500
"""`[annotations] tags_length`: the whole list, as JSON."""

TAG_PART = 100
"""Characters of the columns `key` and `value` of table `tag`; a longer one is an error of the database."""

Mishap = Literal["stored_then_timeout", "stored_then_500", "500", "429", "login_page"]


@dataclass
class Annotation:
    """A row of table `annotation`; `text` is HTML that viewers' browsers render."""

    id: int
    time: int
    time_end: int
    text: str
    tags: list[str]
    dashboard_uid: str | None = None
    panel_id: int | None = None


@dataclass
class GrafanaFake:
    """`mishaps` are taken one a request, first come first served; `scopes` are the token's permissions."""

    token: str = "glsa_fake"
    prefix: str = ""
    scopes: set[str] = field(default_factory=lambda: {"annotations:create", "annotations:write", "annotations:read"})
    mishaps: list[Mishap | None] = field(default_factory=list)
    annotations: dict[int, Annotation] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    now: int = 1_773_480_912_000
    _last_id: int = 0

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        base = f"{self.prefix}/api/annotations"
        app.router.add_get(base, self._find)
        app.router.add_post(base, self._create)
        app.router.add_patch(base + r"/{id:\d+}", self._patch)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _error(401, "Invalid API key")
        mishap = self.mishaps.pop(0) if self.mishaps else None
        if mishap == "500":
            return _error(500, "Internal server error")
        if mishap == "429":
            return web.json_response({"message": "Too many requests"}, status=429, headers={"Retry-After": "7"})
        if mishap == "login_page":
            return web.Response(status=302, headers={"Location": "/login"})
        response: web.StreamResponse = await handler(request)
        if mishap == "stored_then_timeout":
            await asyncio.Event().wait()
        return _error(500, "database is locked") if mishap == "stored_then_500" else response

    def _forbidden(self, permission: str) -> web.Response | None:
        if permission in self.scopes:
            return None
        return _error(
            403, f"You'll need additional permissions to perform this action. Permissions needed: {permission}"
        )

    async def _create(self, request: web.Request) -> web.Response:
        if refusal := self._forbidden("annotations:create"):
            return refusal
        body = await request.json()
        if problem := _problem(body) or ("text field should not be empty" if not body.get("text") else None):
            return _error(400, problem)
        tags = parse_tags(body.get("tags", []))
        if refusal := _tag_refusal(tags):
            return refusal
        self._last_id += 1
        time, end = self._region(body.get("time", 0), body.get("timeEnd", 0))
        self.annotations[self._last_id] = Annotation(
            self._last_id, time, end, body["text"], tags, body.get("dashboardUID"), body.get("panelId")
        )
        return web.json_response({"message": "Annotation added", "id": self._last_id})

    async def _patch(self, request: web.Request) -> web.Response:
        if refusal := self._forbidden("annotations:write"):
            return refusal
        annotation = self.annotations.get(int(request.match_info["id"]))
        if annotation is None:
            return _error(404, "Could not find annotation to update")
        body = await request.json()
        if problem := _problem(body):
            return _error(400, problem)
        tags = parse_tags(body["tags"]) if "tags" in body else annotation.tags
        if refusal := _tag_refusal(tags):
            return refusal
        annotation.tags = tags
        annotation.text = body.get("text", annotation.text)
        start, end = body.get("time", annotation.time), body.get("timeEnd", annotation.time_end)
        annotation.time, annotation.time_end = self._region(start, end)
        return web.json_response({"message": "Annotation patched"})

    def _region(self, time: int, end: int) -> tuple[int, int]:
        """Absent times are now, an absent end makes a point, and a swapped region is turned round."""
        time = time or self.now
        end = end or time
        return (end, time) if end < time else (time, end)

    async def _find(self, request: web.Request) -> web.Response:
        if refusal := self._forbidden("annotations:read"):
            return refusal
        wanted = parse_tags(request.query.getall("tags", []))
        limit = int(request.query.get("limit", "100"))
        found = [a for a in self.annotations.values() if set(wanted) <= set(a.tags)]
        rows = [
            {"id": a.id, "time": a.time, "timeEnd": a.time_end, "text": a.text, "tags": a.tags}
            for a in sorted(found, key=lambda a: -a.time_end)
        ]
        return web.json_response(rows[:limit])


def parse_tags(tags: list[str]) -> list[str]:
    """As `ParseTagPairs` does it: key and value are the first two parts between colons, trimmed; each once.

    >>> parse_tags(["image:repo:tag", " a : b ", "a:b"])
    ['image:repo', 'a:b']
    """
    pairs = [":".join(part.strip() for part in tag.split(":")[:2]) for tag in tags if tag.strip()]
    return list(dict.fromkeys(pairs))


def _tag_refusal(tags: list[str]) -> web.Response | None:
    if any(len(part) > TAG_PART for tag in tags for part in tag.split(":")):
        return _error(500, "Failed to save annotation: pq: value too long for type character varying(100)")
    if len(json.dumps(tags)) > TAGS_LENGTH:
        return _error(400, "tags length exceeds the maximum allowed")
    return None


def _problem(body: Any) -> str | None:
    """What Go's decoder says about a body that does not fit."""
    kinds = {"time": int, "timeEnd": int, "text": str, "tags": list, "dashboardUID": str, "panelId": int}
    for key, kind in kinds.items():
        if key in body and not isinstance(body[key], kind):
            return f"bad request data: json: cannot unmarshal into Go struct field .{key}"
    return None


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)
