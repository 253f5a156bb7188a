"""What did not change is told only where it was compared: counted again here, and left out where it differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from exporter.facts.observed import Observed, Requests
from exporter.facts.story import told
from exporter.model import Contribution, TimelineEntry
from exporter.model.facts import Facts
from exporter.report.rules import write
from exporter.wording.headlines import unchanged
from integrations.slack.message import MAX_BLOCKS_BYTES, blocks, size
from tests import samples
from tests.facts.test_facts import MINUTE, POOL, START, saying

Counts = Callable[[int], int]


def steady(minute: int) -> int:
    return 20 + minute % 3


def known(
    requests: Counts | None = steady,
    lines: Mapping[str, Counts] | None = None,
    moving: Callable[[int], tuple[str, ...] | None] = lambda minute: (),
    missing: Sequence[int] = (),
    until: int = 10,
    failing: Sequence[str] = ("payments",),
    findings: Sequence[Contribution] = (),
) -> Facts:
    """What is known of an incident that began at minute 0, when `failing` began to fail; `payments` answers
    `requests`, and `lines` are those of services by minute, where not as many as ever; `missing` windows were not
    read."""
    own = dict.fromkeys(("payments", "cart", "orders", "search", "mail"), steady) | dict(lines or {})
    windows = []
    for minute in range(-75, until):
        if minute in missing:
            continue
        said = tuple(saying(name, POOL, minute + 0.5)[1] for name in failing if minute >= 0)
        counts = {name: count for name, of in own.items() if (count := of(minute))}
        answered = (Requests("payments", 1, requests(minute), requests(minute), 0),) if requests else ()
        one = Observed(counts, said, answered, moving=moving(minute))
        windows.append(("shop", int((START + minute * MINUTE).timestamp()), one))
    return told(windows, MINUTE, START, START + until * MINUTE, {"payments": 1.0}, findings).facts


def test_what_was_compared_and_is_as_before_is_one_sentence_with_the_span_of_its_numbers() -> None:
    assert unchanged(known()) == (
        "Not changed since 11:00 until 11:10 UTC: payments answers 21 requests a minute, 21 in the hour before; "
        "no line of payments tells of a start or a stop from 10:00 on; cart, mail, orders and 1 more write as many "
        "lines as before."
    )


@pytest.mark.parametrize("requests", [lambda minute: 20 if minute < 0 else 40, lambda minute: 20 if minute < 0 else 9,
                                      lambda minute: 20 if minute < 0 else 40 * (minute % 10 < 5)])  # fmt: skip
def test_requests_that_rose_or_fell_or_came_otherwise_are_not_told_as_before(requests: Counts) -> None:
    assert "requests" not in unchanged(known(requests))


def test_a_few_requests_say_nothing() -> None:
    assert "requests" not in unchanged(known(lambda minute: 1))


def test_where_no_requests_are_known_the_lines_of_a_service_are_compared_that_does_not_fail() -> None:
    slow = Contribution("duration", "all its lines", 9.0, 0.1, share=1.0, since=START, service="payments")
    assert "payments writes 21 lines" in unchanged(known(None, failing=(), findings=(slow,)))
    assert "lines a minute" not in unchanged(known(None)), "some of its lines are those that fail"


def test_of_a_service_that_answers_none_the_requests_are_compared_where_they_come_in() -> None:
    assert unchanged(known(failing=("cart",))) == (
        "Not changed since 11:00 until 11:10 UTC: payments answers 21 requests a minute, 21 in the hour before; "
        "no line of cart tells of a start or a stop from 10:00 on; "
        "mail, orders and search write as many lines as before."
    )


def test_who_is_silent_is_not_told_to_say_nothing_of_a_start() -> None:
    silent = known(lines={"payments": lambda minute: 20 if minute < 0 else int(minute == 9)})
    assert "tells of a start" not in unchanged(silent)


@pytest.mark.parametrize(
    "changed",
    [
        {"moving": lambda minute: ("payments",) if minute == -40 else ()},
        {"moving": lambda minute: ("payments",) if minute == 4 else ()},
        {"moving": lambda minute: None if minute < 0 else ()},
        {"missing": (-30,)},
    ],
)
def test_no_start_is_told_only_where_every_window_was_read_and_none_speaks_of_one(changed: Any) -> None:
    assert "start" not in unchanged(known(**changed))


def test_services_of_which_something_is_told_or_which_changed_are_not_among_those_that_did_not() -> None:
    finding = Contribution("volume", "lines of cart", 9, 1, share=0.4, service="cart")
    found = known(failing=("payments", "orders"), lines={"mail": lambda minute: 20 if minute < 0 else 60},
                  findings=(finding,))  # fmt: skip
    assert "; search writes as many lines as before." in unchanged(found)


def test_without_an_hour_before_nothing_is_compared() -> None:
    assert known(missing=range(-75, -10)).same == ()


def test_who_told_of_a_release_or_read_a_part_of_the_lines_does_not_hear_that_none_tells_of_a_start() -> None:
    incident = replace(samples.incident(), facts=known())

    def last(**changes: Any) -> str:
        return write(replace(incident, **changes)).what_happened[-1].text

    released = TimelineEntry(START, "version 2.14.0 was deployed", "payments")
    assert "tells of a start" in last(timeline=())
    assert "tells of a start" not in last(timeline=(released,))
    assert "tells of a start" not in last(timeline=(), sampled=0.25)


def test_slack_says_it_last_where_it_has_room() -> None:
    incident = replace(samples.incident(), facts=known(), timeline=())
    *_, last, foot = blocks(samples.notification(incident))
    assert "*What was compared*" in last["text"]["text"]
    assert "payments answers 21 requests a minute, 21 in the hour before" in last["text"]["text"]
    assert foot["type"] == "context"
    huge = samples.huge()
    crowded = blocks(replace(huge, incident=replace(huge.incident, facts=known())))
    assert size(crowded) <= MAX_BLOCKS_BYTES
