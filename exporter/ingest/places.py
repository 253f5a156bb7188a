"""Statuses and durations by the place where they stand in the lines of access logs, routers and slow logs."""

from __future__ import annotations

import polars as pl

N = r"[0-9]+(?:\.[0-9]+)?"
CODE = r"[1-5][0-9]{2}"

STATUSES = (
    rf" -?{N}/-?{N}/-?{N}/-?{N}/\+?{N} ({CODE}) ",
    rf" -?{N} -?{N} -?{N} ({CODE}) (?:{CODE}|-) ",
    rf"\bTCP_[A-Z_]+/({CODE}) ",
    rf"\| +({CODE}) +\|",
    rf"\b(?:GET|POST|PUT|DELETE|HEAD|PATCH|OPTIONS) \S+ ({CODE}) {N} ms\b",
    rf"\bresp=({CODE})\b",
)
"""HAProxy, load balancers of AWS, Squid, Gin, Morgan, Kubernetes."""

DURATIONS: tuple[tuple[str, float, str], ...] = (
    (rf" -?{N}/-?{N}/-?{N}/-?{N}/\+?({N}) {CODE} ", 1e-3, "total time"),
    (rf" -?{N}/-?{N}/\+?({N}) {N} (?:--|[A-Za-z][A-Za-z-]) ", 1e-3, "total time"),
    (rf" -?{N} ({N}) -?{N} {CODE} (?:{CODE}|-) ", 1.0, "target processing time"),
    (rf"\bservice=({N})ms\b", 1e-3, "service"),
    (rf"\brt=\"?({N})", 1.0, "rt"),
    (rf"\brequest_time[=:] ?\"?({N})", 1.0, "request_time"),
    (rf"\" {CODE} (?:-|[A-Z,]+) {N} {N} ({N}) ", 1e-3, "duration"),
    (rf"\" {N} ({N}) \[[^\]\s]*\] \[", 1.0, "request time"),
    (r"\" (0\.0|[0-9]+\.[0-9]{3})(?:\s|$)", 1.0, "request time"),
    (rf"HTTP/{N}\" {CODE} {N} \"[^\"]*\" \"[^\"]*\" ({N})$", 1e-6, "%D"),
    (rf"^{N} +({N}) \S+ TCP_", 1e-3, "elapsed"),
)
"""With how many seconds their unit has, and what the place is called; the first that a line has counts."""

QUERY_TIME = rf"# Query_time: ({N})"

# A time that is waited for, how long something runs already, and what stands in an address are no durations.
NONE = (
    rf"[?&][^\s\"]*|(?:^|\])\[{N}m?s\]|\b(?:for|every|up) {N} ?(?:ms|s|m|h)\b"
    rf"|(?i:\b\w*(?:time-?out|interval|ttl|uptime|max[_-]?age|deadline|backoff)[ =:]{{1,2}}{N} ?(?:ms|s|m|h)\b)"
)


def in_shapes(pattern: str) -> str:
    """The pattern for text whose numbers are 0 already."""
    return pattern.replace(r"[0-9]+\.[0-9]{3}", r"0\.0").replace(N, r"0(?:\.0)?").replace(CODE, "0")


def first_place(text: pl.Expr) -> pl.Expr:
    """The number, from 1, of the first place of a duration that each shape has; 0 where it has none."""
    found = pl.lit(0, pl.Int8)
    for number, (pattern, _, _) in reversed(list(enumerate(DURATIONS, 1))):
        found = pl.when(text.str.contains(in_shapes(pattern))).then(pl.lit(number, pl.Int8)).otherwise(found)
    return found


def durations_at(texts: pl.Series, place: int) -> pl.Series:
    """The durations of lines that have one at a place, in seconds."""
    pattern, unit, _ = DURATIONS[place - 1]
    return (texts.str.extract(pattern).cast(pl.Float64, strict=False) * unit).cast(pl.Float32)


def query_times(bodies: pl.Series) -> pl.Series:
    """The time that MySQL took, in seconds."""
    return bodies.str.extract(QUERY_TIME).cast(pl.Float32, strict=False)
