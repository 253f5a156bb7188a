"""What people say is not news, in grouping: what is learnt stays, and what is taken back is as it was."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.incidents.rule_settings import RuleSettings
from exporter.model import Anomaly, Contribution, Incident, Rule, Severity
from exporter.state.incidents import incident_list
from exporter.state.news import newest_news
from exporter.state.people import hidden_by, rule_row, rules_of
from tests.flow.test_group_again import World, world
from tests.incidents.test_incidents import START, anomaly

__all__ = ["world"]

MINUTE = timedelta(minutes=1)


def rule(do: str, start: int | None = None, end: int | None = None, **about: Any) -> Rule:
    """Over minutes; by its name it is what it does."""
    made = RuleSettings(name=about.pop("name", do), do=do, by="anna", reason="known", **about)  # type: ignore[arg-type]
    since, until = (None if minute is None else START + minute * MINUTE for minute in (start, end))
    return replace(made.rule(since), until=until)


async def minutes(world: World, *windows: Sequence[Anomaly]) -> list[list[str]]:
    """What is told of each minute, by its change."""
    told = []
    for minute, found in enumerate(windows):
        await world.read(minute, *found)
        told.append(await world.group(minute))
    return told


async def test_what_is_expected_opens_nothing_and_is_counted(world: World) -> None:
    await world.state.write([rule_row(rule("expected", service="orders"))])
    assert await minutes(world, [anomaly(0)], [anomaly(1)], [anomaly(2, "billing")]) == [[], [], ["opened"]]
    (incident,) = await world.incidents()
    assert incident.services == ("billing",)
    found = await hidden_by(world.state, "expected", 10)
    assert [(one.service, one.said) for one in found] == [("orders", "pool exhausted")] * 2
    assert world.telemetry.value("log_anomaly_exporter_rules_hidden_total", rule="expected") == 2


async def test_what_is_expected_holds_no_incident_open(world: World) -> None:
    await world.state.write([rule_row(rule("expected", texts="known noise"))])
    windows = [[anomaly(0), anomaly(0, "billing", text="known noise")]]
    windows += [[anomaly(minute, "orders", text="known noise")] for minute in range(1, 8)]
    told = await minutes(world, *windows)
    assert told == [["opened"], [], [], [], [], ["resolved"], [], []]


async def test_of_a_window_only_what_is_expected_is_taken_out(world: World) -> None:
    await world.state.write([rule_row(rule("expected", texts="known noise"))])
    both = replace(
        anomaly(0),
        contributions=(
            Contribution("template", "known noise", 40, 1, share=0.2),
            Contribution("template", "pool exhausted", 40, 1, share=0.8),
        ),
    )
    assert await minutes(world, [both], [replace(both, window=START + MINUTE, reached=START + 2 * MINUTE)])
    (incident,) = await world.incidents()
    assert [one.text for one in incident.contributions] == ["pool exhausted"]
    assert incident.ruled_by == ("expected",)


async def test_what_is_muted_is_recorded_and_told_to_nobody_until_the_rule_is_over(world: World) -> None:
    await world.state.write([rule_row(rule("mute", service="orders", end=3))])
    told = await minutes(world, [anomaly(0)], [anomaly(1)], [anomaly(2)], [anomaly(3)])
    assert told == [["opened"], [], ["opened"], []]
    (incident,) = await world.incidents()
    assert incident.withheld == ""


async def test_a_muted_incident_says_so_and_is_in_no_news(world: World) -> None:
    await world.state.write([rule_row(rule("mute", service="orders"))])
    await minutes(world, [anomaly(0)], [anomaly(1)], [], [], [], [], [], [])
    (incident,) = await world.incidents()
    assert (incident.status, incident.withheld, incident.ruled_by) == ("resolved", "muted", ("mute",))
    assert await newest_news(world.state, incident.id) is None


async def test_whoever_was_told_of_what_is_muted_now_is_told_that_it_is_over_for_them(world: World) -> None:
    await world.state.write([rule_row(rule("mute", service="orders", start=2, end=4))])
    told = await minutes(world, *([anomaly(minute)] for minute in range(5)))
    assert told == [["opened"], ["resolved"], [], ["reopened"], []]


async def test_a_severity_is_capped_and_grows_when_the_cap_is_over(world: World) -> None:
    await world.state.write([rule_row(rule("severity", at_most="info", service="orders", end=3))])
    fatal = [replace(anomaly(minute), severity=Severity.FATAL) for minute in range(4)]
    told = await minutes(world, *([one] for one in fatal))
    assert told == [["opened"], [], ["updated"], []]
    (incident,) = await world.incidents()
    assert (incident.severity, incident.labels["severity"]) == ("critical", "critical")
    assert [labels["severity"] for labels in incident.retired_labels] == ["info"]


async def test_a_rule_of_hours_holds_in_them_alone(world: World) -> None:
    await world.state.write([rule_row(rule("mute", hours="00:00-00:02"))])
    told = await minutes(world, [anomaly(0)], [anomaly(1)], [anomaly(2)])
    assert told == [["opened"], ["opened"], []]


def test_text_of_logs_is_no_pattern() -> None:
    made = rule("expected", texts="=~.*")
    assert made.match.texts == ("=~.*",)


SERVICES = ("orders", "billing", "search", "mail")
TEXTS = ("pool exhausted", "timed out", "known noise")

windows = st.builds(
    lambda minute, service, text, severe, strong: anomaly(
        minute,
        SERVICES[service],
        0.9999 if strong else 0.995,
        TEXTS[text],
        Severity.ERROR if severe else Severity.INFO,
    ),
    st.integers(0, 299),
    st.integers(0, 3),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)

people = st.builds(
    lambda number, do, start, length, service, text: rule(
        do,
        start,
        min(start + length, 120),
        name=f"r{number}",
        **({"at_most": "info"} if do == "severity" else {}),
        **({"service": SERVICES[service]} if service < 4 else {"texts": TEXTS[text]}),
    ),
    st.integers(0, 1_000_000),
    st.sampled_from(["mute", "expected", "severity"]),
    st.integers(0, 119),
    st.integers(1, 120),
    st.integers(0, 4),
    st.integers(0, 2),
)


async def lived(found: Sequence[Anomaly], rules: Sequence[Rule], stops: Sequence[int]) -> list[Incident]:
    """The incidents of all anomalies, grouped at these minutes."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder, "state.db"))
        try:
            await world.state.write([rule_row(one) for one in rules])
            for minute in range(300):
                if here := [one for one in found if one.window == world.at(minute)]:
                    await world.read(minute, *here)
            for minute in (*stops, 399):
                await world.group(minute)
            return sorted(await incident_list(world.state, None, 1000), key=lambda one: (one.starts_at, one.service))
        finally:
            world.state.close()


def opened(incidents: Sequence[Incident], since: datetime) -> set[tuple[str, datetime]]:
    return {
        (one.service, one.starts_at)
        for one in incidents
        if min(entry.at for entry in one.timeline if entry.text == "incident opened") >= since
    }


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(windows, min_size=1, max_size=120, unique_by=lambda one: (one.window, one.service)),
    st.lists(people, max_size=6, unique_by=lambda one: one.name),
    st.sets(st.integers(0, 390), max_size=6),
)
def test_an_hour_after_the_last_rule_all_opens_as_without(
    found: list[Anomaly], rules: list[Rule], stops: set[int]
) -> None:
    last = max((one.until for one in rules if one.until), default=START)
    later = last + timedelta(hours=1)
    ruled = asyncio.run(lived(found, rules, sorted(stops)))
    free = asyncio.run(lived(found, (), []))
    assert opened(ruled, later) == opened(free, later)


async def test_what_is_learnt_and_found_is_the_same_with_any_rules(tmp_path: Path) -> None:
    kept = []
    for number, rules in enumerate([(), [rule("expected", service="orders"), rule("mute", service="billing")]]):
        world = World(tmp_path / f"{number}.db")
        try:
            await world.state.write([rule_row(one) for one in rules])
            await minutes(world, [anomaly(0)], [anomaly(1), anomaly(1, "billing")], [anomaly(2)])
            tables = await world.state.read("SELECT * FROM anomalies ORDER BY 1, 2, 3, 4, 5")
            kept.append((tables, await world.state.read("SELECT * FROM windows ORDER BY 1, 2")))
        finally:
            world.state.close()
    assert kept[0] == kept[1]


async def test_rules_of_the_configuration_are_rows_while_they_stand_there(world: World) -> None:
    world.grouper._configured = [RuleSettings(name="night", do="mute", hours="22:00-06:00")]
    await minutes(world, [], [])
    (known,) = await rules_of(world.state)
    assert (known.name, known.origin, known.since) == ("night", "configuration", None)
    world.grouper._configured = ()
    await world.group(2)
    assert await rules_of(world.state) == []
