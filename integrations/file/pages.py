"""Blocks of files as pages; the last ones are kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import polars as pl

from exporter.model import TransientError
from integrations.file.content import Chunk, chunks, opened
from integrations.file.identity import begins_as
from integrations.file.lines import Parser
from integrations.file.log import Block, Log
from integrations.file.parquet import rows_of

CACHED_PAGES = 12
"""Parsed blocks that are kept: each minute the end of a file is asked for several times."""


class Pages:
    """Parses blocks where they stand, until it is closed."""

    def __init__(self, name: str, parser: Parser) -> None:
        self._name = name
        self._parser = parser
        self._pages: OrderedDict[tuple[str, int, int], pl.DataFrame] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Send home the threads that read or index: a large file would hold up the end of the process."""
        self._closed = True

    def going_on(self) -> None:
        """Raises TransientError once it is closed."""
        if self._closed:
            raise TransientError(f"source {self._name}: it was closed while it was read")

    def of(self, path: Path, log: Log, block: Block) -> pl.DataFrame:
        """The parsed lines of a block. Raises TransientError when the file is no longer where it was."""
        self.going_on()
        key = (log.identity, block.start, block.end)
        with self._lock:
            if key in self._pages:
                self._pages.move_to_end(key)
                return self._pages[key]
        page = self._parsed(path, log, block)
        self.keep(key, page)
        return page

    def keep(self, key: tuple[str, int, int], page: pl.DataFrame) -> None:
        with self._lock:
            self._pages[key] = page
            while len(self._pages) > CACHED_PAGES:
                self._pages.popitem(last=False)

    def _parsed(self, path: Path, log: Log, block: Block) -> pl.DataFrame:
        if log.kind == "parquet":
            return self._parser.rows(log.writer, rows_of(path, block.start, block.end - block.start), block.start)[0]
        if not begins_as(path, log):
            raise TransientError(f"source {self._name}: {path}: it was rotated while it was read; it is read again")
        with opened(path, log.writer.encoding) as content:
            found = list(chunks(content, block.start, block.line, block.end, final=True))
        if not found or found[-1].end != block.end:
            raise TransientError(f"source {self._name}: {path}: it was cut while it was read; it is read again")
        whole = Chunk(block.start, block.end, block.line, b"".join(chunk.data for chunk in found))
        return self._parser.page(log.writer, whole, block.carry)[0]
