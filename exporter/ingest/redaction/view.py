"""Text as it is meant: what URLs, JSON, HTML and terminals escape is undone; each place leads back to the original."""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from dataclasses import dataclass

from exporter.ingest.redaction.placeholders import PLACEHOLDER

HIDDEN = "\x02"
"""Stands in a view for what is hidden already: no rule takes it for a part of a value."""

_URL, _UNICODE = r"%(?:25)?[0-9A-Fa-f]{2}", r"\\{1,8}u[0-9a-fA-F]{4}"

_ESCAPE = re.compile(
    rf"(?P<url>(?:{_URL})+)|(?P<unicode>(?:{_UNICODE})+)"
    # As many backslashes as JSON inside JSON has.
    r"|(?<!\\)\\{1,16}(?:x(?P<hex>[0-7][0-9a-fA-F])|(?P<sign>[\"'/&nrt])|(?=[$]))"
    r"|(?P<html>&(?:quot|amp|lt|gt|apos|nbsp|#\d{1,4}|#x[0-9a-fA-F]{1,4});)"
    r"|(?P<terminal>\x1b\[[0-9;]{0,16}m)"
    rf"|(?P<hidden>{PLACEHOLDER.pattern}|{HIDDEN}+)"
)

_SIGNS = {"n": "\n", "r": "\r", "t": "\t"}

Piece = tuple[str, int]
"""A character of the view, and how many of the original it stands for."""


@dataclass(frozen=True)
class View:
    """What the rules look at."""

    text: str
    places: tuple[tuple[int, int], ...] = ()
    """Where both go on side by side: place in the view, place in the original."""

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The part of the original that a part of the view stands for."""
        return (self._place(start), self._place(end)) if self.places else (start, end)

    def _place(self, at: int) -> int:
        view, original = self.places[bisect_right(self.places, (at, 1 << 60)) - 1]
        return original + at - view


def view_of(text: str) -> View:
    r"""The text with nothing escaped.

    >>> view_of(r"user%3Dbob\n\"x\"").text
    "user=bob\n'x'"
    >>> view = view_of("a%3Db%26c")
    >>> view.span(2, 3), view.span(2, 4)
    ((4, 5), (4, 8))
    """
    if not any(sign in text for sign in "%\\&\x1b<\x02"):
        return View(text)
    parts: list[str] = []
    places: list[tuple[int, int]] = [(0, 0)]
    at = size = 0
    for match in _ESCAPE.finditer(text):
        start, end = match.span()
        pieces = _undone(match)
        if pieces is None:
            continue
        parts.append(text[at:start])
        size += start - at
        for char, length in pieces:
            places.append((size, start))
            parts.append(char)
            size += len(char)
            start += length
        places.append((size, end))
        at = end
    if not parts:
        return View(text)
    parts.append(text[at:])
    return View("".join(parts), tuple(places))


def _undone(match: re.Match[str]) -> list[Piece] | None:
    whole, kind = match[0], match.lastgroup
    if kind == "url":
        return _url(whole)
    if kind == "unicode":
        return [(_char(int(part[-4:], 16)), len(part)) for part in re.findall(_UNICODE, whole)]
    if kind == "hex":
        return [(chr(int(match["hex"], 16)), len(whole))]
    if kind == "sign":
        return [(_sign(match["sign"], len(whole) - 1), len(whole))]
    if kind == "html":
        return [(html.unescape(whole), len(whole))]
    if kind == "terminal":
        return [(" ", len(whole))]
    return [(HIDDEN if kind == "hidden" else "", len(whole))]


def _sign(sign: str, depth: int) -> str:
    """A quote of JSON inside JSON is another sign than those around it: what they enclose ends where it does."""
    if sign == '"':
        return "'" if depth == 1 else "`"
    return _SIGNS.get(sign, sign)


def _char(code: int) -> str:
    return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)


def _url(run: str) -> list[Piece] | None:
    """The characters of a run of escaped bytes; None where these are no text."""
    escapes = re.findall(_URL, run)
    data = bytes(int(escape[-2:], 16) for escape in escapes)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    pieces, at = [], 0
    for char in text:
        count = len(char.encode())
        pieces.append((char, sum(map(len, escapes[at : at + count]))))
        at += count
    return pieces
