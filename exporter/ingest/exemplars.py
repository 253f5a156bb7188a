"""A few lines of each shape as text, with the lines that continue them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from exporter.ingest.settings import ReductionSettings
from exporter.ingest.shapes import SEED, beginning, redactor, safe_names, text_keys
from exporter.model import Reduced, Severity, page_schema

UInt64s = npt.NDArray[np.uint64]

Int64s = npt.NDArray[np.int64]

EXEMPLARS = 3
"""Lines kept as text, of each window, service and shape; of those that say to be harmless, the first."""

MAX_BODY_CHARS = 2_000
"""Characters of an exemplar that are kept, continuation lines included."""

MAX_CONTINUATION_CHARS = 300

MAX_CONTINUATIONS = 400
"""Continuation lines whose text is kept, of each window and stream."""

MAX_JOINED = 30
"""Continuation lines that are joined to an exemplar."""

_BEFORE_REDACTION = MAX_BODY_CHARS + 1_024

EXEMPLAR_SCHEMA = {
    "window": pl.Int64(),
    "service": pl.String(),
    "shape": pl.UInt64(),
    **{
        name: page_schema()[name]
        for name in ("timestamp", "sequence", "id", "severity", "trace", "host", "stream", "body")
    },
}

NO_EXEMPLARS = pl.DataFrame(schema=EXEMPLAR_SCHEMA)


def exemplars_of(page: pl.DataFrame, lines: pl.DataFrame, settings: ReductionSettings) -> pl.DataFrame:
    """The first lines of each window, service and shape, and of continuation lines the first of each stream."""
    windows = window_starts(lines["timestamp"], settings.window)
    rows, exact = _first_rows(windows, lines)
    picked = page.select(*_OF_PAGE)[rows].with_columns(
        lines["severity"].gather(rows), lines["shape"].gather(rows), pl.Series("window", windows[rows])
    )
    if not exact:
        picked = best_of_each(picked.with_columns(pl.Series("row", rows)))
        rows = picked["row"].to_numpy()
    bodies = [beginning(body, _BEFORE_REDACTION) for body in page["body"].gather(rows).str.head(2 * _BEFORE_REDACTION)]
    redacted = redactor(settings.redaction, settings.redaction_key).redact_series(pl.Series("body", bodies, pl.String))
    safe = safe_names(settings)
    names = [
        pl.Series(name, safe(picked[name].to_list()), pl.String) for name in ("service", "host", "stream", "trace")
    ]
    return _detached(picked.with_columns(redacted.alias("body"), *names).select(*_EXEMPLAR_COLUMNS))


def _detached(frame: pl.DataFrame) -> pl.DataFrame:
    """The same with texts of its own: the few rows that are gathered from a page hold on to all texts of the page."""
    return frame.with_columns(pl.col(pl.String) + "")


_OF_PAGE = ("service", "timestamp", "sequence", "id", "trace", "host", "stream")

# Where a line is a continuation, less of it is enough.
_CUT = pl.when(pl.col("shape") == 0).then(MAX_CONTINUATION_CHARS).otherwise(MAX_BODY_CHARS)

_EXEMPLAR_COLUMNS = [
    pl.col(name) if name != "body" else pl.col("body").str.strip_chars_end().str.head(_CUT) for name in EXEMPLAR_SCHEMA
]


def window_starts(timestamps: pl.Series, window: timedelta) -> Int64s:
    """Of each line, in seconds since the epoch."""
    seconds = window // timedelta(seconds=1)
    return np.asarray(timestamps.to_numpy() // (seconds * 1_000_000_000) * seconds)


def _first_rows(windows: Int64s, lines: pl.DataFrame) -> tuple[Int64s, bool]:
    """Rows that could be among the first of their group: those not later than its third, so that none is lost.

    And whether these are the first already, because no two compete for the last place.
    """
    timestamps = lines["timestamp"].to_numpy()
    shapes = lines["shape"].to_numpy()
    severities = lines["severity"].to_numpy()
    harmless = (severities > 0) & (severities < Severity.WARN)
    groups = _group_numbers(windows, lines["service"].to_numpy(), shapes, harmless)
    order = np.lexsort((timestamps, groups))
    ordered, moments = groups[order], timestamps[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    sizes = np.diff(np.append(starts, len(ordered)))
    wanted = np.minimum(sizes, np.where(harmless[order[starts]], 1, EXEMPLARS))
    early = moments <= np.repeat(moments[starts + wanted - 1], sizes)
    early |= shapes[order] == 0
    return np.asarray(order[early]), int(early.sum()) == int(wanted.sum())


def _group_numbers(*columns: npt.NDArray[Any]) -> Int64s:
    """One number for each distinct combination of the columns' values."""
    numbers = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        if (column != column[0]).any():
            values, inverse = np.unique(column, return_inverse=True)
            numbers = numbers * len(values) + inverse.ravel()
    return numbers


_HARMLESS = pl.col("severity").is_between(1, Severity.WARN - 1)


def best_of_each(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows to keep of some: the earliest of each group, by time, then id. Parts of parts give the same."""
    heads = frame.filter(pl.col("shape") != 0)
    group = ("window", "service", "shape", _HARMLESS)
    place = pl.int_range(pl.len()).over(group)
    kept = heads.sort("window", "service", "shape", "timestamp", "id").filter(
        place < pl.when(_HARMLESS).then(1).otherwise(EXEMPLARS)
    )
    if heads.height == frame.height:
        return kept.select(frame.columns)
    stream = ("window", "stream")
    tails = frame.filter(pl.col("shape") == 0).sort(*stream, "timestamp", "sequence", "id")
    some = tails.group_by(stream, maintain_order=True).head(MAX_CONTINUATIONS)
    return pl.concat([kept.select(frame.columns), some.select(frame.columns)])


def with_continuations(reduced: Reduced, window: timedelta) -> pl.DataFrame:
    """The exemplars, each followed by the continuation lines of its own window that came before the next line."""
    keyed = reduced.exemplars.with_columns(pl.Series("key", _stream_keys(reduced.exemplars["stream"])))
    heads = keyed.filter(pl.col("shape") != 0)
    if heads.height == keyed.height:
        return reduced.exemplars
    tails = keyed.filter(pl.col("shape") == 0).select(*_PLACE, "body")
    records = _records(reduced.lines, tails, window)
    texts = (
        records.filter(pl.col("body").is_not_null())
        .group_by("key", "window", "record", maintain_order=True)
        .agg(pl.col("body").head(MAX_JOINED).str.join("\n").alias("tail"))
    )
    first = records.filter(pl.col("body").is_null()).join(texts, on=("key", "window", "record"))
    with_tails = heads.join(first.unique(_PLACE).select(*_PLACE, "tail"), on=_PLACE, how="left", maintain_order="left")
    body = pl.concat_str("body", "tail", separator="\n", ignore_nulls=True).str.head(MAX_BODY_CHARS)
    return with_tails.with_columns(body.alias("body")).select(*EXEMPLAR_SCHEMA)


def _stream_keys(streams: pl.Series) -> UInt64s:
    return text_keys(streams, streams.hash(SEED), None)


_PLACE = ("key", "window", "timestamp", "sequence")


def _records(lines: pl.DataFrame, tails: pl.DataFrame, window: timedelta) -> pl.DataFrame:
    """Continuation lines (with a body) after the lines of their streams, `record` counting these in each window."""
    kept = lines.filter(~pl.col("continuation") & pl.col("stream").is_in(tails["key"].unique().implode()))
    heads = kept.select(
        pl.col("stream").alias("key"),
        pl.Series("window", window_starts(kept["timestamp"], window)),
        "timestamp",
        "sequence",
        pl.lit(None, pl.String).alias("body"),
    )
    both = pl.concat([heads, tails]).sort(*_PLACE, "body", nulls_last=False)
    record = pl.col("body").is_null().cum_sum().over("key", "window").alias("record")
    return both.with_columns(record).filter(pl.col("record") > 0)
