"""Take off what a logger writes in front of a message, learnt from the lines of a service: every logger has its own.

Times, levels and marks go always; brackets, loggers, tags and codes where most distinct lines have one at that place
after the same beginning; a bare word (a host, a program) where nearly all have the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

MOST, NEARLY_ALL, ENOUGH = 0.6, 0.9, 8
"""Shares of the distinct lines; a word needs at least ENOUGH lines to be told from a message's own."""

DEEPEST = 14
"""Parts that stand in front of a message."""

MOST_LINES = 200
"""Lines of a service from which its prefix is learnt."""

HEAD = 600
"""Characters of a line in which its prefix ends."""

_CLOCK = r"\d\d:\d\d:\d\d(?:[.,:]\d{1,9})?(?:Z| ?[+-]\d\d:?\d\d)?"
_DATE = r"(?:\w{3} )?(?:\d{2,4}[-/]\d\d[-/]\d\d[T ]|\w{3} [ \d]\d |[IWEF]\d{4} )?"
_WORDS = (
    "trace|debug|dbug|info|information|notice|warn|warning|error|err|fail|severe|critical|crit|alert|fatal|emerg|panic"
)
_KINDS = [
    (kind, re.compile(rf"(?:{pattern})\s{{0,40}}"))
    for kind, pattern in (
        ("time", rf"\[?{_DATE}{_CLOCK}(?: \d{{4}})?\]?"),
        ("level", rf"[\[(<]?(?i:{_WORDS})[\])>]?(?=[\s:|,-]|$):?"),
        ("mark", r"---(?= )|[|*,-](?= )|\d{1,9}#\d{1,9}:|\*\d{1,12}(?= )|\d{1,9}(?= --- )"),
        ("piped", r"[^|\s]{1,60}\|"),
        ("bracket", r"\[[^\[\]]{0,120}(?:\[[^\[\]]{0,60}\][^\[\]]{0,60})?\]:?|\([^()]{1,60}\)(?= )"),
        ("logger", r"[\w$]{1,60}(?:\.[\w$\[\]/<>-]{1,80}){1,12}\s{0,40}(?: ?:|-|##)(?=\s)"),
        ("tag", r"[\w.@/()-]{1,80}(?:\[\d{1,9}\])?:(?=\s)"),
        ("code", r"(?=\S{0,80}\d)[^a-z\s]{1,80}(?=\s)"),
    )
]
_ALWAYS = frozenset({"time", "level", "mark"})


class Prefix:
    """What stands in front of the messages of one service.

    >>> Prefix(["12:00:01 INFO [a-1] shop.Cart : cart stored", "12:00:02 WARN [a-2] shop.Cart : no connection"]).strip(
    ...     "12:00:09 WARN [a-7] shop.Cart : no route"
    ... )
    'no route'
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._off: dict[tuple[str, ...], frozenset[str]] = {}
        distinct = {re.sub(r"[\d\W]+", "", line[:HEAD]): line[:HEAD].lstrip() for line in sorted(lines)}
        self._learn((), list(distinct.values())[:MOST_LINES])

    def _learn(self, path: tuple[str, ...], rests: list[str]) -> None:
        rests = [rest for rest in rests if rest.strip()]
        if not rests or len(path) > DEEPEST:
            return
        kinds, words = Counter(_kind(rest)[0] for rest in rests), Counter(_word(rest) for rest in rests)
        off = {kind for kind, n in kinds.items() if kind and (kind in _ALWAYS or n >= MOST * len(rests))}
        off |= {word for word, n in words.items() if len(rests) >= ENOUGH and n >= NEARLY_ALL * len(rests)}
        self._off[path] = frozenset(off)
        parts: dict[str, list[str]] = {}
        for rest in rests:
            step, left = _step(rest, self._off[path])
            parts.setdefault(step, []).append(left)
        for step in sorted(parts.keys() - {""}):
            self._learn((*path, step), parts[step])

    def strip(self, line: str) -> str:
        """The message of a line; never nothing."""
        path: tuple[str, ...] = ()
        rest = line.lstrip()
        while len(path) <= DEEPEST and (step := _step(rest, self._off.get(path, _ALWAYS)))[0]:
            path, rest = (*path, step[0]), step[1]
        return rest


def _kind(rest: str) -> tuple[str, int]:
    return next(((kind, found.end()) for kind, pattern in _KINDS if (found := pattern.match(rest))), ("", 0))


def _word(rest: str) -> str:
    return "=" + re.sub(r"\d+", "0", rest.split(None, 1)[0])


def _step(rest: str, off: frozenset[str]) -> tuple[str, str]:
    """What goes next, and what is left; a message never goes whole."""
    kind, end = _kind(rest)
    if kind in off and end < len(rest):
        return kind, rest[end:]
    parts = rest.split(None, 1)
    return (_word(rest), parts[1]) if len(parts) == 2 and _word(rest) in off else ("", rest)
