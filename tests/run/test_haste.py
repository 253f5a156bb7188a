"""What opens is told at once: a commit wakes what reports and delivers, whatever the model does."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.story.haste import waits


async def test_the_first_place_hears_of_an_incident_within_a_second_of_its_commit(tmp_path: Path) -> None:
    assert median(await waits(5, tmp_path)) < 0.7
