"""Anomalies to incidents: opening, continuing, resolving and reopening, as a function of event time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.detection.scoring.windows import NOTHING
from exporter.incidents.alerts import Fired, from_alerts, resolved_by_hand
from exporter.incidents.clusters import MIN_STRENGTH, Cluster
from exporter.incidents.members import MAX_EVIDENCE
from exporter.incidents.movers import with_named
from exporter.incidents.settings import IncidentSettings
from exporter.incidents.suspects import suspected
from exporter.incidents.threshold import alarm_threshold
from exporter.incidents.tracker import Told, advance
from exporter.model import (
    Anomaly,
    AnomalyKind,
    Contribution,
    Evidence,
    Facts,
    Past,
    Severity,
    Suspect,
    evidence_id,
)
from exporter.model.facts import Failing

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SETTINGS = IncidentSettings()


def anomaly(
    minute: int,
    service: str = "orders",
    score: float = 0.999,
    text: str = "pool exhausted",
    severity: int = Severity.ERROR,
    source: str = "shop",
) -> Anomaly:
    window = START + minute * MINUTE
    return Anomaly(
        source=source,
        service=service,
        window=window,
        duration=MINUTE,
        kind="window",
        score=score,
        threshold=0.99,
        severity=severity,
        contributions=(Contribution("template", text, 40, 1, share=1.0),),
        reached=window + MINUTE,
        evidence=(Evidence(f"L{minute}{service}", source, service, window, text),),
    )


def run(
    anomalies: Iterable[Anomaly], until: int = 600, settings: IncidentSettings = SETTINGS, threshold: float = 2.0
) -> list[Told]:
    return advance((), anomalies, START + until * MINUTE, settings, threshold, {"cluster": "eu-1"})[1]


def test_a_strong_anomaly_opens_an_incident_that_resolves_when_it_is_quiet() -> None:
    told = run([anomaly(0), anomaly(1)])
    assert [item.change for item in told] == ["opened", "resolved"]
    opened, resolved = (item.incident for item in told)
    assert opened.id == resolved.id
    assert opened.revision < resolved.revision
    assert resolved.ends_at == START + 2 * MINUTE
    assert told[1].at == START + 2 * MINUTE + SETTINGS.keep_firing_for


def test_the_lines_that_facts_cite_stay_while_it_goes_on() -> None:
    line = Evidence("Lfact", "shop", "orders", START, "HikariPool-1 - Connection is not available")
    facts = Facts(START, (Failing("orders", line.body, "", Severity.ERROR, 3, 0.0, START, line.id),))
    long = [anomaly(minute) for minute in range(60)]
    found, told = advance((), long, START + 61 * MINUTE, SETTINGS, 2.0, {}, tell=lambda *_: (facts, (line,)))
    (cluster,) = found.values()
    assert [item.change for item in told] == ["opened"]
    assert cluster.incident is not None
    assert cluster.incident.evidence[0] == line
    assert len(cluster.incident.evidence) == MAX_EVIDENCE


def test_a_weak_anomaly_alone_opens_nothing() -> None:
    assert run([anomaly(0, score=0.95)]) == []


def test_persistence_opens_what_one_window_would_not() -> None:
    assert [item.change for item in run([anomaly(0, score=0.95), anomaly(1, score=0.95)])] == ["opened", "resolved"]


def test_for_waits_until_anomalies_have_gone_on_long_enough() -> None:
    patient = IncidentSettings.model_validate({"for": "3m"})
    assert run([anomaly(0), anomaly(1)], settings=patient) == []
    told = run([anomaly(minute) for minute in range(4)], settings=patient)
    assert told[0].at == START + 3 * MINUTE


def test_services_that_fail_together_are_one_incident() -> None:
    told = run([anomaly(0, "payments"), anomaly(1, "orders"), anomaly(2, "gateway")])
    assert len({item.incident.id for item in told}) == 1
    assert told[-1].incident.services == ("payments", "orders", "gateway")
    assert told[-1].incident.suspects[0].service == "payments"
    assert told[-1].incident.severity == "critical"


def test_a_service_that_fails_much_later_is_another_incident() -> None:
    told = run([*(anomaly(minute, "payments") for minute in range(20)), anomaly(15, "search"), anomaly(16, "search")])
    assert len({item.incident.id for item in told}) == 2


def test_the_same_failure_soon_after_the_end_reopens_the_incident() -> None:
    told = run([anomaly(0), anomaly(1), anomaly(20)])
    assert [item.change for item in told] == ["opened", "resolved", "reopened", "resolved"]
    assert len({item.incident.id for item in told}) == 1
    assert told[-1].incident.reopened == 1


def test_the_same_failure_long_after_the_end_is_another_incident_with_the_same_fingerprint() -> None:
    told = run([anomaly(0), anomaly(1), anomaly(120), anomaly(121)])
    opened = [item.incident for item in told if item.change == "opened"]
    assert len(opened) == 2
    assert opened[0].fingerprint == opened[1].fingerprint


def test_what_is_found_of_a_window_long_after_its_incident_is_another_incident_and_replaces_nothing() -> None:
    early = advance((), [anomaly(0), anomaly(1, "payments")], START + 120 * MINUTE, SETTINGS, 2.0, {})[1]
    idle = replace(anomaly(0, score=0.9999), kind="session", session="order-1", reached=START + 121 * MINUTE)
    other = replace(idle, session="order-2", reached=START + 180 * MINUTE)
    later = [advance((), [one], one.reached, SETTINGS, 2.0, {})[1] for one in (idle, other)]
    assert all(later)
    assert len({told.incident.id for told in (*early, *later[0], *later[1])}) == 3


def test_labels_are_frozen_and_an_escalation_retires_the_old_ones() -> None:
    told = run([anomaly(0), *(anomaly(1, name) for name in ("a", "b", "c"))])
    first, last = told[0].incident, told[-1].incident
    assert first.labels["severity"] == "warning"
    assert last.labels == {**first.labels, "severity": "critical"}
    assert last.retired_labels == (first.labels,)
    assert first.labels["cluster"] == "eu-1"


def test_an_anomaly_that_adds_nothing_a_reader_would_see_makes_no_revision() -> None:
    told = run([anomaly(minute) for minute in range(10)])
    assert [item.change for item in told] == ["opened", "resolved"]


# --- What lasts ---------------------------------------------------------------------------------------


def end(minute: int, seen: int, kind: AnomalyKind = "calm", service: str = "orders", gap: int = 0) -> Anomaly:
    """At a minute it is said that what lasted was seen last in another."""
    whole = replace(anomaly(seen, service, 0.0, severity=0), kind=kind, contributions=(), evidence=())
    return replace(whole, reached=START + minute * MINUTE, gap=gap * MINUTE)


def lasting(minute: int, service: str = "orders", severity: int = Severity.ERROR) -> Anomaly:
    return replace(anomaly(minute, service, severity=severity), lasts=True)


def test_an_incident_stays_open_while_what_it_shows_lasts_and_ends_with_the_last_window_that_shows_it() -> None:
    told = run([lasting(0), lasting(1), end(203, 199)], until=300)
    assert [item.change for item in told] == ["opened", "resolved"]
    assert told[-1].incident.ends_at == START + 200 * MINUTE
    assert told[-1].at == START + 200 * MINUTE + SETTINGS.keep_firing_for


def test_what_is_said_to_be_over_late_is_told_as_over_then() -> None:
    told = run([lasting(0), lasting(1), end(230, 199)], until=300)
    assert told[-1].incident.ends_at == START + 200 * MINUTE
    assert told[-1].at == START + 230 * MINUTE


def test_a_failure_whose_signs_come_minutes_apart_is_one_incident_and_one_page() -> None:
    signs = [0, 4, 15, 24, 36]
    news = [one for at in signs for one in (lasting(at), end(at + 3, at, gap=1))]
    told = run(news, until=300)
    assert [item.change for item in told] == ["opened", "resolved"]
    assert told[-1].incident.ends_at == START + 37 * MINUTE
    assert told[-1].at == START + (37 + 2 * 11) * MINUTE


def test_strays_that_come_ever_more_seldom_do_not_keep_an_incident_open() -> None:
    signs = [0, 14, 38, 80, 190, 390, 790]
    news = [one for at in signs for one in (lasting(at), end(at + 3, at, gap=1))]
    told = run(news, until=1_000)
    assert [item.change for item in told][:3] == ["opened", "resolved", "opened"]
    assert told[1].incident.ends_at == START + 81 * MINUTE
    assert told[1].at == START + (81 + 60) * MINUTE


def test_what_comes_again_days_later_while_another_service_still_fails_makes_no_pause_of_days() -> None:
    orders = [lasting(0), lasting(1), end(12, 9), lasting(2_000), end(2_013, 2_009)]
    told = run([*orders, lasting(1, "users"), end(2_013, 2_005, service="users")], until=9_000)
    assert [item.change for item in told if item.change != "updated"] == ["opened", "resolved"]
    assert told[-1].at == START + 2_010 * MINUTE + SETTINGS.keep_firing_for


def test_an_incident_does_not_live_on_a_member_that_is_only_odd() -> None:
    odd = lasting(1, "search", severity=0)
    told = run([lasting(0), lasting(1), odd, end(12, 9)], until=300)
    assert told[-1].change == "resolved"
    assert told[-1].incident.ends_at == START + 10 * MINUTE


def test_what_is_only_odd_does_not_page_again_for_going_on() -> None:
    told = run([lasting(minute, severity=0) for minute in range(6)], until=6)
    assert [item.incident.severity for item in told] == ["info"]


def test_the_echo_of_what_is_over_opens_nothing_and_moves_no_end() -> None:
    echoes = [replace(anomaly(minute), shows=False) for minute in range(14, 20)]
    told = run([lasting(0), lasting(1), end(13, 9), *echoes], until=300)
    assert [item.change for item in told] == ["opened", "resolved"]
    assert told[-1].incident.ends_at == START + 10 * MINUTE
    assert run([*echoes], until=300) == []


def test_what_has_no_reason_of_its_own_opens_nothing() -> None:
    assert run([replace(anomaly(minute), contributions=()) for minute in range(5)]) == []


def test_a_silence_is_open_until_it_speaks_though_it_is_told_once() -> None:
    reason = Contribution("silence", "orders says nothing any more", 0, 60, share=1.0, since=START)
    silent = replace(anomaly(0, score=1 - 1e-6), kind="absence", lasts=True, duration=5 * MINUTE)
    silent = replace(silent, contributions=(reason,), reached=START + 20 * MINUTE)
    told = run([silent, end(101, 99, "spoke")], until=300, threshold=12.0)
    assert [item.change for item in told] == ["opened", "resolved"]
    assert told[0].incident.starts_at == START
    assert told[-1].incident.ends_at == START + 100 * MINUTE


def test_what_lasted_in_a_source_that_was_learnt_anew_or_is_gone_ends_by_itself() -> None:
    open_ = advance((), [lasting(0), lasting(1)], START + 2 * MINUTE, SETTINGS, 2.0, {})[0].values()
    for warm in ({"shop": START + 50 * MINUTE}, {}):
        told = advance(open_, [], START + 60 * MINUTE, SETTINGS, 2.0, {}, warm=warm)[1]
        assert [item.change for item in told] == ["resolved"]
    assert advance(open_, [], START + 60 * MINUTE, SETTINGS, 2.0, {}, warm={"shop": START - MINUTE})[1] == []


def test_a_gap_in_what_a_source_shows_is_no_incident() -> None:
    gap = Anomaly("shop", "", START, MINUTE, "gap", 1.0, 0.9, 0, (), START + MINUTE)
    assert run([gap]) == []


def test_an_alert_opens_an_incident_even_when_the_logs_show_nothing() -> None:
    looked = (Past("shop", START - MINUTE, START),)
    told = from_alerts("a1", [Fired("HighErrorRate", "orders", START, "5 % of requests fail")], [], {}, looked)
    assert told.incident.trigger == "alert HighErrorRate"
    assert (told.incident.summary, told.incident.looked) == ("5 % of requests fail", looked)
    assert [entry.text for entry in told.incident.timeline] == ["alert HighErrorRate fired: 5 % of requests fail"]
    assert told.incident.service == "orders"
    assert told.incident.evidence == ()


def test_what_fixed_an_incident_may_be_said_after_its_end() -> None:
    ended = run([anomaly(0)])[-1].incident
    told = resolved_by_hand(ended, "raised the pool size", START)
    assert (told.incident.fix, told.incident.status, told.change) == ("raised the pool size", "resolved", "updated")
    assert told.incident.revision == ended.revision + 1


def test_the_budget_of_alarms_raises_the_threshold_above_what_warm_up_would_have_paged() -> None:
    noisy = [anomaly(300 * day + minute, score=0.999) for day in range(20) for minute in range(2)]
    threshold = alarm_threshold(noisy, days=4.0, budget=1.0, settings=SETTINGS, tests_a_day=14_400)
    assert len([t for t in run(noisy, until=10_000, threshold=threshold) if t.change == "opened"]) <= 4


def test_without_warm_up_a_lone_window_must_be_as_unlikely_as_there_are_windows_in_a_day() -> None:
    assert alarm_threshold([], days=0.0, budget=1.0, settings=SETTINGS, tests_a_day=10) == MIN_STRENGTH
    assert alarm_threshold([], days=0.0, budget=1.0, settings=SETTINGS, tests_a_day=10_000) == pytest.approx(4.0)
    assert alarm_threshold([], days=0.0, budget=10.0, settings=SETTINGS, tests_a_day=10_000) == pytest.approx(3.0)


services = st.sampled_from(["a", "b", "c", "d"])
many = st.lists(st.builds(anomaly, st.integers(0, 90), services, st.sampled_from([0.95, 0.999])), max_size=40)


@given(many, st.lists(st.integers(1, 120), max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_division_of_time_tells_the_same(anomalies: list[Anomaly], cuts: list[int]) -> None:
    distinct = list({a.id: a for a in anomalies}.values())
    whole = run(distinct, until=130)
    clusters: dict[str, Cluster] = {}
    told: list[Told] = []
    before = START - MINUTE
    for cut in [*sorted(set(cuts)), 130]:
        until = START + cut * MINUTE
        part = [a for a in distinct if before < a.reached <= until]
        clusters, news = advance(clusters.values(), part, until, SETTINGS, 2.0, {"cluster": "eu-1"})
        told += news
        before = until
    assert told == whole


def complaint(service: str, body: str, severity: int = Severity.ERROR) -> Evidence:
    return Evidence(evidence_id("shop", f"{service}/{body}"), "shop", service, START, body, severity)


SUSPECTS = (Suspect("orders", 0.5, "changed"), Suspect("payments", 0.3, "slow"), Suspect("pay", 0.2, "slow"))
MEMBERS = ("orders", "payments")


def test_a_service_that_failing_lines_of_others_name_is_suspected_more() -> None:
    ranked = with_named(SUSPECTS, MEMBERS, [complaint("orders", "Call to payments failed: 503")])
    assert [(s.service, round(s.weight, 2)) for s in ranked] == [("payments", 0.55), ("orders", 0.25), ("pay", 0.2)]
    assert ranked[0].reason == "slow; named by failing lines of orders"


@pytest.mark.parametrize(
    "lines",
    [
        [complaint("orders", "called payments", Severity.INFO)],
        [complaint("orders", "payments failed"), complaint("payments", "lost the connection of orders")],
        [complaint("orders", "orders failed, see prepay and pay-later")],
        [complaint("elsewhere", "payments failed")],
        [complaint("orders", "cannot pay")],
        [],
    ],
)
def test_lines_that_blame_nobody_else_change_no_ranking(lines: list[Evidence]) -> None:
    assert with_named(SUSPECTS, MEMBERS, lines) == SUSPECTS
    assert with_named(SUSPECTS, (), lines) == SUSPECTS
    assert with_named((), (), lines) == ()


def test_a_service_that_fell_silent_is_suspected_beside_those_that_speak() -> None:
    found = [anomaly(0, "orders"), anomaly(0, "payments"), anomaly(1, "payments")]
    alive, _ = advance((), found, START + 10 * MINUTE, SETTINGS, 2.0, {})
    [cluster] = alive.values()
    peak = START + 3 * MINUTE
    scores = (Suspect("orders", 0.6, "changed", peak), Suspect("gateway", 0.3, "slow"), Suspect("users", 0.1, NOTHING))
    ranked = suspected(cluster, [scores])
    assert [s.service for s in ranked] == ["payments", "orders", "gateway"]
    assert ranked[0].reason == "among the first to change"
    assert ranked[1].first_seen == START, "its first anomaly, and not its strongest window"
    assert sum(s.weight for s in ranked) == pytest.approx(1)


def test_failing_lines_are_shown_first_each_kind_once_before_any_twice() -> None:
    def line(number: int, template: str, severity: int) -> Evidence:
        return Evidence(f"L{number}", "shop", "orders", START, f"{template} {number}", severity, template)

    usual, slow, failed = Severity.INFO, Severity.WARN, Severity.ERROR
    shown = (line(0, "done", usual), line(1, "slow", slow), line(2, "slow", slow), line(3, "failed", failed))
    [told] = run([replace(anomaly(0), evidence=shown)], until=1)
    assert [one.id for one in told.incident.evidence] == ["L1", "L3", "L2", "L0"]


def clusters_of(found: Iterable[Anomaly], services: int) -> list[tuple[str, ...]]:
    alive, _ = advance((), found, START + 10 * MINUTE, SETTINGS, 2.0, {}, services=services)
    return sorted(tuple(sorted(m.service for m in cluster.members)) for cluster in alive.values())


def test_where_many_services_are_some_are_unusual_together_by_chance() -> None:
    found = [anomaly(0, "orders"), anomaly(1, "payments")]
    assert clusters_of(found, services=12) == [("orders", "payments")]
    assert clusters_of(found, services=500) == [("orders",), ("payments",)]
    assert clusters_of([anomaly(0, "orders"), anomaly(1, "payments", score=0.999999)], services=500) == [
        ("orders", "payments")
    ]


def test_another_service_adds_what_it_has_beyond_the_choice_among_all() -> None:
    alive, _ = advance((), [anomaly(0, "orders"), anomaly(0, "payments")], START, SETTINGS, 2.0, {})
    [cluster] = alive.values()
    assert [cluster.strength(n) for n in (1, 10, 1000, 10**6)] == pytest.approx([6.0, 5.0, 3.0, 3.0])


def test_one_host_joins_what_comes_later_and_one_of_many_does_not() -> None:
    found = [anomaly(0, "orders"), anomaly(1, "payments"), anomaly(4, "orders"), anomaly(6, "users")]
    on = [replace(one, hosts=("node-6",)) for one in found]
    assert clusters_of(on, services=12) == [("orders", "payments", "users")]
    several = [replace(one, hosts=("node-7",)) if one.service == "payments" else one for one in on]
    assert clusters_of(several, services=12) == [("orders", "payments"), ("users",)]
