"""Pieces of text: foreign text made harmless and short enough for its place; numbers, durations and moments."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

# --- Foreign text ----------------------------------------------------------------------------------------

ELLIPSIS = "…"

READ_FOR_EACH = 20
"""Characters that are read for each one that is kept: nobody cleans megabytes to show a line of 200 characters."""

# Escape sequences of terminals: CSI (colours, cursor), then OSC, DCS and their kin (titles, links), then short ones.
_ESCAPE_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]{0,100}[ -/]{0,10}[@-~]?|[\]PX^_][^\x07\x1b]{0,1000}(?:\x07|\x1b\\)?|[ -/]{0,10}[0-~])"
    r"|\x9b[0-?]{0,100}[ -/]{0,10}[@-~]?"
)

_NOT_PLAIN = re.compile(r"[^\n\t\x20-\x7e]")

# Python calls them printable, and nobody sees them: joiners and fillers, and variation selectors.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

# By Unicode's category; anything else that cannot be printed has no known look (surrogates, private use, unassigned).
_INSTEAD = {"Cf": "", "Cc": " ", "Zs": " ", "Zl": " ", "Zp": " "}
_NO_KNOWN_LOOK = "\ufffd"

# They choose between the forms of the emoji before them, which shows.
_EMOJI_FORMS = "\ufe0e\ufe0f"

_LINK = re.compile(
    r"(?i)\b[a-z][a-z0-9+.\-]{1,20}://[^\s<>\"')\]]+|\b(?:www\.|mailto:|javascript:|data:)[^\s<>\"')\]]+"
)

_MARKDOWN_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,2000}\)")

_SLACK_MENTION_OR_LINK = re.compile(r"<[!@#][^<>]{0,200}>|<(?:https?|mailto):[^<>]{0,2000}>")

_MENTION = re.compile(r"(?i)@(?=(?:here|channel|everyone|all|group)\b)")


def clean(text: str) -> str:
    """The text as a reader sees it: each character of it shows, but for line breaks and tabs, which stay.

    Escape sequences and invisible characters (directions, zero width, fillers, tags) are left out, control characters
    and unusual blanks become a space, and what has no known look becomes U+FFFD.
    """
    text = _ESCAPE_SEQUENCE.sub("", text.replace("\r\n", "\n"))
    return _NOT_PLAIN.sub(_seen, text)


def _seen(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable():
        return "" if _UNSEEN.match(character) else character
    return _INSTEAD.get(unicodedata.category(character), _NO_KNOWN_LOOK)


def one_line(text: str) -> str:
    """The clean text on one line.

    >>> one_line("connection \\x1b[31mrefused\\x1b[0m\\n  at  pool")
    'connection refused at pool'
    """
    return " ".join(clean(text).split())


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, the last one "…" where something is missing."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + ELLIPSIS


def brief(text: str, limit: int) -> str:
    """One clean line of at most `limit` characters."""
    return shorten(one_line(text[: limit * READ_FOR_EACH]), limit)


_MASK = re.compile(r"<(?:\*|[A-Z][A-Z_]{0,20})>")


def unmasked(text: str) -> str:
    """A template as a person writes it: an ellipsis where lines differ.

    >>> unmasked("order <NUM> of <*> <*> stored")
    'order … of … stored'
    """
    return re.sub(r"…(?: ?…)+", "…", _MASK.sub("…", text))


def quoted(text: str, limit: int) -> str:
    """One clean line of at most `limit` characters, in quotation marks."""
    return f"“{brief(text, limit)}”"


def visible(text: str) -> str:
    """The text with each character that would hide or reorder others written out.

    >>> visible("rm \\u202etxt.exe\\x1b[31m")
    'rm ⟨U+202E⟩txt.exe␛[31m'
    """
    return _NOT_PLAIN.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    character = match[0]
    unseen = _UNSEEN.match(character) and character not in _EMOJI_FORMS
    if not unseen and unicodedata.category(character) not in {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}:
        return character
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"


def storable(text: str) -> str:
    """The text without the lone surrogates that JSON may carry and no file, database or URL takes."""
    return text.encode("utf-8", "replace").decode()


LINK_REMOVED = "(link removed)"


def without_links(text: str) -> str:
    """A model's text without anything that leads somewhere or calls somebody."""
    text = _MARKDOWN_LINK.sub(r"\1", text)
    text = _SLACK_MENTION_OR_LINK.sub("", text)
    return _MENTION.sub("", _LINK.sub(LINK_REMOVED, text))


def fill(text: str, limit: int, escape: Callable[[str], str], size: Callable[[str], int] = len) -> str:
    """The escaped text, of a `size` of at most `limit`, never cut inside an escape."""
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


def link(url: str | None, limit: int = 2_000) -> str | None:
    """An absolute http(s) URL of at most `limit` characters, in which no markup finds a sign of its own; else None."""
    if not url or len(url) > limit or one_line(url) != url:
        return None
    safe = quote(url, safe="%/:=&?~#+!$,;'@()*[]")
    try:
        parts = urlsplit(safe)
    except ValueError:
        return None
    return safe if parts.scheme in ("http", "https") and parts.hostname else None


def conceal(text: str, url: str) -> str:
    """The text without a URL that is a secret, nor the secret part of it: servers repeat paths in their errors.

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


# --- Numbers and lists -----------------------------------------------------------------------------------


def number(value: float) -> str:
    """A number with as many digits as a person compares.

    >>> [number(value) for value in (1234.0, 38.2, 2.04, 0.0333, 0.0000001)]
    ['1,234', '38', '2.0', '0.033', '0.0000001']
    """
    if not math.isfinite(value):
        return "?"
    if value == int(value) or abs(value) >= 10:
        return f"{value:,.0f}"
    if abs(value) >= 1:
        return f"{value:.1f}"
    # Two digits that tell, written out: 1e-07 is no number that one reads at night.
    decimals = min(1 - math.floor(math.log10(abs(value))), 12)
    return f"{value:.{decimals}f}".rstrip("0").rstrip(".")


def ordinal(count: int) -> str:
    """The number of an occurrence.

    >>> [ordinal(count) for count in (1, 2, 3, 11, 22)]
    ['1st', '2nd', '3rd', '11th', '22nd']
    """
    ending = "th" if count // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{count}{ending}"


def percent(share: float) -> str:
    """A share of 1 in whole percent.

    >>> percent(0.931)
    '93%'
    """
    return f"{share:.0%}"


def amount(value: float, unit: str) -> str:
    """A number with what it counts or measures.

    >>> amount(371, "lines"), amount(1, "lines"), amount(0.04, "of times")
    ('371 lines', '1 line', '0.04 of times')
    """
    unit = brief(unit, 20)
    return f"{number(value)} {_ONE_OF.get(unit, unit) if value == 1 else unit}".rstrip()


_ONE_OF = {"lines": "line", "times": "time", "services": "service", "sessions": "session", "seconds": "second"}


def listed(names: Sequence[str], most: int = 5, limit: int = 60) -> str:
    """The first names of a list as a person says them.

    >>> listed(["cart", "gateway", "payments"]), listed(["a", "b", "c", "d"], 2)
    ('cart, gateway and payments', 'a, b and 2 more')
    """
    shown = [brief(name, limit) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most:,} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else ""


# --- Time ------------------------------------------------------------------------------------------------


def duration(value: timedelta) -> str:
    """The two largest units of a duration; `format_duration` of the model is for what is configured.

    >>> duration(timedelta(hours=26, minutes=5)), duration(timedelta(seconds=90)), duration(timedelta(hours=1))
    ('1 d 2 h', '1 min 30 s', '1 h')
    """
    if timedelta() < value < timedelta(seconds=1):
        return f"{value // timedelta(milliseconds=1)} ms"
    rest = max(value // timedelta(seconds=1), 0)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def took(seconds: float) -> str:
    """A time that something takes, in the unit that a person would choose.

    >>> took(2.6), took(0.02), took(0.0004)
    ('2.6 s', '20 ms', '0.4 ms')
    """
    return f"{number(seconds)} s" if seconds >= 1 else f"{number(seconds * 1000)} ms"


def day(moment: datetime) -> str:
    """2026-03-14, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def clock(moment: datetime) -> str:
    """09:26 UTC, or 09:26:12 UTC where it is not a full minute."""
    return f"{moment.astimezone(UTC):{'%H:%M:%S' if moment.second else '%H:%M'}} UTC"


def time_of_day(moment: datetime) -> str:
    """09:26:12, where its day and its zone stand beside it."""
    return f"{moment.astimezone(UTC):%H:%M:%S}"


def hour(moment: datetime) -> str:
    """09:26, in UTC, where that stands beside it."""
    return f"{moment.astimezone(UTC):%H:%M}"


def minute(moment: datetime) -> str:
    """2026-03-14 09:26, in UTC, where that stands beside it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def second(moment: datetime) -> str:
    """2026-03-14 09:26:12, in UTC, where that stands beside it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def span(start: datetime, end: datetime | None, *, seconds: bool = False) -> str:
    """From when to when, to the minute or to the second; `end` is None when it is not over.

    >>> span(datetime(2026, 3, 14, 9, 26, tzinfo=UTC), datetime(2026, 3, 14, 9, 33, tzinfo=UTC))
    '2026-03-14 09:26–09:33 UTC'
    """
    whole = second if seconds else minute
    if end is None:
        return f"since {whole(start)} UTC"
    if whole(start) == whole(end):
        return f"{whole(start)} UTC"
    same_day = day(start) == day(end)
    return f"{whole(start)}–{whole(end).partition(' ')[2] if same_day else whole(end)} UTC"


def rfc3339(moment: datetime) -> str:
    """To the millisecond, in UTC, for programs: 2026-03-14T09:26:12.000Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
