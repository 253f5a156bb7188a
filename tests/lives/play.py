"""Play stories with the code of any checkout, in processes of their own."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.checkouts import REPOSITORY, answers
from tests.lives.stories import WARM, Story
from tests.lives.world import BEGIN

DRIVER = Path(__file__).parent / "driver.py"


@dataclass(frozen=True)
class Played:
    """What was told of a story, in order, each moment in seconds since the platform began; and processor seconds.

    notices: when each was known, of whom it is, and its kind.
    """

    story: Story
    told: tuple[Mapping[str, Any], ...]
    notices: tuple[tuple[float, str, str], ...]
    seconds: float


def play(
    story: Story, checkout: Path = REPOSITORY, learnt: Path | None = None, settings: Mapping[str, Any] | None = None
) -> Played:
    """Play a story. `learnt`: a folder where what was learnt in warm-up is kept, for other stories of the same seed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        story.world.lines(0, WARM + story.length).write_parquet(folder / "lines.parquet")
        services = len(story.world.services)
        task = {
            "begin": BEGIN,
            "warm": BEGIN + WARM,
            "end": BEGIN + WARM + story.length,
            "lines": str(folder / "lines.parquet"),
            "folder": str(folder),
            "learnt": str((learnt or folder) / f"learnt-{story.seed}-{services}.db"),
            "settings": dict(settings or {}),
        }
        answer = json.loads(answers(DRIVER, [task], checkout)[-1])
        if keep := os.environ.get("LAE_KEEP_STATE"):
            os.replace(folder / "state.db", Path(keep) / f"{story.name}-{story.seed}.db")
    for item in answer["told"]:
        for key in ("at", "starts_at", "ends_at"):
            item[key] = item[key] - BEGIN if item[key] is not None else None
    notices = tuple((at - BEGIN, service, kind) for at, service, kind in answer["notices"])
    return Played(story, tuple(answer["told"]), notices, answer["seconds"])
