"""Poll one source: what wall time knows of how that goes, and rows need not."""

from __future__ import annotations

import contextlib
import logging
import time
from datetime import datetime, timedelta
from typing import Literal

from exporter.flow import flow
from exporter.flow.source import SourcePipeline
from exporter.ingest.lateness import QUANTILES
from exporter.model import ConfigError, ExporterError, PermanentError, StateError, TimeRange, TransientError, floor
from exporter.model.questions import SourceProgress
from exporter.model.times import seconds
from exporter.run.assembly import Assembly
from exporter.run.saying import ready
from exporter.run.steady import SteadyClock
from exporter.state.checkpoints import decision_row, gap_count
from exporter.telemetry import PrometheusTelemetry
from exporter.wording.text import duration

log = logging.getLogger(__name__)

GIVE_UP_AFTER = timedelta(hours=1)
ATTEMPTS = 5
"""A window that could not be read for this long, and in so many polls, while its source answers otherwise, is recorded
as a gap: detection goes on."""


BEHIND = timedelta(minutes=5)
BEHIND_WINDOWS = 3
"""Further back than both, a source is behind: an incident is told that much later."""

LATELY = 10
"""Windows in which a source has lines while it is in use: they tell whether a clock is right."""


class Polling:
    """The polls of one source: whether it answers, since when it does not, and what is given up."""

    def __init__(
        self,
        pipeline: SourcePipeline,
        assembly: Assembly,
        telemetry: PrometheusTelemetry,
        steady: SteadyClock | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.assembly = assembly
        self.state: Literal["warming_up", "ready", "stalled"] = "warming_up"
        self.answered_at: datetime | None = None
        self.failing_since: datetime | None = None
        self.failed = 0
        self.detail = ""
        self._behind = False
        self._telemetry = telemetry
        self._steady = steady

    async def poll(self) -> None:
        """Bring one source up to now, less its settle delay: first what came late, then what is new."""
        await self._hear_of_time()
        now = self.assembly.clock.now()
        pipeline = self.pipeline
        until = pipeline.due(now)
        started = time.monotonic()
        outcome = "ok"
        try:
            lines = await flow.poll(self.assembly.flow, pipeline)
            outcome = "ok" if lines else "empty"
            await self._answered(now)
        except TransientError as error:
            outcome = "transient"
            await self._failed(str(error), now, until)
        except (PermanentError, ConfigError) as error:
            outcome = "permanent"
            await self._failed(str(error), now, until)
        except StateError:
            raise
        except Exception as error:
            # What we did not foresee in one source must not hold back the others for ever either.
            await self._failed(f"failed unexpectedly: {error!r}", now, until)
            raise
        self._telemetry.count("source_polls", source=pipeline.name, outcome=outcome)
        self._telemetry.observe("source_poll_seconds", time.monotonic() - started, source=pipeline.name)

    async def _answered(self, now: datetime) -> None:
        self.answered_at = now
        self.failing_since = None
        self.failed = 0
        self.detail = ""
        if self.state == "stalled":
            log.info("%s: answers again", self.pipeline.name)
        if not self.pipeline.stopping:
            checkpoint = await self.pipeline.checkpoint()
            if self.state == "warming_up" and checkpoint:
                log.info("%s", await ready(self.assembly, self.pipeline, checkpoint))
            self.state, self.pipeline.stalled = "ready", False

    async def _failed(self, reason: str, now: datetime, until: datetime) -> None:
        """Remember since when, stall after `stall_after`, and give up a window that can never be read."""
        # Servers quote queries and lines in their answers.
        reason = self.assembly.redactor.redact(reason)
        self.detail = reason
        self.failing_since = self.failing_since or now
        self.failed += 1
        failing = now - self.failing_since
        log.warning("%s: poll failed, will try again: %s", self.pipeline.name, reason)
        checkpoint = await self.pipeline.checkpoint()
        if failing >= self.assembly.config.stall_after and self.state != "stalled":
            self.state, self.pipeline.stalled = "stalled", True
            log.warning(
                "%s: stalled: it has not answered for %s, and holds the others' incidents back no more; "
                "`check-config --connect` says what is missing",
                self.pipeline.name,
                duration(failing),
            )
            since = checkpoint.read_through if checkpoint else until
            span = TimeRange(since, max(until, since))
            await self.assembly.state.write([decision_row(self.pipeline.name, span, "stalled", reason, now)])
        if checkpoint and failing >= GIVE_UP_AFTER and self.failed >= ATTEMPTS:
            window_end = checkpoint.read_through + self.pipeline.window
            if window_end <= until - GIVE_UP_AFTER and await self._answers(until):
                await self.pipeline.skip(window_end, "gap", reason, now)

    async def _hear_of_time(self) -> None:
        """A machine's clock that went ahead is right where there are lines of that time: the machine had stopped."""
        claimed = self._steady.claimed if self._steady else None
        if self._steady is None or claimed is None:
            return
        window = self.pipeline.window
        # What other machines' clocks stamp a little ahead of their time is no sign.
        start, end = floor(self._steady.now(), window) + 2 * window, floor(claimed, window) + window
        newest = TimeRange(min(max(start, end - LATELY * window), end), end)
        with contextlib.suppress(ExporterError):
            if newest.duration and any((await self.pipeline.source.count(newest, window)).values()):
                self._steady.believe()

    def shift(self, by: timedelta) -> None:
        """The clock was set: what lasts since then lasts no longer for that."""
        if self.failing_since:
            self.failing_since += by

    async def _answers(self, until: datetime) -> bool:
        """Whether the source counts its newest window: else all of it is out of reach, and no window is to blame."""
        newest = TimeRange(until - self.pipeline.window, until)
        try:
            await self.pipeline.source.count(newest, self.pipeline.window)
        except ExporterError:
            return False
        return True

    async def measure(self, now: datetime) -> None:
        """How far the source is, whether it is polled or not."""
        checkpoint = await self.pipeline.checkpoint()
        if checkpoint is None:
            return
        name, gauge = self.pipeline.name, self._telemetry.gauge
        gauge("source_read_through_timestamp_seconds", seconds(checkpoint.read_through), source=name)
        gauge("source_settled_through_timestamp_seconds", seconds(checkpoint.settled_through), source=name)
        gauge("source_lag_seconds", (now - checkpoint.read_through).total_seconds(), source=name)
        self._say_whether_behind(self.pipeline.due(now) - checkpoint.read_through)
        gauge("source_stalled", float(self.state == "stalled"), source=name)
        gauge("warmup_progress_ratio", await self.pipeline.warmth(checkpoint), source=name)
        gauge("source_lines_ahead", self.pipeline.lines_ahead(), source=name)
        for share in QUANTILES:
            lateness = self.pipeline.lateness(share)
            if lateness is not None:
                gauge("source_lateness_seconds", lateness, source=name, quantile=str(share))

    def _say_whether_behind(self, by: timedelta) -> None:
        """Once when it begins and once when it is over, not of what learns or does not answer."""
        behind = (
            self.state == "ready" and not self.failing_since and by > max(BEHIND, BEHIND_WINDOWS * self.pipeline.window)
        )
        if behind and not self._behind:
            told = "%s: %s behind, for lines come faster than they are read: raise `readers`, lower "
            told += "`max_lines_per_window`, or read less of them (`exclude_services`, a query)"
            log.warning(told, self.pipeline.name, duration(by))
        elif self._behind and not behind and self.state == "ready":
            log.info("%s: has caught up", self.pipeline.name)
        self._behind = behind if self.state == "ready" else self._behind

    async def progress(self) -> SourceProgress:
        """Where the source stands now."""
        name = self.pipeline.name
        checkpoint = await self.pipeline.checkpoint()
        if checkpoint is None:
            return SourceProgress(name, self.state, 0.0, detail=self.detail)
        return SourceProgress(
            source=name,
            state=self.state,
            progress=await self.pipeline.warmth(checkpoint),
            read_through=checkpoint.read_through,
            lag=self.assembly.clock.now() - checkpoint.read_through,
            gaps=await gap_count(self.assembly.state, name),
            detail=self.detail or self.pipeline.learning,
        )
