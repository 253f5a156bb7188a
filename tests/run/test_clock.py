"""A machine's clock that is set ahead and back: nothing is read before it has been, and no job stands still."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from apscheduler.schedulers import base

from exporter.flow.ahead import DOUBTED_FOR as DOUBTED_AHEAD_FOR
from exporter.model import nanoseconds
from exporter.run import schedule
from exporter.run.assembly import assemble
from exporter.run.daemon import AHEAD, Daemon
from exporter.run.schedule import Every, make_scheduler, plan_for_now
from exporter.run.steady import DOUBTED_FOR, TOLERANCE, Jump, SteadyClock
from exporter.state.incidents import incident_list
from exporter.telemetry import PrometheusTelemetry
from tests.memory_source import START, MemorySource
from tests.run.test_daemon import HOUR, MINUTE, config, lines

SECOND = timedelta(seconds=1)
LATE_WINDOW = 2 * MINUTE
BEGIN = START + HOUR
LASTS = 40 * MINUTE
FAILING = range(75, 80)

Rows = dict[str, list[tuple[Any, ...]]]


class Machine:
    """Time that passes, and a clock of the machine that may say otherwise."""

    def __init__(self, moment: datetime, wrong: timedelta = timedelta(0)) -> None:
        self.moment = moment
        self.wrong = wrong

    def now(self) -> datetime:
        return self.moment + self.wrong

    def passed(self) -> float:
        return (self.moment - START) / SECOND

    def steady(self) -> SteadyClock:
        return SteadyClock(self, self.passed)


class TrueSource(MemorySource):
    """Lines that are there from their time on, whatever a clock says."""

    def __init__(self, machine: Machine, failing: range = FAILING, own: bool = False) -> None:
        """With `own` they are of the machine itself, which stamps them by its clock."""
        super().__init__(lines(400, failing))
        self._all = self.lines
        self._machine = machine
        self._own = own

    def _between(self, time_range: Any) -> pl.DataFrame:
        now = self._machine.now() if self._own else self._machine.moment
        self.lines = self._all.filter(pl.col("timestamp") < nanoseconds(now))
        return super()._between(time_range)


@asynccontextmanager
async def running(folder: Path, machine: Machine, source: MemorySource) -> AsyncIterator[Daemon]:
    steady, telemetry = machine.steady(), PrometheusTelemetry()
    assembly = assemble(config(folder, "shop"), steady, telemetry, sources=[source], sinks=[])
    try:
        yield Daemon(assembly, telemetry, steady)
    finally:
        await assembly.close()


async def step(daemon: Daemon) -> None:
    """What the daemon does each second, and what its jobs do."""
    assert daemon.timekeeper
    daemon.timekeeper.look()
    await daemon.timekeeper.record()
    await daemon.once()


def believe(daemon: Daemon) -> None:
    assert isinstance(daemon.assembly.clock, SteadyClock)
    daemon.assembly.clock.believe()


async def rows(daemon: Daemon) -> Rows:
    """All that was learnt, found and told."""
    state = daemon.assembly.state
    found = await state.derived_rows("shop")
    for table in ("windows", "anomalies", "incidents", "news", "checkpoints"):
        found[table] = await state.read(f"SELECT * FROM {table}")
    found["meta"] = await state.read("SELECT * FROM meta WHERE key GLOB 'alarm_*' OR key = 'grouped_through'")
    return found


async def decisions(daemon: Daemon) -> list[str]:
    found = await daemon.assembly.state.read("SELECT detail FROM decisions WHERE kind IN ('clock', 'ahead')")
    return [detail for (detail,) in found]


async def outcome(folder: Path, wrong: Callable[[timedelta], timedelta]) -> tuple[Rows, list[str]]:
    """Rows after some time in which the clock was wrong by what `wrong` says of a moment; and what was decided."""
    machine = Machine(BEGIN)
    async with running(folder, machine, TrueSource(machine)) as daemon:
        while machine.moment <= BEGIN + LASTS:
            machine.wrong = wrong(machine.moment - BEGIN)
            await step(daemon)
            machine.moment += 20 * SECOND
        return await rows(daemon), await decisions(daemon)


_calm: list[Rows] = []


async def calm() -> Rows:
    if not _calm:
        with tempfile.TemporaryDirectory() as folder:
            _calm.append((await outcome(Path(folder), lambda _: timedelta(0)))[0])
    return _calm[0]


@pytest.mark.parametrize(
    ("by", "lasts"),
    [
        (HOUR, 40 * SECOND),
        (HOUR, 20 * MINUTE),
        (timedelta(days=36_500), 3 * MINUTE),
        (MINUTE, 10 * MINUTE),
        (-2 * MINUTE, 10 * MINUTE),
        (-HOUR, 40 * SECOND),
        (timedelta(days=-20_000), 100 * SECOND),
    ],
)
async def test_a_clock_that_is_wrong_for_a_while_changes_no_row(
    tmp_path: Path, by: timedelta, lasts: timedelta
) -> None:
    # The failure begins in between.
    found, decided = await outcome(
        tmp_path, lambda since: by if 14 * MINUTE < since <= 14 * MINUTE + lasts else timedelta(0)
    )
    expected = await calm()
    assert [row[1] for row in expected["incidents"]] == ["resolved"]
    assert found.keys() == expected.keys()
    for table in expected:
        assert found[table] == expected[table], table
    assert decided


async def test_a_machine_that_had_stopped_goes_on_where_its_sources_have_lines(tmp_path: Path) -> None:
    machine = Machine(BEGIN)
    source = TrueSource(machine, range(0))
    async with running(tmp_path, machine, source) as daemon:
        await step(daemon)
        # What passes while nobody counts is what a stopped machine does not know.
        machine.moment += 2 * HOUR
        machine.passed = lambda: HOUR / SECOND  # type: ignore[method-assign]
        await step(daemon)
        checkpoint = await daemon.assembly.pipelines[0].checkpoint()
        assert checkpoint
        assert checkpoint.read_through == machine.moment
        assert daemon.pollings[0].state == "ready"


@pytest.mark.parametrize("restarted", [True, False])
async def test_what_was_learnt_of_time_that_has_not_come_is_learnt_anew(tmp_path: Path, restarted: bool) -> None:
    machine = Machine(BEGIN, wrong=HOUR)
    source = TrueSource(machine)

    async def set_right(daemon: Daemon) -> Rows:
        machine.wrong = timedelta(0)
        queries = len(source.queries)
        for _ in range(DOUBTED_AHEAD_FOR // MINUTE):
            await step(daemon)
            assert f"shop: {AHEAD}" in (await daemon.readiness()).reasons
            assert len(source.queries) == queries, "what lies ahead is not read"
            machine.moment += MINUTE
        await step(daemon)
        assert (await daemon.readiness()).ok
        machine.moment += MINUTE
        await step(daemon)
        assert "learnt from time that has not come yet" in await decisions(daemon)
        return await rows(daemon)

    async with running(tmp_path, machine, source) as daemon:
        await step(daemon)
        if not restarted:
            found = await set_right(daemon)
    if restarted:
        async with running(tmp_path, machine, source) as daemon:
            found = await set_right(daemon)
    machine = Machine(machine.moment - MINUTE)
    with tempfile.TemporaryDirectory() as other:
        async with running(Path(other), machine, TrueSource(machine)) as daemon:
            await step(daemon)
            machine.moment += MINUTE
            await step(daemon)
            expected = await rows(daemon)
    assert found == expected, "as if it had begun then"


async def test_an_incident_of_time_that_has_not_come_is_taken_back(tmp_path: Path) -> None:
    machine = Machine(BEGIN + 10 * MINUTE)
    source = TrueSource(machine, own=True)
    async with running(tmp_path, machine, source) as daemon:
        await step(daemon)
        machine.wrong = 8 * MINUTE
        await step(daemon)
        [incident] = await incident_list(daemon.assembly.state)
        assert (incident.status, incident.starts_at > machine.moment) == ("firing", True)
        machine.wrong = timedelta(0)
        for _ in range(4):
            await step(daemon)
            machine.moment += MINUTE
        [incident] = await incident_list(daemon.assembly.state)
        assert incident.status == "resolved"
        assert incident.ends_at
        assert incident.starts_at <= incident.ends_at <= machine.moment
        assert incident.timeline[-1].text.startswith("taken back")
        while machine.moment < BEGIN + 18 * MINUTE:
            await step(daemon)
            machine.moment += MINUTE
        news = await daemon.assembly.state.read("SELECT incident, revision, change FROM news ORDER BY number")
        # A place that was told of a revision takes it for the same again: when its time comes, it is another one.
        assert news == [(incident.id, 1, "opened"), (incident.id, 2, "resolved"), (incident.id, 3, "reopened")]


async def test_windows_that_may_still_change_wait_until_they_have_been(tmp_path: Path) -> None:
    machine = Machine(BEGIN + 10 * MINUTE)
    async with running(tmp_path, machine, TrueSource(machine, range(0))) as daemon:
        await step(daemon)
        machine.wrong = LATE_WINDOW
        await step(daemon)
        believe(daemon)
        await step(daemon)
        machine.wrong = timedelta(0)
        for _ in range(12):
            await step(daemon)
            machine.moment += MINUTE / 4
        await step(daemon)
        found = await daemon.assembly.state.read("SELECT lines, reads FROM windows ORDER BY window DESC LIMIT 3")
        assert found == [(6, 1), (6, 2), (6, 2)], "each was read again once, when it was over"
        assert await incident_list(daemon.assembly.state) == []


async def test_a_jump_is_told_counted_and_on_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(BEGIN)
    async with running(tmp_path, machine, TrueSource(machine)) as daemon:
        await step(daemon)
        with caplog.at_level(logging.WARNING):
            for wrong in (HOUR, timedelta(0), -HOUR):
                machine.wrong = wrong
                machine.moment += SECOND
                await step(daemon)
        went = "the clock of this machine went"
        told = [line for line in caplog.messages if line.startswith(went)]
        ways = [line.removeprefix(went).split(" at ")[0] for line in told]
        assert ways == [" ahead by 1 h", " ahead by 1 h", " back by 1 h"]
        assert "not believed until a source has lines of that time, or for 1 h" in told[0]
        assert told[1].endswith(", and came back")
        assert {told[1], told[2]} <= {*await decisions(daemon)}
        for kind, times in {"doubted": 1, "over": 1, "followed": 1}.items():
            assert daemon.telemetry.value("log_anomaly_exporter_clock_jumps_total", outcome=kind) == times


async def test_no_source_is_stalled_and_no_window_given_up_by_a_jump_alone(tmp_path: Path) -> None:
    machine = Machine(BEGIN)
    source = TrueSource(machine, range(0))
    async with running(tmp_path, machine, source) as daemon:
        await step(daemon)
        source.fail_next = 1000
        for wrong in (timedelta(0), 3 * HOUR, -3 * HOUR, 6 * HOUR, timedelta(0)):
            machine.moment += MINUTE
            machine.wrong = wrong
            believe(daemon)
            await step(daemon)
            assert daemon.pollings[0].state == "ready"
        assert not await daemon.assembly.state.read("SELECT 1 FROM decisions WHERE kind IN ('gap', 'stalled')")


# --- The clock itself -------------------------------------------------------------------------------------


def test_a_clock_that_goes_ahead_is_doubted_and_time_goes_on() -> None:
    machine = Machine(BEGIN)
    steady = machine.steady()
    machine.moment += MINUTE
    machine.wrong = HOUR
    assert (steady.now(), steady.claimed) == (machine.moment, machine.now())
    machine.moment += MINUTE
    assert steady.now() == machine.moment
    machine.wrong = timedelta(0)
    assert (steady.now(), steady.claimed) == (machine.moment, None)
    doubted = Jump(BEGIN + MINUTE, HOUR, "doubted")
    assert steady.jumps() == [doubted, Jump(doubted.start, HOUR, "over")]
    assert steady.jumps() == []


def test_a_clock_that_stays_ahead_is_followed_in_the_end() -> None:
    machine = Machine(BEGIN)
    steady = machine.steady()
    machine.wrong = 3 * HOUR
    assert steady.now() == BEGIN
    machine.moment += DOUBTED_FOR - SECOND
    assert steady.now() == machine.moment
    machine.moment += SECOND
    assert steady.now() == machine.moment + 3 * HOUR
    assert [jump.outcome for jump in steady.jumps()] == ["doubted", "followed"]


def test_a_clock_that_goes_back_or_is_adjusted_is_followed_at_once() -> None:
    machine = Machine(BEGIN)
    steady = machine.steady()
    for wrong in (-HOUR, -HOUR + TOLERANCE, -HOUR + 2 * TOLERANCE):
        machine.wrong = wrong
        assert steady.now() == machine.now()
    assert steady.jumps() == [Jump(BEGIN, -HOUR, "followed")]


# --- The scheduler ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [-HOUR, HOUR, timedelta(days=20_000)])
async def test_jobs_go_on_when_the_clock_is_set(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    wrong = timedelta(0)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + wrong

    monkeypatch.setattr(base, "datetime", Clock)
    monkeypatch.setattr(schedule, "datetime", Clock)
    ran = asyncio.Semaphore(0)

    async def job() -> None:
        ran.release()

    scheduler = make_scheduler()
    scheduler.add_job(job, Every(timedelta(milliseconds=20)))
    scheduler.start()
    try:
        for _ in range(2):
            await asyncio.wait_for(ran.acquire(), 10)
        wrong = by
        plan_for_now(scheduler)
        for _ in range(3):
            await asyncio.wait_for(ran.acquire(), 10)
    finally:
        scheduler.shutdown(wait=False)
