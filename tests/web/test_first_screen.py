"""What is told of a real failure stands on the first screen of a phone; `make evaluate ARGS=page` asks all kinds."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from exporter.model.facts import Measured
from exporter.web import pages
from tests.servers.browser import Browser
from tests.web.backend import START, MemoryBackend, resolved_record, shop_record
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


def test_what_to_do_is_read_before_the_lines_that_prove_it() -> None:
    html = pages.incident_page(shop_record(), "../")
    assert html.index('id="happened"') < html.index('id="steps"') < html.index('id="evidence"')


def test_nobody_is_asked_to_look_after_what_is_over() -> None:
    firing, over = (pages.incident_page(record, "../", can_act=True) for record in (shop_record(), resolved_record()))
    assert "/ack" in firing
    assert "/ack" not in over
    assert over.index("/resolve") < over.index("/mute"), "what fixed it is asked first"


def test_where_the_numbers_of_a_service_are_the_news_places_of_other_lines_are_not_shown() -> None:
    record = shop_record()
    facts = record.incident.facts
    assert facts
    measured = (Measured("less", "cron", "", START, 3.2, 5.6, score=20.0),)
    other = replace(record, incident=replace(record.incident, facts=replace(facts, measured=measured)))
    assert "places-host" in pages.incident_page(record, "../")
    assert "places-host" not in pages.incident_page(other, "../")
