"""Which lines of a file are one record, where several writers share it too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import polars as pl

from exporter.reading.records import heads_of, in_blocks

UNKNOWN = -1
"""Stands for the first line of a record that began before the lines that are looked at."""

_HEADER = r"^.{0,40}[0-9]{1,2}:[0-9]{2}:[0-9]{2}|^\W{0,2}[12][0-9]{9}\b|^[IWEF][0-9]{4} "


class Kept(Protocol):
    """What is kept of a file that tells how its records are parted."""

    blocks: bool | None


def timed_inside(lines: pl.Series) -> pl.Series:
    """Which lines have a time of their own behind the one that a runtime put in front of every line."""
    return lines.str.head(64).str.contains(_HEADER)


def grouped(
    kept: Kept,
    lines: pl.Series,
    numbers: pl.Series,
    timed: pl.Series,
    said: Mapping[str, pl.Series],
    apart: pl.Series | None = None,
) -> pl.Series | None:
    """The number of the first line of each line's record; None where each line is a record by itself.

    `said` is what stood in front of lines: those of two writers are never of one record. `apart` are positions where
    others stand between.
    """
    if kept.blocks is None:
        kept.blocks = in_blocks(lines, timed)
    blocks = bool(timed.any()) if kept.blocks is None else kept.blocks
    writers = [said[name] for name in ("service", "host") if name in said]
    begun = numbers[0] != 1
    heads = heads_of(lines, timed, begun, blocks) if not writers else _of_writers(lines, timed, writers, begun, blocks)
    if heads is None:
        return None
    found = np.where(heads < 0, UNKNOWN, numbers.to_numpy()[heads])
    record = pl.Series("record", found, dtype=pl.Int64)
    return record if apart is None else _broken(record, heads, apart)


def _of_writers(
    lines: pl.Series, timed: pl.Series, writers: list[pl.Series], begun: bool, blocks: bool
) -> np.ndarray | None:
    """As if each writer had a file of its own."""
    frame = pl.DataFrame({str(number): writer for number, writer in enumerate(writers)})
    rows = frame.with_row_index("row").group_by(frame.columns, maintain_order=True).agg("row")["row"].to_list()
    found = np.arange(len(lines))
    for own in rows:
        heads = heads_of(lines.gather(own), timed.gather(own), begun, blocks)
        if heads is not None:
            places = np.asarray(own, np.int64)
            found[places] = np.where(heads < 0, -1, places[heads])
    return None if (found == np.arange(len(lines))).all() else found


def _broken(record: pl.Series, heads: np.ndarray, positions: pl.Series) -> pl.Series:
    """Without what is known of lines whose record others stand inside of."""
    places = positions.to_numpy()
    run = np.cumsum(np.concatenate(([0], np.diff(places) != 1)))
    return record.set(pl.Series((heads >= 0) & (run[heads] != run)), None)


def of_documents(record: pl.Series | None, numbers: pl.Series, plain: pl.Series, first: np.ndarray) -> pl.Series:
    """The record of lines that are a part of a document above them too; `first` is the first line of each line's."""
    own = record if record is not None else pl.Series([None] * len(plain), dtype=pl.Int64)
    places = plain.to_numpy()
    inside = first[places] != places
    heads = numbers.gather(first[places][inside])
    return own.scatter(np.flatnonzero(inside), heads)
