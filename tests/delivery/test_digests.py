"""People are told of many incidents at once by one digest, and of what came and went unseen by another."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest

from exporter.delivery.digests import QUIET
from exporter.delivery.settings import DigestRules
from exporter.model import TimeRange, TransientError, Write
from exporter.state.deliveries import deliveries_of
from exporter.state.file import State
from exporter.state.incidents import grouped_row, incident_row
from exporter.state.outages import outage_row
from tests.delivery.parts import MINUTE, START, ReadingSink, RecordingSink, StepClock, deliverer, many, reported, story

HOUR = timedelta(hours=1)


async def test_few_incidents_are_told_one_by_one(state: State) -> None:
    sink = ReadingSink()
    await state.write(many(10))
    assert await deliverer(sink, state, StepClock()).deliver() == 10
    assert (len(sink.told), sink.digests) == (10, [])


@pytest.mark.parametrize("wants", ["latest", "every"])
async def test_a_burst_is_one_digest_and_no_message_each(state: State, wants: Literal["latest", "every"]) -> None:
    sink, clock = ReadingSink(wants), StepClock()
    one = deliverer(sink, state, clock)
    for second in range(60):
        await state.write(many(20, start=20 * second))
        await one.deliver()
        clock.moment += timedelta(seconds=1)
    clock.moment += QUIET
    await one.deliver()
    assert sink.told == []
    (digest,) = sink.digests
    assert (len(digest.lines), digest.reason, digest.again) == (1_200, "burst", False)
    assert await one.deliver() == 0


async def test_what_opened_together_is_told_together_however_early_the_first_of_it_is_reported_on(state: State) -> None:
    sink, clock = ReadingSink(), StepClock()
    one = deliverer(sink, state, clock)
    last = [replace(row, rows=((*row.rows[0][:-1], None),)) for row in many(20, start=10)]
    await state.write([*many(10), *last])
    await one.deliver()
    await state.write(many(20, start=10))
    clock.moment += QUIET
    await one.deliver()
    clock.moment += QUIET
    await one.deliver()
    assert (len(sink.told), [len(d.lines) for d in sink.digests]) == (0, [30])


async def test_no_digest_is_awaited_longer_than_a_minute(state: State) -> None:
    sink, clock = ReadingSink(), StepClock()
    one = deliverer(sink, state, clock)
    for second in range(61):
        await state.write(many(20, start=20 * second))
        await one.deliver()
        clock.moment += timedelta(seconds=1)
    assert len(sink.digests) == 1


async def test_more_in_a_minute_than_people_read_are_gathered_also_when_they_come_one_by_one(state: State) -> None:
    sink, clock = ReadingSink(), StepClock()
    one = deliverer(sink, state, clock)
    for number in range(30):
        await state.write(many(1, start=number))
        await one.deliver()
        clock.moment += timedelta(seconds=1)
    clock.moment += QUIET
    await one.deliver()
    assert (len(sink.told), [len(d.lines) for d in sink.digests]) == (10, [20])


async def test_where_nothing_more_can_come_a_digest_is_not_kept_open(state: State) -> None:
    sink = ReadingSink()
    await state.write(many(30))
    await deliverer(sink, state, StepClock()).deliver(gather=False)
    assert [len(digest.lines) for digest in sink.digests] == [30]


async def test_what_changes_in_a_digest_changes_it_and_makes_no_message(state: State) -> None:
    sink, clock = ReadingSink(), StepClock()
    one = deliverer(sink, state, clock)
    await state.write(many(30))
    await one.deliver(gather=False)
    await state.write(many(5, story()[2]))
    await one.deliver(gather=False)
    assert len(sink.digests) == 1, "it is gathered for a while"
    clock.moment += MINUTE
    await one.deliver(gather=False)
    first, then = sink.digests
    assert (then.id, then.again, then.receipt) == (first.id, True, "digest 1")
    assert [line.status for line in then.lines if line.changed] == ["resolved"] * 5
    assert (len(then.lines), sink.told) == (30, [])


async def test_an_incident_of_a_digest_that_comes_back_after_its_end_is_told_by_itself(state: State) -> None:
    sink, clock = ReadingSink(), StepClock()
    one = deliverer(sink, state, clock)
    await state.write(many(30, story()[2]))
    await one.deliver(gather=False)
    back = story()[0]
    again = replace(back, change="reopened", incident=replace(back.incident, id="i0003", revision=9, reopened=1))
    await state.write([reported(again)])
    await one.deliver(gather=False)
    assert [(told.incident.id, told.change) for told in sink.told] == [("i0003", "reopened")]


@pytest.mark.parametrize("lost", [True, False])
async def test_a_digest_that_failed_or_was_killed_is_told_again_as_the_same(state: State, lost: bool) -> None:
    sink, clock = ReadingSink(), StepClock()
    await state.write(many(30))
    sink.errors = [TransientError("lost")]
    one = deliverer(sink, state, clock)
    await one.deliver(gather=False)
    if not lost:
        one = deliverer(sink, state, clock)
    clock.moment += MINUTE
    await one.deliver(gather=False)
    (digest,) = sink.digests
    assert digest.in_doubt
    members = {(await deliveries_of(state, f"i{number:04}"))[0].digest for number in range(30)}
    assert members == {digest.id}


async def test_a_place_that_nobody_reads_is_told_each_incident_of_a_burst(state: State) -> None:
    sink = RecordingSink()
    await state.write(many(200))
    assert await deliverer(sink, state, StepClock()).deliver() == 200


# --- Outages ------------------------------------------------------------------------------------------


def over(identity: str, starts: timedelta, status: Literal["firing", "resolved"]) -> list[Write]:
    """An incident that began so long after START, with all its news."""
    rows: list[Write] = []
    for told in story()[: 3 if status == "resolved" else 1]:
        at = START + starts
        incident = replace(told.incident, id=identity, starts_at=at, updated_at=at + MINUTE)
        if incident.status == "resolved":
            incident = replace(incident, ends_at=at + MINUTE)
        rows += [reported(replace(told, incident=incident, at=at)), incident_row(incident, at)]
    return rows


def outage(grouped: timedelta) -> list[Write]:
    """Ten hours in which nothing was read, of which so much was made up for."""
    return [outage_row(TimeRange(START, START + 10 * HOUR)), grouped_row(START + grouped)]


async def test_what_came_and_went_in_an_outage_is_one_digest_and_pages_nobody(state: State) -> None:
    clock = StepClock()
    people, pager, events = ReadingSink(), RecordingSink("latest", MINUTE), RecordingSink("every")
    shelf = RecordingSink("latest")
    shelf.name, events.name, pager.name = "shelf", "events", "pager"
    places = [deliverer(sink, state, clock) for sink in (people, pager, events, shelf)]
    await state.write([*over("gone1", HOUR, "resolved"), *over("gone2", 2 * HOUR, "resolved"), *outage(5 * HOUR)])
    await state.write([*over("still", 3 * HOUR, "firing")])
    for place in places:
        assert await place.deliver() == 0, "it is not known yet what goes on"
    await state.write(outage(10 * HOUR))
    for place in places:
        await place.deliver()
    (digest,) = people.digests
    assert (digest.reason, [line.id for line in digest.lines]) == ("outage", ["gone1", "gone2"])
    assert [told.incident.id for told in people.told] == ["still"]
    assert [told.incident.id for told in pager.told] == ["still"]
    assert sorted((told.incident.id, told.change) for told in events.told) == [
        ("gone1", "resolved"),
        ("gone2", "resolved"),
        ("still", "opened"),
    ]
    assert sorted(told.incident.id for told in shelf.told) == ["gone1", "gone2", "still"]
    for place in places:
        assert await place.deliver() == 0


async def test_what_was_told_before_an_outage_goes_on_during_it(state: State) -> None:
    clock, sink = StepClock(), ReadingSink()
    one = deliverer(sink, state, clock)
    await state.write(over("before", -HOUR, "firing"))
    await one.deliver()
    await state.write([*over("before", -HOUR, "resolved"), *outage(HOUR)])
    await one.deliver()
    assert [told.incident.status for told in sink.told] == ["firing", "resolved"]


async def test_a_new_sink_is_not_told_what_was_over_long_before(state: State) -> None:
    clock, sink = StepClock(), RecordingSink()
    await state.write(
        [*over("old", HOUR, "resolved"), *over("open", HOUR, "firing"), *over("fresh", 9 * HOUR, "resolved")]
    )
    await state.write([grouped_row(START + 10 * HOUR)])
    rules = DigestRules(after=6 * HOUR)
    await deliverer(sink, state, clock, rules=rules).deliver()
    assert sorted(told.incident.id for told in sink.told) == ["fresh", "open"]
    await deliverer(sink, state, clock, rules=rules).deliver()
    assert len(sink.told) == 2
