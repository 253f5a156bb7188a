"""Who is thought to be the cause: what facts say is broken, and not another for a trifle."""

from __future__ import annotations

from datetime import UTC, datetime

from exporter.incidents.blame import blamed, steady, turned
from exporter.model import Suspect
from exporter.model.facts import Facts, Failing

AT = datetime(2026, 3, 14, 11, tzinfo=UTC)
CART, PAYMENTS = (
    Suspect("cart", 0.5, "order of steps"),
    Suspect("payments", 0.3, "nothing; named by failing lines of cart"),
)


def facts(service: str, words: str, kind: str, about: str = "") -> Facts:
    return Facts(AT, (Failing(service, words, kind, 17, 5, 0.0, AT, about=about, score=9.0),))


def test_what_says_that_it_is_broken_is_the_cause_with_what_it_says_as_the_reason() -> None:
    first, second = blamed((CART, PAYMENTS), facts("payments", "No space left on device", "disk_full"))
    assert (first.service, first.weight, second.weight) == ("payments", 0.5, 0.3)
    assert first.reason == "disk full, “No space left on device” since 11:00 UTC; named by failing lines of cart"


def test_who_complains_is_no_cause_but_whom_it_names_is() -> None:
    told = facts("cart", "request to payments failed: connection refused", "refused", "payments")
    assert blamed((CART, PAYMENTS), told)[0].service == "payments"
    assert blamed((CART, PAYMENTS), facts("cart", "request failed", "request_failed"))[0].service == "cart"


def test_another_is_the_cause_only_when_it_is_far_likelier_than_the_one_that_was_told() -> None:
    assert steady((PAYMENTS,), (CART, PAYMENTS))[0].service == "payments"
    likelier = Suspect("cart", 0.7, "order of steps")
    assert steady((PAYMENTS,), (likelier, PAYMENTS))[0].service == "cart"
    assert steady((Suspect("gone", 0.5, ""),), (CART, PAYMENTS))[0].service == "cart"


def test_a_change_of_the_cause_says_why() -> None:
    turn = turned((PAYMENTS,), (CART, PAYMENTS), AT)
    assert turn is not None
    assert turn.text == "now thought to be the cause, no longer payments: order of steps"
    assert turned((CART,), (CART, PAYMENTS), AT) is None
