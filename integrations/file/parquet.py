"""Rows of parquet files, which are read from their end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from exporter.model import PermanentError
from integrations._documents import MAX_BODY_CHARS
from integrations.file.content import moved

ROWS = 20_000
"""Rows of a parquet file that are parsed at once."""

TEXT_BYTES = 32 * 1024 * 1024
"""Fewer are, where their texts come to more than that: a file of kilobytes can hold gigabytes of the same."""


def pieces_of(path: Path) -> Iterator[tuple[int, pl.DataFrame]]:
    """All rows of a parquet file, in parts that memory has room for, each with the number of its first row."""
    start = 0
    while (frame := rows_of(path, start, ROWS)).height:
        size = max(1, min(frame.height, frame.height * TEXT_BYTES // max(_text_bytes(frame), 1)))
        for at in range(0, frame.height, size):
            yield start + at, frame.slice(at, size)
        start += frame.height


def _text_bytes(frame: pl.DataFrame) -> int:
    texts = [column for column in frame if column.dtype == pl.String]
    return sum(int(text.str.len_bytes().clip(0, 4 * MAX_BODY_CHARS).sum()) for text in texts)


def rows_of(path: Path, start: int, size: int) -> pl.DataFrame:
    """Rows of a parquet file. Raises TransientError or PermanentError."""
    try:
        return pl.scan_parquet(path).slice(start, size).collect()
    except FileNotFoundError as error:
        raise moved(path) from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise PermanentError(f"{path}: not a parquet file that can be read: {error}") from error


def has_footer(path: Path) -> bool:
    """Whether the writer of a parquet file has come to its end."""
    size, end = end_of(path, 4)
    return size > 8 and end == b"PAR1"


def end_of(path: Path, length: int) -> tuple[int, bytes]:
    """The size of a file, and its last bytes."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - length))
        return size, file.read()


def column(frame: pl.DataFrame, paths: Iterable[str]) -> pl.Series | None:
    """The first of several paths that the frame has, where it is filled; further ones fill its holes."""
    found: pl.Series | None = None
    for path in paths:
        values = _at(frame, path)
        if values is None or values.null_count() == len(values):
            continue
        if found is None:
            found = values.alias(path)
        elif found.dtype == values.dtype:
            found = found.zip_with(found.is_not_null(), values)
        if not found.null_count():
            break
    return found


def _at(frame: pl.DataFrame, path: str) -> pl.Series | None:
    if path in frame.columns:
        return frame[path]
    head, _, rest = path.partition(".")
    if rest and head in frame.columns and isinstance(frame.schema[head], pl.Struct):
        return _at(frame[head].struct.unnest(), rest)
    return None


def texts(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.Struct):
        return values.struct.json_encode()
    if isinstance(values.dtype, pl.List):
        return values.list.eval(pl.element().cast(pl.String)).list.first()
    if values.dtype == pl.Binary:
        return pl.Series([None if v is None else v.decode("utf-8", "replace") for v in values], dtype=pl.String)
    return values.cast(pl.String)
