"""Read windows of a source: side by side, and of one that has too many lines the seconds that fit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from exporter.ingest import reduction, sampling
from exporter.ingest.reader import read_and_reduce
from exporter.ingest.settings import ReductionSettings
from exporter.model import Reduced, Source, Telemetry, TimeRange
from exporter.model.times import seconds


class WindowReader:
    """Reads one source, `readers` ranges at a time; with a limit, of no window more lines than that."""

    def __init__(
        self,
        source: Source,
        settings: ReductionSettings,
        telemetry: Telemetry,
        readers: int = 1,
        limit: int | None = None,
    ) -> None:
        self.limit = limit
        self._source = source
        self._settings = settings
        self._telemetry = telemetry
        self._readers = readers

    async def counts(self, time_range: TimeRange) -> Mapping[datetime, int]:
        """Lines of each window, where it matters before they are read."""
        return {} if self.limit is None else await self._source.count(time_range, self._settings.window)

    def at_once(self, time_range: TimeRange, counts: Mapping[datetime, int], most: int) -> TimeRange:
        """As much of the range, from its start, as has at most `most` lines to read, as far as that is known."""
        if self.limit is None:
            return time_range
        return sampling.at_once(time_range, self._settings.window, counts, self.limit, most)

    async def read(self, time_range: TimeRange, counts: Mapping[datetime, int]) -> dict[int, Reduced]:
        """What the windows of a range hold, by their start in seconds since the epoch; one without lines is absent."""
        samples = await self._samples(time_range, counts)
        merged = await asyncio.to_thread(reduction.merge, await self._parts(time_range, samples))
        self._telemetry.count("source_lines_read", merged.lines.height, source=self._source.name)
        for reason, amount in merged.dropped.items():
            self._telemetry.count("source_lines_dropped", amount, source=self._source.name, reason=reason)
        exact = {seconds(sample.window): sample.exact for sample in samples}
        shares = {seconds(sample.window): sample.share for sample in samples}
        marked = replace(merged, exact=exact, sampled=shares)
        found = await asyncio.to_thread(reduction.windows, marked, self._settings.window)
        unread = {
            window: replace(reduction.empty(), exact={window: exact[window]}, sampled={window: shares[window]})
            for window in exact.keys() - found.keys()
        }
        return {**found, **unread}

    async def _samples(self, time_range: TimeRange, counts: Mapping[datetime, int]) -> list[sampling.Sample]:
        """What is read of the windows that have too many lines."""
        samples = []
        for start in sampling.over(counts, self.limit):
            span = TimeRange(start, start + self._settings.window)
            if self.limit is None or start not in time_range:
                continue
            by_second = await self._source.count(span, sampling.SECOND)
            sample = sampling.choose(self._source.name, start, by_second, self.limit)
            if sample:
                samples.append(sample)
                self._telemetry.count("source_windows_sampled", source=self._source.name)
                self._telemetry.count("source_lines_left_out", sample.left_out, source=self._source.name)
        return samples

    async def _parts(self, time_range: TimeRange, samples: Sequence[sampling.Sample]) -> list[Reduced]:
        """The range in pieces, side by side, except of sampled windows, of which their seconds are read."""
        window = self._settings.window
        step = -(-(time_range.duration // window) // self._readers) * window
        sampled = {sample.window for sample in samples}
        starts = [start for start in time_range.windows(window) if start not in sampled]
        parts: list[Reduced] = []
        for span in sampling.joined(TimeRange(start, start + window) for start in starts):
            parts += await asyncio.gather(*(self._reduced(part) for part in span.split(step)))
        for sample in samples:
            parts += [await self._reduced(part, sample.lines) for part in sample.ranges]
        return parts

    async def _reduced(self, time_range: TimeRange, most: int | None = None) -> Reduced:
        return await read_and_reduce(self._source, time_range, self._settings, most)
