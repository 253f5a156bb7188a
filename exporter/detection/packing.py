"""Keep frames as bytes: numbers as they are, texts once each, compressed; nothing of it can run code."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import polars as pl

MAX_UNPACKED = 1 << 30
"""Bytes; a damaged row must not take all memory."""


def pack(frame: pl.DataFrame) -> bytes:
    """A frame as bytes: numbers as they are, texts once each, compressed; equal frames give equal bytes."""
    import zstandard

    heads: list[list[Any]] = []
    bodies: list[bytes] = []
    for name, dtype in frame.schema.items():
        values, texts, gaps = _plain(frame[name])
        heads.append([name, str(dtype), values.dtype.str, texts, gaps is not None])
        bodies.append(values.tobytes())
        if gaps is not None:
            bodies.append(gaps.tobytes())
    head = json.dumps([frame.height, heads], ensure_ascii=False, separators=(",", ":")).encode()
    return zstandard.compress(struct.pack("<I", len(head)) + head + b"".join(bodies), 3)


def _plain(column: pl.Series) -> tuple[np.ndarray[Any, Any], list[str] | None, np.ndarray[Any, Any] | None]:
    """A column as numbers, its texts, and where it is null. Expressions cost more than all of this on few rows."""
    gaps = column.is_null().to_numpy() if column.null_count() else None
    if column.dtype == pl.String:
        found = column.to_list()
        texts = sorted({text for text in found if text is not None})
        codes = {text: code for code, text in enumerate(texts)}
        return np.fromiter((codes.get(text, 0) for text in found), np.int32, len(found)), texts, gaps
    if gaps is not None:
        column = column.fill_null(0)
    values = column.to_numpy()
    return values.astype(np.int8) if column.dtype == pl.Boolean else values, None, gaps


def unpack(data: bytes) -> pl.DataFrame:
    """The frame that was packed."""
    import zstandard

    body = zstandard.decompress(data, max_output_size=MAX_UNPACKED)
    (length,) = struct.unpack_from("<I", body)
    height, heads = json.loads(body[4 : 4 + length])
    start = 4 + length
    columns = []
    for name, dtype, form, texts, gaps in heads:
        values = np.frombuffer(body, form, height, start)
        start += values.nbytes
        missing = np.frombuffer(body, np.bool_, height, start) if gaps else None
        start += height if gaps else 0
        columns.append(_column(name, getattr(pl, dtype)(), values, texts, missing))
    return pl.DataFrame(columns)


def _column(
    name: str,
    dtype: pl.DataType,
    values: np.ndarray[Any, Any],
    texts: list[str] | None,
    missing: np.ndarray[Any, Any] | None,
) -> pl.Series:
    """What `_plain` made numbers of. An operation on a series costs more than all of this on few rows."""
    if texts is not None:
        values = np.array([*texts, ""], object)[values]
    elif dtype == pl.Boolean:
        values = values.astype(np.bool_)
    if missing is None and texts is None:
        return pl.Series(name, values, dtype)
    cells = values.tolist()
    if missing is not None:
        cells = [None if gap else cell for cell, gap in zip(cells, missing.tolist(), strict=True)]
    return pl.Series(name, cells, dtype)
