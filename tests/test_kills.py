"""Killed at any moment while lines come late: what is left is what a calm run leaves, and all of it was told once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.kills import Story, killed


def test_a_daemon_that_is_killed_while_lines_come_late_leaves_and_tells_what_a_calm_one_does(tmp_path: Path) -> None:
    """Three times; `make evaluate ARGS=kills` has thirty."""
    found = asyncio.run(killed(Story(seed=1, minutes=19, kills=3), tmp_path))
    assert found.bad == ()
    assert found.incidents
    assert found.told >= 3
    assert found.read_again
