"""Rows of parquet files, which are read from their end."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from exporter.model import PermanentError
from integrations.file.content import moved

ROWS = 20_000
"""Rows of a parquet file that are parsed at once."""


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
