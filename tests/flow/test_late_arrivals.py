"""Lines that come late and out of order: the counts of a source that had everything at once, and nothing unseen."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exporter.config import Config, parse
from exporter.detection.observation import Observation
from exporter.ingest import lateness, reduction
from exporter.ingest.lateness import AHEAD
from exporter.ingest.settings import ReductionSettings
from exporter.model import EPOCH, Clock, TimeRange, TransientError, Write, floor
from exporter.run.assembly import Assembly, assemble
from exporter.run.learning import open_state
from exporter.state.file import State
from exporter.telemetry import PrometheusTelemetry
from tests.flow.test_invariant import CASES
from tests.memory_source import START, MemorySource, at, page
from tests.run.test_daemon import StepClock

MINUTE = timedelta(minutes=1)
LATE_WINDOW = 2 * MINUTE
WARM = 2 * MINUTE
MINUTES = 5
"""That have lines."""

END = 15
"""Minutes after which every window has been compared for the last time."""

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Line:
    """What is logged, in seconds after the start, and how much later it can be read."""

    second: float
    service: str
    body: str
    delay: float = 0.0
    severity: int = 9


class ArrivingSource(MemorySource):
    """Lines that can be read from when they were ingested on; the clock says what has been by now."""

    def __init__(self, lines: pl.DataFrame, clock: Clock, page_size: int = 7, seed: int | None = None) -> None:
        super().__init__(lines, page_size=page_size, seed=seed)
        self._all = self.lines
        self._clock = clock
        self.fail_counts = 0

    def _between(self, time_range: TimeRange) -> pl.DataFrame:
        seconds = (self._clock.now() - START) / timedelta(seconds=1)
        self.lines = self._all.filter(pl.col("ingested_at") <= at(seconds))
        return super()._between(time_range)

    async def query(self, time_range: TimeRange) -> AsyncIterator[pl.DataFrame]:
        async for one in super().query(time_range):
            # When lines were ingested shall decide nothing but the figures of lateness.
            yield one.with_columns(pl.lit(None, pl.Int64).alias("ingested_at"))

    async def count(self, time_range: TimeRange, window: timedelta) -> Mapping[datetime, int]:
        if self.fail_counts:
            self.fail_counts -= 1
            raise TransientError("the server answers 503")
        return await super().count(time_range, window)


def arriving(lines: Sequence[Line]) -> pl.DataFrame:
    return page(
        [
            {
                "timestamp": at(line.second),
                "service": line.service,
                "severity": line.severity,
                "body": line.body,
                "stream": line.service,
                "ingested_at": at(line.second + line.delay),
            }
            for line in lines
        ]
    )


def config(folder: Path) -> Config:
    return parse(
        {
            "state": str(folder / "state.db"),
            "detection": {"min_windows": 5, "min_service_windows": 2},
            "sources": [
                {
                    "type": "elasticsearch",
                    "name": "shop",
                    "hosts": ["http://127.0.0.1:9"],
                    "late_window": "2m",
                    "query_offset": "0s",
                }
            ],
        }
    )


class Crash(BaseException):
    """The process is gone."""


def crashing(state: State, chance: random.Random) -> None:
    """Let the process die at some commits, just before or just after the rows are on disk."""
    write = state.write

    async def dying(writes: Sequence[Write]) -> None:
        fate = chance.random()
        if fate < 0.1:
            raise Crash
        await write(writes)
        if fate > 0.9:
            raise Crash

    state.write = dying  # type: ignore[method-assign, assignment]


class World:
    """One source over one state file, polled when the test says so."""

    def __init__(self, folder: Path, lines: Sequence[Line], seed: int | None = None, crashes: bool = False) -> None:
        self.clock = StepClock(START)
        self.telemetry = PrometheusTelemetry()
        self.source = ArrivingSource(arriving(lines), self.clock, seed=seed)
        self._config = config(folder)
        self._chance = random.Random(seed) if crashes else None
        self.assembly = self._open()

    def _open(self) -> Assembly:
        state = open_state(self._config)
        if self._chance:
            crashing(state, self._chance)
        return assemble(self._config, self.clock, self.telemetry, state, sources=[self.source], sinks=[])

    async def poll(self, minute: float) -> None:
        """What the daemon does at a moment; what dies is started again until it is done."""
        self.clock.moment = START + minute * MINUTE
        while True:
            pipeline = self.assembly.pipelines[0]
            try:
                await pipeline.start(START, START + WARM)
                until = floor(self.clock.moment, MINUTE)
                await pipeline.sweep(until)
                await pipeline.advance(until)
                return
            except Crash:
                await self.assembly.close()
                self.assembly = self._open()
            except TransientError:
                continue

    def counted(self, name: str) -> float:
        return self.telemetry.value(f"log_anomaly_exporter_{name}_total", source="shop") or 0.0

    async def rows(self) -> Rows:
        """All that was learnt and found; not how often a window had to be read for it."""
        state = self.assembly.state
        found = await state.derived_rows("shop")
        found["anomalies"] = await state.read("SELECT * FROM anomalies")
        return found

    async def counts(self) -> dict[tuple[int, str], tuple[int, int]]:
        """Lines and errors by window and service, as they were learnt."""
        rows = (await self.assembly.state.derived_rows("shop"))["detection_observations"]
        seen = [Observation.from_bytes("shop", body) for _, _, body in rows if body]
        return {
            (one.window, row["service"]): (row["lines"], row["errors"])
            for one in seen
            for row in one.services.iter_rows(named=True)
        }


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    counts: dict[tuple[int, str], tuple[int, int]]
    rows: Rows
    late: float
    too_late: float


async def run(lines: Sequence[Line], polls: Sequence[float], seed: int | None = None, crashes: bool = False) -> Outcome:
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name), lines, seed, crashes)
        try:
            for minute in sorted({*polls, END}):
                await world.poll(minute)
            # The last comparison is made before the last advance.
            await world.poll(END + 0.5)
            return Outcome(
                await world.counts(),
                await world.rows(),
                world.counted("source_lines_late"),
                world.counted("source_lines_too_late"),
            )
        finally:
            await world.assembly.close()


async def at_once(lines: Sequence[Line]) -> Outcome:
    """The run of a source that had everything at once."""
    return await run([Line(one.second, one.service, one.body, 0.0, one.severity) for one in lines], [END])


def expected(lines: Sequence[Line]) -> dict[tuple[int, str], tuple[int, int]]:
    """Counts, by nothing but the lines."""
    counts: dict[tuple[int, str], tuple[int, int]] = {}
    for line in lines:
        start = floor(START + timedelta(seconds=line.second), MINUTE)
        key = ((start - EPOCH) // timedelta(seconds=1), line.service)
        known, errors = counts.get(key, (0, 0))
        counts[key] = known + 1, errors + (line.severity >= 17)
    return counts


# Few distinct moments: ties inside a window and at its borders are common.
moments = st.integers(0, MINUTES * 12 - 1).map(lambda tick: tick * 5.0) | st.floats(0, MINUTES * 60 - 1).map(
    lambda second: round(second, 3)
)
words = st.sampled_from(
    ["request 12 served in 7 ms", "request 31 served in 9 ms", "cache refreshed", "job 4 done", "user 9 signed in"]
)


def lines_with(delays: st.SearchStrategy[float]) -> st.SearchStrategy[list[Line]]:
    severities = st.sampled_from([9, 9, 9, 17])
    one = st.builds(Line, moments, st.sampled_from(["orders", "payments"]), words, delays, severities)
    return st.lists(one, min_size=1, max_size=25)


def every_minute(offset: float) -> list[float]:
    """Polls until all windows that have lines are settled; the rest of the time goes by at once."""
    return [minute + offset for minute in range(1, MINUTES + LATE_WINDOW // MINUTE + 2)]


within = st.sampled_from([0.0, 1.0, 59.0, 60.0, 61.0, 110.0, 120.0]) | st.integers(0, 120).map(float)
polls_ = st.sampled_from([0.0, 0.1, 0.5]).map(every_minute) | st.lists(
    st.integers(1, 4 * END - 1).map(lambda quarter: quarter / 4), max_size=8
)
check = settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(lines_with(within), polls_, st.integers(0, 9), st.booleans())
@example(
    [Line(0, "orders", "job 4 done", 120.0), Line(59.999, "orders", "job 4 done", 120.0)], every_minute(0), 1, True
)
@check
def test_counts_end_equal_to_those_of_a_source_that_had_everything_at_once(
    lines: list[Line], polls: list[float], seed: int, crashes: bool
) -> None:
    arrived = asyncio.run(run(lines, polls, seed, crashes))
    assert arrived.counts == expected(lines)
    assert arrived.too_late == 0


@given(lines_with(st.just(0.0)), polls_, st.integers(0, 9), st.booleans())
@check
def test_where_nothing_is_late_everything_learnt_is_equal_too(
    lines: list[Line], polls: list[float], seed: int, crashes: bool
) -> None:
    arrived = asyncio.run(run(lines, polls, seed, crashes))
    whole = asyncio.run(at_once(lines))
    assert whole.counts == expected(lines)
    assert arrived.late == 0
    assert arrived.rows.keys() == whole.rows.keys()
    for table in whole.rows:
        assert arrived.rows[table] == whole.rows[table], table


def arrives_too_late(line: Line) -> bool:
    """Whether a minutely poll finds the window of a line settled already."""
    window = line.second // 60
    return line.second + line.delay > 60 * (window + 1 + LATE_WINDOW // MINUTE)


too_late_for = st.sampled_from([0.0, 30.0, 120.0, 140.0, 200.0, 320.0])


@given(lines_with(too_late_for), st.integers(0, 9))
@check
def test_what_comes_later_than_the_late_window_is_counted(lines: list[Line], seed: int) -> None:
    later = [
        line for line in lines if arrives_too_late(line) and line.second >= WARM.total_seconds()
    ]  # what warm-up learns from is old when it is read
    judged = [line for line in lines if not arrives_too_late(line)]
    arrived = asyncio.run(run(lines, every_minute(0.0), seed))
    assert arrived.too_late == len(later)
    assert arrived.counts == expected(judged)


@pytest.mark.parametrize(("delay", "counted"), [(360.0, 1), (620.0, 0)])
async def test_what_comes_after_the_last_comparison_is_neither_judged_nor_counted(delay: float, counted: int) -> None:
    lines = [Line(60.0 * minute, "orders", "job 4 done") for minute in range(MINUTES)]
    arrived = await run([*lines, Line(200, "orders", "job 4 done", delay)], range(1, END))
    assert arrived.too_late == counted
    assert arrived.late == 0
    assert arrived.counts == expected(lines)


async def test_a_comparison_that_fails_is_made_again_and_counts_once(tmp_path: Path) -> None:
    lines = [Line(60.0 * minute, "orders", "job 4 done") for minute in range(MINUTES)]
    late = Line(200, "orders", "job 4 done", delay=300)
    world = World(tmp_path, [*lines, late])
    try:
        for before, minute in pairwise(range(END + 1)):
            world.source.fail_counts = before % 2
            await world.poll(minute)
        assert world.counted("source_lines_too_late") == 1
        left = await world.assembly.state.read("SELECT COUNT(*) FROM windows")
        assert left[0][0] <= 5 * (LATE_WINDOW // MINUTE) + 1, "what is compared no more is kept no more"
    finally:
        await world.assembly.close()


def steady(minutes: int) -> list[Line]:
    return [Line(60.0 * minute, "orders", "job 4 done") for minute in range(minutes)]


async def test_a_gap_stays_one_when_late_lines_lead_back_to_what_was_before_it(tmp_path: Path) -> None:
    late = Line(60.0 * 5 + 30, "orders", "job 4 done", delay=120)
    world = World(tmp_path, [*steady(12), late])
    try:
        await world.poll(6)
        await world.assembly.pipelines[0].skip(START + 7 * MINUTE, "gap", "cannot be read", START)
        await world.poll(8)
        assert world.counted("source_lines_late") == 1
        counts = await world.counts()
        start = (START - EPOCH) // timedelta(seconds=1)
        assert counts[start + 5 * 60, "orders"] == (2, 0)
        assert [(at - start) // 60 for at, _ in counts] == [0, 1, 2, 3, 4, 5, 7]
    finally:
        await world.assembly.close()


async def test_what_a_source_counts_but_does_not_give_is_not_read_for_ever(tmp_path: Path) -> None:
    world = World(tmp_path, steady(12))
    count = world.source.count

    async def more(time_range: TimeRange, window: timedelta) -> Mapping[datetime, int]:
        return {start: lines + 1 for start, lines in (await count(time_range, window)).items()}

    world.source.count = more  # type: ignore[method-assign]
    try:
        for minute in range(3, 12):
            await world.poll(minute)
        assert await world.assembly.state.read("SELECT DISTINCT lines, reads FROM windows") == [(2, 1)]
    finally:
        await world.assembly.close()


async def test_late_lines_of_windows_that_an_earlier_release_read_are_counted_only(tmp_path: Path) -> None:
    late = Line(60.0 * 5 + 30, "orders", "job 4 done", delay=60)
    world = World(tmp_path, [*steady(24), late])
    try:
        await world.poll(6)
        await world.assembly.state.prune("undo")
        for minute in range(7, 24):
            await world.poll(minute)
        assert (world.counted("source_lines_late"), world.counted("source_lines_too_late")) == (0, 1)
    finally:
        await world.assembly.close()


# --- Measured lateness ------------------------------------------------------------------------------------


def ingested(delays: Sequence[float | None]) -> pl.DataFrame:
    rows: list[dict[str, object]] = []
    for number, delay in enumerate(delays):
        line = {"timestamp": at(number), "service": "orders", "severity": 9, "body": "job 4 done"}
        rows.append({**line, "ingested_at": None if delay is None else at(number + delay)})
    return page(rows)


def test_lateness_is_known_to_a_tenth_and_negative_lateness_is_counted_apart() -> None:
    measured = lateness.measure(ingested([*[2.0] * 98, 40.0, 41.0, -3.0, None]), MINUTE)
    median, most = (lateness.quantile([measured], share) for share in lateness.QUANTILES)
    assert median == pytest.approx(2.0, rel=0.1)
    assert most == pytest.approx(40.0, rel=0.1)
    assert most is not None
    assert most >= 40.0
    assert lateness.ahead(measured) == 1
    assert sum(measured.values()) == 101


def test_lines_without_a_time_of_ingestion_say_nothing() -> None:
    assert lateness.measure(ingested([None, None]), MINUTE) == {}
    assert lateness.quantile([{}], 0.5) is None
    assert lateness.quantile([lateness.measure(ingested([-1.0]), MINUTE)], 0.5) is None


@given(st.lists(st.none() | st.floats(-10, 4000), min_size=1, max_size=40), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_lateness_is_the_same_in_any_division(delays: list[float | None], size: int) -> None:
    whole = ingested(delays)
    own = ReductionSettings()
    parts = [reduction.reduce(whole[start : start + size], own) for start in range(0, whole.height, size)]
    merged = reduction.merge(parts[::-1])
    assert merged.lateness == reduction.reduce(whole, own).lateness
    split = reduction.windows(merged, MINUTE)
    assert reduction.merge(list(split.values())).lateness == merged.lateness
    assert all(start == window for window, one in split.items() for start, _ in one.lateness)


async def proposal(delays: Sequence[float | None], offset: str) -> str:
    source = MemorySource(ingested(delays))
    own = config(Path()).sources[0].model_copy(update={"query_offset": timedelta(seconds=int(offset))})
    found = await lateness.check(own, source, StepClock(START + 30 * MINUTE), no_pause)
    assert found.ok
    return found.detail


async def no_pause(_: timedelta) -> None:
    """Nothing comes in between."""


async def test_check_config_proposes_a_query_offset_from_the_measured_lateness() -> None:
    assert "query_offset: 15s` would spare" in await proposal([1.0] * 90 + [13.0] * 10, "5")
    assert "query_offset: 30s` is enough" in await proposal([1.0] * 90 + [13.0] * 10, "30")
    assert "and a `late_window` above it" in await proposal([600.0] * 20, "5")
    assert "1 lines were ingested before" in await proposal([1.0, 1.0, -5.0], "5")


async def test_check_config_says_when_lateness_cannot_be_known() -> None:
    assert "the last 5m has no line in it" in await proposal([None] * 5, "5")
    empty = await lateness.check(config(Path()).sources[0], MemorySource(page([])), StepClock(START))
    assert empty.ok
    assert "no line" in empty.detail


class ShippedSource(MemorySource):
    """Lines that say nothing of when they came, each of which is there so many seconds after its own time."""

    def __init__(self, delays: Sequence[float], clock: StepClock) -> None:
        rows = [{"timestamp": at(second), "service": "s", "body": f"line {second}"} for second in range(3600)]
        super().__init__(page(rows))
        self._clock = clock
        self._arrived = [second + delays[second % len(delays)] for second in range(3600)]

    async def count(self, time_range: TimeRange, window: timedelta) -> Mapping[datetime, int]:
        now = (self._clock.now() - START).total_seconds()
        known = MemorySource(self.lines.filter(pl.Series([arrived <= now for arrived in self._arrived])))
        return await known.count(time_range, window)


async def counted_twice(delays: Sequence[float], offset: int) -> str:
    clock = StepClock(START + 30 * MINUTE)

    async def pause(time: timedelta) -> None:
        clock.moment += time

    own = config(Path()).sources[0].model_copy(update={"query_offset": timedelta(seconds=offset)})
    found = await lateness.check(own, ShippedSource(delays, clock), clock, pause)
    assert found.ok
    return found.detail


async def test_where_lines_do_not_say_when_they_came_the_newest_are_counted_twice() -> None:
    assert "99 % of the lines can be read after 10 s; `query_offset: 30s` is enough" in await counted_twice([4.0], 30)
    slow = [2.0] * 18 + [42.0] * 2
    assert "can be read after 50 s; `query_offset: 50s` would spare" in await counted_twice(slow, 30)
    rare = [2.0] * 399 + [100.0]
    assert "`query_offset: 30s` is enough" in await counted_twice(rare, 30), "one in 400 is looked for later"


async def test_where_lines_come_later_than_is_counted_nothing_is_proposed() -> None:
    assert "grew all over" in await counted_twice([float(7 * second) for second in range(90)], 30)


async def test_the_sample_of_check_config_is_bounded() -> None:
    source = MemorySource(ingested([1.0] * 3000), page_size=100)
    source.lines = pl.concat([source.lines] * 10)
    read = 0
    query = source.query

    async def counting(time_range: TimeRange) -> AsyncIterator[pl.DataFrame]:
        nonlocal read
        async for one in query(time_range):
            read += one.height
            yield one

    source.query = counting  # type: ignore[method-assign]
    await lateness.check(config(Path()).sources[0], source, StepClock(START + 60 * MINUTE))
    assert read == lateness.SAMPLE_LINES


def test_the_bound_that_stands_for_a_clock_ahead_is_no_lateness() -> None:
    assert AHEAD not in {bound for _, bound in lateness.measure(ingested([0.0, 0.01]), MINUTE)}
