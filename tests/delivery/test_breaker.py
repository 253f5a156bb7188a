"""A place that does not answer is left alone, asked now and then, and told everything as soon as it is back."""

from __future__ import annotations

from datetime import timedelta

from exporter.delivery.breaker import FAILURES, Breaker, backoff
from tests.delivery.parts import START

SECOND = timedelta(seconds=1)


def test_it_opens_after_failures_in_a_row_and_lets_one_attempt_through_when_the_wait_is_over() -> None:
    breaker = Breaker(30 * SECOND, lambda: 1.0)
    for _ in range(FAILURES):
        assert breaker.room(START, 0, 8) == 8
        breaker.failed(START, None)
    assert (breaker.closed, breaker.room(START, 0, 8)) == (False, 0)
    later = START + 2 * SECOND
    assert breaker.room(later, 0, 8) == 1
    assert breaker.room(later, 1, 8) == 0, "one at a time"


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(chance=lambda: 1.0)
    for _ in range(FAILURES):
        breaker.failed(START, None)
        breaker.answered()
    assert breaker.closed


def test_a_wait_that_the_place_asks_for_is_kept_and_holds_for_all() -> None:
    breaker = Breaker(30 * SECOND, lambda: 0.0)
    breaker.failed(START, 90 * SECOND)
    assert breaker.room(START + 89 * SECOND, 0, 8) == 0
    assert breaker.room(START + 90 * SECOND, 0, 8) == 1


def test_attempts_that_had_begun_before_it_opened_make_no_wait_longer() -> None:
    few, many = Breaker(30 * SECOND, lambda: 1.0), Breaker(30 * SECOND, lambda: 1.0)
    for breaker, failures in ((few, FAILURES), (many, FAILURES + 5)):
        for _ in range(failures):
            breaker.failed(START, None)
    later = START + 2 * SECOND
    assert few.room(later, 0, 8) == many.room(later, 0, 8) == 1


def test_it_says_when_the_place_is_back_and_after_a_start_that_it_is_there() -> None:
    breaker = Breaker(chance=lambda: 1.0)
    assert breaker.answered()
    assert not breaker.answered()
    for _ in range(FAILURES):
        breaker.failed(START, None)
    assert breaker.answered()


def test_waits_double_up_to_a_limit_and_are_anything_below() -> None:
    longest = [backoff(attempts, 30 * SECOND, lambda: 1.0) / SECOND for attempts in (0, 1, 2, 9, 1_000)]
    assert longest == [2, 4, 8, 30, 30]
    assert backoff(5, 30 * SECOND, lambda: 0.0) == timedelta(0)
