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
_SYSLOG_FIELD = re.compile(r"(?i)(?:^|\.)(?:priority|syslog\.severity\.code)$")
_NODE_FIELD = re.compile(r"(?i)(?:^|\.)level$")

# LOG and CONFIG are words of ordinary lines too.
_WORD = "|".join(word for word in LEVELS if len(word) > 1 and word not in ("log", "config"))

_UPPER = re.compile(rf"(?:^|[\s\[(|\"<:=/-])({_WORD.upper()})(?=[\s\])|\":>,/-]|$)")

_BRACKETED = re.compile(rf"(?i)(?:^|\s)(?:\[({_WORD})\]|(?:level|lvl|severity)[=:]\s?\"?(\w+))")

_LEADING = re.compile(r"(?i)^\W{0,3}(trace|debug|info|notice|warn(?:ing)?|err(?:or)?|crit(?:ical)?|fatal|panic)\s?:")

_LOOKED_AT = 160


def level_in(shape: str) -> int:
    """The severity that the header of a line names, or 0."""
    head = shape[:_LOOKED_AT]
    for pattern in (_BRACKETED, _UPPER, _LEADING):
        if match := pattern.search(head):
            return severity(next(group for group in match.groups() if group))
    return 0


# klog and syslog write the level as a part of a number, which no shape shows.
HIDDEN_LEVEL = re.compile(r"^(?:<0>|0 0:0:0\.0 )")

_HIDDEN = r"^(?:([IWEF])[0-9]{4} |<([0-9]{1,3})>)"


def hidden_levels(texts: pl.Series) -> list[int]:
    """Severities of lines whose shape begins like klog's or syslog's."""
    groups = texts.str.extract_groups(_HIDDEN)
    klog, priority = (groups.struct.field(name).to_list() for name in ("1", "2"))
    return [severity(letter or number, "priority") for letter, number in zip(klog, priority, strict=True)]


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


def severity(value: Any, field: str = "") -> int:
    """OpenTelemetry's number of a level in anybody's spelling; 0 when there is none.

    `field` is where it stands, for the same number means other things in other fields.

    >>> severity("Warning"), severity("chatty"), severity(3), severity(3, "PRIORITY"), severity("20", "level")
    (13, 0, 3, 17, 5)
    """
    value = first_value(value)
    if isinstance(value, str):
        return _spelt(value[:32], field)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return 0
    return _number(int(value), field)


@lru_cache(maxsize=4096)
def _spelt(text: str, field: str) -> int:
    word = text.strip().strip("[]").lower()
    if word.isdecimal():
        return _number(int(word), field)
    # OpenTelemetry writes INFO2 for the second number of a range.
    return int(LEVELS.get(word) or LEVELS.get(word.rstrip("234")) or 0)


def _number(number: int, field: str) -> int:
    if _SYSLOG_FIELD.search(field):
        # A priority is the facility times 8, plus the level.
        return int(SYSLOG[number % 8]) if number >= 0 else 0
    if number in _NODE and (number > 24 or _NODE_FIELD.search(field)):
        return _NODE[number]
    return number if 1 <= number <= 24 else 0


def levels_of(values: list[Any], field: str) -> list[Any]:
    """Levels, as OpenTelemetry's numbers where they are numbers that mean something else in other fields."""
    if not (_SYSLOG_FIELD.search(field) or _NODE_FIELD.search(field)):
        return values
    if set(map(type, values)) <= TEXT_TYPES and not any(map(str.isdecimal, filter(None, values))):
        return values
    return [severity(value, field) if _is_number(first_value(value)) else value for value in values]


def _is_number(value: Any) -> bool:
    return value.isdecimal() if type(value) is str else type(value) is int
