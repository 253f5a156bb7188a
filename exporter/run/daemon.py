"""The daemon: jobs that take their work from the state file, signals, start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from exporter.flow import flow
from exporter.model import NO_MORE_FILES, ExporterError, StateError, is_at_limit, may_open
from exporter.model.questions import Health, Overview, Readiness
from exporter.run.assembly import Assembly
from exporter.run.hastening import hasten
from exporter.run.operations import Operations
from exporter.run.overview import overview
from exporter.run.polling import Polling
from exporter.run.reloading import Load, Reloader
from exporter.run.saying import started
from exporter.run.steady import TOLERANCE, SteadyClock
from exporter.run.timekeeping import Timekeeper
from exporter.state.incidents import calibration, firing_count, grouped_through
from exporter.state.retention import HOUSEKEEPING, drop_old_rows
from exporter.telemetry import PrometheusTelemetry
from exporter.wording.text import duration

if TYPE_CHECKING:
    from apscheduler.schedulers.asyncio import AsyncIOScheduler

log = logging.getLogger(__name__)

STOP_WITHIN = timedelta(seconds=5)
"""How long work in hand may take after SIGTERM; orchestrators kill after ten seconds, and closing takes some."""

BREAK_OFF_WITHIN = timedelta(seconds=1)
"""How long work that took longer may take to notice that it is broken off."""

SILENT_FOR = timedelta(minutes=10)
"""Jobs tick every second, and the longest is bounded: after this the process hangs."""

AHEAD = "has been read further than the time that it is: waiting for the clock"

TICK = timedelta(seconds=1)
WATCH = timedelta(seconds=2)
MEASURE = timedelta(seconds=5)


class Daemon(Operations):
    """Runs the jobs of an assembly: polls, group, enrich, deliveries, analyses, housekeeping."""

    def __init__(
        self,
        assembly: Assembly,
        telemetry: PrometheusTelemetry,
        steady: SteadyClock | None = None,
        load: Load | None = None,
    ) -> None:
        """`steady` is the clock of the assembly, where that is one that knows when the machine's clock is set; `load`
        reads the configuration again, where that can be."""
        super().__init__(assembly)
        self.telemetry = telemetry
        self._steady = steady
        self._reloader = Reloader(self, telemetry, load)
        self._scheduler: AsyncIOScheduler | None = None
        self.pollings: list[Polling] = []
        self.use(assembly)
        self.timekeeper = Timekeeper(steady, assembly, telemetry, self.pollings) if steady else None
        self._stop = asyncio.Event()
        self._running: dict[str, asyncio.Task[Any] | None] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._beat = time.monotonic()
        self._state_errors: dict[str, str] = {}
        """What the state file refuses, by the job that met it last and has not gone well since."""
        self.failed = False
        """Whether it stopped by itself, for it could not go on."""

    # --- Jobs ---

    async def group(self) -> None:
        """Group what has become known; what there is to tell is reported on at once."""
        if await flow.group(self.assembly.flow):
            hasten(self._scheduler, "enrich")

    async def enrich(self) -> None:
        """Report what is new, all of it, and let it be delivered at once."""
        if await flow.enrich(self.assembly.flow):
            hasten(self._scheduler, *(f"deliver {d.name}" for d in self.assembly.deliverers))

    async def recall(self) -> None:
        """What memory knew only later."""
        await flow.recall(self.assembly.flow)

    async def measure(self) -> None:
        """What stands now, whichever run brought it about, and also where nothing can be written."""
        now = self.assembly.clock.now()
        for polling in self.pollings:
            await polling.measure(now)
        self.telemetry.gauge("incidents_open", await firing_count(self.assembly.state))
        known = await calibration(self.assembly.state)
        if known:
            self.telemetry.gauge("alarm_threshold", known.threshold)
        for kind, amount in self.assembly.state.aside.counts().items():
            self.telemetry.gauge("rows_set_aside", amount, kind=kind)
        await self.readiness()

    async def watch(self) -> None:
        """Stop where the state file was deleted or replaced: what is written would be lost."""
        if not self.assembly.state.in_place():
            path = self.assembly.state.path.absolute()
            log.error("state file %s was deleted or replaced while it was in use: stopping, nothing more is kept", path)
            self.failed = True
            self.stop()

    async def narrate(self) -> None:
        """The model's version follows the deterministic one."""
        await flow.narrate(self.assembly.flow)

    async def housekeep(self) -> None:
        """Drop what nobody needs any more, and measure what is kept."""
        state, now = self.assembly.state, self.assembly.clock.now()
        await drop_old_rows(state, now, await grouped_through(state), self.assembly.config.retention)
        self.telemetry.gauge("state_bytes", self.assembly.state.size())
        for polling in self.pollings:
            for reason, lines in (await polling.pipeline.source.unusable()).items():
                self.telemetry.gauge("source_unusable_lines", lines, source=polling.pipeline.name, reason=reason)
        await self.assembly.memory.prune(now)

    # --- Backend of the web side ---

    async def health(self) -> Health:
        """Unhealthy only when a restart would help: no job has ended for a long time."""
        silent = time.monotonic() - self._beat
        if silent > SILENT_FOR.total_seconds():
            return Health(False, f"no job has ended for {duration(timedelta(seconds=silent))}")
        return Health(True)

    async def readiness(self) -> Readiness:
        """Ready when every source is warm and none is stalled."""
        sources = tuple([await polling.progress() for polling in self.pollings])
        reasons = tuple(
            f"{s.source}: {'learning from history' if s.state == 'warming_up' else f'stalled: {s.detail}'}"
            for s in sources
            if s.state != "ready"
        )
        reasons += tuple(f"{s.source}: {AHEAD}" for s in sources if s.lag is not None and s.lag < -TOLERANCE)
        reasons += tuple(dict.fromkeys(self._state_errors.values()))
        reasons += () if may_open() else (NO_MORE_FILES,)
        self.telemetry.gauge("ready", float(not reasons))
        return Readiness(not reasons, reasons, sources, self.assembly.state.aside.all(), not self._state_errors)

    async def overview(self) -> Overview:
        """What is watched, what was learnt, what came near, what was left out."""
        return await overview(self.assembly, self.telemetry)

    def metrics(self) -> str:
        return self.telemetry.exposition()

    # --- Configuration ---

    async def reload(self) -> None:
        """Read the configuration and its secret files again, and go on with what they say. Raises ConfigError where
        anything is wrong in it: then all goes on as before."""
        await self._reloader.reload()

    def use(self, assembly: Assembly) -> None:
        """Go on with this assembly, in which not all need be new, and with no other."""
        known = {polling.pipeline: polling for polling in self.pollings}
        self.assembly = assembly
        # The list stays the same: others know it.
        self.pollings[:] = [
            known.get(one) or Polling(one, assembly, self.telemetry, self._steady) for one in assembly.pipelines
        ]
        for polling in self.pollings:
            polling.assembly = assembly
        names = [pipeline.name for pipeline in assembly.pipelines]
        self.telemetry.announce(names, [deliverer.sink.name for deliverer in assembly.deliverers])

    async def pause(self) -> None:
        """Begin no job, and let those in hand end at the next window or delivery; what takes longer is broken off, and
        done again."""
        if self._scheduler:
            self._scheduler.remove_all_jobs()
        self._hold(True)
        if not await self._ended(STOP_WITHIN):
            for task in self._running.values():
                if task:
                    task.cancel()
            await self._ended(BREAK_OFF_WITHIN)

    def resume(self) -> None:
        """Go on with the jobs of the assembly that is in use."""
        if self._stop.is_set():
            return
        self._hold(False)
        if self._scheduler:
            self._schedule(self._scheduler)

    # --- Life ---

    def stop(self) -> None:
        """Ask for a clean stop: work in hand is finished at the next window, the next delivery."""
        self._hold(True)
        self._stop.set()

    def _hold(self, hold: bool) -> None:
        for polling in self.pollings:
            polling.pipeline.stopping = hold
        for deliverer in self.assembly.deliverers:
            deliverer.stopping = hold

    async def wait(self) -> None:
        """Until a stop is asked for, with no job running."""
        self.obey_signals()
        await self._stop.wait()

    def obey_signals(self) -> None:
        """From now on SIGTERM and SIGINT ask for a clean stop, and SIGHUP to read the configuration again."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reloader.begin)

    async def once(self) -> None:
        """Every job once, in the order of the flow: for tests that step the clock, and for `run --once`."""
        pollings = {polling.pipeline: polling for polling in self.pollings}
        await flow.once(self.assembly.flow, lambda _, source: pollings[source].poll())
        await self.measure()
        await self.analyze_waiting()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT."""
        from exporter.run.schedule import EVENT_JOB_MAX_INSTANCES, make_scheduler, plan_for_now

        self.obey_signals()
        log.info("%s", await started(self.assembly))
        scheduler = make_scheduler()
        scheduler.add_listener(self._overrun, EVENT_JOB_MAX_INSTANCES)
        self._schedule(scheduler)
        self._scheduler = scheduler
        scheduler.start()
        # An embedding model takes long to load: now, not in the first incident.
        warming = asyncio.create_task(self._warm_memory())
        keeping = asyncio.create_task(self._keep_time(partial(plan_for_now, scheduler)))
        try:
            await self._stop.wait()
        finally:
            # An error may be what ends it. The scheduler cancels running coroutines: let them end by themselves first.
            self.stop()
            scheduler.pause()
            self._reloader.cancel()
            warming.cancel()
            keeping.cancel()
            await self._drain()
            scheduler.shutdown(wait=False)
            # What took too long is broken off there: it ends before what it uses is closed.
            await self._ended(BREAK_OFF_WITHIN)

    def _schedule(self, scheduler: AsyncIOScheduler) -> None:
        from exporter.run.schedule import Every

        for name, job, every in self._jobs():
            scheduler.add_job(self._guarded, Every(every), (name, job), id=name)

    async def _keep_time(self, plan_for_now: Callable[[], None]) -> None:
        """No job of the scheduler: that plans by the clock which is looked at here."""
        while self.timekeeper:
            if self.timekeeper.look():
                plan_for_now()
            await self.timekeeper.record()
            await asyncio.sleep(TICK.total_seconds())

    async def _warm_memory(self) -> None:
        try:
            checks = await self.assembly.memory.check()
        except ExporterError as error:
            log.warning("memory: %s; incidents are told without it until it answers", error)
            return
        for check in checks:
            if not check.ok:
                log.warning("memory: %s: %s %s", check.subject, check.detail, check.remedy)

    def _jobs(self) -> list[tuple[str, Callable[[], Awaitable[object]], timedelta]]:
        jobs: list[tuple[str, Callable[[], Awaitable[object]], timedelta]] = [
            (f"poll {p.pipeline.name}", p.poll, min(p.pipeline.window, timedelta(seconds=15))) for p in self.pollings
        ]
        jobs += [(f"deliver {d.name}", partial(flow.deliver, d), TICK) for d in self.assembly.deliverers]
        return [
            *jobs,
            ("group", self.group, TICK),
            ("enrich", self.enrich, TICK),
            ("recall", self.recall, TICK),
            ("narrate", self.narrate, TICK),
            ("analyze", self.analyze_waiting, TICK),
            ("measure", self.measure, MEASURE),
            ("watch", self.watch, WATCH),
            ("housekeep", self.housekeep, HOUSEKEEPING),
        ]

    def _overrun(self, event: Any) -> None:
        kind, _, name = event.job_id.partition(" ")
        if kind == "poll":
            self.telemetry.count("source_poll_overruns", source=name)

    async def _guarded(self, name: str, job: Callable[[], Awaitable[object]]) -> None:
        """One run of a job: an error is logged and counted, and the next run tries again."""
        if self._stop.is_set():
            return
        kind = name.split(" ", 1)[0]
        self._running[name] = asyncio.current_task()
        self._idle.clear()
        outcome, began = "failed", time.monotonic()
        try:
            await job()
            outcome = "ok"
            self._state_errors.pop(name, None)
        except StateError as error:
            self.telemetry.count("state_errors")
            self._state_errors[name] = str(error)
            log.error("%s", error)
        except ExporterError as error:
            log.error("%s: %s", name, error)
        except Exception as error:
            if is_at_limit(error):
                log.error("%s: %s", name, NO_MORE_FILES)
            else:
                log.exception("%s: failed unexpectedly, will run again", name)
        finally:
            self.telemetry.count("job_runs", task=kind, outcome=outcome)
            self.telemetry.observe("job_seconds", time.monotonic() - began, task=kind)
            self.telemetry.gauge("heartbeat_timestamp_seconds", time.time())
            self._beat = time.monotonic()
            self._running.pop(name, None)
            if not self._running:
                self._idle.set()

    async def _drain(self) -> None:
        if not await self._ended(STOP_WITHIN):
            log.warning(
                "stopping with work in hand: %s; it is done again at next start", ", ".join(sorted(self._running))
            )

    async def _ended(self, within: timedelta) -> bool:
        """Wait for the jobs in hand; whether they have ended."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), within.total_seconds())
        return not self._running
