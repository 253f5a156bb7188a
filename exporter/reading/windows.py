"""Events of Windows as XML, a line each: what of them says when, who, how bad and what."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

BEGINNING = "<Event "
"""Of a line that is one."""

LOOKED_AT = 16_384
"""Characters of an event among which that stands."""

_PARTS = re.compile(
    r"<Provider Name=['\"]([^'\"<>]*)['\"]|<Level>(\d{1,2})</Level>|<TimeCreated SystemTime=['\"]([^'\"<>]{1,64})['\"]"
    r"|<Computer>([^<>]*)</Computer>|<Message>([^<>]*)</Message>"
)
_NAMES = ("provider", "level", "time", "host", "message")


def event_of(line: str) -> dict[str, Any] | None:
    """An event as a document; None where its time is not found.

    >>> event_of("<Event xmlns='x'><System><Level>2</Level><TimeCreated SystemTime='2026-11-17T12:00:00Z'/></System>")
    {'time': '2026-11-17T12:00:00Z', 'system': {'level': 2}}
    """
    found: dict[str, str] = {}
    for match in _PARTS.finditer(line[:LOOKED_AT]):
        found.setdefault(_NAMES[(match.lastindex or 1) - 1], unescape(match[match.lastindex or 1]))
    if "time" not in found:
        return None
    named = {"ProviderName": found.get("provider"), "host": found.get("host"), "message": found.get("message")}
    level = {"system": {"level": int(found["level"])}} if "level" in found else {}
    return {"time": found["time"], **level, **{name: value for name, value in named.items() if value}}
