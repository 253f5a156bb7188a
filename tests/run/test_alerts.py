"""Alerts of others: each belongs to its own service, many at once are few analyses, and no sender can fill us."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.model import StateError
from exporter.model.questions import AlertTrigger
from exporter.report.rules import write
from exporter.run import alerts as alerting
from exporter.run import operations
from exporter.run.daemon import Daemon
from exporter.state import retention
from exporter.state.incidents import incident_list
from exporter.state.retention import drop_old_rows
from exporter.state.triggers import trigger_row, waiting_count
from tests.memory_source import START, MemorySource
from tests.run.test_daemon import HOUR, MINUTE, StepClock, config, lines, running

NOW = START + HOUR


def alert(service: str, at: datetime = NOW - 5 * MINUTE, status: Any = "firing", **other: Any) -> AlertTrigger:
    labels = {"alertname": "HighLatency", "service": service}
    ends_at = None if status == "firing" else at + 3 * MINUTE
    return AlertTrigger(f"f-{service}", status, at, ends_at, labels, **{"group": "g", **other})


@asynccontextmanager
async def watching(tmp_path: Path, failing: range = range(0)) -> AsyncIterator[tuple[Daemon, MemorySource]]:
    """A daemon that has learnt one service, `orders`."""
    source = MemorySource(lines(90, failing=failing))
    async with running(config(tmp_path, "shop"), StepClock(NOW), source) as daemon:
        await daemon.once()
        yield daemon, source


async def test_alerts_of_other_services_are_not_tied_to_whatever_is_open(tmp_path: Path) -> None:
    async with watching(tmp_path, range(65, 90)) as (daemon, _):
        daemon.assembly.clock.moment = START + 75 * MINUTE  # type: ignore[attr-defined]
        await daemon.once()
        (open_one,) = await incident_list(daemon.assembly.state)
        assert open_one.services == ("orders",)
        others = [alert(f"other-{number}", START + 70 * MINUTE) for number in range(400)]
        assert set(await daemon.take(others)) == {"accepted"}
        assert await daemon.analyze_waiting() == 400
        found = await incident_list(daemon.assembly.state)
        assert sorted(incident.revision for incident in found) == [1, open_one.revision]
        assert len(found) == 2, "alerts of one group and time are one analysis"


async def test_an_alert_belongs_to_the_incident_of_its_own_service(tmp_path: Path) -> None:
    async with watching(tmp_path, range(65, 90)) as (daemon, _):
        daemon.assembly.clock.moment = START + 75 * MINUTE  # type: ignore[attr-defined]
        await daemon.once()
        (before,) = await incident_list(daemon.assembly.state)
        own = alert("orders", START + 70 * MINUTE)
        await daemon.take([own, alert("elsewhere", START + 70 * MINUTE)])
        await daemon.analyze_waiting()
        found = {incident.service: incident for incident in await incident_list(daemon.assembly.state)}
        assert found["orders"].revision == before.revision + 1
        assert "alert HighLatency fired" in [entry.text for entry in found["orders"].timeline]
        assert found["orders"].trigger == before.trigger
        assert await daemon.take([own]) == ["duplicate"]
        await daemon.take([alert("orders", START + 70 * MINUTE, "resolved")])
        await daemon.analyze_waiting()
        (still,) = [i for i in await incident_list(daemon.assembly.state) if i.id == before.id]
        assert still.status == "firing", "an alert does not end what it did not open"


async def test_what_an_alert_says_of_itself_is_told_with_what_was_compared(tmp_path: Path) -> None:
    async with watching(tmp_path) as (daemon, _):
        await daemon.take([alert("elsewhere", annotations={"summary": "latency above 2 s for 5 min"})])
        await daemon.analyze_waiting()
        (found,) = await incident_list(daemon.assembly.state)
        assert found.summary == "latency above 2 s for 5 min"
        report = write(found)
        assert report.headline.startswith("elsewhere: alert HighLatency: latency above 2 s for 5 min")
        assert "the logs of shop from 00:45 UTC to 01:00 UTC show nothing unusual" in report.what_happened[0].text


async def test_what_is_read_for_one_alert_is_kept_for_the_others(tmp_path: Path) -> None:
    async with watching(tmp_path) as (daemon, source):
        source.queries.clear()
        await daemon.take([alert(f"s{number}", group=f"group {number}") for number in range(15)])
        assert await daemon.analyze_waiting() == 15
        whole = sum((query.duration for query in source.queries), timedelta(0))
        assert whole == timedelta(minutes=15), "the same lines were read again"


async def test_what_alerts_opened_together_ends_with_the_last_of_them(tmp_path: Path) -> None:
    async with watching(tmp_path) as (daemon, _):
        await daemon.take([alert("a"), alert("b")])
        await daemon.analyze_waiting()
        (opened,) = await incident_list(daemon.assembly.state)
        assert {entry.service for entry in opened.timeline} == {"a", "b"}
        for service, status in (("a", "firing"), ("b", "resolved")):
            await daemon.take([alert(service, status="resolved")])
            await daemon.analyze_waiting()
            (now,) = await incident_list(daemon.assembly.state)
            assert now.status == status


async def test_a_crash_while_an_end_is_taken_in_leaves_nothing_open_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(tmp_path) as (daemon, _):
        await daemon.take([alert("a")])
        await daemon.analyze_waiting()
        await daemon.take([alert("a", status="resolved")])
        write = daemon.assembly.state.write

        async def crash(rows: Any) -> None:
            await write(rows)
            raise StateError("killed")

        monkeypatch.setattr(daemon.assembly.state, "write", crash)
        with pytest.raises(StateError):
            await daemon.analyze_waiting()
        monkeypatch.undo()
        await daemon.analyze_waiting()
        (found,) = await incident_list(daemon.assembly.state)
        assert (found.status, found.revision) == ("resolved", 2)


async def test_an_end_waits_for_its_beginning(tmp_path: Path) -> None:
    async with watching(tmp_path) as (daemon, _):
        later = NOW + 2 * MINUTE
        await daemon.take([alert("a", later), alert("a", later, "resolved")])
        daemon.assembly.clock.moment = later  # type: ignore[attr-defined]
        assert await daemon.analyze_waiting() == 0, "its logs are not there yet"
        daemon.assembly.clock.moment = later + 3 * MINUTE  # type: ignore[attr-defined]
        await daemon.once()
        (found,) = await incident_list(daemon.assembly.state)
        assert found.status == "resolved"


async def test_what_an_earlier_release_took_in_is_known_by_its_senders_name(tmp_path: Path) -> None:
    async with watching(tmp_path) as (daemon, _):
        state = daemon.assembly.state
        now = alert("a", group="", sent_as="sender's")
        before = AlertTrigger("sender's", "firing", now.starts_at, None, now.labels)
        await state.write([trigger_row(before, NOW, done=False)])
        assert await daemon.take([now]) == ["duplicate"]
        await daemon.analyze_waiting()
        (opened,) = await incident_list(state)
        await daemon.take([alert("a", status="resolved", group="", sent_as="sender's")])
        await daemon.analyze_waiting()
        (ended,) = await incident_list(state)
        assert (ended.id, ended.status) == (opened.id, "resolved")
        other = AlertTrigger("f-b", "firing", now.starts_at, None, {"alertname": "Other"}, sent_as="sender's")
        assert await daemon.take([other]) == ["accepted"], "two alerts of one sender's name are two"


async def test_what_began_long_ago_is_looked_at_where_it_is_known_of(tmp_path: Path) -> None:
    source = MemorySource(lines(60 * 26))
    clock = StepClock(START + 26 * HOUR)
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        await daemon.once()
        source.queries.clear()
        await daemon.take([alert("a", START - timedelta(days=400))])
        assert await daemon.analyze_waiting() == 1
        first = min(query.start for query in source.queries)
        assert first == clock.moment - alerting.OLDEST - alerting.BEFORE_ALERT


async def test_of_too_many_alerts_the_rest_is_taken_when_it_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerting, "MAX_TAKEN", 10)
    monkeypatch.setattr(alerting, "MAX_WAITING_ALERTS", 25)
    many = [alert(f"s{number}") for number in range(40)]
    async with watching(tmp_path) as (daemon, _):
        counts = [(await daemon.take(many)).count("accepted") for _ in range(4)]
        assert counts == [10, 10, 5, 0]
        assert await waiting_count(daemon.assembly.state) == 25


async def test_alerts_and_deployments_are_bounded_by_number_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_TRIGGERS", 5)
    monkeypatch.setattr(operations, "MAX_RELEASES", 3)
    async with watching(tmp_path) as (daemon, _):
        state = daemon.assembly.state
        rows = [trigger_row(alert(f"s{n}"), NOW + timedelta(seconds=n), done=n != 0) for n in range(12)]
        await state.write(rows)
        await drop_old_rows(state, NOW, None, timedelta(days=400))
        kept = await state.read("SELECT fingerprint FROM triggers ORDER BY received_at")
        assert [name for (name,) in kept] == ["f-s0", *(f"f-s{n}" for n in range(7, 12))], "what waits stays"
        assert [await daemon.change("shop", str(n), NOW) for n in range(2)] == [True, True]
        assert await daemon.change("other", "1", NOW)
        assert [await daemon.change(f"more-{n}", "1", NOW) for n in range(3)] == [True, False, False]
