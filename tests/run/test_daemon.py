"""The daemon: warm-up before alarms, catching up, gaps on the record, sources that stall, and a clean stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from exporter.cli.commands import print_backtest
from exporter.config import Config, parse
from exporter.flow.brain import Brain, Judgement
from exporter.flow.source import MAX_WINDOWS_PER_CHUNK
from exporter.model import ConfigError, Reduced, Sink, StateError, TimeRange, Write
from exporter.model.questions import AlertTrigger
from exporter.model.times import seconds
from exporter.run import daemon as daemons
from exporter.run.alerts import MAX_ANALYSES_AT_ONCE
from exporter.run.assembly import assemble
from exporter.run.backtest import backtest
from exporter.run.daemon import Daemon
from exporter.run.polling import ATTEMPTS, GIVE_UP_AFTER
from exporter.state.deliveries import Delivery, DigestRow, delivery_row, digest_row
from exporter.state.file import meta_row
from exporter.state.incidents import grouped_through, incident_list
from exporter.state.questions import Question, question_row
from exporter.state.retention import TRIGGERS_KEPT, drop_old_rows
from exporter.telemetry import PrometheusTelemetry
from tests.memory_source import START, MemorySource, at, page

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class StepClock:
    """A clock that moves when a test says so."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


def lines(minutes: int, failing: range = range(0), service: str = "orders") -> pl.DataFrame:
    """A service that says the same each minute, and errors while it fails."""
    rows: list[dict[str, Any]] = []
    for minute in range(minutes):
        for number in range(6):
            second = 60 * minute + 9 * number
            body = f"request {number} served in {number + 3} ms"
            rows.append({"timestamp": at(second), "service": service, "severity": 9, "body": body})
            if minute in failing:
                error = "connection pool exhausted: no connection within 30 s"
                rows.append({"timestamp": at(second + 1), "service": service, "severity": 17, "body": error})
    return page(rows)


def config(tmp_path: Path, *names: str, **other: Any) -> Config:
    sources = [
        {
            "type": "elasticsearch",
            "name": name,
            "hosts": ["http://127.0.0.1:9"],
            "query_offset": "0s",
            "late_window": "2m",
        }
        for name in names
    ]
    # One service makes few windows in an hour.
    eager = {"min_windows": 30}
    state = str(tmp_path / "state.db")
    return parse({"state": state, "sources": sources, "warmup": {"history": "1h"}, "detection": eager, **other})


@asynccontextmanager
async def running(settings: Config, clock: StepClock, *sources: MemorySource) -> AsyncIterator[Daemon]:
    telemetry = PrometheusTelemetry()
    no_sinks: list[Sink] = []
    assembly = assemble(settings, clock, telemetry, sources=list(sources), sinks=no_sinks)
    try:
        yield Daemon(assembly, telemetry)
    finally:
        await assembly.close()


async def test_history_is_learnt_before_the_first_alarm_and_readiness_says_so(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(80, failing=range(30, 34)))
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        assert not (await daemon.readiness()).ok
        await daemon.once()
        assert (await daemon.readiness()).ok
        assert await incident_list(daemon.assembly.state) == [], "what failed in the past is learnt, not told"


async def test_a_source_that_knows_too_little_to_call_anything_anomalous_says_so(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(200))
    async with running(config(tmp_path, "shop", warmup={"history": "20m"}), clock, source) as daemon:
        await daemon.once()
        (progress,) = (await daemon.readiness()).sources
        assert progress.state == "ready"
        assert "of the 30 windows of services that it needs to call any anomalous" in progress.detail
        clock.moment += HOUR
        await daemon.once()
        assert [known.detail for known in (await daemon.readiness()).sources] == [""]


async def test_a_backtest_says_until_when_it_could_say_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, source = config(tmp_path, "shop"), MemorySource(lines(120))
    short = await backtest(settings, START, START + 20 * MINUTE, sources=[source])
    long = await backtest(settings, START, START + 2 * HOUR, sources=[source])
    warm = await backtest(settings, START + HOUR, START + 2 * HOUR, sources=[source])
    for result in (short, long, warm):
        print_backtest(result)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("shop: knows 12 of the 30 windows of services")
    until, _ = long.learning["shop"]
    assert START + 30 * MINUTE < until < START + HOUR
    assert f"could call no window before {until.isoformat()} anomalous" in second


async def test_a_backtest_of_many_days_says_of_a_failure_what_one_of_a_day_says(tmp_path: Path) -> None:
    day, rows = 24 * HOUR, []
    for second in range(0, int(4 * day / timedelta(seconds=1)), 120):
        fails = 1.5 * 86_400 <= second < 1.5 * 86_400 + 7_200
        for service, said in (("payments", "connection pool exhausted"), ("orders", "call to payments failed")):
            body, severity = (said, 17) if fails and second % 240 else ("order handled", 9)
            rows.append({"timestamp": at(second), "service": service, "severity": severity, "body": body})
    source = MemorySource(page(rows))
    given = {"type": "elasticsearch", "name": "shop", "hosts": ["http://127.0.0.1:9"], "window": "30m"}
    settings = parse({"state": str(tmp_path / "state.db"), "sources": [given], "warmup": {"history": "1d"}})
    short, long = [await backtest(settings, START + day, START + days * day, sources=[source]) for days in (2, 4)]
    assert short.incidents
    assert [one.suspects for one in long.incidents] == [one.suspects for one in short.incidents]


async def test_what_a_source_learns_from_is_told_by_nobody_also_when_others_are_grouped_further(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    warm, late = MemorySource(lines(100), "warm"), MemorySource(lines(100, range(62, 68), "payments"), "late")
    async with running(config(tmp_path, "warm", "late"), clock, warm, late) as daemon:
        await daemon.pollings[0].poll()
        daemon.pollings[1].pipeline.stalled = True
        clock.moment = START + 80 * MINUTE
        await daemon.pollings[1].pipeline.enter(clock.moment)
        clock.moment += MINUTE
        await daemon.pollings[0].poll()
        await daemon.group()
        assert await grouped_through(daemon.assembly.state) == clock.moment
        await daemon.once()
        found = await daemon.assembly.state.read("SELECT DISTINCT quiet FROM anomalies WHERE source = 'late'")
        assert found == [(1,)]
        assert await incident_list(daemon.assembly.state) == []


async def test_the_threshold_is_learnt_from_the_same_past_after_a_rebuild(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    query = "SELECT reached, id FROM anomalies WHERE quiet = 1 ORDER BY reached, id"
    async with running(config(tmp_path, "shop"), clock, MemorySource(lines(61, range(40, 46)))) as daemon:
        await daemon.once()
        before = await daemon.assembly.state.read(query)
    clock.moment += MINUTE
    again = config(tmp_path, "shop", warmup={"history": "61m"}, detection={"min_windows": 30, "max_sessions": 99_999})
    async with running(again, clock, MemorySource(lines(61, range(40, 46)))) as daemon:
        assert await daemon.assembly.pipelines[0].checkpoint() is None
        await daemon.once()
        assert before
        assert await daemon.assembly.state.read(query) == before


async def test_after_a_rebuild_the_threshold_waits_until_every_source_is_warm(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    sources = MemorySource(lines(70), "one"), MemorySource(lines(70), "two")
    async with running(config(tmp_path, "one", "two"), clock, *sources) as daemon:
        await daemon.once()
    clock.moment += MINUTE
    again = config(tmp_path, "one", "two", detection={"min_windows": 30, "max_sessions": 99_999})
    async with running(again, clock, *sources) as daemon:
        for polling, threshold in zip(daemon.pollings, (False, True), strict=True):
            await polling.poll()
            await daemon.group()
            assert (await daemon.assembly.state.meta("alarm_threshold") is not None) == threshold


async def test_another_budget_sets_another_threshold_from_what_warm_up_found(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(70, range(40, 46)))
    found: list[tuple[str | None, list[tuple[int]]]] = []
    for budget in ("1/day", "1000/day", "1/day"):
        async with running(config(tmp_path, "shop", alarm_budget=budget), clock, source) as daemon:
            await daemon.once()
            await daemon.assembly.state.write([meta_row("grouped_through", str(seconds(START + timedelta(days=9))))])
            await daemon.housekeep()
            quiet = await daemon.assembly.state.read("SELECT COUNT(*) FROM anomalies WHERE quiet = 1")
            found.append((await daemon.assembly.state.meta("alarm_threshold"), quiet))
    assert found[0] == found[2] != found[1]
    assert all(quiet == found[0][1] != [(0,)] for _, quiet in found)


async def test_a_failure_after_warm_up_is_an_incident(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(90, failing=range(65, 70)))
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        for _ in range(8):
            await daemon.once()
            clock.moment += 4 * MINUTE
        (incident,) = await incident_list(daemon.assembly.state)
        assert incident.service == "orders"
        assert any("pool exhausted" in c.text for c in incident.contributions)
        record = await daemon.incident(incident.id)
        assert record is not None
        assert record.rules is not None


async def test_what_began_and_ended_during_an_outage_is_told_when_it_is_caught_up(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(300, failing=range(65, 70)))
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        await daemon.once()
        clock.moment += 4 * HOUR
        await daemon.once()
        (incident,) = await incident_list(daemon.assembly.state)
        assert (incident.service, incident.status) == ("orders", "resolved")


async def test_a_long_outage_is_caught_up_and_what_is_too_old_is_a_gap_on_the_record(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(300))
    async with running(config(tmp_path, "shop", max_catch_up="30m"), clock, source) as daemon:
        await daemon.once()
        clock.moment += 2 * HOUR
        await daemon.once()
        gaps = await daemon.assembly.state.read("SELECT kind, end - start FROM decisions WHERE kind = 'gap'")
        assert gaps == [("gap", 90 * 60)]
        checkpoint = await daemon.assembly.pipelines[0].checkpoint()
        assert checkpoint is not None
        assert checkpoint.read_through == clock.moment


async def test_a_very_long_outage_is_passed_over_in_bounded_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(60))
    async with running(config(tmp_path, "shop", max_catch_up="30m"), clock, source) as daemon:
        await daemon.once()
        state, reached = daemon.assembly.state, [clock.moment]
        write = state.write

        async def noting(writes: Sequence[Write]) -> None:
            await write(writes)
            checkpoint = await daemon.assembly.pipelines[0].checkpoint()
            reached.append(checkpoint.read_through if checkpoint else START)

        monkeypatch.setattr(state, "write", noting)
        clock.moment += 2 * MAX_WINDOWS_PER_CHUNK * MINUTE + HOUR
        await daemon.pollings[0].pipeline.enter(clock.moment)
        assert reached[-1] == clock.moment - HOUR / 2
        steps = [after - before for before, after in pairwise(reached)]
        assert max(steps) <= MAX_WINDOWS_PER_CHUNK * MINUTE
        gaps = await state.read("SELECT start, end FROM decisions WHERE kind = 'gap'")
        assert gaps == [(seconds(START + HOUR), seconds(reached[-1]))]


async def test_an_outage_that_goes_on_is_one_gap_that_grows(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(60))
    async with running(config(tmp_path, "shop", max_catch_up="30m"), clock, source) as daemon:
        await daemon.once()
        source.fail_next = 1000
        for _ in range(40):
            clock.moment += MINUTE
            await daemon.once()
        gaps = await daemon.assembly.state.read("SELECT start, end FROM decisions WHERE kind = 'gap'")
        assert gaps == [(seconds(START + HOUR), seconds(clock.moment - HOUR / 2))]


@pytest.mark.parametrize(("retention", "left"), [("400d", 1), ("3d", 0)])
async def test_what_is_remembered_of_an_incident_goes_when_its_time_is_over(
    tmp_path: Path, retention: str, left: int
) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(90, failing=range(65, 70)))
    remembering = config(tmp_path, "shop", memory={"type": "local", "retention": retention})
    async with running(remembering, clock, source) as daemon:
        for _ in range(2):
            await daemon.once()
            clock.moment += 30 * MINUTE
        state = daemon.assembly.state
        await daemon.housekeep()
        assert len(await state.read("SELECT 1 FROM documents")) == 1
        clock.moment += timedelta(days=4)
        await daemon.housekeep()
        assert len(await state.read("SELECT 1 FROM documents")) == left


async def test_what_is_known_of_an_incident_goes_with_it(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(90, failing=range(65, 70)))
    async with running(config(tmp_path, "shop", retention="30d"), clock, source) as daemon:
        await daemon.once()
        clock.moment = START + 75 * MINUTE
        await daemon.once()
        await daemon.change("orders", "2.1", clock.moment)
        tables = ("incidents", "reports", "deliveries", "digests", "questions", "changes")
        state = daemon.assembly.state
        [incident] = await incident_list(state)
        told = delivery_row(Delivery("console", incident.id, revision=1, part=0, digest="d1"))
        digest = digest_row(DigestRow("console", "", "d1", "burst", 0))
        await state.write([told, digest, question_row(Question(incident.id, "a model", 1))])
        assert all([await state.read(f"SELECT 1 FROM {table}") for table in tables])
        clock.moment += timedelta(days=31)
        await daemon.housekeep()
        assert not any([await state.read(f"SELECT 1 FROM {table}") for table in tables])


async def test_late_lines_replace_their_window(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    everything = lines(70)
    source = MemorySource(everything.filter(pl.col("timestamp") != at(60 * 59)))
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        await daemon.once()
        source.lines = everything
        clock.moment += MINUTE
        await daemon.once()
        reads = await daemon.assembly.state.read("SELECT lines, reads FROM windows ORDER BY window DESC LIMIT 2")
        assert reads == [(6, 1), (6, 2)]
        await daemon.once()
        assert await daemon.assembly.state.read("SELECT MAX(reads) FROM windows") == [(2,)]


async def test_a_source_that_fails_loses_nothing_and_is_tried_again(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(80))
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        await daemon.once()
        clock.moment += 5 * MINUTE
        source.fail_next = 1
        await daemon.once()
        before = await daemon.assembly.pipelines[0].checkpoint()
        await daemon.once()
        after = await daemon.assembly.pipelines[0].checkpoint()
        assert before is not None
        assert after is not None
        assert (before.read_through, after.read_through) == (START + HOUR, clock.moment)
        assert (
            daemon.telemetry.value("log_anomaly_exporter_source_polls_total", source="shop", outcome="transient") == 1
        )


async def test_a_secret_that_has_gone_is_a_refusal_that_is_tried_again(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(80))
    source.failure = ConfigError("secret file /run/secrets/key: No such file or directory")
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        await daemon.once()
        clock.moment += 5 * MINUTE
        source.fail_next = 1
        await daemon.once()
        assert daemon.pollings[0].detail == "secret file /run/secrets/key: No such file or directory"
        polls = "log_anomaly_exporter_source_polls_total"
        assert daemon.telemetry.value(polls, source="shop", outcome="permanent") == 1
        await daemon.once()
        assert not daemon.pollings[0].detail


async def test_a_stalled_source_holds_the_others_back_no_longer_than_stall_after(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    good, bad = MemorySource(lines(120), "good"), MemorySource(lines(120), "bad")
    async with running(config(tmp_path, "good", "bad"), clock, good, bad) as daemon:
        await daemon.once()
        bad.fail_next = 1000
        clock.moment += 5 * MINUTE
        await daemon.once()
        assert await grouped_through(daemon.assembly.state) == START + HOUR
        clock.moment += 11 * MINUTE
        await daemon.once()
        assert await grouped_through(daemon.assembly.state) == clock.moment
        assert not (await daemon.readiness()).ok
        bad.fail_next = 0
        await daemon.once()
        assert (await daemon.readiness()).ok


async def test_a_window_that_can_never_be_read_is_given_up_on_the_record(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(200))
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        await daemon.once()
        source.fail_next = ATTEMPTS
        clock.moment += MINUTE
        await daemon.once()
        clock.moment += GIVE_UP_AFTER
        gaps = "SELECT end - start FROM decisions WHERE kind = 'gap'"
        for _ in range(ATTEMPTS - 1):
            assert await daemon.assembly.state.read(gaps) == []
            await daemon.once()
        assert await daemon.assembly.state.read(gaps) == [(60,)]


async def test_a_window_is_not_given_up_before_its_time_however_often_it_was_tried(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(200))
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        await daemon.once()
        source.fail_next = 2 * ATTEMPTS
        failed_at = clock.moment = START + HOUR + MINUTE
        for _ in range(2 * ATTEMPTS - 1):
            await daemon.once()
            clock.moment = failed_at + GIVE_UP_AFTER - timedelta(seconds=1)
        gaps = "SELECT * FROM decisions WHERE kind = 'gap'"
        assert await daemon.assembly.state.read(gaps) == []
        clock.moment = failed_at + GIVE_UP_AFTER
        await daemon.once()
        assert len(await daemon.assembly.state.read(gaps)) == 1


@pytest.mark.parametrize("counts", [True, False])
async def test_an_outage_of_hours_costs_no_window_before_its_own_hour_and_none_where_nothing_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: bool
) -> None:
    async def down(*_: object) -> None:
        raise source.failure

    clock = StepClock(START + HOUR)
    source = MemorySource(lines(240))
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        await daemon.once()
        with monkeypatch.context() as outage:
            if not counts:
                outage.setattr(source, "count", down)
            source.fail_next = 1000
            for _ in range(360):
                clock.moment += MINUTE / 2
                await daemon.pollings[0].poll()
        source.fail_next = 0
        await daemon.pollings[0].poll()
        rows = await daemon.assembly.state.read("SELECT MAX(end) FROM decisions WHERE kind = 'gap'")
        lost_until = seconds(clock.moment - GIVE_UP_AFTER) if counts else None
        assert rows == [(lost_until,)]
        checkpoint = await daemon.assembly.pipelines[0].checkpoint()
        assert checkpoint is not None
        assert checkpoint.read_through == clock.moment


async def test_an_alert_opens_an_analysis_of_the_logs_around_it(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(90, failing=range(70, 72)))
    async with running(config(tmp_path, "shop", alarm_budget="0.001/day"), clock, source) as daemon:
        await daemon.once()
        fired = START + 71 * MINUTE
        alert = AlertTrigger("f1", "firing", fired, None, {"alertname": "HighErrorRate", "service": "orders"}, {})
        assert await daemon.take([alert]) == ["accepted"]
        assert await daemon.take([alert]) == ["duplicate"]
        clock.moment = START + 80 * MINUTE
        await daemon.once()
        found = await incident_list(daemon.assembly.state)
        assert any("HighErrorRate" in (i.trigger + "".join(e.text for e in i.timeline)) for i in found)


async def test_an_alert_on_what_no_log_shows_blames_nobody(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    async with running(config(tmp_path, "shop"), clock, MemorySource(lines(60))) as daemon:
        await daemon.once()
        alert = AlertTrigger(
            "f1", "firing", START + 50 * MINUTE, None, {"alertname": "Down", "service": "elsewhere"}, {}
        )
        assert await daemon.take([alert]) == ["accepted"]
        await daemon.once()
        [incident] = await incident_list(daemon.assembly.state)
        assert (incident.service, incident.suspects, incident.score) == ("elsewhere", (), 0.0)


async def test_an_alert_that_is_sent_again_when_it_was_forgotten_goes_on_where_its_incident_was(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    async with running(config(tmp_path, "shop"), clock, MemorySource(lines(60))) as daemon:
        await daemon.once()
        state = daemon.assembly.state
        alert = AlertTrigger(
            "f1", "firing", START + 50 * MINUTE, None, {"alertname": "Slow", "service": "elsewhere"}, {}
        )
        assert await daemon.take([alert]) == ["accepted"]
        await daemon.analyze_waiting()
        [incident] = await incident_list(state)
        await daemon.resolve(incident.id, "restarted it")
        await drop_old_rows(state, clock.moment + TRIGGERS_KEPT + 2 * HOUR, None, timedelta(days=400))
        assert await daemon.take([alert]) == ["accepted"]
        await daemon.analyze_waiting()
        [again] = await incident_list(state)
        assert (again.id, again.revision, again.status, again.fix) == (incident.id, 3, "firing", "restarted it")
        news = await state.read("SELECT revision, change FROM news ORDER BY number")
        assert news == [(1, "opened"), (2, "resolved"), (3, "reopened")], "no place has had it yet"


async def test_alerts_whose_logs_are_not_there_yet_hold_no_other_alert_back(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    async with running(config(tmp_path, "shop"), clock, MemorySource(lines(60))) as daemon:
        await daemon.once()
        for number in range(MAX_ANALYSES_AT_ONCE):
            tomorrow = AlertTrigger(f"f{number}", "firing", START + timedelta(days=1), None, {"alertname": "Early"}, {})
            assert await daemon.take([tomorrow]) == ["accepted"]
        alert = AlertTrigger("real", "firing", START + 50 * MINUTE, None, {"alertname": "HighErrorRate"}, {})
        assert await daemon.take([alert]) == ["accepted"]
        assert await daemon.analyze_waiting() == 1
        assert [incident.trigger for incident in await incident_list(daemon.assembly.state)] == ["alert HighErrorRate"]
        clock.moment += 2 * MINUTE
        await daemon.once()
        waiting = await daemon.assembly.state.read("SELECT COUNT(*) FROM triggers WHERE done = 0")
        assert waiting == [(0,)], "an alert of tomorrow is about now: nothing waits for a day"


async def test_an_analysis_on_demand_waits_while_a_window_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging, previewed, order = threading.Event(), threading.Event(), list[str]()

    def judge(brain: Brain, window: int, reduced: Reduced, late: bool = False) -> Judgement:
        judging.set()
        previewed.wait(0.2)
        order.append("judged")
        return Judgement()

    def preview(brain: Brain, window: int, reduced: Reduced) -> Judgement:
        order.append("previewed")
        previewed.set()
        return Judgement()

    monkeypatch.setattr(Brain, "judge", judge)
    monkeypatch.setattr(Brain, "preview", preview)
    window = TimeRange(START, START + MINUTE)
    async with running(config(tmp_path, "shop"), StepClock(window.end), MemorySource(lines(1))) as daemon:
        (pipeline,) = daemon.assembly.pipelines
        await pipeline.start(window.start, window.start)
        advanced = asyncio.create_task(pipeline.advance(window.end))
        await asyncio.to_thread(judging.wait)
        await asyncio.gather(advanced, pipeline.preview(window))
    assert order == ["judged", "previewed"]


async def test_a_person_resolves_an_incident_and_the_fix_is_remembered(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(90, failing=range(65, 70)))
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        for _ in range(8):
            await daemon.once()
            clock.moment += 4 * MINUTE
        (incident,) = await incident_list(daemon.assembly.state)
        record = await daemon.resolve(incident.id, "raised the pool size")
        assert record is not None
        assert (record.incident.status, record.incident.fix) == ("resolved", "raised the pool size")
        await daemon.once()
        ((_, document, _), *_) = await daemon.assembly.state.documents_after("", 99)
        assert document is not None
        assert document["fix"] == "raised the pool size"
        assert await daemon.resolve("no-such", None) is None


async def test_a_stop_ends_the_jobs_cleanly_and_soon(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    async with running(config(tmp_path, "shop"), clock, MemorySource(lines(80))) as daemon:
        warm, last = asyncio.Event(), START + HOUR - MINUTE
        daemon.assembly.pipelines[0].watch = lambda window, judgement: warm.set() if window.start == last else None
        task = asyncio.create_task(daemon.run())
        await warm.wait()
        daemon.stop()
        await task
    async with running(config(tmp_path, "shop"), clock, MemorySource(lines(80))) as daemon:
        checkpoint = await daemon.assembly.pipelines[0].checkpoint()
        assert checkpoint is not None
        assert checkpoint.read_through == START + HOUR


class Deaf(MemorySource):
    """Answers no question, and remembers what becomes of those who ask."""

    def __init__(self) -> None:
        super().__init__(lines(1))
        self.asked, self.fates = asyncio.Event(), list[str]()

    async def count(self, time_range: TimeRange, window: timedelta) -> Mapping[datetime, int]:
        self.asked.set()
        try:
            return await asyncio.Future()
        finally:
            self.fates.append("broken off")

    async def close(self) -> None:
        self.fates.append("closed")


async def test_work_that_does_not_end_is_broken_off_before_what_it_uses_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemons, "STOP_WITHIN", timedelta(0))
    source = Deaf()
    async with running(config(tmp_path, "shop"), StepClock(START + HOUR), source) as daemon:
        task = asyncio.create_task(daemon.run())
        await source.asked.wait()
        daemon.stop()
        await task
    assert source.fates == ["broken off", "closed"]


async def test_the_state_file_is_closed_also_when_a_client_fails_to(tmp_path: Path) -> None:
    class Stuck(MemorySource):
        async def close(self) -> None:
            raise ConnectionError("reset")

    with pytest.raises(ConnectionError):
        async with running(config(tmp_path, "shop"), StepClock(START + HOUR), Stuck(lines(1))) as daemon:
            state = daemon.assembly.state
    with pytest.raises(StateError, match="is closed"):
        await state.meta("fingerprint")
