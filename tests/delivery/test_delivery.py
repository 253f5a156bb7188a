"""Delivery: at least once, each sink at its own pace, the newest state or every change, and repeats that keep alive."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.delivery.deliver import ABANDON_AFTER
from exporter.ingest.redaction import Redactor
from exporter.model import (
    Notification,
    PermanentError,
    TransientError,
)
from exporter.state.file import Connection, State
from exporter.state.news import news_row
from tests.delivery.parts import MINUTE, RecordingSink, StepClock, deliverer, reported, story


async def test_a_sink_of_the_latest_state_is_told_the_newest_revision_once(state: State) -> None:
    sink, clock = RecordingSink("latest"), StepClock()
    await state.write([reported(item) for item in story()[:2]])
    await deliverer(sink, state, clock).deliver()
    await deliverer(sink, state, clock).deliver()
    assert [n.incident.revision for n in sink.told] == [2]
    assert sink.told[0].url == f"https://anomalies.example.org/incidents/{sink.told[0].incident.id}"


async def test_a_sink_of_every_change_is_told_each_in_order(state: State) -> None:
    sink, clock = RecordingSink("every"), StepClock()
    await state.write([reported(item) for item in story()])
    await deliverer(sink, state, clock).deliver()
    assert [n.change for n in sink.told] == ["opened", "updated", "resolved"]
    assert len({n.event_id for n in sink.told}) == 3


async def test_news_without_a_report_waits_for_it(state: State) -> None:
    sink = RecordingSink()
    opened = story()[0]
    await state.write([news_row(opened.incident, opened.change, opened.at)])
    assert await deliverer(sink, state, StepClock()).deliver() == 0
    assert sink.told == []


async def test_an_outage_delays_and_repeats_with_the_same_event_id(state: State) -> None:
    sink, clock = RecordingSink("every"), StepClock()
    sink.errors = [TransientError("503"), TransientError("503", timedelta(seconds=30))]
    await state.write([reported(item) for item in story()])
    await deliverer(sink, state, clock).deliver()
    assert await deliverer(sink, state, clock).deliver() == 0, "it waits before it tries again"
    clock.moment += timedelta(seconds=3)
    await deliverer(sink, state, clock).deliver()
    clock.moment += timedelta(seconds=29)
    assert await deliverer(sink, state, clock).deliver() == 0, "it waits as long as the server asked for"
    clock.moment += timedelta(seconds=1)
    await deliverer(sink, state, clock).deliver()
    assert [n.change for n in sink.told] == ["opened", "updated", "resolved"]


async def test_what_a_place_answers_is_kept_without_what_is_secret_in_it(state: State) -> None:
    sink = RecordingSink()
    sink.errors = [TransientError("503: password=hunter2 refused")]
    await state.write([reported(item) for item in story()])
    await deliverer(sink, state, StepClock(), redact=Redactor(b"0123456789abcdef").redact).deliver()
    ((error,),) = await state.read("SELECT error FROM deliveries")
    assert "503" in error
    assert "hunter2" not in error


async def test_one_sink_that_is_down_delays_no_other(state: State) -> None:
    down, up, clock = RecordingSink("every"), RecordingSink("latest"), StepClock()
    down.errors = [TransientError("down")] * 100
    await state.write([reported(item) for item in story()])
    await deliverer(down, state, clock).deliver()
    await deliverer(up, state, clock).deliver()
    assert len(up.told) == 1


async def test_the_receipt_comes_back_also_after_a_restart(state: State) -> None:
    sink, clock = RecordingSink(), StepClock()
    told = story()
    await state.write([reported(told[0])])
    await deliverer(sink, state, clock).deliver()
    await state.write([reported(told[1])])
    await deliverer(sink, state, clock).deliver()
    assert [n.receipt for n in sink.told] == [None, "receipt 1"]


async def test_a_firing_alert_is_repeated_and_a_resolved_one_for_five_minutes(state: State) -> None:
    sink, clock = RecordingSink(resend=MINUTE), StepClock()
    told = story()
    await state.write([reported(told[0])])
    for _ in range(4):
        await deliverer(sink, state, clock).deliver()
        clock.moment += MINUTE
    assert len(sink.told) == 4
    await state.write([reported(told[2])])
    sink.told.clear()
    for _ in range(20):
        await deliverer(sink, state, clock).deliver()
        clock.moment += MINUTE
    assert [n.incident.status for n in sink.told] == ["resolved"] * 6


async def test_a_change_that_is_refused_for_good_does_not_hold_up_the_next(state: State) -> None:
    sink, clock = RecordingSink("every"), StepClock()
    sink.errors = [PermanentError("400 invalid")] * ABANDON_AFTER
    await state.write([reported(item) for item in story()])
    for _ in range(ABANDON_AFTER + 1):
        await deliverer(sink, state, clock).deliver()
        clock.moment += timedelta(minutes=5)
    assert [n.change for n in sink.told] == ["updated", "resolved"]


async def test_a_round_that_is_to_stop_ends_after_the_delivery_in_hand_and_the_rest_stays_due(state: State) -> None:
    class StoppingSink(RecordingSink):
        async def deliver(self, notification: Notification) -> str | None:
            first.stopping = True
            return await super().deliver(notification)

    sink, clock = StoppingSink("every"), StepClock()
    await state.write([reported(item) for item in story()])
    first = deliverer(sink, state, clock)
    assert await first.deliver() == 1
    assert await deliverer(sink, state, clock).deliver() == 2
    assert [n.change for n in sink.told] == ["opened", "updated", "resolved"]


async def test_what_was_told_before_a_failure_in_the_same_round_is_not_told_again(state: State) -> None:
    sink, clock = FailingAt(2), StepClock()
    await state.write([reported(item) for item in story()])
    one = deliverer(sink, state, clock)
    assert await one.deliver() == 1
    clock.moment += timedelta(hours=1)
    assert await one.deliver() == 2
    assert [n.change for n in sink.told] == ["opened", "updated", "resolved"]
    assert [n.receipt for n in sink.told] == [None, "receipt 1", "receipt 2"]


class FailingAt(RecordingSink):
    """Is out of reach once, at a call of a given number."""

    def __init__(self, call: int) -> None:
        super().__init__("every")
        self.calls, self.call = 0, call

    async def deliver(self, notification: Notification) -> str | None:
        self.calls += 1
        if self.calls == self.call:
            raise TransientError("out of reach")
        return await super().deliver(notification)


class CountingState(State):
    """Counts the steps of SQLite's machine that reading takes."""

    steps = 0

    def _reader(self) -> Connection:
        reader = super()._reader()
        with reader.use() as connection:
            connection.set_progress_handler(self._step, 1)
        return reader

    def _step(self) -> int:
        self.steps += 1
        return 0


@pytest.mark.parametrize("resend", [None, MINUTE])
async def test_a_round_with_nothing_due_costs_the_same_after_a_month_of_news(
    tmp_path: Path, resend: timedelta | None
) -> None:
    costs = []
    for incidents in (2, 150):
        state = CountingState(tmp_path / f"{incidents}.db")
        told = story()
        await state.write(
            reported(replace(item, incident=replace(item.incident, id=f"i{number}", revision=revision)))
            for number in range(incidents)
            for revision, item in enumerate((*[told[1]] * 19, told[2]), start=1)
        )
        clock = StepClock()
        one = deliverer(RecordingSink("latest", resend), state, clock)
        assert await one.deliver() == incidents
        clock.moment += timedelta(hours=1)
        await one.deliver()
        state.steps = 0
        assert await one.deliver() == 0
        costs.append(state.steps)
        state.close()
    assert 0 < costs[1] <= 1.1 * costs[0]
