"""Three processes, each of which sees its own files and neighbours alone, leave what one leaves; `make evaluate
ARGS=layers` plays the demo's two failures, kills each of the three, and loads a memory."""

from __future__ import annotations

from tests.layers.apart import in_rooms


def test_three_processes_find_recall_and_tell_what_one_does_and_a_kill_of_each_loses_and_repeats_nothing() -> None:
    """Reports are equal once memory and model have answered."""
    outcome = in_rooms("small", kills=True)
    assert outcome.unlike == []
    assert outcome.killed == ["memory", "report", "daemon"]
    assert outcome.incidents >= 2
    assert outcome.repeated <= 1, "what was told when the daemon was killed may come again, under the same id"
