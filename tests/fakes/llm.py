"""A language model's server with a script: it answers over real HTTP, and fails in the ways that real ones fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.serving import serving

Reply = Callable[["Request"], web.StreamResponse] | Callable[["Request"], Any]


@dataclass(frozen=True)
class Request:
    """What the server was sent."""

    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def system(self) -> str:
        return str(self.body["messages"][0]["content"])

    @property
    def user(self) -> str:
        return str(self.body["messages"][1]["content"])

    @property
    def last(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def form(self) -> str | None:
        """The type of response_format, or None."""
        given = self.body.get("response_format")
        return str(given["type"]) if given else None


@dataclass
class FakeLLM:
    """Answers with the next reply of its script, the last one again and again."""

    script: Sequence[Reply]
    forms: tuple[str, ...] = ("json_schema", "json_object")
    """Values of response_format that it knows; others are refused with 400, as servers do."""
    unknown: tuple[str, ...] = ()
    """Parameters that it refuses with 400."""
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    async def complete(self, received: web.Request) -> web.StreamResponse:
        request = Request(dict(received.headers), await received.json())
        self.requests.append(request)
        for name in self.unknown:
            if name in request.body:
                return failure(400, f"Unsupported parameter: '{name}' is not supported with this model.", param=name)
        if request.form is not None and request.form not in self.forms:
            return failure(400, f"This response_format type is unavailable now: {request.form}")
        reply = self.script[min(self.answered, len(self.script) - 1)]
        self.answered += 1
        response = reply(request)
        if asyncio.iscoroutine(response):
            response = await response
        assert isinstance(response, web.StreamResponse)
        return response

    answered: int = 0


@asynccontextmanager
async def scripted(*script: Reply, **options: Any) -> AsyncIterator[FakeLLM]:
    """A server that plays the script; its `url` is a base_url."""
    fake = FakeLLM(script, **options)
    app = web.Application(client_max_size=16 * 2**20)
    app.router.add_post("/v1/chat/completions", fake.complete)
    async with serving(app) as url:
        fake.url = f"{url}/v1"
        yield fake


# --- Replies ----------------------------------------------------------------------------------------


def says(content: Any, finish: str = "stop", **message: Any) -> Reply:
    """A completion whose content is the text, or the value as JSON."""
    text = content if isinstance(content, str) or content is None else json.dumps(content)

    def reply(request: Request) -> web.Response:
        prompt = sum(len(m["content"]) for m in request.body["messages"]) // 4
        return web.json_response(completion(text, finish, prompt, **message))

    return reply


def completion(text: str | None, finish: str = "stop", prompt_tokens: int = 10, **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "fake",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
        ],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 20, "total_tokens": prompt_tokens + 20},
    }


def fails(
    status: int, message: str = "something broke", headers: Mapping[str, str] | None = None, **error: Any
) -> Reply:
    """An error in the form of OpenAI."""
    return lambda request: failure(status, message, headers, **error)


def failure(status: int, message: str, headers: Mapping[str, str] | None = None, **error: Any) -> web.Response:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **error}}
    return web.json_response(body, status=status, headers=dict(headers or {}))


def answers_oddly(body: str = "{}", content_type: str = "application/json", status: int = 200, **headers: str) -> Reply:
    """A body that is no completion: a proxy's page, an empty object."""
    return lambda request: web.Response(text=body, content_type=content_type, status=status, headers=headers)


def hangs() -> Reply:
    """Never an answer."""

    async def reply(request: Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return reply
