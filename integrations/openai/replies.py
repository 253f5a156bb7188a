"""The text in a message of a model, and the words of a server that refuses, in the forms that servers have for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from exporter.wording.text import brief, shorten

MAX_PARTS = 100


def text_of(message: Any) -> str:
    """What a message says: text, or a list of parts; where it is empty, what it says beside, which some servers do."""
    said = "".join(_parts(getattr(message, "content", None)))
    if said.strip():
        return said
    beside = (getattr(message, name, None) for name in ("reasoning_content", "reasoning"))
    return next((text for text in beside if isinstance(text, str) and "{" in text), "")


def _parts(content: Any) -> Iterator[str]:
    """The text of each part that is no thought."""
    if isinstance(content, str):
        yield content
    for part in content[:MAX_PARTS] if isinstance(content, list) else ():
        kind = _of(part, "type")
        if isinstance(part, str):
            yield part
        elif kind in ("text", "output_text", None) and isinstance(text := _of(part, "text"), str):
            yield text


def _of(part: Any, name: str) -> Any:
    return part.get(name) if isinstance(part, Mapping) else getattr(part, name, None)


def said_by(body: Any) -> str:
    """A server's own words, short, without addresses (they may hold secrets) and control characters.

    >>> said_by({"detail": [{"loc": ["body", "response_format"], "msg": "Extra inputs are not permitted"}]})
    'response_format: Extra inputs are not permitted'
    """
    words = brief(" ".join(_words(body)) or "no reason given", 2_000)
    return shorten(re.sub(r"\w+://\S+", "(address)", words), 200)


def _words(body: Any) -> Iterator[str]:
    """Of OpenAI's form, of FastAPI's (a list of what is wrong where), or plain."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if isinstance(inner, Mapping):
            yield from (str(inner[key]) for key in ("message", "code", "param") if inner.get(key))
        elif inner:
            yield str(inner)
        details = body.get("detail") or (inner.get("detail") if isinstance(inner, Mapping) else None)
        for one in details[:5] if isinstance(details, list) else [details] if details else []:
            yield _detail(one)
    elif body:
        yield str(body)


def _detail(one: Any) -> str:
    if not isinstance(one, Mapping):
        return str(one)
    place = ".".join(str(step) for step in one.get("loc") or () if step != "body")
    return f"{place}: {one.get('msg', '')}" if place else str(one.get("msg", ""))
