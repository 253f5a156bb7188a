"""Read files and standard input once, from end to end."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import select
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from exporter.model import ConfigError, PermanentError
from exporter.reading.encodings import UTF8, encoding_of
from exporter.reading.packing import Content, unpacked
from exporter.reading.told import Told
from exporter.wording.text import one_line, storable
from integrations.file.content import (
    BLOCK,
    HEAD,
    Kind,
    as_utf8,
    chunks,
    encoding_in,
    head_of,
    kind_of,
    opened,
    owner_of,
)
from integrations.file.identity import begun, identifying
from integrations.file.lines import Parser, Writer
from integrations.file.listing import listed
from integrations.file.parquet import pieces_of
from integrations.file.settings import FileOptions

logger = logging.getLogger(__name__)

_ARRAY = re.compile(rb"\s*\[\s*\{")

REMEDY = "give text, NDJSON or parquet, also as .gz or .zst; --encoding says what text is written in"

ASIDE_MILLISECONDS = 100
"""How long standard input is waited for before its reader looks up."""


async def read_pages(
    paths: Sequence[str], settings: FileOptions, told: Told | None = None, live: bool = False
) -> AsyncIterator[pl.DataFrame]:
    """All lines of files, directories or patterns, `-` being standard input, from their first to their last.

    With `live` standard input is read as it comes. Lines are called by path and number.

    Raises ConfigError when there is nothing to read.
    """
    parser, typed = Parser(settings, told), _Typed()
    try:
        for path in paths:
            piped = path == "-"
            pages = _standard_input(typed, settings, parser, live) if piped else _every_page(path, settings, parser)
            while (page := await asyncio.to_thread(next, pages, None)) is not None:
                yield page
    finally:
        typed.over = True


def _every_page(pattern: str, settings: FileOptions, parser: Parser) -> Iterator[pl.DataFrame]:
    found = listed(settings.model_copy(update={"path": (pattern,)}), rotated=False)
    if not found.files and found.left_out:
        raise ConfigError(f"{found.reasons}; give a file, or - for standard input")
    if not found.files and Path(pattern).is_dir():
        raise ConfigError(f"{pattern}: holds no file to read; give a file, or a pattern such as {pattern}/*/*.log")
    if not found.files:
        raise ConfigError(f"{pattern}: no such file; give a file, a directory, a pattern, or - for standard input")
    for path, reason in found.left_out.items():
        logger.warning("%s: %s; left out", one_line(str(path)), reason)
    for path, stat in found.files:
        try:
            yield from _pages_of(path, stat, settings, parser)
        except (ConfigError, PermanentError) as error:
            if len(found.files) == 1:
                raise ConfigError(str(error)) from error
            logger.warning("%s; left out", one_line(str(error)).partition(";")[0])


def _pages_of(path: Path, stat: os.stat_result, settings: FileOptions, parser: Parser) -> Iterator[pl.DataFrame]:
    with opened(path, settings.encoding) as content:
        head, encoding = head_of(content), encoding_in(content)
    kind = kind_of(head, settings.format)
    if kind == "binary":
        raise ConfigError(f"{path}: is not text; {REMEDY}")
    if kind != "parquet" and _ARRAY.match(head):
        raise ConfigError(f"{path}: is one JSON array; give NDJSON, one object a line, as jq -c '.[]' writes it")
    writer, unusable = _named(path, kind, datetime.fromtimestamp(stat.st_mtime, UTC), encoding), Counter[str]()
    if kind == "parquet":
        yield from _all_rows(path, writer, parser, unusable)
    else:
        parser.told.encodings.add(encoding)
        # What is only looked at is not noted: it is read once more.
        looking = Parser(settings)
        identifying(writer, looking, head)
        writer.begun = begun(path, writer, looking)
        with opened(path, encoding) as content:
            yield from _all_lines(content, writer, parser, unusable)
            if getattr(content, "truncated", False):
                logger.warning("%s: its end is missing; what there is of it was read", one_line(str(path)))
    if wrong := unusable["before_1990"]:
        logger.warning("%s: %s lines have an impossible time, before 1990", one_line(str(path)), f"{wrong:,}")


def _named(path: Path, kind: Kind, reference: datetime, encoding: str = UTF8) -> Writer:
    service, host = owner_of(path)
    name = storable(str(path))
    return Writer(name, service, host, kind, reference, place=name, encoding=encoding)


def _all_lines(content: Content, writer: Writer, parser: Parser, unusable: Counter[str]) -> Iterator[pl.DataFrame]:
    carry: int | None = None
    for chunk in chunks(content, 0, 1, None, True, partial(parser.unfinished, writer)):
        page, wrong = parser.page(writer, chunk, carry)
        unusable.update(wrong)
        times = page["timestamp"].drop_nulls()
        carry = int(times[-1]) if len(times) else carry
        if page.height:
            yield page


def _all_rows(path: Path, writer: Writer, parser: Parser, unusable: Counter[str]) -> Iterator[pl.DataFrame]:
    for start, frame in pieces_of(path):
        page, wrong = parser.rows(writer, frame, start)
        unusable.update(wrong)
        yield page


class _Typed(io.RawIOBase):
    """Standard input, whose reader can be sent home: what a terminal is asked for may never come."""

    over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        descriptor = sys.stdin.fileno()
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        while not self.over:
            if waiting.poll(ASIDE_MILLISECONDS):
                data = os.read(descriptor, len(buffer))
                buffer[: len(data)] = data
                return len(data)
        return 0


def _standard_input(typed: _Typed, settings: FileOptions, parser: Parser, live: bool) -> Iterator[pl.DataFrame]:
    """What is piped in: lines as they come; a parquet file, which is read from its end, by way of the disk."""
    pipe = io.BufferedReader(typed)
    magic = pipe.peek(4)[:4]
    now = datetime.now(UTC)
    if magic == b"PAR1":
        with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
            while data := pipe.read(BLOCK):
                file.write(data)
            file.flush()
            yield from _all_rows(Path(file.name), _named(Path("stdin"), "parquet", now), parser, Counter())
        return
    content = unpacked(pipe, magic)
    if live and content is pipe:
        content = _AsItComes(pipe)
    head = _first_of(content)
    encoding = settings.encoding or encoding_of(head)
    content = as_utf8(_Again(head, content), encoding)
    head = _first_of(content)
    kind = kind_of(head, settings.format)
    parser.told.encodings.add(encoding)
    if kind == "binary":
        raise ConfigError(f"standard input is not text; {REMEDY}")
    yield from _all_lines(_Again(head, content), _named(Path("stdin"), kind, now, encoding), parser, Counter())


class _AsItComes:
    """A pipe of which is given what is there."""

    def __init__(self, pipe: io.BufferedReader[Any]) -> None:
        self._pipe = pipe

    def read(self, size: int, /) -> bytes:
        return self._pipe.read1(size)


def _first_of(content: Content) -> bytes:
    """The first bytes; of what comes bit by bit the first that come."""
    inner = content.rest if isinstance(content, _Again) else content
    return content.read(HEAD) if isinstance(inner, _AsItComes) else head_of(content)


class _Again:
    """A pipe whose beginning has been looked at already."""

    def __init__(self, head: bytes, rest: Content) -> None:
        self._head, self.rest = head, rest

    def read(self, size: int, /) -> bytes:
        data, self._head = self._head, b""
        return data or self.rest.read(size)
