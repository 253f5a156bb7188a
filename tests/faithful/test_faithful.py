"""A slice of the answers that `make faithful` tries; and that the judge notices what is wrong."""

from __future__ import annotations

import pytest

from tests.faithful.figures import verdicts
from tests.faithful.judge import Line, lines
from tests.faithful.scripts import CALM, given, scripts

EACH = 11
"""One in so many answers is tried here."""


def test_there_are_enough_answers_on_six_incidents_and_on_one_without_a_cause() -> None:
    assert len({one.content for one in scripts()}) >= 120
    assert len(given()) == 7
    assert CALM in {one.name for one in given()}
    assert sum(one.group == "useless" for one in scripts()) == 28


def test_nothing_of_a_model_is_taken_for_checked_and_no_truth_is_lost() -> None:
    chosen = scripts()[::EACH]
    assert {one.script.name: list(one.wrong) for one in verdicts(chosen=chosen) if one.wrong} == {}


@pytest.mark.parametrize(
    ("place", "shown", "marked"),
    [
        ("console", "What to do\n  1. look (suggestion, not checked)", [False, True]),
        (
            "console",
            "The model's reading, not checked:\n  - it broke\nSeen before\n  - it broke",
            [True, True, False, False],
        ),
        ("grafana", "<b>a</b><br>(model's reading, not checked) it broke", [False, True]),
        ("webhook", {"text": "it broke", "verified": False}, [True]),
        ("webhook", {"text": "it broke", "verified": True}, [False]),
        ("page", "<h3>a</h3><ul><li>it broke <span>model's reading, not checked</span></li></ul>", [False, True]),
    ],
)
def test_the_judge_sees_what_is_marked(place: str, shown: object, marked: list[bool]) -> None:
    found = [one for one in lines(place, shown) if isinstance(one, Line)]
    assert [one.marked for one in found] == marked
