"""Keys of sessions that let somebody in: what stands before a key says so, and the key alone does not."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from exporter.ingest.redaction import Redactor

_KEY = "q7Zk2mX9vB4tL8nW3cR6yP1d"
"""Is hidden where any key is."""


@lru_cache(64)
def naming(pattern: str | None) -> str:
    r"""An example of what stands before the first group of a pattern.

    >>> naming(r"(?:sid|session)[=:]\s*(\w+)"), naming(r"blk_-?\d+"), naming(r"order (\d+)")
    ('sid=', '', 'order ')
    """
    if pattern is None:
        return ""
    try:
        parts = list(vars(re)["_parser"].parse(pattern))
    except Exception:
        # How Python parses a pattern is its own affair, and these are Rust's.
        return ""
    before, found = _before(parts)
    return before if found else ""


def lets_in(name: str, redactor: Redactor) -> bool:
    """Whether what stands behind a name is secret."""
    return bool(name) and _KEY not in redactor.redact(name + _KEY)


def _before(parts: Any) -> tuple[str, bool]:
    """An example of what parts of a pattern match, up to its first group if that is in there."""
    text = ""
    for kind, value in parts:
        name = str(kind)
        if name == "SUBPATTERN" and value[0] is not None:
            return text, True
        inner, found = _example(name, value)
        text += inner
        if found:
            return text, True
    return text, False


def _example(name: str, value: Any) -> tuple[str, bool]:
    if name == "LITERAL":
        return chr(value), False
    if name == "IN":
        return next((chr(one) for kind, one in value if str(kind) == "LITERAL"), ""), False
    if name == "SUBPATTERN":
        return _before(value[3])
    if name == "BRANCH":
        return _before(value[1][0])
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and value[0]:
        return _before(value[2])
    return "", False
