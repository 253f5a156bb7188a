"""What the stories of the made platform are made of, and what is judged of them, on what was told made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lives.judge import Judge, Verdict
from tests.lives.play import Played
from tests.lives.stories import STORIES, WARM, Case, Story
from tests.lives.world import HOUR, MINUTE, Event, World, platform

AT = WARM + 2 * HOUR
PLATFORM = platform(3)
SERVICE = PLATFORM[3].name


def told(change: str, at: float, service: str = SERVICE, id: str = "a", **more: Any) -> dict[str, Any]:
    over = change == "resolved"
    return {
        "id": id, "change": change, "at": at, "severity": "warning", "status": "resolved" if over else "firing",
        "service": service, "services": [service], "suspects": [service], "starts_at": AT,
        "ends_at": at if over else None, "merged_into": None, **more,
    }  # fmt: skip


def judged(
    kind: str, events: list[Event], *news: dict[str, Any], notices: tuple[tuple[float, str, str], ...] = ()
) -> Verdict:
    case = Case(kind, tuple(events))
    story = Story("by hand", 3, World(3, PLATFORM, case.events), 24 * HOUR, (case,))
    (verdict,) = Judge(Played(story, news, notices, 0.0)).verdicts()
    return verdict


@pytest.mark.parametrize("name", STORIES)
def test_nothing_happens_while_it_is_learnt_and_all_happens_while_it_is_judged(name: str) -> None:
    story = STORIES[name](4)
    events = [event for case in story.cases for event in case.events]
    assert min(event.start for event in events) >= WARM
    assert max(event.start for event in events) < WARM + story.length
    assert len({event.service for event in events}) > 1


def test_what_an_event_adds_changes_nothing_before_it() -> None:
    plain = World(3, PLATFORM).lines(0, 3 * HOUR)
    failing = World(3, PLATFORM, (Event("fails", SERVICE, 2 * HOUR, 3 * HOUR),)).lines(0, 3 * HOUR)
    assert failing.head(1000).equals(plain.head(1000))
    assert failing.height > plain.height


def test_a_silent_service_says_nothing_and_a_renamed_one_goes_on_by_its_new_name() -> None:
    silent = World(3, PLATFORM, (Event("silent", SERVICE, HOUR, 2 * HOUR),)).lines(HOUR, 2 * HOUR)
    assert SERVICE not in silent["service"].to_list()
    renamed = World(3, PLATFORM, (Event("renamed", SERVICE, HOUR),)).lines(HOUR, 2 * HOUR)["service"].to_list()
    assert SERVICE not in renamed
    assert f"{SERVICE}-v2" in renamed


def test_an_incident_that_ends_early_is_not_open_while_its_failure_lasts() -> None:
    failure = [Event("fails", SERVICE, AT, AT + 10 * HOUR), Event("fails", SERVICE, AT + 14 * HOUR, AT + 15 * HOUR)]
    opened, again = told("opened", AT + MINUTE), told("opened", AT + 14 * HOUR + MINUTE, id="b")
    whole = judged("long", failure, opened, told("resolved", AT + 10 * HOUR + MINUTE), again)
    assert whole.right
    assert whole.pages == 2
    assert not judged("long", failure, opened, told("resolved", AT + 5 * HOUR), again).right
    assert not judged("long", failure, opened, told("resolved", AT + 10 * HOUR + MINUTE)).right


def test_silence_that_is_told_when_it_is_over_or_by_another_name_is_not_told() -> None:
    silence = [Event("silent", SERVICE, AT, AT + 40 * MINUTE)]
    over = told("resolved", AT + 42 * MINUTE)
    assert judged("silent", silence, told("opened", AT + 20 * MINUTE), over).right
    assert not judged("silent", silence, told("opened", AT + 41 * MINUTE), over).right
    assert not judged("silent", silence, told("opened", AT + 20 * MINUTE), told("resolved", AT + 21 * MINUTE)).right
    other = told("opened", AT + 20 * MINUTE, services=[SERVICE, "other"], suspects=["other", SERVICE])
    assert not judged("silent", silence, other, {**over, "suspects": ["other", SERVICE]}).right


def test_escalations_and_reopenings_are_pages() -> None:
    failure = [Event("fails", SERVICE, AT, AT + HOUR)]
    risen = told("updated", AT + 5 * MINUTE, severity="critical")
    story = (told("opened", AT + MINUTE), risen, told("resolved", AT + 20 * MINUTE), told("reopened", AT + 30 * MINUTE))
    assert judged("end", failure, *story).pages == 3
    assert judged("end", failure, *story).incidents == 1


def test_a_change_that_pages_nobody_is_quiet() -> None:
    change = [Event("replaced", SERVICE, AT)]
    assert judged("replaced", change).right
    assert not judged("replaced", change, told("opened", AT + 2 * HOUR)).right


def test_notices_of_a_change_are_those_of_its_service_until_it_is_usual() -> None:
    change = [Event("replaced", SERVICE, AT)]
    told = [
        (at, service, "adopted") for at in (AT - HOUR, AT + 24 * HOUR, AT + 50 * HOUR) for service in (SERVICE, "x")
    ]
    assert judged("replaced", change, notices=tuple(told)).notices == 1
