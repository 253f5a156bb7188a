"""Count what each entity did in one window: templates, transitions and gaps inside traces, parts of sessions."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from exporter.detection import valued
from exporter.detection.packing import pack, unpack
from exporter.detection.valued import NO_VALUES
from exporter.model import Reduced, Severity

if TYPE_CHECKING:
    from exporter.mining.templates import Mined

Ints = npt.NDArray[np.int64]

MAX_TRANSITIONS = 2000
"""Distinct transitions that are kept of a service in a window, the most frequent first."""

GAP_STEPS = 32
"""Steps in which the logarithm of a gap is counted, for each doubling: integers add up exactly in any order."""

_SAID = (pl.col("severity") == Severity.UNSPECIFIED) | (pl.col("severity") >= int(Severity.INFO))
"""Not what is written to debug: it comes and goes with a switch, which says nothing of how a service does."""

BOUNDARY = 0
"""Stands before the first and after the last line of a service in a trace."""

SERVICES = {
    "service": pl.String(),
    "lines": pl.Int64(),
    "errors": pl.Int64(),
    "warnings": pl.Int64(),
    "traces": pl.Int64(),
}
COUNTS = {
    "service": pl.String(),
    "template": pl.Int64(),
    "count": pl.Int64(),
    "traces": pl.Int64(),
    "severity": pl.Int8(),
    "first": pl.Int64(),
}
TRANSITIONS = {
    "service": pl.String(),
    "kind": pl.String(),
    "previous": pl.Int64(),
    "next": pl.Int64(),
    "count": pl.Int64(),
    "gap": pl.Int64(),
}
SESSIONS = {
    "session": pl.String(),
    "service": pl.String(),
    "template": pl.Int64(),
    "count": pl.Int64(),
    "first": pl.Int64(),
    "last": pl.Int64(),
}
_FRAMES = {"services": SERVICES, "counts": COUNTS, "transitions": TRANSITIONS, "sessions": SESSIONS}
_STORED = (*_FRAMES, "values")


@dataclass(frozen=True)
class Observation:
    """What the entities of one source did in one window.

    services: lines of each, errors and warnings among them, and traces. What is written to debug is one line, however
        much it is: the service is there.
    counts: lines of each template of a service, in how many traces, their highest severity and first time.
    transitions: `next` follows `previous` in a service's part of a trace (kind "self"; BOUNDARY is where the part
        begins or ends), or lines follow each other directly in a trace: inside the service ("gap"), from another
        service into it ("in"), or out of it to another ("out"). `gap` is the median of the logarithm of the time
        between the two, in GAP_STEPS a doubling of microseconds; null for "self".
    sessions: one part of each session: lines of each template, first and last time in nanoseconds.
    values: which values lines have, so many of so many (`exporter.detection.valued`), as read.
    sampled: the share of the lines that was read. Below 1, numbers of lines in `services` and `counts` are estimates,
        what was read divided by the share, so that they compare with those of whole windows; numbers of traces are
        as read, for a trace is rarely in one second alone; transitions and sessions are empty, for order and what is
        missing mean nothing.
    """

    source: str
    window: int
    duration: timedelta
    services: pl.DataFrame
    counts: pl.DataFrame
    transitions: pl.DataFrame
    sessions: pl.DataFrame
    sampled: float = 1.0
    limited: int = 0
    values: pl.DataFrame = field(default_factory=lambda: NO_VALUES)

    def to_bytes(self) -> bytes:
        """A compact form that `from_bytes` reads; it cannot run code."""
        parts = [pack(getattr(self, name)) for name in _STORED]
        head = struct.pack("<qdd", self.window, self.duration.total_seconds(), self.sampled)
        sizes = struct.pack("<5I", *map(len, parts))
        return b"".join((head, sizes, *parts))

    @classmethod
    def from_bytes(cls, source: str, data: bytes) -> Observation:
        window, duration, sampled = struct.unpack_from("<qdd", data)
        sizes = struct.unpack_from("<5I", data, 24)
        frames, start = [], 44
        for size in sizes:
            frames.append(unpack(data[start : start + size]))
            start += size
        services, counts, transitions, sessions, values = frames
        length = timedelta(seconds=duration)
        return cls(source, window, length, services, counts, transitions, sessions, sampled, values=values)

    def rename(self, merged: Iterable[tuple[int, int]]) -> Observation:
        """Counts of templates that were merged move to the survivors."""
        moves = survivors(merged)
        if not moves:
            return self
        counts = _moved(self.counts, moves, ("template",), ("service", "template"), _COUNT_SUMS)
        keys = ("service", "kind", "previous", "next")
        transitions = _moved(self.transitions, moves, ("previous", "next"), keys, _TRANSITION_SUMS)
        sessions = _moved(self.sessions, moves, ("template",), ("session", "service", "template"), _SESSION_SUMS)
        values = valued.renamed(self.values, moves)
        return replace(self, counts=counts, transitions=transitions, sessions=sessions, values=values)


_COUNT_SUMS = (pl.col("count", "traces").sum(), pl.col("severity").max(), pl.col("first").min())
_TRANSITION_SUMS = (pl.col("count").sum(), pl.col("gap").median().round().cast(pl.Int64))
_SESSION_SUMS = (pl.col("count").sum(), pl.col("first").min(), pl.col("last").max())


def survivors(merged: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Old id to the id that now stands for it, chains followed to their end."""
    moves: dict[int, int] = {}
    for old, new in merged:
        for known, target in moves.items():
            if target == old:
                moves[known] = new
        moves[old] = new
    return moves


def _moved(
    frame: pl.DataFrame,
    moves: dict[int, int],
    columns: tuple[str, ...],
    keys: tuple[str, ...],
    sums: tuple[pl.Expr, ...],
) -> pl.DataFrame:
    touched = pl.any_horizontal(pl.col(column).is_in(list(moves)) for column in columns)
    if not frame.select(touched.any()).item():
        return frame
    renamed = frame.with_columns(pl.col(column).replace(moves) for column in columns)
    return renamed.group_by(keys).agg(*sums).select(frame.columns).cast(dict(frame.schema)).sort(keys)  # type: ignore[arg-type]


def empty(source: str, window: int, duration: timedelta) -> Observation:
    """A window without lines."""
    return Observation(source, window, duration, *_no_frames())


@cache
def _no_frames() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    services, counts, transitions, sessions = (pl.DataFrame(schema=schema) for schema in _FRAMES.values())
    return services, counts, transitions, sessions


_OBSERVED = (
    *("timestamp", "sequence", "service", "stream", "session", "trace", "severity", "shape", "code", "duration"),
    *("place", "fields"),
)
"""Columns of lines that are counted."""


def observe(source: str, window: int, duration: timedelta, reduced: Reduced, mined: Mined) -> Observation:
    """Count one window. The order of the lines in `reduced` decides nothing but ties."""
    sampled = reduced.sampled.get(window, 1.0)
    lines = reduced.lines
    if lines["continuation"].any():
        lines = lines.filter(~pl.col("continuation"))
    if lines.is_empty():
        return replace(empty(source, window, duration), sampled=sampled)
    named = (
        lines.select(_OBSERVED)
        .join(mined.templates, on=("service", "shape"), how="inner", maintain_order="left")
        .with_columns(pl.col("service").alias("key"))
        .with_columns(_texts(lines["service"].unique(), reduced.names))
    )
    whole = named if sampled == 1.0 else named.clear()
    transitions, limited = _transitions(whole)
    return Observation(
        source=source,
        window=window,
        duration=duration,
        services=_estimated(_services(named), sampled, "lines", "errors", "warnings"),
        counts=_estimated(_counts(named), sampled, "count"),
        transitions=transitions,
        sessions=_sessions(whole, reduced.names),
        sampled=sampled,
        limited=limited,
        values=valued.values_of(named, reduced.names, mined),
    )


def _estimated(frame: pl.DataFrame, sampled: float, *columns: str) -> pl.DataFrame:
    """Numbers of lines as they would be had all been read."""
    if sampled == 1.0:
        return frame
    return frame.with_columns((pl.col(*columns) / sampled).round().cast(pl.Int64))


def _texts(keys: pl.Series, names: pl.DataFrame) -> pl.Expr:
    """Services by name instead of key."""
    known = names.filter(pl.col("key").is_in(keys.implode()))
    table = dict(zip(known["key"].to_list(), known["text"].to_list(), strict=True))
    return pl.col("service").replace_strict(table, default="", return_dtype=pl.String())


def _services(lines: pl.DataFrame) -> pl.DataFrame:
    error, warn = int(Severity.ERROR), int(Severity.WARN)
    traced = pl.col("trace").filter(pl.col("trace") != 0)
    return (
        lines.group_by("service")
        .agg(
            pl.max_horizontal(_SAID.sum(), 1).alias("lines"),
            (pl.col("severity") >= error).sum().alias("errors"),
            pl.col("severity").is_between(warn, error - 1).sum().alias("warnings"),
            traced.n_unique().alias("traces"),
        )
        .cast(SERVICES)  # type: ignore[arg-type]
        .sort("service")
    )


def _counts(lines: pl.DataFrame) -> pl.DataFrame:
    traced = pl.col("trace").filter(pl.col("trace") != 0)
    return (
        lines.group_by("service", "template")
        .agg(
            pl.len().alias("count"),
            traced.n_unique().alias("traces"),
            pl.col("severity").max(),
            pl.col("timestamp").min().alias("first"),
        )
        .cast(COUNTS)  # type: ignore[arg-type]
        .sort("service", "template")
    )


def _sessions(lines: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    parts = lines.filter(pl.col("session") != 0)
    if parts.is_empty():
        return pl.DataFrame(schema=SESSIONS)
    keys = ("session", "service", "template")
    return (
        parts.group_by(keys)
        .agg(pl.len().alias("count"), pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last"))
        .join(names, left_on="session", right_on="key", how="inner")
        .with_columns(pl.col("text").alias("session"))
        .select(list(SESSIONS))
        .cast(SESSIONS)  # type: ignore[arg-type]
        .sort(keys)
    )


def _transitions(lines: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Transitions of all services, and how many were left out."""
    columns = ("trace", "timestamp", "stream", "sequence", "template", "key")
    traced = lines.select(columns).filter(pl.col("trace") != 0)
    if traced.is_empty():
        return pl.DataFrame(schema=TRANSITIONS), 0
    trace, time, stream, sequence, template, key = (traced[name].to_numpy() for name in columns)
    keys, service = np.unique(key, return_inverse=True)
    # Stream, sequence and template break ties, so that the order of pages does not.
    order = np.lexsort((template, sequence, stream, time, trace))
    chain = _Chain(trace[order], time[order], service.ravel()[order], template[order])
    counted = [_counted([*_own(part), *_gaps(part)]) for part in chain.parts()]
    service, kind, previous, following, gap, count = _medians(counted)
    names = _named(keys, lines)
    table = {
        "service": names.gather(service),
        "kind": pl.Series(_KINDS).gather(kind),
        "previous": previous,
        "next": following,
        "count": count,
        "gap": pl.Series(gap).set(pl.Series(kind == _SELF), None),
    }
    found = pl.DataFrame(table, schema=TRANSITIONS).sort("service", "kind", "previous", "next")
    if found.height <= MAX_TRANSITIONS:
        return found, 0
    kept = found.filter(pl.col("count").rank("ordinal", descending=True).over("service") <= MAX_TRANSITIONS)
    return kept, found.height - kept.height


def _named(keys: npt.NDArray[np.uint64], lines: pl.DataFrame) -> pl.Series:
    """The names of some services, in their order."""
    names = lines.select("key", "service").unique("key")
    return pl.DataFrame({"key": keys}).join(names, on="key", how="left", maintain_order="left")["service"]


_KINDS = ("gap", "in", "out", "self")
_GAP, _IN, _OUT, _SELF = range(4)


class _Chain(NamedTuple):
    """Lines of traces in the order in which they were written, trace by trace. Of so few rows arrays are faster."""

    trace: npt.NDArray[np.uint64]
    time: Ints
    service: Ints
    template: Ints

    def parts(self) -> Iterator[_Chain]:
        """Whole traces, in all of which there are not many lines: steps take many times the room of lines."""
        begins = np.flatnonzero(np.append(True, self.trace[1:] != self.trace[:-1]))
        wanted = np.searchsorted(begins, np.arange(PIECE, len(self.trace), PIECE))
        cuts = np.unique(begins[wanted[wanted < len(begins)]]).tolist()
        for start, end in zip([0, *cuts], [*cuts, len(self.trace)], strict=True):
            part = slice(start, end)
            yield _Chain(self.trace[part], self.time[part], self.service[part], self.template[part])


PIECE = 50_000
"""Lines whose steps are counted at once."""


class _Steps(NamedTuple):
    """Transitions of one kind as they happened."""

    service: Ints
    kind: int
    previous: Ints
    next: Ints
    gap: Ints


def _own(chain: _Chain) -> Iterator[_Steps]:
    """A service's part of each trace as a chain that begins and ends at BOUNDARY."""
    order = np.lexsort((chain.service, chain.trace))
    trace, service, template = chain.trace[order], chain.service[order], chain.template[order]
    same = (trace[1:] == trace[:-1]) & (service[1:] == service[:-1])
    begins, ends = np.append(True, ~same), np.append(~same, True)
    none = np.zeros(len(trace), np.int64)
    yield _Steps(service, _SELF, np.where(begins, BOUNDARY, np.roll(template, 1)), template, none)
    yield _Steps(service[ends], _SELF, template[ends], np.full(ends.sum(), BOUNDARY), none[ends])


def _gaps(chain: _Chain) -> Iterator[_Steps]:
    """Times between lines that follow each other directly in a trace, seen from both services."""
    together = chain.trace[1:] == chain.trace[:-1]
    micros = np.diff(chain.time)[together] / 1000 + 1
    gap = np.rint(np.log2(micros) * GAP_STEPS).astype(np.int64)
    source, target = chain.service[:-1][together], chain.service[1:][together]
    previous, following = chain.template[:-1][together], chain.template[1:][together]
    inside, across = source == target, source != target
    yield _Steps(target[inside], _GAP, previous[inside], following[inside], gap[inside])
    for service, kind in ((target, _IN), (source, _OUT)):
        yield _Steps(service[across], kind, previous[across], following[across], gap[across])


def _counted(steps: Iterable[_Steps]) -> list[Ints]:
    """Distinct transitions with each of their gaps: service, kind, previous, next, gap, count."""
    parts = [np.broadcast_arrays(*one) for one in steps]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    columns = _sorted(columns)
    start = _starts(columns)
    return [*(column[start] for column in columns), np.diff(np.append(start, len(columns[0])))]


def _medians(parts: Sequence[Sequence[Ints]]) -> tuple[Ints, ...]:
    """Distinct transitions of all parts: service, kind, previous, next, median gap, count."""
    *keys, gap, count = _sorted([np.concatenate(column) for column in zip(*parts, strict=True)])
    start = _starts(keys)
    total, passed = np.add.reduceat(count, start), np.cumsum(count)
    before = passed[start] - count[start]
    lower, upper = (np.searchsorted(passed, before + place, "right") for place in ((total - 1) // 2, total // 2))
    return *(column[start] for column in keys), np.rint((gap[lower] + gap[upper]) / 2).astype(np.int64), total


def _sorted(columns: Sequence[Ints]) -> list[Ints]:
    """Rows in the order of their columns, the first of which weighs most."""
    order = np.lexsort(columns[::-1])
    return [column[order] for column in columns]


def _starts(columns: Sequence[Ints]) -> Ints:
    """Where a row begins that differs from the one before."""
    changed = np.zeros(len(columns[0]) - 1, np.bool_)
    for column in columns:
        changed |= column[1:] != column[:-1]
    return np.flatnonzero(np.append(True, changed))
