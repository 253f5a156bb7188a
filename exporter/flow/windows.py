"""Read windows of a source: side by side, and of one that has too many lines the seconds that fit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from exporter.ingest import reduction, sampling
from exporter.ingest.reader import read_and_reduce
from exporter.ingest.settings import ReductionSettings
from exporter.model import Reduced, Seldom, Source, Telemetry, TimeRange
from exporter.model.times import Window

log = logging.getLogger(__name__)

WARN_EVERY = timedelta(hours=1)
"""How often it is said that windows are sampled."""

LINES_HELD = 100_000
"""Lines of windows that may still change that are held, so that they are judged again without being read again."""

GLANCE_LINES = 50_000
"""Lines that are read at most of each of the many windows around an alert, unless all of them are to be read."""


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
        self._held: dict[Window, Reduced] = {}
        self._hourly = Seldom(WARN_EVERY)

    async def counts(self, time_range: TimeRange) -> Mapping[datetime, int]:
        """Lines of each window, where it matters before they are read."""
        return {} if self.limit is None else await self._source.count(time_range, self._settings.window)

    def at_once(self, time_range: TimeRange, counts: Mapping[datetime, int], most: int) -> TimeRange:
        """As much of the range, from its start, as has at most `most` lines to read, as far as that is known."""
        if self.limit is None:
            return time_range
        return sampling.at_once(time_range, self._settings.window, counts, self.limit, most)

    async def take(
        self, time_range: TimeRange, counts: Mapping[datetime, int], changed: Mapping[Window, int]
    ) -> dict[Window, Reduced]:
        """What each window of a range holds, with the lines that the source counts (`changed` are those of windows that
        were compared with it). What is held is not read again."""
        windows = list(time_range.windows(self._settings.window))
        lacking = [window for window in windows if window not in self._held]
        span = TimeRange(lacking[0].start, lacking[-1].end) if lacking else None
        read = await self.read(span, counts) if span else {}
        return {
            window: self._held.get(window) or _counted(window, read.get(window) or reduction.empty(), counts, changed)
            for window in windows
        }

    def hold(self, read: Mapping[Window, Reduced], settled: datetime) -> None:
        """Hold what may still change, from a moment on, the newest first, as far as it is not too much."""
        known, lines = {**self._held, **read}, 0
        self._held = {}
        for window in sorted(known, key=lambda one: one.start, reverse=True):
            lines += known[window].lines.height
            if window.start >= settled and lines <= LINES_HELD:
                self._held[window] = known[window]

    def drop(self, windows: Iterable[Window]) -> None:
        """Hold these no longer: they have changed."""
        for window in windows:
            self._held.pop(window, None)

    async def read(self, time_range: TimeRange, counts: Mapping[datetime, int]) -> dict[Window, Reduced]:
        """What the windows of a range hold; one without lines is absent."""
        samples = await self._samples(time_range, counts)
        parts = await self._parts(time_range, samples)
        merged = parts.pop() if len(parts) == 1 else await asyncio.to_thread(reduction.merge, parts)
        parts.clear()
        self._telemetry.count("source_lines_read", merged.lines.height, source=self._source.name)
        for field, amount in reduction.missing(merged.lines).items():
            self._telemetry.count("source_records_without", amount, source=self._source.name, field=field)
        for reason, amount in merged.dropped.items():
            self._telemetry.count("source_lines_dropped", amount, source=self._source.name, reason=reason)
        split = await asyncio.to_thread(reduction.windows, merged, self._settings.window)
        found = {Window.at(key, self._settings.window): part for key, part in split.items()}
        for sample in samples:
            part, key = found.get(sample.window, reduction.empty()), sample.window.key
            found[sample.window] = replace(part, exact={key: sample.exact}, sampled={key: sample.share})
        return found

    async def glance(self, time_range: TimeRange) -> AsyncIterator[dict[Window, Reduced]]:
        """What the windows of a range hold, a few at a time, and of each no more lines than a glance needs."""
        limit = min(self.limit, GLANCE_LINES) if self.limit else None
        reader = WindowReader(self._source, self._settings, self._telemetry, self._readers, limit)
        counts = await reader.counts(time_range)
        while time_range.duration:
            part = reader.at_once(time_range, counts, GLANCE_LINES)
            yield await reader.read(part, counts)
            time_range = TimeRange(part.end, time_range.end)

    async def _samples(self, time_range: TimeRange, counts: Mapping[datetime, int]) -> list[sampling.Sample]:
        """What is read of the windows that have too many lines."""
        samples = []
        for start in sampling.over(counts, self.limit):
            window = Window(start, self._settings.window)
            if self.limit is None or start not in time_range:
                continue
            by_second = await self._source.count(window.span, sampling.SECOND)
            sample = sampling.choose(self._source.name, window, by_second, self.limit)
            if sample:
                samples.append(sample)
                self._telemetry.count("source_windows_sampled", source=self._source.name)
                self._telemetry.count("source_lines_left_out", sample.left_out, source=self._source.name)
                if self._hourly.is_time():
                    self._warn(counts[start])
        return samples

    def _warn(self, lines: int) -> None:
        told = "%s: sampled: a window has %s lines, more than `max_lines_per_window` (%s): raise that, which costs "
        told += "memory, make windows shorter, or read less (`exclude_services`, a query)"
        log.warning(told, self._source.name, f"{lines:,}", f"{self.limit:,}")

    async def _parts(self, time_range: TimeRange, samples: Sequence[sampling.Sample]) -> list[Reduced]:
        """The range in pieces, side by side, except of sampled windows, of which their seconds are read."""
        length = self._settings.window
        step = -(-(time_range.duration // length) // self._readers) * length
        sampled = {sample.window for sample in samples}
        whole = (window for window in time_range.windows(length) if window not in sampled)
        parts: list[Reduced] = []
        for span in sampling.joined(window.span for window in whole):
            parts += await asyncio.gather(*(self._reduced(part) for part in span.split(step)))
        for sample in samples:
            parts += [await self._reduced(part, sample.lines) for part in sample.ranges]
        return parts

    async def _reduced(self, time_range: TimeRange, most: int | None = None) -> Reduced:
        return await read_and_reduce(self._source, time_range, self._settings, most)


def _counted(
    window: Window, reduced: Reduced, counts: Mapping[datetime, int], changed: Mapping[Window, int]
) -> Reduced:
    """With what the source counts. What we leave out of a window counts, too: else every sweep would differ."""
    read = max(counts.get(window.start, 0), reduced.exact.get(window.key, 0), reduced.lines.height)
    return replace(reduced, exact={window.key: changed.get(window, read)})
