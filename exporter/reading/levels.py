"""What levels mean, however they are written."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import polars as pl

from exporter.model import Severity

_WORDS = {
    "trace": 1, "finest": 1, "finer": 1, "debug": 5, "fine": 5, "verbose": 5, "info": 9, "information": 9,
    "informational": 9, "notice": 10, "warn": 13, "warning": 13, "err": 17, "error": 17, "severe": 17, "crit": 18,
    "critical": 18, "alert": 19, "fatal": 21, "panic": 21, "dpanic": 21, "emerg": 22, "emergency": 22,
}  # fmt: skip

# What loggers of Node write, and syslog's numbers.
_NUMBERS = {"10": 1, "20": 5, "30": 9, "40": 13, "50": 17, "60": 21}

_PRIORITIES = (22, 19, 18, 17, 13, 10, 9, 5)

_KLOG = {"I": 9, "W": 13, "E": 17, "F": 21}

_UPPER = re.compile(
    r"(?:^|[\s\[(|\"<:=/-])(TRACE|DEBUG|FINE|VERBOSE|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|SEVERE|CRIT(?:ICAL)?|FATAL"
    r"|EMERG|ALERT|PANIC)(?=[\s\])|\":>,/-]|$)"
)

_BRACKETED = re.compile(
    r"(?i)(?:^|\s)(?:\[(trace|debug|info|notice|warn(?:ing)?|err(?:or)?|crit(?:ical)?|fatal|emerg|alert|panic)\]"
    r"|(?:level|lvl|severity)[=:]\s?\"?(\w+))"
)

_LEADING = re.compile(r"(?i)^\W{0,3}(trace|debug|info|notice|warn(?:ing)?|err(?:or)?|crit(?:ical)?|fatal|panic)\s?:")

_LOOKED_AT = 160


def severity_of(word: str | None) -> int:
    """OpenTelemetry's number of a level as loggers spell it; 0 when it is none.

    >>> severity_of("Warning"), severity_of("30"), severity_of("chatty")
    (13, 9, 0)
    """
    return _WORDS.get(word.lower(), _NUMBERS.get(word, 0)) if word else 0


def level_in(shape: str) -> int:
    """The severity that the header of a line names, or 0."""
    head = shape[:_LOOKED_AT]
    for pattern in (_BRACKETED, _UPPER, _LEADING):
        if match := pattern.search(head):
            return severity_of(next(group for group in match.groups() if group))
    return 0


# klog and syslog write the level as a part of a number, which no shape shows.
HIDDEN_LEVEL = re.compile(r"^(?:<0>|0 0:0:0\.0 )")

_HIDDEN = r"^(?:([IWEF])[0-9]{4} |<([0-9]{1,3})>)"


def hidden_levels(texts: pl.Series) -> list[int]:
    """Severities of lines whose shape begins like klog's or syslog's."""
    groups = texts.str.extract_groups(_HIDDEN)
    klog, priority = (groups.struct.field(name).to_list() for name in ("1", "2"))
    return [
        _KLOG[letter] if letter else _PRIORITIES[int(number) % 8] if number else 0
        for letter, number in zip(klog, priority, strict=True)
    ]


def severities(values: Sequence[Any] | pl.Series | None, height: int) -> pl.Series:
    """OpenTelemetry's numbers of levels in anybody's spelling; each spelling is looked at once."""
    if values is None:
        return pl.Series([0] * height, dtype=pl.Int8)
    if not isinstance(values, pl.Series):
        if not set(map(type, values)) <= TEXT_TYPES:
            return pl.Series(list(map(severity, values)), dtype=pl.Int8)
        values = pl.Series(values, dtype=pl.String)
    spellings = values.unique().drop_nulls()
    numbers = [severity(spelling) for spelling in spellings.to_list()]
    return values.replace_strict(spellings, numbers, default=0, return_dtype=pl.Int8).fill_null(0)


TEXT_TYPES = {str, type(None)}


def first_value(value: Any) -> Any:
    """The first of a list. A loop, for a log may nest lists more deeply than Python calls."""
    while isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return value


_NAMES = {
    "trace": Severity.TRACE, "finest": Severity.TRACE, "finer": Severity.TRACE, "verbose": Severity.TRACE,
    "debug": Severity.DEBUG, "dbug": Severity.DEBUG, "fine": Severity.DEBUG, "d": Severity.DEBUG,
    "info": Severity.INFO, "informational": Severity.INFO, "information": Severity.INFO, "notice": Severity.INFO,
    "i": Severity.INFO, "log": Severity.INFO, "config": Severity.INFO,
    "warn": Severity.WARN, "warning": Severity.WARN, "w": Severity.WARN,
    "error": Severity.ERROR, "err": Severity.ERROR, "severe": Severity.ERROR, "e": Severity.ERROR,
    "fatal": Severity.FATAL, "critical": Severity.FATAL, "crit": Severity.FATAL, "alert": Severity.FATAL,
    "emerg": Severity.FATAL, "emergency": Severity.FATAL, "panic": Severity.FATAL, "f": Severity.FATAL,
}  # fmt: skip

# Syslog's priorities, and the levels of bunyan and pino, which count the other way round. Numbers up to 24 are
# OpenTelemetry's, unless their field says otherwise.
_SYSLOG = {0: 21, 1: 21, 2: 21, 3: 17, 4: 13, 5: 9, 6: 9, 7: 5}

_BUNYAN = {10: 1, 20: 5, 30: 9, 40: 13, 50: 17, 60: 21}


@lru_cache(maxsize=4096)
def _severity_of(text: str) -> int:
    word = text.strip().strip("[]").lower()
    if word in _NAMES:
        return int(_NAMES[word])
    if word.isdecimal():
        return severity(int(word))
    # OpenTelemetry writes INFO2 for the second number of a range.
    return int(_NAMES.get(word.rstrip("234"), Severity.UNSPECIFIED))


def severity(value: Any) -> int:
    """OpenTelemetry's number of a level in anybody's spelling; 0 when there is none."""
    value = first_value(value)
    if isinstance(value, str):
        return _severity_of(value[:32])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return 0
    number = int(value)
    if number in _BUNYAN and number > 24:
        return _BUNYAN[number]
    return number if 1 <= number <= 24 else _SYSLOG.get(number, 0)


def levels_of(values: list[Any], field: str) -> list[Any]:
    """Levels as OpenTelemetry's numbers where their field is one in which loggers write other numbers."""
    numbers = {"PRIORITY": _SYSLOG, "level": _BUNYAN}.get(field, {})
    if not numbers or not any(type(value) is int or (type(value) is str and value.isdecimal()) for value in values):
        return values
    known = {form: number for key, number in numbers.items() for form in (key, str(key))}
    return [known.get(value, value) if type(value) in (int, str) else value for value in values]
