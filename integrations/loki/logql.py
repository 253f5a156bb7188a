"""Queries: a selector with more matchers, and ranges that Loki answers in one piece."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import timedelta

from exporter.model import PermanentError, TimeRange, floor

MAX_STEPS = 5000
"""Windows counted by one request; servers refuse more than 11,000 points."""

LONGEST_COUNT = timedelta(days=7)

INTERNAL = ("__pattern__", "__aggregated_metric__")
"""Labels of streams that Loki writes about other streams."""


def pieces(time_range: TimeRange, window: timedelta) -> Iterator[TimeRange]:
    """Whole windows, as many as one request may count, between the parts of windows that the range cuts off."""
    first = floor(time_range.start + window - timedelta(microseconds=1), window)
    last = floor(time_range.end, window)
    if last < first:
        yield time_range
        return
    step = max(1, min(MAX_STEPS, LONGEST_COUNT // window)) * window
    whole = TimeRange(first, last).split(step)
    for piece in (TimeRange(time_range.start, first), *whole, TimeRange(last, time_range.end)):
        if piece.duration:
            yield piece


def quoted(text: str) -> str:
    """A string of LogQL.

    >>> quoted('a "b"')
    '"a \\\\"b\\\\""'
    """
    return json.dumps(text, ensure_ascii=False)


def selector_end(query: str) -> int | None:
    """Where the stream selector ends; None when it does not.

    >>> selector_end('{app="}"} |= "x"')
    9
    """
    match = re.match(r'\s*\{(?:[^"`}]|"(?:[^"\\]|\\.)*"|`[^`]*`)*\}', query, re.DOTALL)
    return match.end() if match else None


def with_matchers(query: str, matchers: Iterable[str]) -> str:
    """The query with a narrower selector.

    >>> with_matchers('{app="shop"} |= "x"', ['pod=~"a|b"'])
    '{app="shop",pod=~"a|b"} |= "x"'
    """
    end = selector_end(query)
    if end is None:
        raise PermanentError(f"{query!r} is not a stream selector")
    return ",".join((query[: end - 1].rstrip(), *matchers)) + query[end - 1 :]


def guarded(query: str, labels: Iterable[str], excluded: Iterable[str]) -> str:
    """The query without what Loki writes about itself, and without the services that are not to be read."""
    # In Kubernetes the label `job` is namespace/name.
    names = "|".join(f"(.+/)?{re.escape(name)}" for name in excluded)
    own = [f"{label}!~{quoted(names)}" for label in labels if re.fullmatch(r"[A-Za-z_]\w*", label)]
    # Not as matchers: Loki gives a selector that names one of them to its own user interface alone, and us nothing.
    return with_matchers(query, own) + "".join(f' | {label}=""' for label in INTERNAL)
