"""Which file it is, wherever it is moved to: by its content up to the first line with a time."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path

import polars as pl

from exporter.model import nanoseconds
from exporter.reading.packing import Content
from exporter.wording.text import storable
from integrations.file.content import (
    HEAD,
    Chunk,
    chunks,
    encoding_in,
    head_of,
    kind_of,
    opened,
    owner_of,
    stream_of,
)
from integrations.file.lines import Parser, Writer
from integrations.file.log import SECOND, Log
from integrations.file.parquet import end_of
from integrations.file.settings import FileOptions

AFTER = 4096
"""Bytes after those that make the identity by which files with the same banner are told apart."""

DAY_LENGTH = 24 * 3600 * SECOND
SLACK = timedelta(hours=1)
"""By which the last line of a file may seem to be written after it: clocks and zones differ."""


def inspected(path: Path, settings: FileOptions, parser: Parser, reference: datetime, timed: int = 1) -> Log | None:
    """A file that has not been seen before, by its first bytes; None when it has not so many lines with a time yet."""
    with opened(path, settings.encoding) as content:
        head, encoding = head_of(content), encoding_in(content)
    service, host = owner_of(path)
    kind = kind_of(head, settings.format)
    writer = Writer(stream_of(path), service, host, kind, reference, place="", encoding=encoding)
    if writer.kind == "binary":
        return Log(f"binary {path}", 0, writer)
    if writer.kind == "parquet":
        writer.stream, size, identity = storable(str(path)), 0, _tail(path)
    elif size := identifying(writer, parser, head, timed):
        identity = _digest(head[:size], writer.stream)
    else:
        return None
    writer.begun = begun(path, writer, parser)
    writer.place = f"{writer.stream}@{identity}"
    return Log(identity, size, writer, head[size : size + AFTER])


def identifying(writer: Writer, parser: Parser, head: bytes, timed: int = 1) -> int:
    """Bytes up to the end of the first lines with a time: whole lines only, for more may be on its way."""
    whole = head[: head.rfind(b"\n") + 1] or (head if len(head) >= HEAD else b"")
    page, _ = parser.page(writer, Chunk(0, len(whole), 1, whole), None)
    lines = page.filter(pl.col("timestamp").is_not_null())
    if lines.height < timed:
        return len(whole) if len(head) >= HEAD else 0
    # Its number is not its `sequence`, which a document may say itself.
    number = int(lines["id"][timed - 1].rpartition(":")[2].partition("#")[0])
    return min(len(whole), sum(len(line) + 1 for line in whole.split(b"\n")[:number]))


def begun(path: Path, writer: Writer, parser: Parser) -> int | None:
    """When a file was begun whose lines tell the time of day only: as many midnights before its end as it has."""
    first: int | None = None
    carry: int | None = None
    if not (writer.stamp and writer.stamp.form.dateless):
        return None
    with opened(path, writer.encoding) as content:
        for chunk in chunks(content, 0, 1, None, final=True):
            times = parser.page(writer, chunk, carry)[0]["timestamp"].drop_nulls()
            if len(times):
                first, carry = int(times[0]) if first is None else first, int(times[-1])
    if first is None or carry is None:
        return None
    return first + whole_days(carry, writer.reference + SLACK)


def whole_days(since: int, until: datetime) -> int:
    return (nanoseconds(until) - since) // DAY_LENGTH * DAY_LENGTH


def _digest(head: bytes, stream: str) -> str:
    return blake2b(head, digest_size=6, key=stream.encode()[-64:]).hexdigest()


def _exactly(content: Content, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := content.read(size - len(data))):
        data += more
    return data


def _tail(path: Path) -> str:
    """The identity of a parquet file, which says at its end what it holds."""
    size, end = end_of(path, HEAD)
    return _digest(end + str(size).encode(), storable(str(path)))


def begins_as(path: Path, log: Log) -> bool:
    """Whether the file still is the one that it was: not another that took its name, nor cut and written anew."""
    if not log.head:
        return False
    try:
        with opened(path, log.writer.encoding) as content:
            if _digest(_exactly(content, log.head), log.writer.stream) != log.identity:
                return False
            after = _exactly(content, AFTER)
    except UnicodeError:
        # Another has taken its place, in another encoding.
        return False
    if not (after.startswith(log.after) or log.after.startswith(after)):
        return False
    log.after = max(after, log.after, key=len)
    return True
