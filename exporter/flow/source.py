"""Take one source forward through time: read, judge and commit each window, and again what came late."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from exporter.flow import ahead
from exporter.flow.brain import Brain, BrainKeeper, Judgement
from exporter.flow.settings import Pace
from exporter.flow.warmup import plan
from exporter.flow.windows import WindowReader
from exporter.ingest import reduction
from exporter.ingest.lateness import Lately
from exporter.ingest.settings import ReductionSettings
from exporter.model import Anomaly, NoTelemetry, Reduced, Source, Telemetry, TimeRange, Write, floor
from exporter.model.times import Window, rounded_up
from exporter.state import checkpoints
from exporter.state.checkpoints import Checkpoint
from exporter.state.file import State
from exporter.state.incidents import grouped_through
from exporter.state.windows import anomaly_rows, knows_anomaly, lines_before, window_row, windows_from, without_windows

log = logging.getLogger(__name__)

LINES_PER_CHUNK = 100_000
"""Lines that are held at once while a long range is read; how a range is cut changes nothing but memory."""

MAX_WINDOWS_PER_CHUNK = 240

COMPARED_AGAIN = 4
"""Times `late_window` after which a window is compared for the last time, to count what came too late."""


def following(checkpoint: Checkpoint, planned: Sequence[TimeRange], until: datetime) -> tuple[TimeRange, bool]:
    """What comes next up to `until`, all of one kind, and whether it is read: in warm-up, only what is planned is."""
    at = checkpoint.read_through
    if at >= checkpoint.warm_until:
        return TimeRange(at, until), True
    begun = [span for span in planned if span.end > at]
    if not begun:
        return TimeRange(at, min(until, checkpoint.warm_until)), False
    wanted = begun[0].start <= at
    return TimeRange(at, min(until, begun[0].end if wanted else begun[0].start)), wanted


class SourcePipeline:
    """Takes one source forward through time."""

    def __init__(
        self,
        source: Source,
        make_brain: Callable[[], Brain],
        state: State,
        settings: ReductionSettings,
        pace: Pace,
        readers: int = 1,
        telemetry: Telemetry | None = None,
        lock: asyncio.Lock | None = None,
        max_lines_per_window: int | None = None,
    ) -> None:
        self.source = source
        self.name = source.name
        self.window = settings.window
        self.stopping = False
        self.watch: Callable[[Window, Judgement], None] | None = None
        """Called with each window that was judged and committed: progress, and what a backtest collects."""
        self._state = state
        self.settings = settings
        self.pace = pace
        self.stalled = False
        """Set by whoever polls: grouping waits no more for a source that has not answered for long."""
        self.complete_through: datetime | None = None
        """Up to where windows were complete when they were read last; not known before a sweep."""
        self._telemetry = telemetry or NoTelemetry()
        self._reader = WindowReader(source, settings, self._telemetry, readers, max_lines_per_window)
        self._lock = lock or asyncio.Lock()
        self._keeper = BrainKeeper(self.name, make_brain, state)
        self._lately = Lately()

    async def checkpoint(self) -> Checkpoint | None:
        """The committed checkpoint, or None before the first start."""
        return await checkpoints.checkpoint(self._state, self.name)

    def due(self, now: datetime) -> datetime:
        """Up to where it is to be read by now: the end of a window whose lines have had time to arrive."""
        return floor(now - self.pace.query_offset, self.window)

    async def enter(self, now: datetime) -> None:
        """Begin at first start; after a long outage leave out, on the record, what is older than `max_catch_up`."""
        until, limit = self.due(now), self.pace.max_catch_up
        checkpoint = await self.checkpoint()
        if checkpoint is None:
            await self._begin(until, now)
        elif checkpoint.learnt_through > now:
            if await ahead.is_certain(self._state, self.name, checkpoint.learnt_through, now):
                await ahead.forget(self._state, self.name, self._keeper, self._lock, until)
                await self._begin(until, now)
        elif limit and until - checkpoint.read_through > limit and checkpoint.read_through >= checkpoint.warm_until:
            await self.skip(floor(until - limit, self.window), "gap", "longer than max_catch_up", now)

    async def _begin(self, until: datetime, now: datetime) -> None:
        """First start: fix, on the record, which windows warm-up takes."""
        chosen = await plan(self.source, self.settings, until, self.pace.warmup, self._reader.limit)
        planned = [checkpoints.decision_row(self.name, span, "warmup", str(chosen), now) for span in chosen.ranges]
        await self.start(chosen.ranges[0].start if chosen.ranges else until, until, planned)
        log.info("%s: learning before the first alarm: %s", self.name, chosen)

    async def start(self, started_at: datetime, warm_until: datetime, planned: Sequence[Write] = ()) -> None:
        """Fix, once, where the source begins and up to when it only learns; both on the grid.

        `planned` are decisions which ranges it learns from; without any it is everything.
        """
        if await self.checkpoint() is None:
            before = checkpoints.without_decisions(self.name, "warmup")
            await self._state.write([before, *planned, self._checkpoint(started_at, started_at, warm_until)])

    async def planned(self, checkpoint: Checkpoint) -> list[TimeRange]:
        """The ranges that warm-up learns from, in order."""
        whole = TimeRange(checkpoint.started_at, checkpoint.warm_until)
        return await checkpoints.planned(self._state, self.name) or [whole]

    async def warmth(self, checkpoint: Checkpoint) -> float:
        """How much of what warm-up learns from has been taken, from 0 to 1."""
        planned = await self.planned(checkpoint)
        total = sum((span.duration for span in planned), timedelta(0))
        done = sum((min(max(checkpoint.read_through, s.start), s.end) - s.start for s in planned), timedelta(0))
        return done / total if total else 1.0

    async def advance(self, until: datetime) -> int:
        """Read, judge and commit from the checkpoint to `until`, on the grid. Returns the lines read.

        Stops between windows when `stopping` is set. Raises what the source raises; what was committed stays.
        """
        total, chunk = 0, 1
        while not self.stopping:
            checkpoint = await self.checkpoint()
            if checkpoint is None or checkpoint.read_through >= until:
                break
            coming, wanted = following(checkpoint, await self.planned(checkpoint), until)
            if not wanted:
                await self._pass_over(next(coming.split(MAX_WINDOWS_PER_CHUNK * self.window)), checkpoint)
                continue
            lines = await self._take(next(coming.split(chunk * self.window)), checkpoint)
            total += lines
            chunk = max(1, min(LINES_PER_CHUNK * chunk // max(lines, 1), chunk * 4, MAX_WINDOWS_PER_CHUNK))
        return total

    async def _take(self, time_range: TimeRange, checkpoint: Checkpoint) -> int:
        """One chunk: its parts are read side by side, its windows judged in order, all committed together."""
        counts = await self._reader.counts(time_range)
        time_range = self._reader.at_once(time_range, counts, LINES_PER_CHUNK)
        by_window = await self._reader.read(time_range, counts)
        async with self._keeper.held() as brain:
            return await self._learn_from(brain, time_range, by_window, checkpoint)

    async def _learn_from(
        self, brain: Brain, time_range: TimeRange, by_window: dict[Window, Reduced], checkpoint: Checkpoint
    ) -> int:
        """Judge and commit the windows of a range that was read. Returns their lines."""
        judged: list[tuple[Window, Reduced, Judgement]] = []
        for window in time_range.windows(self.window):
            reduced = by_window.pop(window, None) or reduction.empty()
            began = time.monotonic()
            judgement = await asyncio.to_thread(brain.judge, window, reduced)
            self._telemetry.observe("judge_seconds", time.monotonic() - began, source=self.name)
            judged.append((window, reduced, judgement))
            if self.stopping:
                break
        await self._commit(judged, replace(checkpoint, read_through=judged[-1][0].end))
        return sum(reduced.lines.height for _, reduced, _ in judged)

    async def _commit(
        self,
        judged: Sequence[tuple[Window, Reduced, Judgement]],
        checkpoint: Checkpoint,
        reads: int = 1,
        late: bool = False,
    ) -> None:
        async with self._lock:
            writes = [self._checkpoint(checkpoint.read_through, checkpoint.started_at, checkpoint.warm_until)]
            for window, reduced, judgement in judged:
                reached = checkpoint.read_through if late else window.end
                writes += judgement.writes
                # What the sweep compares with.
                lines = reduced.exact.get(window.key, reduced.lines.height)
                writes.append(window_row(self.name, window, lines, reads))
                writes += await self._anomalies(judgement.anomalies, reached, late, checkpoint.warm_until)
            await self._state.write(writes)
        for window, reduced, judgement in judged:
            self._count(judgement)
            self._lately.remember(window.key, reduced.lateness)
            if self.watch:
                self.watch(window, judgement)

    async def _anomalies(
        self, anomalies: Sequence[Anomaly], reached: datetime, late: bool, warm_until: datetime
    ) -> list[Write]:
        """Rows for `group`; what was grouped past already is taken in at the next step, as late.

        What warm-up finds keeps its own time, wherever other sources are: it is told to nobody and sets the threshold.
        """
        quiet = reached <= warm_until
        grouped = await grouped_through(self._state)
        if not quiet and grouped is not None and reached <= grouped:
            late, reached = True, grouped + timedelta(seconds=1)
        found = [
            replace(anomaly, reached=reached, late=late)
            for anomaly in anomalies
            if not (late and await knows_anomaly(self._state, anomaly))
        ]
        return [anomaly_rows(self.name, found, quiet)] if found else []

    async def sweep(self, until: datetime) -> int:
        """Read again the unsettled windows whose count at the source has changed. Returns how many.

        Those that end after `until` are not complete: a clock that was ahead made us read them, and they wait.
        Of windows that are settled for long, what has come too late is counted, once; what comes after is not seen.
        """
        checkpoint = await self.checkpoint()
        if checkpoint is None or checkpoint.settled_through >= checkpoint.read_through:
            self.complete_through = until
            return 0
        end = min(checkpoint.read_through, until)
        unsettled = TimeRange(checkpoint.settled_through, max(end, checkpoint.settled_through))
        counts = await self.source.count(unsettled, self.window)
        known = await windows_from(self._state, self.name, unsettled.start)
        changed = [row for row in known if row[0] in unsettled and counts.get(row[0], 0) != row[1]]
        for start, lines, reads in changed:
            counted = counts.get(start, 0)
            await self._replace(Window(start, self.window), reads, counted, checkpoint)
            self._telemetry.count("source_lines_late", max(counted - lines, 0), source=self.name)
        await self._compare_again(checkpoint)
        self.complete_through = until
        return len(changed)

    async def _compare_again(self, checkpoint: Checkpoint) -> None:
        """The last comparison of windows that settled long ago, except those of warm-up, which were old when read."""
        old = checkpoint.read_through - COMPARED_AGAIN * self.settling
        due = await lines_before(self._state, self.name, old)
        live = [start for start in due if start >= checkpoint.warm_until]
        if live:
            span = TimeRange(live[0], live[-1] + self.window)
            counts = await self.source.count(span, self.window)
            late = sum(max(counts.get(start, 0) - due[start], 0) for start in live)
            self._telemetry.count("source_lines_too_late", late, source=self.name)
        if due:
            await self._state.write([without_windows(self.name, due)])

    async def _replace(self, window: Window, reads: int, counted: int, checkpoint: Checkpoint) -> None:
        """A window's last read is its truth.

        What the source counts is kept as its count, also where we leave some of it out: else every sweep would differ.
        """
        reduced = (await self._reader.read(window.span, {window.start: counted})).get(window) or reduction.empty()
        reduced = replace(reduced, exact={**reduced.exact, window.key: counted})
        async with self._keeper.held() as brain:
            judgement = await asyncio.to_thread(brain.judge, window, reduced, late=True)
            await self._commit([(window, reduced, judgement)], checkpoint, reads + 1, late=True)
        self._telemetry.count("source_late_windows", source=self.name)

    async def skip(self, until: datetime, kind: str, detail: str, now: datetime) -> None:
        """Give up a range, on the record: it is a gap, neither judged nor learnt from.

        One that goes on where the last ended for the same reason is that gap, grown.
        """
        checkpoint = await self.checkpoint()
        if checkpoint is None or checkpoint.read_through >= until:
            return
        gap = TimeRange(checkpoint.read_through, until)
        before = await checkpoints.decided_until(self._state, self.name, kind, gap.start, detail)
        grown = TimeRange(before or gap.start, until)
        decided = [checkpoints.decision_row(self.name, grown, kind, detail, now)]
        for part in gap.split(MAX_WINDOWS_PER_CHUNK * self.window):
            await self._pass_over(part, checkpoint, decided)
            decided = []
        if before is None:
            self._telemetry.count("source_gaps", source=self.name)
        self._telemetry.count("source_gap_seconds", int(gap.duration.total_seconds()), source=self.name)

    async def _pass_over(self, span: TimeRange, checkpoint: Checkpoint, decided: Sequence[Write] = ()) -> None:
        """Let time go by over windows that are not read: what was read before them settles, nothing is silent."""
        async with self._keeper.held() as brain:
            judged = [
                (window.end, await asyncio.to_thread(brain.settle, window)) for window in span.windows(self.window)
            ]
            async with self._lock:
                writes = [*decided, self._checkpoint(span.end, checkpoint.started_at, checkpoint.warm_until)]
                for reached, judgement in judged:
                    writes += judgement.writes
                    writes += await self._anomalies(judgement.anomalies, reached, False, checkpoint.warm_until)
                await self._state.write(writes)

    async def preview(self, time_range: TimeRange) -> list[Anomaly]:
        """What is unusual in a range, judged without learning: for an analysis on demand."""
        by_window = await self._reader.read(time_range, await self._reader.counts(time_range))
        found: list[Anomaly] = []
        async with self._keeper.held() as brain:
            for window in sorted(by_window):
                judgement = await asyncio.to_thread(brain.preview, window, by_window[window])
                found += judgement.anomalies
        return found

    async def brain(self) -> Brain:
        """The brain as the rows say it is."""
        return await self._keeper.brain()

    @property
    def settling(self) -> timedelta:
        """After so long a window is settled: `late_window`, rounded up to whole windows."""
        return rounded_up(self.pace.late_window, self.window)

    @property
    def learning(self) -> str:
        """What is still missing before a window may be called anomalous, in words."""
        return self._keeper.learning

    def lateness(self, share: float) -> float | None:
        """Seconds within which this share of the lines of the last hour came; None where lines do not say."""
        return self._lately.quantile(share)

    def lines_ahead(self) -> int:
        """Lines of the last hour that were ingested before their own time."""
        return self._lately.ahead()

    def _checkpoint(self, read_through: datetime, started_at: datetime, warm_until: datetime) -> Write:
        settled = max(started_at, read_through - self.settling)
        return checkpoints.checkpoint_row(self.name, Checkpoint(read_through, settled, started_at, warm_until))

    def _count(self, judgement: Judgement) -> None:
        count = self._telemetry.count
        count("windows_judged", source=self.name)
        count("templates_new", judgement.new_templates, source=self.name)
        score = max((anomaly.score for anomaly in judgement.anomalies), default=0.0)
        self._telemetry.gauge("anomaly_score_max", score, source=self.name)
        for anomaly in judgement.anomalies:
            count("anomalies", source=self.name, kind=anomaly.kind)
        for reason, amount in judgement.dropped.items():
            count("mining_limited", amount, source=self.name, reason=reason)
        for detection in judgement.detections:
            for reason, amount in detection.notes.items():
                count("detection_limited", amount, source=self.name, reason=reason)
