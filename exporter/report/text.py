"""Text of reports: foreign text made inert, moments, numbers and lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

MAX_SAMPLE_CHARS = 500

_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*+(?:\x07|\x1b\\)?|[@-Z\\-_])")

# Control, zero-width, bidirectional, variation and tag characters: what a reader does not see and a model does.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\ud800-\udfff\U000e0000-\U000e0fff\U0001d173-\U0001d17a]"
)

_LINK = re.compile(
    r"(?i)\b[a-z][a-z0-9+.\-]{1,20}://[^\s<>\"')\]]+|\b(?:www\.|mailto:|javascript:|data:)[^\s<>\"')\]]+"
)

_MARKDOWN_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,2000}\)")

_SLACK = re.compile(r"<[!@#][^<>]{0,200}>|<(?:https?|mailto):[^<>]{0,2000}>")

_MENTION = re.compile(r"(?i)@(?=(?:here|channel|everyone|all|group)\b)")


def clean(text: str, limit: int = MAX_SAMPLE_CHARS) -> str:
    """One line of visible characters, cut at the limit.

    >>> clean("a\\x1b[31mb\\u202ec\\n d", 100)
    'abc d'
    """
    # Cut roughly first: what follows need not read a hostile 100 KB line.
    visible = _UNSEEN.sub("", _ANSI.sub("", text[: 20 * limit].replace("\r", " ")))
    return shorten(" ".join(visible.split()), limit)


def shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def without_links(text: str) -> str:
    """A model's text without anything that leads somewhere or calls somebody."""
    text = _MARKDOWN_LINK.sub(r"\1", text)
    text = _SLACK.sub("", text)
    return _MENTION.sub("", _LINK.sub("(link removed)", text))


def clock(moment: datetime) -> str:
    return moment.strftime("%H:%M:%S UTC" if moment.second else "%H:%M UTC")


def day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d")


def quoted(text: str, limit: int = 120) -> str:
    return f"“{clean(text, limit)}”"


def number_text(value: float) -> str:
    if value == int(value) or abs(value) >= 10:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def listed(names: Sequence[str], most: int = 5) -> str:
    names = [clean(name, 60) for name in names]
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "no service"
