"""The metrics of a backtest, on cases small enough to count by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.incidents.tracker import Told
from exporter.model import Change, ConfigError, Evidence, Incident, IncidentSeverity, Suspect, TimeRange
from exporter.run.backtest import escalations
from exporter.run.evaluation import (
    Alarm,
    Interval,
    ServiceScore,
    average_precision,
    hits,
    interval_metrics,
    load_labels,
    opening_metrics,
    session_metrics,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def alarm(minute: int, *services: str, length: int = 2) -> Alarm:
    start = NOON + minute * MINUTE
    suspects = tuple(Suspect(name, 1 / len(services), "") for name in services)
    incident = Incident(
        id=f"i{minute}",
        fingerprint="f",
        revision=1,
        status="resolved",
        severity="warning",
        score=0.99,
        service=services[0],
        services=services,
        sources=("s",),
        starts_at=start,
        updated_at=start,
        ends_at=start + length * MINUTE,
        labels={},
        suspects=suspects,
    )
    return Alarm(incident, start + MINUTE)


def test_sessions_are_counted_as_the_formats_say() -> None:
    truth = {"a": True, "b": True, "c": False, "d": False}
    assert session_metrics(truth, {"a": True, "c": True}) == {"precision": 0.5, "recall": 0.5, "f1": 0.5}


def test_a_session_without_a_verdict_counts_as_normal() -> None:
    assert session_metrics({"a": True}, {})["recall"] == 0.0


def test_intervals_are_found_within_the_tolerance_and_others_are_false() -> None:
    fault = Interval(NOON, NOON + 2 * MINUTE, "payments")
    metrics = interval_metrics(
        [fault, Interval(NOON + 60 * MINUTE, NOON + 62 * MINUTE, "cart")],
        [alarm(1, "orders", "payments"), alarm(30, "search")],
        [[Suspect("payments", 1.0, "")], [Suspect("x", 1.0, ""), Suspect("cart", 0.5, "")]],
        [],
        days=2.0,
    )
    assert metrics["recall"] == 0.5
    assert metrics["false_incidents_per_day"] == 0.5
    assert metrics["median_delay_seconds"] == 120.0
    assert metrics["localisation"] == {"as@1": 0.5, "as@3": 1.0, "as@5": 1.0}
    assert metrics["diagnosis"] == {"as@1": 0.0, "as@3": 0.5, "as@5": 0.5}


def test_an_alarm_tells_how_soon_its_own_interval_was_told_and_no_other() -> None:
    faults = [Interval(NOON + n * MINUTE, NOON + (n + 2) * MINUTE, "payments") for n in (0, 10, 20)]
    through = alarm(1, "payments", length=30)
    assert interval_metrics(faults, [through], [[]] * 3, [], days=1.0)["median_delay_seconds"] == 120.0
    assert interval_metrics(faults[2:], [through], [[]], [], days=1.0)["median_delay_seconds"] is None


def opening(minute: float, *lines: float) -> Alarm:
    """An incident that opens, or opens again, and cites lines of these minutes."""
    cited = tuple(Evidence(f"L{at}", "s", "payments", NOON + at * MINUTE, "failed") for at in lines)
    return Alarm(replace(alarm(0, "payments").incident, evidence=cited), NOON + minute * MINUTE)


HOURLY = [Interval(NOON + n * MINUTE, NOON + (n + 30) * MINUTE) for n in (0, 60, 120, 180)]


def test_what_opens_within_an_interval_or_two_minutes_of_it_finds_it() -> None:
    found = opening_metrics(HOURLY, [opening(-2), opening(91.9), opening(152), opening(177.9)], days=2.0)
    assert found["found"] == 0.5
    assert found["false_openings_per_day"] == 1.0


def test_an_incident_that_never_ends_finds_only_the_interval_in_which_it_opened() -> None:
    assert opening_metrics(HOURLY, [opening(5)], days=1.0)["found"] == 0.25
    assert opening_metrics(HOURLY, [opening(5), opening(70)], days=1.0)["found"] == 0.5


def test_each_opening_counts_for_one_interval_and_a_second_one_there_is_not_false() -> None:
    overlapping = [Interval(NOON, NOON + 30 * MINUTE), Interval(NOON, NOON + 20 * MINUTE)]
    assert opening_metrics(overlapping, [opening(5)], days=1.0)["found"] == 0.5
    assert opening_metrics(overlapping, [opening(5), opening(25)], days=1.0)["found"] == 1.0
    assert opening_metrics(HOURLY[:1], [opening(5), opening(15)], days=1.0)["false_openings_per_day"] == 0.0


def test_it_is_told_so_long_after_the_first_line_that_shows_it() -> None:
    openings = [opening(3, -5, 1, 2), opening(70), opening(121, 122)]
    found = opening_metrics(HOURLY, openings, days=1.0)
    # 2 minutes after its first line; 10 after the interval began, for nothing is cited; 0, told before its line.
    assert found["told_after_seconds"] == 120.0
    assert opening_metrics(HOURLY, [opening(45)], days=1.0)["told_after_seconds"] is None


def test_without_intervals_every_opening_is_false() -> None:
    none = opening_metrics([], [opening(5), opening(6)], days=0.5)
    assert none == {"found": 0.0, "false_openings_per_day": 4.0, "told_after_seconds": None}


def told(identity: str, change: Change, severity: IncidentSeverity) -> Told:
    return Told(replace(alarm(0, "payments").incident, id=identity, severity=severity), change, NOON)


def test_what_becomes_more_severe_while_it_is_open_is_an_escalation() -> None:
    story = [
        told("a", "opened", "info"),
        told("b", "opened", "critical"),
        told("a", "updated", "warning"),
        told("a", "updated", "warning"),
        told("a", "updated", "critical"),
        told("a", "resolved", "critical"),
        told("a", "reopened", "critical"),
    ]
    assert escalations(story) == 2


def test_a_cause_that_is_not_ranked_is_a_miss() -> None:
    assert hits(["a"], [["b", "c"]]) == {"as@1": 0.0, "as@3": 0.0, "as@5": 0.0}


def test_average_precision_of_a_perfect_order_is_one() -> None:
    fault = Interval(NOON, NOON + MINUTE, "a")
    window = TimeRange(NOON, NOON + MINUTE)
    good = [ServiceScore("a", window, 0.9), ServiceScore("b", window, 0.1), ServiceScore("c", window, 0.2)]
    assert average_precision([fault], good) == 1.0
    assert average_precision([fault], [ServiceScore("a", window, 0.1), ServiceScore("b", window, 0.9)]) == 0.5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "start,end,service\n2026-03-01T12:00:00Z,2026-03-01T12:02:00Z,cart\n"),
        ("labels.csv", "start,end,service\n1772366400,1772366520,cart\n"),
        ("labels.ndjson", '{"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T12:02:00Z", "service": "cart"}\n'),
    ],
)
def test_labels_are_read_in_each_form(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert load_labels(path).intervals == (Interval(NOON, NOON + 2 * MINUTE, "cart"),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("session,anomalous\no1,yes\n", "anomalous must be 0 or 1"),
        ("start,end\n2026-03-01T12:00:00Z,2026-03-01T11:00:00Z\n", "is not after its start"),
        ("from,to\n1,2\n", "needs the columns start and end"),
    ],
)
def test_labels_that_mean_nothing_are_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        load_labels(path)
