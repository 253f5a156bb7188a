"""What people say of incidents: it reaches every place, stands on the record, and can be taken back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.incidents.rule_settings import RuleSettings
from exporter.model import ConfigError, Incident, PermanentError, Severity
from exporter.model.questions import Said, UnconfirmedError
from exporter.run.people import rule_from
from exporter.state.people import acts_of
from tests.people.judge import wrong
from tests.people.weeks import DAY, HOUR, MINUTE, START, Places, Weeks, failure, live, weeks

ANNA = Said("anna", "a new release writes that", confirmed=True)

Lived = tuple[Weeks, Places]


@pytest.fixture
async def lived(tmp_path: Path) -> AsyncIterator[Lived]:
    async with weeks(tmp_path) as found:
        yield found


async def opened(
    lived: Weeks, minutes: int = 60, text: str = "pool exhausted", severity: int = Severity.ERROR
) -> Incident:
    """An incident that is still open when its hour is over."""
    at = lived.clock.moment + (60 - min(minutes, 60)) * MINUTE
    await lived.hour(failure("orders", text, at, minutes, severity))
    return (await lived.incidents("firing"))[0]


async def test_what_is_accepted_is_closed_everywhere_with_who_and_why_and_does_not_come_back(lived: Lived) -> None:
    world, places = lived
    incident = await opened(world)
    await world.operations.act(incident.id, "accept", ANNA)
    await world.tell()
    (annotation,) = places.grafana.annotations.values()
    assert "accepted" in annotation.tags
    assert "Accepted as normal by anna: a new release writes that" in annotation.text
    (message,) = places.slack.parents
    assert message.text.startswith("Resolved: ")
    assert "Accepted as normal by anna" in places.slack.replies[-1].text
    assert places.webhook.requests[-1].json()["incident"]["closed"]["verdict"] == "accepted"
    await world.hour(failure("orders", "pool exhausted", world.clock.moment, 60, Severity.ERROR))
    assert await world.incidents("firing") == []
    (rule,) = await world.operations.rules()
    assert rule.hidden == 60
    await world.operations.remove_rule(rule.rule.name, Said("ben"))
    await world.hour(failure("orders", "pool exhausted", world.clock.moment, 60, Severity.ERROR))
    assert [one.status for one in await world.incidents("firing")] == ["firing"], "it is as it was"


async def test_what_is_rejected_says_so_and_another_failure_of_the_service_opens(lived: Lived) -> None:
    world, places = lived
    incident = await opened(world)
    await world.operations.act(incident.id, "reject", Said("anna", confirmed=True))
    await world.tell()
    assert "rejected" in next(iter(places.grafana.annotations.values())).tags
    await world.hour([])
    await world.hour(failure("orders", "disk full", world.clock.moment, 60, Severity.ERROR))
    (other,) = await world.incidents("firing")
    assert [one.text for one in other.contributions] == ["disk full"]


async def test_of_what_is_acknowledged_nothing_is_told_until_it_gets_worse(lived: Lived) -> None:
    world, places = lived
    incident = await opened(world)
    await world.do("ack", incident, "on it")
    (annotation,) = places.grafana.annotations.values()
    assert "acknowledged" in annotation.tags
    assert "Acknowledged by anna" in places.slack.replies[-1].text
    told = len(places.webhook.requests)
    start = world.clock.moment
    more = failure("orders", "pool exhausted", start, 40, Severity.ERROR)
    await world.hour(more)
    assert "resolved" in {request.json()["change"] for request in places.webhook.requests[told:]}
    again = failure("orders", "pool exhausted", world.clock.moment, 10, Severity.ERROR)
    told = len(places.webhook.requests)
    await world.hour(again)
    assert "reopened" not in {request.json()["change"] for request in places.webhook.requests[told:]}
    worse = failure("orders", "pool exhausted", world.clock.moment, 60, Severity.FATAL)
    await world.hour(worse)
    assert places.webhook.requests[-1].json()["incident"]["severity"] == "critical"
    assert await wrong(world, places) == []


async def test_an_acknowledgement_may_have_an_end_after_which_all_is_told(lived: Lived) -> None:
    world, places = lived
    incident = await opened(world)
    await world.operations.act(incident.id, "ack", Said("anna", "after lunch", lasting=HOUR))
    await world.hour(failure("orders", "pool exhausted", world.clock.moment, 40, Severity.ERROR))
    told = len(places.webhook.requests)
    await world.hour(failure("orders", "pool exhausted", world.clock.moment, 10, Severity.ERROR))
    assert "reopened" in {request.json()["change"] for request in places.webhook.requests[told:]}
    with pytest.raises(PermanentError, match="over already"):
        await world.operations.act(incident.id, "ack", Said("anna", until=START))


async def test_a_note_stands_in_the_story(lived: Lived) -> None:
    world, _ = lived
    incident = await opened(world)
    await world.do("note", incident, "the pool is too small since Tuesday")
    (found,) = await world.incidents()
    assert "note by anna: the pool is too small since Tuesday" in [entry.text for entry in found.timeline]


async def recalled(world: Weeks, incident: Incident) -> list[tuple[str, str | None, str]]:
    """What memory tells of one like it: ids, fixes and who said so."""
    later = replace(incident, id="later", starts_at=incident.starts_at + 9 * DAY, status="firing", ends_at=None)
    return [(one.id, one.fix, one.fixed_by) for one in await world.assembly.memory.recall(later)]


async def test_what_is_said_to_be_no_problem_is_recalled_no_more_whenever_that_is_said(lived: Lived) -> None:
    world, _ = lived
    incident = await opened(world)
    await world.do("resolve", incident, "restarted it")
    assert await recalled(world, incident) == [(incident.id, "restarted it", "anna")]
    await world.operations.act(incident.id, "reject", Said("ben", confirmed=True))
    await world.tell()
    assert await recalled(world, incident) == []


async def test_what_did_not_fix_it_can_be_taken_back(lived: Lived) -> None:
    world, _ = lived
    incident = await opened(world)
    await world.do("resolve", incident, "restarted it")
    await world.do("unfix", incident, "it came back at once")
    (found,) = await world.incidents()
    assert (found.status, found.fix) == ("resolved", None)
    assert "fix taken back by anna: it came back at once" in [entry.text for entry in found.timeline]
    assert await recalled(world, incident) == [(incident.id, None, "")]
    with pytest.raises(PermanentError, match="no fix to take back"):
        await world.do("unfix", incident)
    await world.do("resolve", incident, "raised the limit")
    assert await recalled(world, incident) == [(incident.id, "raised the limit", "anna")]


async def test_every_act_is_on_the_record_redacted_and_in_order(lived: Lived) -> None:
    world, _ = lived
    incident = await opened(world)
    await world.do("ack", incident, "password=hunter2secret is wrong")
    await world.do("resolve", incident, "restarted it")
    await world.operations.add_rule({"name": "quiet", "do": "mute", "service": "mail"}, Said("ben", "noise"))
    acts = await acts_of(world.assembly.state)
    assert [(act.verb, act.by, act.incident, act.rule) for act in acts] == [
        ("ack", "anna", incident.id, ""),
        ("resolve", "anna", incident.id, ""),
        ("add", "ben", "", "quiet"),
    ]
    assert "hunter2secret" not in acts[0].reason
    assert [act.verb for act in await acts_of(world.assembly.state, incident.id)] == ["ack", "resolve"]


async def test_a_rule_that_would_have_hidden_much_is_made_only_when_that_is_known(lived: Lived) -> None:
    world, _ = lived
    incident = await opened(world, severity=Severity.FATAL)
    with pytest.raises(UnconfirmedError, match="would have hidden 1 of 1") as refused:
        await world.operations.add_rule({"name": "all", "do": "mute", "service": "~ord"}, Said("anna"))
    (hidden,) = refused.value.preview.hidden
    assert (hidden.id, hidden.severity) == (incident.id, "critical")
    assert "pool exhausted" in hidden.headline
    assert await world.operations.rules() == []
    await world.operations.add_rule({"name": "all", "do": "mute", "service": "~ord"}, Said("anna", confirmed=True))
    assert [one.rule.name for one in await world.operations.rules()] == ["all"]


async def test_a_rule_ends_by_itself_after_a_while_unless_it_is_to_hold_for_ever(lived: Lived) -> None:
    world, _ = lived
    made = await world.operations.add_rule({"name": "a", "do": "mute", "service": "x"}, Said("anna", lasting=DAY))
    assert made.rule.until == made.rule.since + DAY  # type: ignore[operator]
    ever = await world.operations.add_rule({"name": "b", "do": "mute", "service": "x"}, Said("anna", lasting=None))
    assert ever.rule.until is None


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"name": "a", "do": "mute"}, "matches everything"),
    ({"name": "a", "do": "mute", "service": "~.*"}, "matches everything"),
    ({"name": "a", "do": "mute", "texts": ["~(a+)+(?=b)"]}, "look-around"),
    ({"name": "a", "do": "mute", "texts": [f"~{'(a{1000}){1000}'}"]}, "too large"),
    ({"name": "a", "do": "mute", "texts": "~("}, "regular expression"),
    ({"name": "a b", "do": "mute", "service": "x"}, "name"),
    ({"name": "a", "do": "silence", "service": "x"}, "mute"),
    ({"name": "a", "do": "severity", "service": "x"}, "at_most"),
    ({"name": "a", "do": "mute", "hours": "25:00-26:00"}, "hours of a day"),
    ({"name": "a", "do": "mute", "service": "x", "timezone": "Mars/Olympus"}, "time zone"),
    ({"name": "a", "do": "mute", "service": "x", "until": "yesterday"}, "RFC 3339"),
)


@pytest.mark.parametrize(("settings", "said"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_rule_that_makes_no_sense_is_refused_with_what_is_wrong(
    lived: Lived, settings: dict[str, Any], said: str
) -> None:
    world, _ = lived
    with pytest.raises(ConfigError, match=said):
        await world.operations.add_rule(settings, Said("anna"))
    assert await world.operations.rules() == []


async def test_a_rule_of_yesterday_one_that_is_there_already_and_one_that_is_not_are_refused(lived: Lived) -> None:
    world, _ = lived
    quiet = {"name": "quiet", "do": "mute", "service": "mail"}
    with pytest.raises(PermanentError, match="is over already"):
        await world.operations.add_rule({**quiet, "until": (START - HOUR).isoformat()}, ANNA)
    await world.operations.add_rule(quiet, ANNA)
    with pytest.raises(PermanentError, match="there is a rule 'quiet' already"):
        await world.operations.add_rule(quiet, ANNA)
    with pytest.raises(PermanentError, match="there is no rule 'loud'"):
        await world.operations.remove_rule("loud", ANNA)
    assert await world.operations.act("unknown", "accept", ANNA) is None
    assert [act.verb for act in await acts_of(world.assembly.state)] == ["add"]


async def test_what_logs_say_is_no_pattern_in_a_rule_that_is_made_of_it(lived: Lived) -> None:
    world, _ = lived
    incident = await opened(world, text="~.*")
    made = rule_from(incident, "accept", "anna", "")
    assert made is not None
    assert made.texts == ("=~.*",)
    await world.operations.act(incident.id, "accept", ANNA)
    await world.hour([])
    await world.hour(failure("orders", "disk full", world.clock.moment, 60, Severity.ERROR))
    assert len(await world.incidents("firing")) == 1


async def test_days_with_rules_and_acts_leave_every_place_right(lived: Lived) -> None:
    world, places = lived
    await live(world, days=2, rules=6, seed=1)
    assert len(await world.incidents()) > 5
    assert await wrong(world, places) == []


def test_a_rule_can_be_written_as_exporter_yml_says_it() -> None:
    from exporter.model import settings_of

    settings = {
        "name": "night",
        "do": "severity",
        "at_most": "info",
        "service": ["orders", "~^bill"],
        "hours": "22:00-06:00",
        "weekdays": ["fri"],
        "timezone": "Europe/Berlin",
        "reason": "nobody is there",
    }
    rule = RuleSettings.model_validate(settings).rule(None)
    assert RuleSettings.model_validate(settings_of(rule)).rule(None) == rule
    json.dumps(settings_of(rule))
