"""What the judge of delivery says of places. A calm run shows that it is silent where all is right; here it speaks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from exporter.config.tables import SINKS as TABLE
from tests.fakes.faulty import Exchange
from tests.fakes.recording import Recorded
from tests.matrix.judge import Exchanges, ends_moved, every_change, flickers, printed, shows
from tests.matrix.places import SINKS
from tests.matrix.story import SEEN_BEFORE, Story, life, story

BASE = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOLD = Story((life(0, "payments", ("open", "severity", "report", "resolve"), (0, 1, 2, 3), BASE),), 0)
[IDENTITY] = TOLD.ids
CHANGES = [step.event_id for step in TOLD.steps]


def test_every_sink_of_the_table_is_judged() -> None:
    assert {sink.split()[0] for sink in SINKS} == set(TABLE)


def test_a_story_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    assert story(1, 60, BASE) == story(1, 60, BASE) != story(2, 60, BASE)


def test_a_story_has_incidents_that_last_incidents_that_are_over_and_one_that_came_back() -> None:
    told = story(1, 60, BASE)
    assert 0 < len(told.open) < len(told.lives)
    assert any(step.change == "reopened" for step in told.steps)
    assert any(step.part for step in told.steps)


# --- Changes ----------------------------------------------------------------------------------------------


def test_changes_that_came_each_once_or_again_the_same_are_right() -> None:
    account = every_change([(event_id, "said") for event_id in [*CHANGES, CHANGES[-1]]], TOLD)
    assert not account.lacks + account.wrong


@pytest.mark.parametrize(
    ("came", "said"),
    [
        ([(event_id, "said") for event_id in CHANGES[1:]], "is missing"),
        ([*((event_id, "said") for event_id in CHANGES), (CHANGES[0], "other")], "said something else"),
        ([*((event_id, "said") for event_id in CHANGES), (f"{IDENTITY}:9:0", "said")], "never happened"),
        ([*((event_id, "said") for event_id in CHANGES), (CHANGES[0], "said")], "the last that came"),
    ],
)
def test_a_change_that_is_missing_contradicted_made_up_or_out_of_order_is_named(
    came: Sequence[tuple[str, Any]], said: str
) -> None:
    account = every_change(came, TOLD)
    assert said in " ".join(account.lacks + account.wrong)


def test_what_a_kill_cut_off_on_the_console_does_not_count() -> None:
    first = f" WARNING  payments: lost\nincident {IDENTITY} · revision 1\n"
    assert f"{IDENTITY}:1:0 is missing" not in printed(first, TOLD).lacks
    assert f"{IDENTITY}:1:0 is missing" in printed(first[:30], TOLD).lacks


def test_a_text_shows_a_state_by_its_revision_and_by_what_only_its_second_report_cites() -> None:
    first, second = next(step for step in TOLD.steps if step.change == "updated"), list(TOLD.steps)[2]
    assert shows("incident x, revision 2", first)
    assert not shows("incident x, revision 20", first)
    assert not shows("incident x, revision 2", second)
    assert shows(f"{SEEN_BEFORE.headline}, revision 2", second)


# --- Messages that were posted twice ----------------------------------------------------------------------


def exchange(at: float, body: Any, stored: bool = True, answered: bool = True) -> Exchange:
    return Exchange(at, at + 0.1, "POST", "/hook", json.dumps(body).encode(), stored, answered)


def test_a_message_posted_twice_although_its_answer_came_is_wrong() -> None:
    again = [exchange(0, {"text": "a"}), exchange(60, {"text": "a"})]
    assert Exchanges(again, ()).repeated("/hook")


@pytest.mark.parametrize(
    ("first", "kills"),
    [
        (exchange(0, {"text": "a"}, stored=False, answered=False), ()),
        (exchange(0, {"text": "a"}, answered=False), ()),
        (exchange(0, {"text": "a"}), (0.05,)),
    ],
)
def test_a_message_whose_answer_may_have_been_lost_may_come_again(first: Exchange, kills: Sequence[float]) -> None:
    assert not Exchanges([first, exchange(60, {"text": "a"})], kills).repeated("/hook")


# --- Alerts -----------------------------------------------------------------------------------------------


def posted(at: float, ends: float) -> Exchange:
    """A post of the incident's alert, which ends so many seconds after the beginning."""
    return posted_of(TOLD, at, ends)


def posted_of(told: Story, at: float, ends: float) -> Exchange:
    labels = dict(told.lives[0][-1].incident.labels)
    alert = {"labels": labels, "endsAt": (BASE + timedelta(seconds=ends)).isoformat()}
    return exchange(BASE.timestamp() + at, [alert])


def test_an_end_that_is_said_again_is_right_and_one_that_moves_is_wrong() -> None:
    assert not ends_moved([posted(0, 20), posted(5, 5), posted(10, 5)], TOLD)
    assert ends_moved([posted(0, 20), posted(5, 5), posted(10, 10)], TOLD)


def test_an_incident_that_came_back_unseen_has_a_second_end_and_no_third() -> None:
    came_back = Story((life(1, "search", ("open", "resolve", "reopen", "resolve"), (0, 5, 9, 10), BASE),), 60)
    ends = [posted_of(came_back, at, at) for at in (5, 10, 15)]
    assert not ends_moved(ends[:2], came_back)
    assert ends_moved(ends, came_back)


def test_an_incident_that_came_back_has_a_second_end() -> None:
    assert not ends_moved([posted(5, 5), posted(10, 30), posted(15, 15)], TOLD)


def notified(status: str, revision: int) -> Recorded:
    labels = dict(TOLD.lives[0][-1].incident.labels)
    alert = {"status": status, "labels": labels, "annotations": {"revision": str(revision)}}
    return Recorded("POST", "/", {}, json.dumps({"alerts": [alert]}).encode())


def test_an_alert_that_fires_after_its_end_flickers() -> None:
    assert not flickers([notified("firing", 2), notified("resolved", 3)], TOLD)
    assert flickers([notified("firing", 2), notified("resolved", 3), notified("firing", 3)], TOLD)


def test_an_alert_that_ran_out_while_nobody_was_reached_may_fire_again() -> None:
    assert not flickers([notified("firing", 2), notified("resolved", 2), notified("firing", 2)], TOLD)
