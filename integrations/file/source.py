"""Answer for the lines of files, by range of their time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from exporter.model import EPOCH, Check, Context, ExporterError, TimeRange, nanoseconds
from exporter.model.times import nanoseconds_in
from exporter.reading.levels import level_in
from exporter.reading.told import TEXT, Told
from integrations._coverage import said
from integrations.file.content import Chunk, head_of, opened
from integrations.file.index import DAY, Index
from integrations.file.lines import Parser
from integrations.file.log import SECOND, Block, Log, Numbers
from integrations.file.pages import Pages
from integrations.file.settings import FileOptions


class FileSource:
    """Lines of files, by range of their time. An index, which can be lost, says where in a file to read."""

    def __init__(self, settings: FileOptions, context: Context) -> None:
        self.name = settings.name
        self._settings = settings
        self._clock = context.clock
        parser = Parser(settings)
        self._pages = Pages(settings.name, parser)
        self._index = Index(settings, parser, self._pages, context.telemetry)

    async def query(self, time_range: TimeRange) -> AsyncIterator[pl.DataFrame]:
        """Pages of the range, file by file. After a TransientError the whole range is to be read again."""
        pages = self._read(nanoseconds(time_range.start), nanoseconds(time_range.end))
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            yield page

    async def count(self, time_range: TimeRange, window: timedelta) -> Mapping[datetime, int]:
        """Counts out of the index; only what it no longer holds is read."""
        return await asyncio.to_thread(self._counts, time_range, window)

    async def unusable(self) -> Mapping[str, int]:
        """Lines of the files that are there now that are in no range, by reason."""
        return await asyncio.to_thread(self._unusable)

    async def check(self) -> Sequence[Check]:
        """Which files there are, and how the newest is understood."""
        return await asyncio.to_thread(self._check)

    async def close(self) -> None:
        self._pages.close()

    def _read(self, start: int, end: int) -> Iterator[pl.DataFrame]:
        inside = pl.col("timestamp").is_between(start, end, closed="left")
        for path, log, blocks in self._index.found(start, end):
            for block in blocks:
                page = self._pages.of(path, log, block).filter(inside)
                if page.height:
                    yield page

    def _counts(self, time_range: TimeRange, window: timedelta) -> dict[datetime, int]:
        start, end = nanoseconds(time_range.start), nanoseconds(time_range.end)
        whole = not (start % SECOND or end % SECOND or window % timedelta(seconds=1))
        step = nanoseconds_in(window)
        totals: dict[int, int] = {}
        for path, log, blocks in self._index.found(start, end):
            for block in blocks:
                times, lines = self._times(path, log, block, whole)
                inside = (times >= start) & (times < end)
                windows, places = np.unique(times[inside] // step, return_inverse=True)
                sums = np.bincount(places, weights=lines[inside], minlength=len(windows)).astype(np.int64)
                for number, amount in zip(windows.tolist(), sums.tolist(), strict=True):
                    totals[number] = totals.get(number, 0) + amount
        return {EPOCH + number * window: lines for number, lines in sorted(totals.items())}

    def _times(self, path: Path, log: Log, block: Block, whole_seconds: bool) -> tuple[Numbers, Numbers]:
        """Times of a block and how many lines have each."""
        if whole_seconds and block.seconds is not None:
            return block.seconds[0] * SECOND, block.seconds[1]
        times = self._pages.of(path, log, block)["timestamp"].drop_nulls().to_numpy()
        return times, np.ones(len(times), np.int64)

    def _unusable(self) -> dict[str, int]:
        tomorrow = nanoseconds(self._clock.now() + DAY)
        ahead = 0
        for path, log, blocks in self._index.found(tomorrow, 2**63 - 1):
            ahead += sum(int((self._pages.of(path, log, block)["timestamp"] >= tomorrow).sum()) for block in blocks)
        reasons = {"in_the_future": ahead, **self._index.unplaced()}
        return {reason: lines for reason, lines in reasons.items() if lines}

    def _check(self) -> list[Check]:
        subject = f"read {', '.join(self._settings.path)}"
        try:
            present, newest, log = self._index.newest()
        except (ExporterError, FileNotFoundError) as error:
            return [Check(subject, False, str(error), "Give `path` files that exist and that this user may read.")]
        size = sum(stat.st_size for _, stat in present)
        checks = [Check(subject, True, f"{len(present)} files, {size / 1e6:,.1f} MB; the newest is {newest}")]
        if log is None:
            detail = f"{newest}: no line has a time that is understood"
            return [*checks, Check("times", False, detail, "Set `fields.timestamp`, or a `pattern` with that group.")]
        form = f", times are {log.writer.stamp.form.name}" if log.writer.stamp else ""
        detail = f"{newest}: {log.kind}{form}, service {self._settings.service or log.writer.service}"
        checks.append(Check("form", log.kind != "binary", detail))
        return checks if log.kind in ("binary", "parquet") else [*checks, *self._coverage(newest, log)]

    def _coverage(self, path: Path, log: Log) -> list[Check]:
        """Where the first lines of a file say what."""
        told = Told()
        parser = Parser(self._settings, told)
        with opened(path, log.writer.encoding) as content:
            head = head_of(content)
        whole = head[: head.rfind(b"\n") + 1] or head
        page, _ = parser.page(replace(log.writer), Chunk(0, len(whole), 1, whole), None)
        silent = page.filter(page["severity"] == 0)["body"]
        told.note("severity", TEXT, sum(level_in(body) > 0 for body in silent))
        checks = [Check("fields", True, f"of its first lines: {said(told)}")]
        if told.unzoned:
            detail = f"the times of its first lines name no zone: they are read as {told.timezone}"
            checks.append(Check("times", True, f"{detail}; `timezone` says another"))
        for letters in sorted(told.zones):
            detail = f"{letters} is the zone of several places: its times are read as {told.timezone}"
            checks.append(Check("times", True, f"{detail}; `timezone` says another"))
        return checks
