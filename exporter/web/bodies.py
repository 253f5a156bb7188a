"""Read the body of a request: in time, within its limit, inflated only for who may write, and as JSON in one way."""

from __future__ import annotations

import asyncio
import json
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from exporter.model import from_json
from exporter.wording.text import brief

TIMEOUT = 30.0
"""Seconds within which a body must have arrived."""

MAX_PLACE = 120
"""Characters of where something is wrong."""

MOST_PROBLEMS = 5
"""Of a body that are named."""

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


async def read(request: web.Request, may_inflate: bool, limit: int) -> bytes:
    """At most `limit` bytes, packed and unpacked. Raises what is answered to anything else."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity") and not may_inflate:
        raise web.HTTPUnsupportedMediaType(text="A compressed body is taken with a token alone; send it plain.")
    if encoding not in ("", "identity", "gzip", "deflate"):
        raise web.HTTPUnsupportedMediaType(text="This compression is not known here; send gzip or plain.")
    try:
        async with asyncio.timeout(TIMEOUT):
            body = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The body did not arrive in time.") from None
    return body if encoding in ("", "identity") else await asyncio.to_thread(_inflated, body, limit)


def _inflated(body: bytes, limit: int) -> bytes:
    inflating = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        found = inflating.decompress(body, limit + 1)
    except zlib.error:
        raise web.HTTPBadRequest(text="The body is not what its Content-Encoding says.") from None
    if len(found) > limit:
        raise web.HTTPRequestEntityTooLarge(limit, len(found), text="The body is too large when it is inflated.")
    if not inflating.eof:
        raise web.HTTPBadRequest(text="The body ends before it is whole.")
    return found


def require_json(request: web.Request) -> None:
    """Raises 415 for any other type: a form of a foreign page cannot send this one, so no browser can be misused."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="Send JSON with `Content-Type: application/json`.")


async def read_object(request: web.Request, limit: int) -> dict[str, Any]:
    """The JSON object of a request that may write. Raises what is answered to anything else."""
    require_json(request)
    body = await read(request, True, limit)
    # Off the event loop: a body may have many MB.
    return await asyncio.to_thread(object_in, body)


def object_in(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is. Raises 400, which names the place that is wrong.

    Python also reads NaN and Infinity, which are no JSON, and numbers beyond all that can be computed with.
    """
    try:
        found = json.loads(body)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise web.HTTPBadRequest(text=f"The body is not JSON: {error.msg} at {where}.") from None
    except UnicodeDecodeError as error:
        raise web.HTTPBadRequest(text=f"The body is not JSON: no UTF-8 at byte {error.start}.") from None
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest(text="The body is not JSON: too deep, or a number too long.") from None
    if not isinstance(found, dict):
        raise web.HTTPBadRequest(text="The body is not a JSON object.")
    if place := next(_endless(found), None):
        raise web.HTTPBadRequest(text=f"{place[:MAX_PLACE]} is no number that JSON has.")
    return found


def _plain(name: str) -> str:
    """A name of a field, for an answer: nothing else of a body is repeated in one."""
    return name if re.fullmatch(r"\w{1,40}", name, re.ASCII) else "…"


def _endless(value: Any) -> Iterator[str]:
    """Where a value has a number that is not finite."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        place, one = waiting.pop()
        if isinstance(one, float) and not math.isfinite(one):
            yield place
        elif isinstance(one, dict):
            waiting += [(f"{place}.{_plain(name)}".lstrip("."), item) for name, item in one.items()]
        elif isinstance(one, list):
            waiting += [(f"{place}[{number}]", item) for number, item in enumerate(one)]


def value(kind: type, raw: Any) -> Any:
    """The value that a body is. Raises 400 with what is wrong in it."""
    try:
        found = from_json(kind, raw)
    except ValidationError as error:
        raise web.HTTPBadRequest(text="; ".join(_problems(error))) from None
    except (ValueError, TypeError, OverflowError) as error:
        raise web.HTTPBadRequest(text=f"The body is not as it should be: {brief(str(error), 200)}") from None
    if place := next(_unzoned(found, ""), None):
        raise web.HTTPBadRequest(text=f"{place[1:]}: a time without its zone; write it as 2026-03-14T09:26:53Z")
    return found


def _problems(error: ValidationError) -> Iterator[str]:
    for one in error.errors(include_url=False, include_input=False)[:MOST_PROBLEMS]:
        place = brief(".".join(map(str, one["loc"])), 120) or "the body"
        yield f"{place}: {brief(one['msg'], 200)}"


def _unzoned(value: Any, place: str) -> Iterator[str]:
    """Where a value has a time that no zone makes a moment."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            yield place
    elif is_dataclass(value):
        for field in fields(value):
            yield from _unzoned(getattr(value, field.name), f"{place}.{field.name}")
    elif isinstance(value, tuple) and value and not isinstance(value[0], (str, float)):
        for number, one in enumerate(value):
            yield from _unzoned(one, f"{place}.{number}")
