"""What is noticed and pages nobody: its rows, the newest first, and who shows it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from exporter.cli.incidents import list_notices
from exporter.config import parse
from exporter.model import Contribution, Notice, Release
from exporter.model.questions import Asked, Readiness
from exporter.model.times import Window
from exporter.run.learning import open_state
from exporter.state.checkpoints import Checkpoint, checkpoint_row, release_row
from exporter.state.notices import notice_rows, notices
from exporter.web import pages
from tests.memory_source import START

MINUTE = timedelta(minutes=1)
FINDING = Contribution("status", "status 4xx of <b>all</b> its lines", 95, 2.3, among=230)


def refused(minute: int) -> Notice:
    return Notice(f"N{minute}", "refused", "shop", "cart", START + minute * MINUTE, (FINDING,))


def window(minute: int) -> Window:
    return Window(START + minute * MINUTE, MINUTE)


async def test_a_window_that_is_read_again_has_what_it_has_now_and_what_warm_up_saw_is_no_news(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {"type": "file", "name": "shop", "path": str(tmp_path / "none.log")}
    config = parse({"state": str(tmp_path / "state.db"), "sources": [source]})
    state = open_state(config)
    try:
        warm = Checkpoint(START, START, START, START + 10 * MINUTE)
        await state.write([checkpoint_row("shop", warm), *notice_rows("shop", window(5), [refused(5)])])
        for minute in (20, 30):
            await state.write([*notice_rows("shop", window(minute), [refused(minute)])])
        await state.write([*notice_rows("shop", window(30), [])])
        await state.write([release_row(Release("cart", "1.4", START + 25 * MINUTE))])
        found = await notices(state, 10)
        assert [(one.kind, one.at) for one in found] == [
            ("release", START + 25 * MINUTE),
            ("refused", START + 20 * MINUTE),
        ]
    finally:
        state.close()
    assert await list_notices(config, 10, "text") == 0
    said = capsys.readouterr().out
    assert "cart: version 1.4 was deployed" in said
    assert "41% of 230, expected 1%" in said
    page = pages.incident_list([], Asked(), Readiness(True, ()), "./", notices=found)
    assert "version 1.4 was deployed" in page
    assert "<b>all</b>" not in page
