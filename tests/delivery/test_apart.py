"""No place, no incident and no error holds up another: each instance, each item and each failure is one's own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest

from exporter.delivery.deliver import MAX_BACKOFF
from exporter.model import Notification, NotYetError, PermanentError, TransientError, Write
from exporter.state.deliveries import Delivery, delivery_of, delivery_row
from exporter.state.file import State
from exporter.telemetry import PrometheusTelemetry
from tests.delivery.parts import MINUTE, RecordingSink, StepClock, deliverer, many, reported, story
from tests.servers.process import PATIENCE


class Peer(RecordingSink):
    """One of several instances of a sink."""

    def __init__(self, peer: str) -> None:
        super().__init__("latest", MINUTE)
        self.name, self.peer = "alertmanager", peer


class HangingSink(RecordingSink):
    """Does not answer for one incident until it is let go."""

    def __init__(self, incident: str, others: int = 0) -> None:
        super().__init__()
        self.incident, self.others = incident, others
        self.free, self.seen, self.told_the_others = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def deliver(self, notification: Notification) -> str | None:
        if notification.incident.id == self.incident:
            self.seen.set()
            await self.free.wait()
        receipt = await super().deliver(notification)
        if len(self.told) == self.others:
            self.told_the_others.set()
        return receipt


async def test_each_instance_has_what_it_has_and_is_told_the_rest(state: State) -> None:
    clock, up, down = StepClock(), Peer("am-1"), Peer("am-2")
    down.errors = [TransientError("hangs")]
    await state.write([reported(story()[0])])
    for peer in (up, down, up, down):
        await deliverer(peer, state, clock).deliver()
    clock.moment += timedelta(seconds=3)
    await deliverer(down, state, clock).deliver()
    assert (len(up.told), len(down.told)) == (1, 1)


async def test_a_row_of_a_release_that_knew_no_instances_counts_for_each(state: State) -> None:
    clock, sinks = StepClock(), [Peer("am-1"), Peer("am-2")]
    await state.write([reported(story()[0])])
    old = RecordingSink("latest", MINUTE)
    old.name = "alertmanager"
    await deliverer(old, state, clock).deliver()
    for sink in sinks:
        await deliverer(sink, state, clock).deliver()
        assert sink.told == [], "it had it already"
    clock.moment += MINUTE
    for sink in sinks:
        await deliverer(sink, state, clock).deliver()
        assert [told.receipt for told in sink.told] == ["receipt 1"], "what is kept alive goes on from there"


async def test_an_incident_that_hangs_delays_no_other_and_no_later_one(state: State) -> None:
    sink = HangingSink("i0001", others=4)
    await state.write(many(4))
    one = asyncio.create_task(deliverer(sink, state, StepClock()).deliver())
    await sink.seen.wait()
    await state.write(many(1, start=4))
    async with asyncio.timeout(PATIENCE):
        await sink.told_the_others.wait()
    assert {told.incident.id for told in sink.told} == {"i0000", "i0002", "i0003", "i0004"}
    sink.free.set()
    assert await one == 5


async def test_a_round_that_is_broken_off_leaves_nothing_running(state: State) -> None:
    sink = HangingSink("i0001")
    await state.write(many(2))
    one = asyncio.create_task(deliverer(sink, state, StepClock()).deliver())
    await sink.seen.wait()
    one.cancel()
    await asyncio.wait([one])
    assert len(asyncio.all_tasks()) == 1


async def test_no_more_than_a_place_takes_are_told_at_the_same_time(state: State) -> None:
    class Counting(RecordingSink):
        now = most = 0

        async def deliver(self, notification: Notification) -> str | None:
            self.now += 1
            self.most = max(self.most, self.now)
            await together.wait()
            self.now -= 1
            return await super().deliver(notification)

    sink = Counting()
    together = asyncio.Barrier(sink.concurrency)
    await state.write(many(8 * sink.concurrency))
    async with asyncio.timeout(PATIENCE):
        assert await deliverer(sink, state, StepClock()).deliver() == 8 * sink.concurrency
    assert sink.most == sink.concurrency


@pytest.mark.parametrize("error", [KeyError("odd"), RecursionError(), ValueError("secret=hunter2")])
@pytest.mark.parametrize("wants", ["latest", "every"])
async def test_an_error_that_nobody_foresaw_costs_its_item_alone(
    state: State, error: Exception, wants: Literal["latest", "every"]
) -> None:
    sink, clock, telemetry = RecordingSink(wants), StepClock(), PrometheusTelemetry()
    one = deliverer(sink, state, clock, telemetry=telemetry)
    await state.write(many(1, start=9))
    await one.deliver()
    sink.concurrency, sink.errors = 1, [error]
    await state.write(many(3))
    assert await one.deliver() == 2
    name = "log_anomaly_exporter_deliveries_total"
    assert telemetry.value(name, sink=sink.name, outcome="unexpected") == 1
    failed = await delivery_of(state, sink.name, "", "i0000")
    assert (failed.attempts, failed.error) == (1, type(error).__name__), "what it says may be secret"
    clock.moment += timedelta(seconds=3)
    assert await one.deliver() == 1


async def test_what_failed_while_a_place_was_down_is_told_as_soon_as_it_is_back(state: State) -> None:
    sink, clock = RecordingSink(), StepClock()
    sink.concurrency, sink.errors = 1, [TransientError("down")] * 11
    await state.write(many(10))
    one, attempts = deliverer(sink, state, clock), 0
    while sink.errors:
        left = len(sink.errors)
        await one.deliver()
        attempts = max(attempts, left - len(sink.errors))
        clock.moment += timedelta(seconds=1)
    assert attempts == 3, "then one now and then"
    clock.moment += timedelta(seconds=30)
    assert await one.deliver() == 10, "whatever wait each one has of its own"


async def test_a_refusal_of_one_says_nothing_of_the_others(state: State) -> None:
    sink, clock = RecordingSink(), StepClock()
    sink.concurrency, sink.errors = 1, [PermanentError("400")] * 5
    await state.write(many(9))
    one = deliverer(sink, state, clock)
    assert await one.deliver() == 4
    clock.moment += MAX_BACKOFF
    assert await one.deliver() == 5


async def test_a_pace_that_asks_to_wait_is_no_failure(state: State) -> None:
    sink, clock = RecordingSink(), StepClock()
    sink.concurrency, sink.errors = 1, [NotYetError("pace", timedelta(seconds=1))]
    await state.write(many(2))
    one = deliverer(sink, state, clock)
    assert await one.deliver() == 1
    assert not (await delivery_of(state, sink.name, "", "i0000")).attempts
    clock.moment += timedelta(seconds=1)
    assert await one.deliver() == 1


async def test_what_an_earlier_process_may_have_told_is_in_doubt_and_so_is_what_failed(state: State) -> None:
    sink, clock = RecordingSink(), StepClock()
    sink.concurrency = 1
    await state.write(many(1))
    one = deliverer(sink, state, clock)
    await one.deliver()
    await state.write(many(2, start=1))
    sink.errors = [TransientError("lost")]
    await one.deliver()
    clock.moment += timedelta(seconds=3)
    await one.deliver()
    doubts = {told.incident.id: told.in_doubt for told in sink.told}
    assert doubts == {"i0000": True, "i0001": True, "i0002": False}


async def test_an_incident_that_an_earlier_process_knew_of_is_in_doubt_in_a_later_revision_too(state: State) -> None:
    sink = RecordingSink()
    await state.write(many(1))
    one = deliverer(sink, state, StepClock())
    sink.errors = [NotYetError("it was killed while it told of it", MINUTE)]
    assert await one.deliver() == 0
    await state.write(many(1, story()[1]))
    assert await deliverer(sink, state, StepClock()).deliver() == 1
    again = deliverer(sink, state, StepClock())
    await again.deliver()
    await state.write(many(1, story()[2]))
    await again.deliver()
    assert [told.in_doubt for told in sink.told] == [True, True]


def spoiled(incident: str, revision: int, **columns: str) -> Write:
    """A row of news of which something is no JSON, or JSON of something else."""
    row = {"body": "{}", "report": "{}", "change": "opened", **columns}
    names = ("incident", "revision", "part", "at", *row)
    return Write("news", names, ((incident, revision, 0, 0, *row.values()),))


@pytest.mark.parametrize("body", ["", "no JSON", "[1]", "null", '{"version": 99}', '{"id": "x"}', "{" * 5_000])
@pytest.mark.parametrize("wants", ["latest", "every"])
async def test_news_that_cannot_be_read_are_set_aside_and_the_others_told(
    state: State, body: str, wants: Literal["latest", "every"]
) -> None:
    sink = RecordingSink(wants)
    opened = story()[0]
    of = replace(opened.incident, id="i0000", revision=3)
    await state.write([*many(2), spoiled("i0000", 2, body=body), spoiled("i0009", 1, report=body)])
    await state.write([reported(replace(opened, incident=of))])
    await deliverer(sink, state, StepClock()).deliver()
    told = sorted((n.incident.id, n.incident.revision) for n in sink.told)
    assert told == sorted({("i0000", 3), ("i0001", 1), *([("i0000", 1)] if wants == "every" else [])})
    assert "i0009:1:0" in {one.key for one in state.aside.all()}
    assert state.aside.counts()["news"] >= 1


@pytest.mark.parametrize("resend", [None, MINUTE])
async def test_a_time_that_comes_with_nothing_left_to_tell_comes_once(state: State, resend: timedelta | None) -> None:
    sink, clock = RecordingSink("latest", resend), StepClock()
    due = Delivery(sink.name, "i0000", revision=1, part=0, attempts=1, next_attempt=1, delivered_at=1, error="503")
    await state.write([delivery_row(due), delivery_row(replace(due, incident="i0001", revision=0, part=-1))])
    async with asyncio.timeout(PATIENCE):
        assert await deliverer(sink, state, clock).deliver() == 0
    assert {(await delivery_of(state, sink.name, "", f"i000{n}")).next_attempt for n in (0, 1)} == {0}
