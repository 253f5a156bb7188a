"""Text that came from logs or from a model, made inert and short enough for the place where it is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from exporter.model import Contribution, Incident, Report, SimilarIncident

ELLIPSIS = "…"

# ANSI sequences first (colours, cursor, titles of windows), then what is left of control characters.
_ANSI = re.compile(
    r"\x1b(?:\[[0-?]{0,100}[ -/]{0,10}[@-~]?|[\]PX^_][^\x07\x1b]{0,1000}(?:\x07|\x1b\\)?|[@-Z\\])"
    r"|\x9b[0-?]{0,100}[ -/]{0,10}[@-~]?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Directions (bidi), zero-width and tag characters can make a reader see another text than what stands there.
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\U000e0000-\U000e007f]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")

KINDS = {
    "new_template": "new",
    "template": "unusual number",
    "transition": "unusual order",
    "gap": "unusual pause",
    "errors": "errors",
    "volume": "volume",
    "silence": "silent",
    "new_service": "new service",
    "session": "unusual session",
}


def clean(text: str) -> str:
    """The text without escape sequences, control, direction and invisible characters; line breaks and tabs stay."""
    text = _ANSI.sub("", text.replace("\r\n", "\n"))
    return _SURROGATE.sub("\ufffd", _INVISIBLE.sub("", _CONTROL.sub(" ", text)))


def one_line(text: str) -> str:
    """The clean text on one line.

    >>> one_line("connection \\x1b[31mrefused\\x1b[0m\\n  at  pool")
    'connection refused at pool'
    """
    return " ".join(clean(text).split())


def truncate(text: str, limit: int) -> str:
    """At most `limit` characters, and a sign where something is missing."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + ELLIPSIS


def brief(text: str, limit: int) -> str:
    """One clean line of at most `limit` characters."""
    # Cut first: cleaning a line of megabytes for a line of 200 characters is wasted.
    return truncate(one_line(text[: limit * 8]), limit)


def fill(text: str, limit: int, escape: Callable[[str], str], size: Callable[[str], int] = len) -> str:
    """The escaped text within `limit`, never cut inside an escape."""
    escaped = escape(text)
    if size(escaped) <= limit:
        return escaped
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if size(escape(text[:middle].rstrip() + ELLIPSIS)) <= limit:
            low = middle
        else:
            high = middle - 1
    return escape(text[:low].rstrip() + ELLIPSIS) if low else ""


def number(value: float) -> str:
    """A number as a person writes it.

    >>> number(1234.0), number(0.04), number(12.34)
    ('1,234', '0.04', '12.3')
    """
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def duration(value: timedelta) -> str:
    """A duration in its two largest units.

    >>> duration(timedelta(seconds=7384))
    '2 h 3 min'
    """
    rest = max(int(value.total_seconds()), 0)
    parts = []
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        n, rest = divmod(rest, seconds)
        if n:
            parts.append(f"{n} {unit}")
    return " ".join(parts[:2]) or "0 s"


def expectation(contribution: Contribution) -> str:
    """What was seen against what was expected.

    >>> expectation(Contribution("errors", "errors of payments", 371, 0.8))
    '371 lines, expected 0.8'
    """
    unit = f" {one_line(contribution.unit)}" if contribution.unit else ""
    return f"{number(contribution.observed)}{unit}, expected {number(contribution.expected)}"


def reason(contribution: Contribution, limit: int = 240) -> str:
    """One line that says why: the kind, the template, the numbers."""
    numbers = expectation(contribution)
    text = brief(contribution.text, max(limit - len(numbers) - 24, 20))
    return f"{KINDS[contribution.kind]}: {text} ({numbers})"


def cause(incident: Incident) -> str:
    """The service that is now thought to be the cause."""
    return one_line(incident.suspects[0].service if incident.suspects else incident.service)


def suspects(incident: Incident, count: int = 3, limit: int = 200) -> list[str]:
    """The ranked services with their weights, in words."""
    return [
        f"{brief(s.service, 80)} ({s.weight:.0%}){': ' + brief(s.reason, limit) if s.reason else ''}"
        for s in incident.suspects[:count]
    ]


def similar(past: SimilarIncident, limit: int = 300) -> str:
    """A past incident and what fixed it."""
    fixed = f"fixed by: {brief(past.fix, limit // 2)}" if past.fix else "no fix recorded"
    return f"{past.starts_at:%Y-%m-%d} {brief(past.headline, limit // 2)} ({past.similarity:.0%} alike; {fixed})"


def headline(incident: Incident, report: Report, limit: int = 200) -> str:
    """The report's headline, or the least that can be said."""
    return brief(report.headline, limit) or f"Unusual logs of {cause(incident)}"


def link(url: str | None) -> str | None:
    """An absolute http(s) URL with nothing in it that a markup could take for its own; else None."""
    if not url or len(url) > 2000:
        return None
    safe = quote(url, safe="%/:=&?~#+!$,;'@()*[]")
    try:
        parts = urlsplit(safe)
    except ValueError:
        return None
    return safe if parts.scheme in ("http", "https") and parts.hostname else None


def conceal(text: str, url: str) -> str:
    """The text without a URL that is a secret, nor the telling part of it: servers repeat paths in their errors.

    >>> conceal("Cannot POST /services/T0/B0/x", "https://hooks.slack.com/services/T0/B0/x")
    'Cannot POST (address)'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return text.replace(url, "(address)")
    for secret in (url, f"{parts.path}?{parts.query}", parts.path, parts.query):
        if len(secret) > 3:
            text = text.replace(secret, "(address)")
    return text


def pack(receipt: dict[str, Any]) -> str:
    """A receipt as the delivery table keeps it."""
    return json.dumps(receipt, separators=(",", ":"), sort_keys=True)


def unpack(receipt: str | None) -> dict[str, Any]:
    """The receipt that `pack` wrote; empty when there is none or another version wrote it."""
    try:
        value = json.loads(receipt or "")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
