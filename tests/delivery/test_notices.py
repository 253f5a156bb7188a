"""Who asks for it is told of what pages nobody: each notice once, while it is news."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from exporter.delivery.notices import MOST, NEWS
from exporter.model import Notice, NoticeTold, PermanentError, TransientError, Write
from exporter.model.times import Window
from exporter.state.file import State
from exporter.state.notices import notice_rows
from tests.delivery.parts import MINUTE, START, RecordingSink, StepClock, deliverer, many


class NotingSink(RecordingSink):
    """A place that takes notices, and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self.noticed: list[NoticeTold] = []

    async def deliver_notice(self, told: NoticeTold) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.noticed.append(told)

    @property
    def ids(self) -> list[str]:
        return [told.notice.id for told in self.noticed]


def released(*minutes: int) -> Sequence[Write]:
    rows: list[Write] = []
    for minute in minutes:
        at = START + minute * MINUTE
        rows += notice_rows("shop", Window(at, MINUTE), [Notice(f"N{minute}", "refused", "shop", "cart", at)])
    return rows


async def test_each_notice_is_told_once_the_oldest_first_also_after_a_restart(state: State) -> None:
    sink, clock = NotingSink(), StepClock()
    await state.write(released(0, 1))
    clock.moment += 5 * MINUTE
    one = deliverer(sink, state, clock, notices=True)
    assert [await one.deliver(), await one.deliver()] == [2, 0]
    await state.write(released(2))
    assert await deliverer(sink, state, clock, notices=True).deliver() == 1
    assert sink.ids == ["N0", "N1", "N2"]
    assert (sink.noticed[0].event_id, sink.noticed[0].url) == ("N0:1", "https://anomalies.example.org/")


async def test_who_does_not_ask_for_notices_is_told_none(state: State) -> None:
    sink = NotingSink()
    await state.write([*released(0), *many(1)])
    assert await deliverer(sink, state, StepClock()).deliver() == 1
    assert sink.noticed == []
    # A place that cannot be told of them is told what it can.
    assert await deliverer(RecordingSink("every"), state, StepClock(), notices=True).deliver() == 1


async def test_what_is_old_is_no_news_and_of_many_the_newest_are(state: State) -> None:
    sink, clock = NotingSink(), StepClock()
    await state.write(released(*range(MOST + 5)))
    clock.moment += NEWS + MINUTE * 3
    await deliverer(sink, state, clock, notices=True).deliver()
    assert sink.ids == [f"N{minute}" for minute in range(5, MOST + 5)]


async def test_a_place_that_is_down_is_told_when_it_is_back_and_a_refusal_is_final(state: State) -> None:
    sink, clock = NotingSink(), StepClock()
    await state.write(released(0))
    one = deliverer(sink, state, clock, notices=True)
    sink.errors = [TransientError("down")]
    assert await one.deliver() == 0
    clock.moment += timedelta(minutes=1)
    assert await one.deliver() == 1
    await state.write(released(1))
    sink.errors = [PermanentError("no such channel")]
    await one.deliver()
    clock.moment += timedelta(hours=1)
    assert await one.deliver() == 0
    assert sink.ids == ["N0"]
