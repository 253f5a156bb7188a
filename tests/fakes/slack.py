"""A Slack that knows messages of one workspace, with the limits and the answers of the real one."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

Mishap = str
"""`429`, `500`, `stored_then_timeout`, `html`, or the text of an `ok: false` error."""

BLOCKS_TOTAL = 13_000
"""Characters of all blocks, from which Slack answers msg_blocks_too_long (measured by others, not documented)."""


@dataclass
class Message:
    """One message of a channel; `thread_ts` is that of the message it answers."""

    ts: str
    text: str
    blocks: list[dict[str, Any]]
    thread_ts: str | None
    metadata: dict[str, Any]
    body: dict[str, Any]
    edits: int = 0


@dataclass
class SlackFake:
    """`mishaps` are taken one a request, first come first served."""

    token: str = "xoxb-fake"
    channel: str = "C0123"
    name: str = "incidents"
    webhook_path: str = "/services/T000/B000/secretpart"
    scopes: set[str] = field(default_factory=lambda: {"chat:write", "channels:history"})
    mishaps: list[Mishap | None] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    _last: int = 0

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_post("/api/chat.postMessage", self._post)
        app.router.add_post("/api/chat.update", self._update)
        app.router.add_get("/api/conversations.history", self._history)
        app.router.add_post("/api/auth.test", self._auth_test)
        app.router.add_post(self.webhook_path, self._webhook)
        return app

    @property
    def parents(self) -> list[Message]:
        return [m for m in self.messages if m.thread_ts is None]

    @property
    def replies(self) -> list[Message]:
        return [m for m in self.messages if m.thread_ts is not None]

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        method = request.path.rpartition("/")[2] if request.path.startswith("/api/") else "webhook"
        self.calls.append(method)
        authorized = request.headers.get("Authorization") == f"Bearer {self.token}"
        if method != "webhook" and not authorized:
            return _refused("invalid_auth")
        mishap = self.mishaps.pop(0) if self.mishaps else None
        if mishap == "429":
            body = "rate_limited" if method == "webhook" else json.dumps({"ok": False, "error": "ratelimited"})
            kind = "text/plain" if method == "webhook" else "application/json"
            return web.Response(status=429, headers={"Retry-After": "30"}, text=body, content_type=kind)
        if mishap == "500":
            return web.Response(status=500, text="rollup_error")
        if mishap == "html":
            return web.Response(status=200, text="<html>maintenance</html>", content_type="text/html")
        if mishap == "stored_then_timeout":
            await handler(request)
            await asyncio.Event().wait()
        elif mishap is not None:
            status = {"action_prohibited": 403, "no_service": 404, "channel_is_archived": 410}.get(mishap, 400)
            return web.Response(status=status, text=mishap) if method == "webhook" else _refused(mishap)
        response: web.StreamResponse = await handler(request)
        return response

    def _known(self, channel: Any) -> bool:
        return channel in (self.channel, f"#{self.name}", self.name)

    async def _post(self, request: web.Request) -> web.Response:
        body = await request.json()
        if "chat:write" not in self.scopes:
            return web.json_response({"ok": False, "error": "missing_scope", "needed": "chat:write"})
        if not self._known(body.get("channel")):
            return _refused("channel_not_found")
        if error := message_error(body):
            return _refused(error)
        thread = body.get("thread_ts")
        # A reply to a reply leaves the thread: Slack wants the parent's ts.
        if thread is not None and thread not in {m.ts for m in self.parents}:
            return _refused("thread_not_found")
        message = self._store(body, thread)
        return web.json_response({"ok": True, "channel": self.channel, "ts": message.ts, "message": {}})

    async def _update(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("channel") != self.channel:
            # Only posting takes a channel's name.
            return _refused("channel_not_found")
        message = next((m for m in self.messages if m.ts == body.get("ts")), None)
        if message is None:
            return _refused("message_not_found")
        if error := message_error(body):
            return _refused(error)
        message.text, message.blocks = body.get("text", ""), body.get("blocks", [])
        message.metadata = body.get("metadata", message.metadata)
        message.edits += 1
        return web.json_response({"ok": True, "channel": self.channel, "ts": message.ts, "text": message.text})

    async def _history(self, request: web.Request) -> web.Response:
        if "channels:history" not in self.scopes:
            return web.json_response({"ok": False, "error": "missing_scope", "needed": "channels:history"})
        if request.query.get("channel") != self.channel:
            return _refused("channel_not_found")
        limit = int(request.query.get("limit", "100"))
        with_metadata = request.query.get("include_all_metadata") == "true"
        rows = [
            {"ts": m.ts, "text": m.text} | ({"metadata": m.metadata} if with_metadata and m.metadata else {})
            for m in reversed(self.parents)
        ]
        return web.json_response({"ok": True, "messages": rows[:limit], "has_more": len(rows) > limit})

    async def _auth_test(self, request: web.Request) -> web.Response:
        headers = {"X-OAuth-Scopes": ",".join(sorted(self.scopes))}
        return web.json_response({"ok": True, "team": "Shop", "user": "anomalies"}, headers=headers)

    async def _webhook(self, request: web.Request) -> web.Response:
        body = await request.json()
        if error := message_error(body):
            return web.Response(status=400, text=error)
        if "thread_ts" in body or "ts" in body:
            return web.Response(status=400, text="invalid_thread_ts")
        self._store(body, None)
        return web.Response(text="ok")

    def _store(self, body: dict[str, Any], thread: str | None) -> Message:
        self._last += 1
        ts = f"1773480912.{self._last:06d}"
        message = Message(ts, body.get("text", ""), body.get("blocks", []), thread, body.get("metadata", {}), body)
        self.messages.append(message)
        return message


def message_error(body: dict[str, Any]) -> str | None:
    """The error that Slack gives to a message that breaks its limits, or None."""
    text, blocks = body.get("text", ""), body.get("blocks") or []
    if not text and not blocks:
        return "no_text"
    if len(text) > 40_000:
        return "msg_too_long"
    if len(blocks) > 50 or any(_block_error(block) for block in blocks):
        return "invalid_blocks"
    if blocks and len(json.dumps(blocks, ensure_ascii=False)) > BLOCKS_TOTAL:
        return "msg_blocks_too_long"
    metadata = body.get("metadata")
    if metadata is not None and not {"event_type", "event_payload"} <= metadata.keys():
        return "invalid_metadata_format"
    return None


def _block_error(block: dict[str, Any]) -> bool:
    match block["type"]:
        case "header":
            return _text_error(block["text"], "plain_text", 150)
        case "section":
            fields = block.get("fields", [])
            texts = [block["text"]] if "text" in block else []
            too_many = len(fields) > 10 or not (fields or texts)
            return (
                too_many
                or any(_text_error(t, None, 3000) for t in texts)
                or any(_text_error(f, None, 2000) for f in fields)
            )
        case "context":
            elements = block["elements"]
            return not 1 <= len(elements) <= 10 or any(_text_error(e, None, 3000) for e in elements)
        case "divider":
            return False
    return True


def _text_error(text: dict[str, Any], kind: Literal["plain_text"] | None, limit: int) -> bool:
    if kind and text["type"] != kind:
        return True
    return not 1 <= len(text["text"]) <= limit


def _refused(error: str) -> web.Response:
    return web.json_response({"ok": False, "error": error})
