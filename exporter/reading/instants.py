"""Read one time, whatever stands for it: text, a number, an object of parts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import polars as pl

from exporter.model import nanoseconds
from exporter.reading.times import is_place, moments

MAX_TIME_CHARS = 64
"""Characters of a time; what is longer is none, and is not to fill the memory of those that were parsed."""

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
"""Before this no logs were kept: a timestamp like that is a broken clock's."""


def instant(value: Any) -> int | None:
    """Nanoseconds since the epoch of a time in any usual form; None when there is none, or an impossible one."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, dict):
        return _of_parts(value)
    if isinstance(value, str):
        text = value.strip()
        if text.replace(".", "", 1).isdigit():
            return _epoch(text)
        if text.startswith("/Date("):
            # As .NET wrote it for a long time.
            return _epoch(text[6:].partition(")")[0].partition("+")[0])
        return parsed_alone(text) if len(text) <= MAX_TIME_CHARS else None
    if isinstance(value, datetime):
        return _plausible(nanoseconds(value if value.tzinfo else value.replace(tzinfo=UTC)))
    return _epoch(repr(value)) if isinstance(value, (int, float)) else None


_SECONDS_AND_REST = (("epochSecond", "nanoOfSecond"), ("seconds", "nanos"), ("sec", "nsec"))
"""How log4j2's JSON, and messages of protobuf and of the kernel, part an instant."""


def _of_parts(value: Mapping[str, Any]) -> int | None:
    """A time that is an object: of two whole numbers, or of MongoDB's extended JSON.

    >>> _of_parts({"epochSecond": 1794895206, "nanoOfSecond": 517210000})
    1794895206517210000
    """
    for whole, rest in _SECONDS_AND_REST:
        seconds, fraction = value.get(whole), value.get(rest, 0)
        if type(seconds) is int and type(fraction) is int and 0 <= fraction < 10**9:
            return _plausible(seconds * 10**9 + fraction)
    if isinstance(value.get("date"), str) and isinstance(value.get("timezone"), str):
        # PHP's, whose microseconds are six digits.
        return _of_php(value["date"], value["timezone"])
    inner = next((value[key] for key in ("$date", "$numberLong") if key in value), None)
    if isinstance(inner, dict):
        inner = inner.get("$numberLong")
    return instant(inner) if isinstance(inner, (str, int, float)) else None


def _of_php(date: str, zone: str) -> int | None:
    if len(date) > MAX_TIME_CHARS or len(zone) > MAX_TIME_CHARS:
        return None
    if zone[:1] in ("+", "-") or not is_place(zone):
        return parsed_alone(date + zone) if zone[:1] in ("+", "-") else parsed_alone(date)
    found = moments(pl.Series([date]), zone).item()
    return None if found is None else _plausible(int(found))


def _epoch(text: str) -> int | None:
    """Seconds, milliseconds, microseconds or nanoseconds, told apart by size."""
    try:
        whole, _, fraction = text.partition(".")
        number = int(whole)
        digits = len(whole)
        if digits <= 11:
            return _plausible(number * 10**9 + int((fraction[:9] or "0").ljust(9, "0")))
        scale = 10**6 if digits <= 14 else 10**3 if digits <= 17 else 1
        return _plausible(number * scale)
    except ValueError:
        return None


@lru_cache(maxsize=65_536)
def parsed_alone(text: str) -> int | None:
    """RFC 3339, with up to nine digits of a second."""
    try:
        moment = datetime.fromisoformat(text.replace(",", "."))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        whole = nanoseconds(moment)
    except OverflowError:
        return None
    digits = text.partition(".")[2]
    count = next((i for i, character in enumerate(digits) if not character.isdigit()), len(digits))
    rest = digits[6:count][:3]
    return _plausible(whole + (int(rest.ljust(3, "0")) if rest else 0))


def _plausible(value: int) -> int | None:
    """Nanoseconds that a 64-bit integer holds and that a log can have; the future is for the caller to judge."""
    return value if nanoseconds(EARLIEST) <= value < 2**63 else None
