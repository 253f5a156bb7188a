"""Two failures are two incidents, and one failure that many services show is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from exporter.incidents.kinship import roots_first
from exporter.incidents.tracker import Told, advance
from exporter.model import Anomaly, Contribution, Evidence, Severity
from tests.incidents.test_incidents import MINUTE, SETTINGS, START, anomaly


def failing(minute: int, service: str, text: str, *more: str, level: Severity = Severity.ERROR) -> Anomaly:
    """A window in which lines of these texts are new, and speak of a failure."""
    window = START + minute * MINUTE
    lines = [
        Evidence(f"{service}{minute}{number}", "shop", service, window + timedelta(seconds=number), said, level)
        for number, said in enumerate((text, *more))
    ]
    reasons = [Contribution("new_template", line.body, 9, 0, share=0.5, evidence=(line.id,)) for line in lines]
    return replace(anomaly(minute, service), contributions=tuple(reasons), evidence=tuple(lines))


def told(*found: Anomaly, until: int = 300) -> list[Told]:
    return advance((), found, START + until * MINUTE, SETTINGS, 2.0, {}, services=3)[1]


def opened(*found: Anomaly) -> list[set[str]]:
    """The services of each incident, in the order in which they opened."""
    last: dict[str, set[str]] = {}
    for item in told(*found):
        last[item.incident.id] = set(item.incident.services)
    return list(last.values())


def test_two_services_that_fail_by_texts_of_their_own_are_two_incidents() -> None:
    for apart in (2, 4, 12):
        assert opened(
            failing(0, "quotes", "no space left on device"), failing(apart, "refunds", "certificate has expired")
        ) == [{"quotes"}, {"refunds"}]


def test_what_begins_in_the_same_minute_has_one_cause_though_nobody_names_it() -> None:
    first, other = failing(0, "quotes", "pool exhausted"), failing(0, "refunds", "cannot obtain a connection")
    assert opened(first, other) == [{"quotes", "refunds"}]


@pytest.mark.parametrize("apart", [0, 3, 15])
def test_a_caller_whose_failing_lines_name_whom_it_calls_is_of_the_same_incident(apart: int) -> None:
    root = [failing(minute, "payments", "pool exhausted") for minute in range(20)]
    caller = failing(apart, "orders", "call to payments failed", level=Severity.WARN)
    assert opened(*root, caller) == [{"payments", "orders"}]
    late = [failing(minute, "orders", "call to payments failed", level=Severity.WARN) for minute in range(20)]
    assert opened(*late, failing(apart, "payments", "pool exhausted")) == [{"payments", "orders"}]


def test_a_gateway_that_names_whoever_fails_below_it_does_not_make_one_incident_of_two_failures() -> None:
    gateway = failing(9, "gateway", "upstream quotes failed", "upstream refunds failed", level=Severity.WARN)
    quotes = [failing(minute, "quotes", "no space left on device") for minute in range(12)]
    refunds = [failing(minute, "refunds", "certificate has expired") for minute in range(9, 12)]
    assert opened(*quotes, gateway, *refunds) == [{"quotes", "gateway"}, {"refunds"}]


def test_the_same_failing_text_is_the_same_failure_up_to_twenty_minutes_later() -> None:
    first = [failing(minute, "quotes", "connection to db-7 refused") for minute in range(3)]
    for later, incidents in ((6, 1), (40, 2)):
        other = failing(later, "refunds", "connection to db-7 refused")
        assert len(opened(*first, other)) == incidents


@pytest.mark.parametrize(
    ("one", "other", "incidents"),
    [
        ("dial tcp 10.4.2.9:5432: connection refused", "connection to 10.4.2.9 timed out after 30 s", 1),
        ("GET https://api.ledger.test/v1 timed out", "connect to api.ledger.test:443: connection refused", 1),
        ("connection to ledger-db:5432 refused", "Connection to ledger-db reset by peer", 1),
        ("connection to ledger-db:5432 refused", "Connection to orders-db:5432 reset by peer", 2),
        ("connection to database refused", "connection to database timed out", 2),
        ("connect to 127.0.0.1:5432 refused", "connect to 127.0.0.1:6379 timed out", 2),
        ("timed out waiting for 30s", "read timed out waiting for 30s", 2),
    ],
)
def test_two_that_complain_of_one_address_fail_by_one_cause(one: str, other: str, incidents: int) -> None:
    first = [failing(minute, "quotes", one) for minute in range(3)]
    assert len(opened(*first, failing(6, "refunds", other))) == incidents
    assert len(opened(*first, failing(40, "refunds", other))) == 2


def test_two_that_complain_of_a_service_that_says_nothing_itself_fail_by_one_cause() -> None:
    gateway = [failing(minute, "gateway", "upstream cart reset the connection") for minute in range(3)]
    said = failing(6, "orders", "call to cart failed: Connection reset by peer")
    assert opened(*gateway, replace(said, neighbours=("cart", "payments"))) == [{"gateway", "orders"}]
    other = failing(6, "orders", "call to payments failed: Connection reset by peer")
    assert len(opened(*gateway, replace(other, neighbours=("cart", "payments")))) == 2


def test_a_caller_that_names_who_fails_lends_no_address_to_others() -> None:
    quotes = [failing(minute, "quotes", "no space left on device") for minute in range(12)]
    said = ("upstream quotes failed", "connection to refunds-v1 refused")
    gateway, other = (failing(3, "gateway", *said, level=Severity.WARN), failing(6, "mailer", "refunds-v1 refused it"))
    refused = replace(
        other, evidence=tuple(replace(e, body="connection to refunds-v1 refused") for e in other.evidence)
    )
    assert opened(*quotes, gateway, refused) == [{"quotes", "gateway"}, {"mailer"}]


def test_what_says_nothing_of_a_failure_is_of_the_open_one_of_whom_its_service_calls_or_is_called_by() -> None:
    first = [failing(minute, "users", "account is locked") for minute in range(10)]
    odd = replace(anomaly(8, "gateway"), neighbours=("quotes", "users"))
    assert opened(*first, odd) == [{"users", "gateway"}]
    assert len(opened(*first, replace(odd, neighbours=("quotes",)))) == 2
    other = replace(failing(8, "gateway", "certificate has expired"), neighbours=("users",))
    assert len(opened(*first, other)) == 2


def test_a_neighbour_of_a_neighbour_is_no_neighbour() -> None:
    first = [failing(minute, "users", "account is locked") for minute in range(10)]
    caller = replace(anomaly(1, "gateway"), neighbours=("users", "quotes"))
    odd = replace(anomaly(8, "quotes"), neighbours=("gateway",))
    assert opened(*first, caller, odd) == [{"users", "gateway"}, {"quotes"}]


def test_a_service_that_fails_by_another_text_long_after_is_another_incident_and_by_the_same_it_is_not() -> None:
    first = [failing(minute, "quotes", "no space left on device") for minute in range(3)]
    for text, change in (("certificate has expired", "opened"), ("no space left on device", "reopened")):
        changes = [item.change for item in told(*first, failing(20, "quotes", text))]
        assert changes[-2:] == [change, "resolved"]


def test_what_is_only_odd_goes_on_in_the_incident_of_its_service() -> None:
    first = [failing(minute, "quotes", "no space left on device") for minute in range(9)]
    assert opened(*first, anomaly(8, "quotes", severity=Severity.INFO)) == [{"quotes"}]


def test_while_a_failure_lasts_what_its_service_shows_of_it_is_of_it() -> None:
    lasting = [replace(failing(minute, "quotes", "no space left on device"), lasts=True) for minute in range(9)]
    other = replace(failing(60, "quotes", "certificate has expired"), lasts=True)
    assert opened(*lasting, other) == [{"quotes"}]
    assert opened(*lasting, replace(other, lasts=False)) == [{"quotes"}, {"quotes"}]


def test_whoever_is_named_is_placed_before_those_that_name_it_in_any_order() -> None:
    chain = [
        failing(0, "gateway", "upstream orders failed"),
        failing(0, "orders", "call to payments failed"),
        failing(0, "payments", "pool exhausted"),
        failing(0, "alone", "disk is full"),
    ]
    for order in permutations(chain):
        names = [one.service for one in roots_first(order)]
        assert names.index("payments") < names.index("orders") < names.index("gateway")


def test_services_that_name_each_other_in_a_circle_are_placed_once_each() -> None:
    circle: Sequence[Anomaly] = [failing(0, "a-1", "call to b-1 failed"), failing(0, "b-1", "call to a-1 failed")]
    assert sorted(one.service for one in roots_first(circle)) == ["a-1", "b-1"]


def test_a_service_that_stays_odd_for_long_does_not_hide_its_failure() -> None:
    odd = [replace(anomaly(minute, "quotes", severity=Severity.INFO), lasts=True) for minute in range(9)]
    failure = replace(failing(90, "quotes", "certificate has expired"), lasts=True)
    assert opened(*odd, failure) == [{"quotes"}, {"quotes"}]


def test_a_failure_ends_though_a_release_that_came_with_it_is_there_to_stay() -> None:
    first = [replace(failing(minute, "quotes", "no space left on device"), lasts=True) for minute in range(3)]
    odd = [anomaly(minute, "quotes", severity=Severity.INFO) for minute in range(3, 9)]
    release = [replace(one, lasts=True, fails=False) for one in odd]
    assert [one.change for one in told(*first, *release) if one.change != "updated"] == ["opened", "resolved"]
    still = [replace(one, lasts=True) for one in odd]
    assert [one.change for one in told(*first, *still) if one.change != "updated"] == ["opened"]


def test_what_was_odd_before_it_failed_does_not_hold_the_failure_open() -> None:
    odd = [replace(anomaly(m, "quotes", 0.999999, severity=Severity.INFO), lasts=True, fails=False) for m in range(3)]
    failed = [replace(failing(minute, "quotes", "no space left on device"), fails=False) for minute in range(3, 6)]
    assert [one.change for one in told(*odd, *failed) if one.change != "updated"] == ["opened", "resolved"]
