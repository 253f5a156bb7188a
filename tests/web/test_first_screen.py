"""What is told of a real failure stands on the first screen of a phone; `make evaluate ARGS=page` asks all kinds."""

from __future__ import annotations

import asyncio
from pathlib import Path

from exporter.web import pages
from tests.servers.browser import Browser
from tests.web.backend import MemoryBackend
from tests.web.failing import record_of
from tests.web.screen import wrong
from tests.web.test_acting_pages import serving


async def test_the_first_screen_holds_what_is_told_of_a_real_failure(browser: Browser, tmp_path: Path) -> None:
    record = await record_of("disk_full", tmp_path, seed=5)
    html = pages.incident_page(record, "../")
    assert "No space left on device" in html.partition('class="known')[0], "the line that decides"
    assert 'role="img"' in html, "and a chart"
    async with serving(MemoryBackend(record)) as base:
        assert await asyncio.to_thread(wrong, browser, f"{base}/incidents/{record.incident.id}") == []
    assert browser.errors == []
