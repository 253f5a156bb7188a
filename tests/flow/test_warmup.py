"""Warm-up: which windows are chosen within the budget, that only they are read, and that a restart goes on."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli.check import connect
from exporter.config import parse
from exporter.flow import warmup
from exporter.flow.settings import WarmupSettings
from exporter.flow.source import SourcePipeline
from exporter.flow.warmup import EMPTY_WINDOW, JUDGED_WINDOW, PASSED_WINDOW, STRETCH, Mask, choose, plan, predict
from exporter.model import NoTelemetry, TimeRange, floor
from exporter.run.assembly import Assembly, assemble, reduction_settings
from exporter.state.checkpoints import decision_row
from tests.memory_source import START, MemorySource, at, page
from tests.run.test_daemon import StepClock, config, running
from tests.run.test_daemon import lines as minutes_of_lines

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def even(days: int, each: float = 1.0) -> npt.NDArray[np.float64]:
    """A history of one-minute windows that cost as much, each."""
    return np.full(days * 1440, each)


def age_in_hours(taken: Mask) -> npt.NDArray[np.float64]:
    return np.arange(len(taken), 0, -1)[taken] / 60


# --- The choice -------------------------------------------------------------------------------------------


def test_all_of_history_is_read_where_the_budget_allows() -> None:
    assert choose(even(7), MINUTE, timedelta(seconds=7 * 1440)).all()


def test_otherwise_half_of_the_budget_is_for_the_stretch_before_now() -> None:
    taken = choose(even(7), MINUTE, 24 * HOUR / 60)
    assert taken[-12 * 60 :].all()
    assert not taken[-13 * 60 : -12 * 60].all()


def test_earlier_days_are_read_around_this_time_of_day_all_alike() -> None:
    taken = choose(even(8), MINUTE, 24 * HOUR / 60)
    shares = [taken[-day * 1440 - 60 : -day * 1440 + 60].mean() for day in range(1, 8)]
    # What is spread over the rest may come to lie beside them.
    assert max(shares) - min(shares) < 0.1
    assert min(shares) > 0.5
    hours = np.round(age_in_hours(taken[: -12 * 60]) + 12) % 24
    assert set(hours[:-40]) <= {23, 0, 1}, "around now, symmetric"


def test_what_is_left_is_spread_over_all_hours() -> None:
    taken = choose(even(7), MINUTE, 72 * HOUR / 60)
    hours = age_in_hours(taken[: -36 * 60]) + 36
    assert set((hours % 24).astype(int)) == set(range(24))


def test_a_quiet_night_is_cheap_and_so_warm_up_reaches_further_back() -> None:
    costs = even(2)
    costs[-1440:-60] = 0.01
    assert choose(costs, MINUTE, 4 * HOUR / 60)[-1440:].all()


windows_of = st.sampled_from([timedelta(seconds=10), MINUTE, 7 * MINUTE, HOUR])


@given(
    st.integers(1, 3000),
    st.integers(0, 2**32 - 1),
    st.floats(1e-3, 100.0),
    st.floats(0.001, 1.5),
    windows_of,
)
def test_no_plan_exceeds_the_budget_and_each_has_the_newest_windows(
    size: int, seed: int, scale: float, share: float, window: timedelta
) -> None:
    chance = np.random.default_rng(seed)
    costs = chance.exponential(scale, size) * (chance.random(size) < 0.8) + 0.003
    budget = timedelta(seconds=float(costs.sum()) * share)
    taken = choose(costs, window, budget)
    passed = PASSED_WINDOW.total_seconds() * (~taken[taken.argmax() :]).sum()
    assert costs[taken].sum() + passed <= budget.total_seconds() + 1e-6 or not taken.any()
    if costs[-1] <= budget.total_seconds() - 1e-6:
        assert taken[-1]
    if share > 1:
        assert taken.all()


@given(st.integers(1, 6), st.floats(0.02, 0.9), st.integers(0, 2**32 - 1))
def test_pieces_are_not_shorter_than_a_stretch(days: int, share: float, seed: int) -> None:
    costs = even(days) * np.random.default_rng(seed).uniform(0.9, 1.1, days * 1440)
    budget = timedelta(seconds=float(costs.sum()) * share)
    ranges = warmup._ranges(choose(costs, MINUTE, budget), TimeRange(START, START + days * DAY), MINUTE)
    # The oldest may be cut by the beginning of history, and what lies beside the newest joins it.
    assert all(span.duration >= STRETCH for span in ranges[1:-1])
    assert all(first.end < second.start for first, second in itertools.pairwise(ranges))
    assert all(floor(span.start, MINUTE) == span.start and floor(span.end, MINUTE) == span.end for span in ranges)
    assert ranges[-1].end == START + days * DAY


# --- The plan of a source ---------------------------------------------------------------------------------


def three_days() -> MemorySource:
    """One line every ten minutes, for three days."""
    body = "request served"
    return MemorySource(page([{"timestamp": at(600 * n), "service": "orders", "body": body} for n in range(3 * 144)]))


def parts(tmp_path: Path, source: MemorySource, **other: Any) -> Assembly:
    return assemble(
        config(tmp_path, "shop", **other), StepClock(START + 3 * DAY), NoTelemetry(), sources=[source], sinks=()
    )


def tight(monkeypatch: pytest.MonkeyPatch) -> WarmupSettings:
    """Each line takes a second: the machine's speed decides nothing."""

    async def slow(*_: object) -> float:
        return 1.0

    monkeypatch.setattr(warmup, "_lines_per_second", slow)
    return WarmupSettings(history=3 * DAY, budget=timedelta(seconds=200))


async def planned(source: MemorySource, settings: WarmupSettings, pipeline: SourcePipeline) -> warmup.Plan:
    return await plan(source, pipeline.settings, START + 3 * DAY, settings)


async def test_a_plan_says_what_is_read_and_for_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = three_days()
    assembly = parts(tmp_path, source)
    try:
        found = await planned(source, tight(monkeypatch), assembly.pipelines[0])
    finally:
        await assembly.close()
    assert found.held == 432
    assert 100 < found.lines < 200
    assert found.lasts <= timedelta(seconds=200)
    assert str(found).startswith("3d of history hold 432 lines; budget 3m20s reads about ")
    assert "around 00:00 UTC of 3 earlier days" in str(found)


async def test_a_window_that_is_sampled_costs_what_is_read_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"timestamp": at(600 * n), "service": "orders", "body": f"served {k}"} for n in range(432) for k in range(5)
    ]
    source, settings = MemorySource(page(rows)), tight(monkeypatch)
    assembly = parts(tmp_path, source)
    try:
        pipeline = assembly.pipelines[0]
        whole = await planned(source, settings, pipeline)
        sampled = await plan(source, pipeline.settings, START + 3 * DAY, settings, most=1)
    finally:
        await assembly.close()
    assert sum((r.duration for r in sampled.ranges), timedelta(0)) > sum(
        (r.duration for r in whole.ranges), timedelta(0)
    )
    assert sampled.lasts <= timedelta(seconds=200)


class CountingSource(MemorySource):
    """Remembers for how many windows it was asked."""

    asked = 0

    async def count(self, time_range: TimeRange, window: timedelta) -> Mapping[datetime, int]:
        self.asked += -(-time_range.duration // window)
        return await super().count(time_range, window)


@pytest.mark.parametrize("most", [None, 2])
async def test_a_long_history_of_short_windows_is_looked_at_in_bounded_pieces(
    most: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, until = timedelta(seconds=1), START + 3 * DAY - timedelta(seconds=100)
    moments = [*range(0, 3 * 86400 - 600, 600), *range(3 * 86400 - 130, 3 * 86400)]
    rows = [{"timestamp": at(n), "service": "orders", "body": f"served {k}"} for n in moments for k in range(1 + n % 7)]
    source, settings = CountingSource(page(rows)), tight(monkeypatch)
    assembly = parts(tmp_path, source)
    try:
        own = assembly.pipelines[0].settings.model_copy(update={"window": second})
        found = await plan(source, own, until, settings, most)
    finally:
        await assembly.close()
    assert settings.history // second > warmup.MOST_PIECES
    assert source.asked <= warmup.MOST_PIECES + 1
    assert found.ranges[-1].end == until
    assert all(floor(edge, second) == edge for span in found.ranges for edge in (span.start, span.end))
    assert all(first.end < following.start for first, following in itertools.pairwise(found.ranges))
    assert found.lasts <= settings.budget
    lines = await MemorySource(page(rows)).count(TimeRange(START, until), second)
    held = [n for moment, n in lines.items() if any(moment in span for span in found.ranges)]
    windows = sum(span.duration // second for span in found.ranges)
    passed = (until - found.ranges[0].start) // second - windows
    overhead = len(held) * JUDGED_WINDOW + (windows - len(held)) * EMPTY_WINDOW + passed * PASSED_WINDOW
    exact = sum(min(n, most or n) for n in held) + overhead.total_seconds()
    assert exact <= found.lasts.total_seconds(), "what a piece costs is an upper bound"
    assert len(held) > 10


async def test_the_speed_of_a_source_is_measured_on_its_newest_lines(tmp_path: Path) -> None:
    source = three_days()
    assembly = parts(tmp_path, source)
    try:
        found = await planned(source, WarmupSettings(history=3 * DAY), assembly.pipelines[0])
        newest = TimeRange(START + 3 * DAY - HOUR, START + 3 * DAY)
        assert source.queries
        assert all(query.start in newest for query in source.queries)
        assert found.ranges == (TimeRange(START, START + 3 * DAY),)
        assert "all are read" in str(found)
    finally:
        await assembly.close()


async def test_a_source_without_a_past_is_said_to_have_none(tmp_path: Path) -> None:
    source = MemorySource(page([]))
    settings = config(tmp_path, "shop")
    check = await predict(source, reduction_settings(settings, settings.sources[0], b""), START, settings.warmup)
    assert check.ok
    assert check.detail == "1h of history hold no lines: nothing is known at first"


# --- What is planned is what is read ----------------------------------------------------------------------

PLANNED = (
    TimeRange(START + 5 * MINUTE, START + 20 * MINUTE),
    TimeRange(START + 40 * MINUTE, START + 50 * MINUTE),
    TimeRange(START + 55 * MINUTE, START + 60 * MINUTE),
)


async def started(assembly: Assembly) -> SourcePipeline:
    (pipeline,) = assembly.pipelines
    rows = [decision_row(pipeline.name, span, "warmup", "", START + HOUR) for span in PLANNED]
    await pipeline.start(PLANNED[0].start, PLANNED[-1].end, rows)
    return pipeline


async def derived(assembly: Assembly) -> dict[str, list[tuple[Any, ...]]]:
    state = assembly.state
    tables = [name for (name,) in await state.read("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: await state.read(f"SELECT * FROM {name}") for name in sorted(tables) if name != "meta"}


async def test_only_planned_windows_are_read_and_the_others_are_no_silence(tmp_path: Path) -> None:
    source = MemorySource(minutes_of_lines(90))
    assembly = parts(tmp_path, source)
    try:
        pipeline = await started(assembly)
        await pipeline.advance(START + 70 * MINUTE)
        for query in source.queries:
            assert query.start >= PLANNED[-1].end or any(query.start in s and query.end <= s.end for s in PLANNED)
        (judged,) = await assembly.state.read("SELECT SUM(end - start) / 60 FROM decisions WHERE kind = 'warmup'")
        assert judged == (30,)
        assert await assembly.state.read("SELECT * FROM anomalies") == []
        checkpoint = await pipeline.checkpoint()
        assert checkpoint is not None
        assert checkpoint.read_through == START + 70 * MINUTE
        assert await pipeline.sweep(START + 70 * MINUTE) == 0, "a window that was passed over is not read again as late"
    finally:
        await assembly.close()


async def test_a_restart_anywhere_goes_on_with_the_same_plan(tmp_path: Path) -> None:
    async def taken(name: str, cuts: tuple[int, ...]) -> dict[str, list[tuple[Any, ...]]]:
        for cut in (*cuts, 70):
            assembly = parts(tmp_path, MemorySource(minutes_of_lines(90)), state=str(tmp_path / name))
            pipeline = await started(assembly)
            await pipeline.advance(START + cut * MINUTE)
            found = await derived(assembly)
            await assembly.close()
        return found

    assert await taken("cut.db", (7, 20, 21, 33, 40, 45, 52, 56, 60)) == await taken("whole.db", ())


async def test_a_first_start_that_is_killed_before_it_began_makes_one_plan(tmp_path: Path) -> None:
    source = MemorySource(minutes_of_lines(90))
    clock = StepClock(START + HOUR)
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        stale = decision_row("shop", TimeRange(START, START + MINUTE), "warmup", "of another start", START)
        await daemon.assembly.state.write([stale])
        await daemon.once()
        rows = await daemon.assembly.state.read("SELECT detail FROM decisions WHERE kind = 'warmup'")
        assert len(rows) == 1
        assert "all are read" in rows[0][0]


async def test_progress_counts_what_is_planned_not_time(tmp_path: Path) -> None:
    assembly = parts(tmp_path, MemorySource(minutes_of_lines(90)))
    try:
        pipeline = await started(assembly)
        shares = []
        for minute in (5, 20, 30, 40, 55, 60):
            await pipeline.advance(START + minute * MINUTE)
            checkpoint = await pipeline.checkpoint()
            assert checkpoint is not None
            shares.append(round(await pipeline.warmth(checkpoint), 2))
        assert shares == [0.0, 0.5, 0.5, 0.5, 0.83, 1.0]
    finally:
        await assembly.close()


async def test_a_daemon_warms_up_within_its_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tight(monkeypatch)
    source = three_days()
    clock = StepClock(START + 3 * DAY)
    settings = config(tmp_path, "shop", warmup={"history": "30h", "budget": "60s"})
    async with running(settings, clock, source) as daemon:
        await daemon.once()
        assert (await daemon.readiness()).ok
        rows = await daemon.assembly.state.read("SELECT start, end FROM decisions WHERE kind = 'warmup'")
        assert len(rows) > 2
        read = sum((query.duration for query in source.queries), timedelta(0))
        assert read < DAY


async def test_checks_predict_what_a_first_start_reads(tmp_path: Path) -> None:
    (tmp_path / "orders.log").write_text("2001-01-01T00:00:00Z request served\n")
    settings = parse({"sources": [{"type": "file", "name": "old", "path": str(tmp_path / "orders.log")}]})
    (check,) = [check for check in await connect(settings) if "warm-up" in check.subject]
    assert check.subject == "sources.old: warm-up"
    assert check.detail.startswith("1w of history hold no lines")
