"""Finds levels, however they are written; what they mean is said once, in `exporter.model.LEVELS`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import polars as pl

from exporter.model import LEVELS, SYSLOG

# What pino and bunyan write. The first two are OpenTelemetry's too, so they count only in the field of these loggers.
_NODE = {10: 1, 20: 5, 30: 9, 40: 13, 50: 17, 60: 21}

# How the names of fields end that count as syslog does, and as these loggers do.
# What monolog writes.
_MONOLOG = {100: 5, 200: 9, 250: 9, 300: 13, 400: 17, 500: 21, 550: 21, 600: 21}

# What Windows writes into its events, from the worst; 0 is what is always logged.
_WINDOWS = (9, 21, 17, 13, 9, 5)
_WINDOWS_FIELD = re.compile(r"(?i)\bsystem\.level$")

_SYSLOG_FIELD = re.compile(r"(?i)(?:^|\.)(?:priority|syslog\.severity\.code|event\.severity|syslog_severity)$")
_NODE_FIELD = re.compile(r"(?i)(?:^|\.)level$")
_OTEL_FIELD = re.compile(r"(?i)(?:^|\.)severity_?number$")
_LETTER_FIELD = re.compile(r"(?i)(?:^|\.)s$")

TRANSPORTS = frozenset(
    (
        "priority",
        "syslog.priority",
        "event.severity",
        "severity_label",
        "syslog.severity_label",
        "log.syslog.severity.name",
        "log.syslog.severity.code",
        "detected_level",
    )
)
"""Fields in which who carried the line says its level: all of a container's stderr is an error to journald."""

BESIDE_SYSLOG = (
    "facility",
    "facility_label",
    "syslog_facility",
    "short_message",
    "gl2_source_input",
    "severity_label",
    "syslog.facility",
    "log.syslog.facility",
    "log.syslog.priority",
)
"""Fields beside which a small number is syslog's: GELF's and Logstash's 3 is an error."""

# LOG and CONFIG are words of ordinary lines too.
_WORDS = [word for word in LEVELS if len(word) > 1 and word not in ("log", "config")]
_WORD = "|".join(sorted(map(re.escape, _WORDS), key=len, reverse=True))

# The level in the header of a line: the first of these that there is.
_HEADER = re.compile(
    # Between brackets or bars, in whatever letters, also behind the name of a module.
    rf"[\[(<|]\s*(?:[\w.-]+:)?(?i:({_WORD}|(?-i:[VDIWEF])))\s*[\])>|]"
    # In a field of its own.
    rf"|(?<![^\W\d_])(?i:level|lvl|severity)\"?[=:]\s?\"?(\w+)|(?:^|\s)at=(?i:({_WORD}))(?=\s|$)"
    # In capitals, after anything that is no letter.
    rf"|(?<![^\W\d])({_WORD.upper()})(?=[\s\])|\":>,/\[-]|$)|(?:^|\s)(LOG):  "
    r"|\bPHP (Fatal|Warning|Notice)\b"
    # At the very beginning, before a colon.
    rf"|^\W{{0,3}}(?i:({_WORD}))\s?:"
    # One letter between the time and what follows, or before it.
    r"|^[\[(]?0[\W0TZ]*\s([VDIWEF])[\s/]|^([VDIWEF]) \[0/"
    # In small letters right behind the time, as a column; behind a colon or a bracket, before a colon.
    rf"|^[\[(]?0[\W0TZ]*[\s\])]\s?(?i:({_WORD}))(?:\s?:\s|\t|\s+[\w.-]+\[0\])|[:\])]\s(?i:({_WORD})):\s"
    # Redis's signs.
    r"|^0:[A-Z] 0 [A-Z][a-z]{2} 0 0:0:0\.0 ([.*#-])\s"
)

_LOOKED_AT = 160


def level_in(shape: str) -> int:
    """The severity that the header of a line names, or 0.

    >>> level_in("[0-0-0T0:0:0.0+0][0.0s][info][gc] Pause"), level_in("0.0.0 0:0:0 [ОШИБКА] нет"), level_in("no ERRORS")
    (9, 17, 0)
    """
    at, head = 0, shape[:_LOOKED_AT]
    while match := _HEADER.search(head, at):
        if number := severity(next(group for group in match.groups() if group)):
            return number
        at = match.end()
    return 0


# klog, syslog and Cisco write the level as a part of a number, which no shape shows.
HIDDEN_LEVEL = re.compile(r"^(?:<0>|0 0:0:0\.0 )|%[A-Z][A-Z0-9_]*-0-[A-Z0-9]")

_HIDDEN = r"^(?:([IWEF])[0-9]{4,6} |<([0-9]{1,3})>)|%[A-Z][A-Z0-9_]*-([0-7])-[A-Z0-9]"


def hidden_levels(texts: pl.Series) -> list[int]:
    """Severities of lines whose shape begins like klog's or syslog's, or has a code of Cisco's."""
    groups = texts.str.head(_LOOKED_AT).str.extract_groups(_HIDDEN)
    klog, priority, cisco = (groups.struct.field(name).to_list() for name in ("1", "2", "3"))
    return [
        severity(letter or number or code, "priority")
        for letter, number, code in zip(klog, priority, cisco, strict=True)
    ]


def severities(values: Sequence[Any] | pl.Series | None, height: int, field: str = "") -> pl.Series:
    """OpenTelemetry's numbers of levels in anybody's spelling; each spelling is looked at once."""
    if values is None:
        return pl.Series([0] * height, dtype=pl.Int8)
    if not isinstance(values, pl.Series):
        if not set(map(type, values)) <= TEXT_TYPES:
            return pl.Series([severity(value, field) for value in values], dtype=pl.Int8)
        values = pl.Series(values, dtype=pl.String)
    spellings = values.unique().drop_nulls()
    numbers = [severity(spelling, field) for spelling in spellings.to_list()]
    return values.replace_strict(spellings, numbers, default=0, return_dtype=pl.Int8).fill_null(0)


TEXT_TYPES = {str, type(None)}


def first_value(value: Any) -> Any:
    """The first of a list. A loop, for a log may nest lists more deeply than Python calls."""
    while isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return value


def severity(value: Any, field: str = "", syslog: bool = False) -> int:
    """OpenTelemetry's number of a level in anybody's spelling; 0 when there is none.

    `field` is where it stands, for the same number means other things in other fields, and `syslog` whether it stands
    beside fields of syslog.

    >>> severity("Warning"), severity("chatty"), severity(3), severity(3, "PRIORITY"), severity("20", "level")
    (13, 0, 3, 17, 5)
    >>> severity("Fehler"), severity(3, "level", syslog=True)
    (17, 17)
    """
    value = first_value(value)
    if isinstance(value, str):
        return _spelt(value[:32], field, syslog)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return 0
    return _number(int(value), field, syslog)


@lru_cache(maxsize=4096)
def _spelt(text: str, field: str, syslog: bool) -> int:
    word = text.strip().strip("[]").lower()
    if word.isdecimal():
        return _number(int(word), field, syslog)
    if _LETTER_FIELD.search(field) and not re.fullmatch(r"[fewid][1-5]?", word):
        return 0
    return int(LEVELS.get(word) or LEVELS.get(_NUMBERED.sub("", word)) or _SIGNS.get(word) or 0)


# OpenTelemetry's INFO2, MongoDB's D1, INFO+2 of Go.
_NUMBERED = re.compile(r"[+-]?[1-9]$")

# How Redis marks what it writes, and what Kubernetes calls an event that is no warning.
_SIGNS = {".": 5, "-": 5, "*": 9, "#": 13, "normal": 9}


def _number(number: int, field: str, syslog: bool) -> int:
    if _SYSLOG_FIELD.search(field) or (syslog and 0 <= number < 8 and not _OTEL_FIELD.search(field)):
        # A priority is the facility times 8, plus the level.
        return int(SYSLOG[number % 8]) if number >= 0 else 0
    if _LETTER_FIELD.search(field):
        return 0
    if _WINDOWS_FIELD.search(field):
        return _WINDOWS[number] if 0 <= number < len(_WINDOWS) else 0
    if number in _MONOLOG and _NODE_FIELD.search(field):
        return _MONOLOG[number]
    if number in _NODE and (number > 24 or _NODE_FIELD.search(field)):
        return _NODE[number]
    return number if 1 <= number <= 24 else 0


def levels_of(values: list[Any], field: str, syslog: bool = False) -> list[Any]:
    """Levels, as OpenTelemetry's numbers where they are numbers that mean something else in other fields."""
    if _LETTER_FIELD.search(field):
        return [severity(value, field) for value in values]
    if not (syslog or _SYSLOG_FIELD.search(field) or _NODE_FIELD.search(field)):
        return values
    if set(map(type, values)) <= TEXT_TYPES and not any(map(str.isdecimal, filter(None, values))):
        return values
    # A number that is none of a level says nothing: another field may.
    return [severity(value, field, syslog) or None if _is_number(first_value(value)) else value for value in values]


def _is_number(value: Any) -> bool:
    return value.isdecimal() if type(value) is str else type(value) is int
