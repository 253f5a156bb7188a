"""The judges of what is told: what they expect is written by the shop, and they notice what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from exporter.demo.shop import Shop
from exporter.demo.shop.failures import KINDS, Failure
from exporter.model import TimeRange
from tests.story.cases import AGAIN, EXPECTED, cases
from tests.story.judge import right
from tests.story.recount import recounted

NOON = datetime(2025, 3, 5, 12, tzinfo=UTC)


def test_each_kind_of_the_shop_is_expected_and_happens_twice() -> None:
    assert set(EXPECTED) == set(KINDS)
    found = [failure for case in cases(1) for failure in case.shop.failures]
    for kind in KINDS:
        first, second = sorted(failure.start for failure in found if failure.kind == kind)
        assert second - first == AGAIN


def test_the_line_that_is_expected_is_written_while_it_fails_and_not_before() -> None:
    start = datetime(2025, 3, 5, tzinfo=UTC)
    failures = [
        Failure(kind, KINDS[kind][1][0], start + number * timedelta(minutes=30), timedelta(minutes=25))
        for number, kind in enumerate(EXPECTED)
        if EXPECTED[kind].line
    ]
    shop = Shop(seed=3, start=start - timedelta(hours=1), days=0.5, rate=4.0, failures=failures)
    for failure in failures:
        shows = pl.any_horizontal(pl.col("body").str.contains(line) for line in EXPECTED[failure.kind].line)
        during = shop.page(TimeRange(failure.start, failure.end))
        before = shop.page(TimeRange(failure.start - timedelta(minutes=5), failure.start))
        assert during.filter(shows).height > before.filter(shows).height, failure.kind


def lines() -> pl.DataFrame:
    """Seven lines of payments within seven minutes, of which the last three failed; each has its request."""
    rows = [
        {
            "timestamp": int((NOON + timedelta(minutes=minute)).timestamp()) * 10**9,
            "service": "payments",
            "severity": 17 if minute > 3 else 9,
            "body": f'"GET /pay HTTP/1.1" {"502 8 no connection" if minute > 3 else "200 8"}',
        }
        for minute in range(7)
    ]
    return pl.DataFrame(rows)


def told(text: str, minute: int = 7) -> dict[str, object]:
    return {"at": (NOON + timedelta(minutes=minute)).timestamp(), "headline": text, "claims": []}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("payments: no connection; 3 of 3 requests failed; since 12:04", [False, False]),
        ("payments: no connection; 3 of 7 requests failed; since 12:04", [False, True]),
        ("payments: no connection; 2 of 2 requests failed until 12:06; since 12:04", [False, False]),
        ("payments: “… no connection”: 3 lines, expected none since 12:04 UTC.", [False]),
        ("payments: “GET <*>”: 7 lines, expected 9 since 12:00 UTC.", [False]),
        ("payments: “GET <*>”: 7 lines, expected 9 since 12:01 UTC.", [True]),
        ("payments: “GET <*>”: 3 lines, expected 9 since 12:01 UTC until 12:04 UTC.", [False]),
        ("errors of payments: 3 lines, expected none since 12:00 UTC.", [False]),
        ("payments: “… no connection”: 3 lines since 12:04 until 12:07 UTC, none in the hour before.", [False, False]),
        ("payments: “GET <*>”: 3 lines since 12:04 until 12:07 UTC, usually 4 an hour.", [False, False]),
        ("payments: “GET <*>”: 3 lines since 12:04 until 12:07 UTC, usually 9 an hour.", [False, True]),
        ("payments: it all fails.", []),
        (
            "Not changed since 12:04 until 12:07 UTC: payments writes 1 lines a minute, 0.067 in the hour before.",
            [False, False],
        ),
        (
            "Not changed since 12:04 until 12:07 UTC: payments answers 4 requests a minute, 3 in the hour before.",
            [True, True],
        ),
        (
            "Not changed since 12:04 until 12:07 UTC: no line of payments tells of a start or a stop from 12:00 on.",
            [False],
        ),
        ("Not changed since 12:04 until 12:07 UTC: payments writes as many lines as before.", [False]),
    ],
)
def test_numbers_are_counted_again_from_the_lines(text: str, wrong: list[bool]) -> None:
    assert [one.wrong for one in recounted(lines(), told(text))] == wrong


def test_a_headline_is_right_that_is_about_the_service_and_says_one_of_the_words_in_its_length() -> None:
    assert right("payments: connection pool exhausted", "payments", ["pool"])
    assert not right("orders: connection pool of payments exhausted", "payments", ["pool"])
    assert not right("payments: unusual pause", "payments", ["pool"])
    assert not right("payments: connection pool exhausted" + " or so" * 30, "payments", ["pool"])
