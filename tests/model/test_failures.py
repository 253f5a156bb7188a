"""A line that speaks of a failure does so for everybody who reads it."""

from __future__ import annotations

import polars as pl
import pytest

from exporter.detection.evidence import Lines
from exporter.ingest.exemplars import NO_EXEMPLARS
from exporter.mining.templates import TEMPLATES_SCHEMA, Mined
from exporter.model import Severity, failure_in

FATAL, ERROR, WARN = Severity.FATAL, Severity.ERROR, Severity.WARN


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("kernel panic", FATAL), ("thread main panicked at main.rs", FATAL), ("OOMKilled", FATAL),
        ("java.lang.OutOfMemoryError: Java heap space", FATAL), ("worker: segfault at <HEX>", FATAL),
        ("process dumped: core dumped", FATAL),
        ("deadlock detected", ERROR), ("could not connect to <HOST>", ERROR), ("cannot open file", ERROR),
        ("connection refused by host", ERROR), ("connect ECONNREFUSED <IP>", ERROR), ("read ETIMEDOUT", ERROR),
        ("Timeout waiting for a connection", ERROR), ("operation timed out", ERROR), ("TypeError: x is not a", ERROR),
        ("java.lang.NullPointerException", ERROR), ("Traceback of the call", ERROR), ("container killed", ERROR),
        ("stack overflow in handler", ERROR), ("pool exhausted", ERROR), ("CrashLoopBackOff", ERROR),
        ("too many authentication failures", ERROR), ("AccessDenied", ERROR), ("reason = AuthFail", ERROR),
        ("lease lost", ERROR), ("unable to reach <HOST>", ERROR), ("page is corrupted", ERROR),
        ("invalid token", WARN), ("retrying in <NUM> s", WARN), ("slow query", WARN),
        ("order stored", 0), ("cache entry invalidated", 0), ("failover is on", 0), ("sessionTimeoutMs set", 0),
        ("skilled worker hired", 0), ("mirror is in step", 0),
    ],
)  # fmt: skip
def test_the_words_of_a_line_say_how_bad_it_is(text: str, severity: int) -> None:
    texts = {7: text}
    assert failure_in(text) == severity
    assert (
        Lines("shop", NO_EXEMPLARS, Mined(pl.DataFrame(schema=TEMPLATES_SCHEMA), texts=texts)).severity(7) == severity
    )
