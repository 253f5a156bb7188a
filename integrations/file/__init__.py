"""Read logs from files: text, NDJSON or parquet, compressed or not, growing and rotated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import polars as pl

from exporter.model import Context
from exporter.reading.told import Told
from integrations.file.settings import FileOptions

if TYPE_CHECKING:
    from integrations.file.source import FileSource


class FileSettings(FileOptions):
    """Files of this machine."""

    def build(self, context: Context) -> FileSource:
        # Only what is built needs its index.
        from integrations.file.source import FileSource

        return FileSource(self, context)

    def read(self, paths: Sequence[str], told: Told | None = None, live: bool = False) -> AsyncIterator[pl.DataFrame]:
        """The pages of files that are read once, from end to end; `told` is given what was found out of them.

        With `live`, standard input is read as it comes, and not only in whole blocks.
        """
        from integrations.file.once import read_pages

        return read_pages(paths, self, told, live)
