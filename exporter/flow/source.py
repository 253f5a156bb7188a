"""Take one source forward through time: read, judge and commit each window, and again what came late."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from exporter.flow import ahead
from exporter.flow.brain import Brain, BrainKeeper, Judgement
from exporter.flow.places import DAY, Places
from exporter.flow.settings import Pace
from exporter.flow.steps import Step, rows_of
from exporter.flow.warmup import plan
from exporter.flow.windows import WindowReader
from exporter.ingest.lateness import Lately
from exporter.ingest.settings import ReductionSettings
from exporter.model import ENDS, Anomaly, NoTelemetry, Reduced, Source, Telemetry, TimeRange, Write, floor
from exporter.model.times import Window, moment, rounded_up, seconds
from exporter.state import checkpoints
from exporter.state.checkpoints import Checkpoint
from exporter.state.file import State
from exporter.state.undo import kept_from, taken_back
from exporter.state.windows import (
    lines_before,
    window_row,
    windows_from,
    without_windows,
)

log = logging.getLogger(__name__)

LINES_PER_CHUNK = 50_000
"""Lines that are held at once while a long range is read; how a range is cut changes nothing but memory."""

MAX_WINDOWS_PER_CHUNK = 240

COMPARED_AGAIN = 4
"""Times `late_window` after which a window is compared for the last time, to count what came too late."""


def following(
    checkpoint: Checkpoint, planned: Sequence[TimeRange], gaps: Sequence[TimeRange], until: datetime
) -> tuple[TimeRange, bool]:
    """What comes next up to `until`, all of one kind, and whether it is read: in warm-up, only what is planned is,
    and later what was not given up as a gap before late lines led back to what was before it."""
    at = checkpoint.read_through
    if at >= checkpoint.warm_until:
        ahead = [gap for gap in gaps if gap.end > at]
        if not ahead:
            return TimeRange(at, until), True
        inside = ahead[0].start <= at
        return TimeRange(at, min(until, ahead[0].end if inside else ahead[0].start)), not inside
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
        self._places = Places(source, state)
        self._keeper = BrainKeeper(self.name, make_brain, state)
        self._lately = Lately()
        self._changed: Mapping[Window, tuple[int, int]] = {}
        """Of windows that are read again: what the source counts, and how often they had been read."""

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
            chosen = await self._places.first(TimeRange(started_at, max(started_at, warm_until)))
            begun = Checkpoint(started_at, started_at, started_at, warm_until)
            await self._state.write([before, *chosen, *planned, checkpoints.checkpoint_row(self.name, begun)])

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
            await self._places.look_again(checkpoint.read_through)
            gaps = await checkpoints.gaps_from(self._state, self.name, checkpoint.read_through)
            coming, wanted = following(checkpoint, await self.planned(checkpoint), gaps, until)
            if not wanted:
                await self._pass_over(next(coming.split(MAX_WINDOWS_PER_CHUNK * self.window)), checkpoint)
                continue
            # By what is read may change between days.
            today = TimeRange(coming.start, min(coming.end, floor(coming.start, DAY) + DAY))
            lines = await self._take(next(today.split(chunk * self.window)), checkpoint)
            total += lines
            chunk = max(1, min(LINES_PER_CHUNK * chunk // max(lines, 1), chunk * 4, MAX_WINDOWS_PER_CHUNK))
        return total

    async def _take(self, time_range: TimeRange, checkpoint: Checkpoint) -> int:
        """One chunk: its parts are read side by side, its windows judged in order, all committed together."""
        counts = await self._reader.counts(time_range)
        time_range = self._reader.at_once(time_range, counts, LINES_PER_CHUNK)
        changed = {window: counted for window, (counted, _) in self._changed.items()}
        by_window = await self._reader.take(time_range, counts, changed)
        async with self._keeper.held() as brain:
            return await self._learn_from(brain, by_window, checkpoint)

    async def _learn_from(self, brain: Brain, by_window: Mapping[Window, Reduced], checkpoint: Checkpoint) -> int:
        """Judge and commit the windows of a range that was read. Returns their lines."""
        judged: list[tuple[Window, Reduced, Judgement]] = []
        for window, reduced in by_window.items():
            began = time.monotonic()
            judgement = await asyncio.to_thread(brain.judge, window, reduced)
            self._telemetry.observe("judge_seconds", time.monotonic() - began, source=self.name)
            judged.append((window, reduced, judgement))
            if self.stopping:
                break
        reached = self._reached(checkpoint, judged[-1][0].end)
        await self._commit(judged, reached)
        self._reader.hold({window: reduced for window, reduced, _ in judged}, reached.settled_through)
        return sum(reduced.lines.height for _, reduced, _ in judged)

    def _reached(self, checkpoint: Checkpoint, read_through: datetime) -> Checkpoint:
        settled = max(checkpoint.settled_through, read_through - self.settling)
        return replace(checkpoint, read_through=read_through, settled_through=settled)

    async def _commit(self, judged: Sequence[tuple[Window, Reduced, Judgement]], checkpoint: Checkpoint) -> None:
        async with self._lock:
            steps = []
            for window, reduced, judgement in judged:
                reads = self._changed.get(window, (0, 0))[1] + 1
                row = window_row(self.name, window, reduced.exact[window.key], reads)
                steps.append(Step(window, judgement.anomalies, (*judgement.writes, row)))
            await self._state.write(await rows_of(self._state, self.name, steps, checkpoint))
        for window, reduced, judgement in judged:
            self._count(judgement)
            self._lately.remember(window.key, reduced.lateness)
            if self.watch:
                self.watch(window, judgement)

    async def is_swept(self, until: datetime) -> bool:
        """Whether all windows up to then were read, and none beyond: what is said changes once a window at most."""
        checkpoint = await self.checkpoint()
        if checkpoint is None or checkpoint.read_through != until:
            return False
        self.complete_through = until
        return True

    async def sweep(self, until: datetime) -> int:
        """Go back to the first unsettled window whose count at the source has changed, and take all from there on
        again: it then says what it held when it was last read, and what followed builds on it. Returns how many differ.

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
        first = await kept_from(self._state, self.name, "windows")
        rows = [row for row in known if row[0] in unsettled and first is not None and row[0] >= moment(first)]
        changed = [row for row in rows if counts.get(row[0], 0) != row[1]]
        if changed:
            again = {Window(start, self.window): (counts.get(start, 0), reads) for start, _, reads in changed}
            self._changed = again
            await self._go_back(changed[0][0], checkpoint)
            late = sum(max(counts.get(start, 0) - lines, 0) for start, lines, _ in changed)
            self._telemetry.count("source_lines_late", late, source=self.name)
            self._telemetry.count("source_late_windows", len(changed), source=self.name)
            await self.advance(checkpoint.read_through)
            self._changed = {}
        await self._compare_again(checkpoint)
        self.complete_through = until
        return len(changed)

    async def _go_back(self, start: datetime, checkpoint: Checkpoint) -> None:
        """Take back all that was learnt from a window and those after it; what was found stays until it is replaced."""
        async with self._keeper.taken_back():
            self._reader.drop(self._changed)
            before = await taken_back(self._state, self.name, seconds(start))
            back = checkpoints.checkpoint_row(self.name, replace(checkpoint, read_through=start))
            await self._state.write([*before, back])

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
            judged = [(window, await asyncio.to_thread(brain.settle, window)) for window in span.windows(self.window)]
            async with self._lock:
                steps = [Step(window, judgement.anomalies, judgement.writes) for window, judgement in judged]
                reached = self._reached(checkpoint, span.end)
                rows = await rows_of(self._state, self.name, steps, reached)
                await self._state.write([*decided, *rows])

    async def preview(self, time_range: TimeRange) -> list[Anomaly]:
        """What is unusual in a range, judged without learning: for an analysis on demand."""
        found: list[Anomaly] = []
        await self._places.load()
        async for by_window in self._reader.glance(time_range):
            async with self._keeper.held() as brain:
                for window in sorted(by_window, key=lambda one: one.start):
                    found += (await asyncio.to_thread(brain.preview, window, by_window.pop(window))).anomalies
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

    def _count(self, judgement: Judgement) -> None:
        count = self._telemetry.count
        count("windows_judged", source=self.name)
        count("templates_new", judgement.new_templates, source=self.name)
        score = max((anomaly.score for anomaly in judgement.anomalies), default=0.0)
        self._telemetry.gauge("anomaly_score_max", score, source=self.name)
        for anomaly in judgement.anomalies:
            if anomaly.kind not in ENDS:
                count("anomalies", source=self.name, kind=anomaly.kind)
        for reason, amount in judgement.dropped.items():
            count("mining_limited", amount, source=self.name, reason=reason)
        for detection in judgement.detections:
            for reason, amount in detection.notes.items():
                count("detection_limited", amount, source=self.name, reason=reason)
