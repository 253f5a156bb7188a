"""The list of incidents and the overview: who looks for something finds it, and what was left out is said."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from exporter.model import Match, Rule
from exporter.model.facts import Series
from exporter.model.questions import Asked, Readiness, RuleRecord, SourceProgress
from exporter.web import pages
from exporter.web.lists import trend
from exporter.wording import glossary
from exporter.wording.glossary import GLOSSARY
from tests.people.weeks import failure, weeks
from tests.servers.browser import Browser
from tests.web.backend import START, at, overview, resolved_record, shop_incident, shop_record
from tests.web.test_pages import in_browser
from tests.web.test_pages import serving as serving_records


async def test_who_looks_for_an_incident_finds_it(browser: Browser) -> None:
    async with serving_records(shop_record(), resolved_record()) as base:

        def look(page: Browser) -> list[str]:
            page.javascript(enabled=False)
            seen = []
            for name, value in (
                ("status", "resolved"),
                ("severity", "critical"),
                ("service", "search"),
                ("q", "connections to"),
            ):
                page.open(base + "/")
                page.fill(f"[name={name}]", value)
                page.evaluate("document.documentElement.dataset.left = 'no'")
                page.click(".filter button")
                page.wait_for("document.readyState == 'complete' && !document.documentElement.dataset.left")
                seen.append(page.text("main .incidents"))
            page.open(base + "/?q=nothing+like+it")
            return [*seen, page.text("main .empty")]

        resolved, critical, search, words, none = await in_browser(browser, look)
    assert [("search: index" in one, "payments: conn" in one) for one in (resolved, critical, search, words)] == [
        (True, False),
        (False, True),
        (True, False),
        (False, True),
    ]
    assert none == "No incident is like that."


@pytest.mark.parametrize("query", ["status=no", "severity=fatal", "within=1y"])
async def test_what_is_no_choice_is_refused(query: str) -> None:
    async with serving_records() as base, aiohttp.ClientSession() as client:
        assert (await client.get(f"{base}/?{query}")).status == 400


async def test_lists_load_themselves_again_until_somebody_stops_that() -> None:
    async with serving_records(shop_record()) as base, aiohttp.ClientSession() as client:
        first = await client.get(f"{base}/?status=firing")
        assert first.headers["Refresh"] == "60"
        assert "?status=firing&amp;refresh=off" in await first.text()
        assert "Refresh" not in (await client.get(f"{base}/?refresh=off")).headers
        assert "Refresh" not in (await client.get(f"{base}/incidents/{shop_incident().id}")).headers


async def test_incidents_are_found_by_what_is_told_of_them_and_when_they_were(tmp_path: Path) -> None:
    async with weeks(tmp_path) as (world, _):
        await world.hour(failure("orders", "pool exhausted", world.clock.moment, 40, 17))
        for _ in range(4):
            await world.hour([])
        await world.hour(failure("billing", "disk full", world.clock.moment, 40, 21))

        async def found(**asked: Any) -> list[str]:
            return [one.incident.service for one in await world.operations.find(Asked(**asked), 10)]

        assert await found() == ["billing", "orders"]
        assert await found(words="POOL exhausted") == ["orders"]
        assert await found(within=timedelta(hours=2)) == ["billing"]
        assert await found(severity="critical") == ["billing"]
        assert await found(service="orders", status="resolved") == ["orders"]
        assert await found(words="pool disk") == []
        assert len(await world.operations.find(Asked(), 1)) == 1


def test_it_is_said_whether_what_failed_gets_more_or_less() -> None:
    def of(*counts: int | None) -> str:
        facts = shop_incident().facts
        assert facts
        series = Series("lines", "payments", at(-60), 60, counts)
        return trend(replace(shop_incident(), facts=replace(facts, series=(series,))))

    assert of(0, 0, 0, 0, 0, 9, 9, 9, 9, 9) == "rising"
    assert of(9, 9, 9, 9, 9, 1, 0, None, 0, 0, 0) == "falling"
    assert of(9, 8, 9, 9, 9, 9, 9, 8, 9, 9) == "steady"
    assert trend(replace(shop_incident(), updated_at=at(30))) == "", "its numbers are old by then"
    assert trend(resolved_record().incident) == trend(replace(shop_incident(), facts=None)) == ""


# --- Overview -----------------------------------------------------------------------------------------------


async def test_the_overview_says_what_is_watched_learnt_near_hidden_and_left_out(browser: Browser) -> None:
    progress = SourceProgress("shop", "warming_up", 0.42, START, timedelta(hours=26, minutes=3), 1, "3 of 7 days")
    async with serving_records(readiness=Readiness(False, ("shop is warming up",), (progress,))) as base:

        def look(page: Browser) -> tuple[str, str]:
            page.open(base + "/")
            first = page.text("main")
            page.open(base + "/overview")
            return first, page.text("main")

        first, text = await in_browser(browser, look)
    assert "Not everything is watched now. shop is warming up" in first
    for said in (
        *("42%", "1 d 2 h", "3 of 7 days", "From a strength of 6.22 on", "budget of 1 false alarm a day"),
        *("search: strength 4.20, below the threshold of 6.22; errors: errors of search", "2 services, 55 kinds"),
        *("There is no rule.", "12 lines that were read and not judged shop: too old"),
    ):
        assert said in text, said
    assert text.index("payments") < text.index("cart"), "what stood out most comes first"


def test_rules_are_shown_with_what_they_hid() -> None:
    rule = Rule("backup", "expected", Match(services=("backup",)), by="anna", reason="nobody will mend it")
    html = pages.overview(overview(), Readiness(True), [RuleRecord(rule, 60)], "./")
    assert "by anna: hid 60. nobody will mend it" in html


# --- Glossary -----------------------------------------------------------------------------------------------


def test_every_word_that_is_linked_is_explained_and_the_page_of_the_documentation_is_as_it_is_printed() -> None:
    known = {one.id for one in GLOSSARY}
    progress = (SourceProgress("shop", "ready"),)
    html = pages.incident_page(shop_record(), "../") + pages.overview(
        overview(), Readiness(True, (), progress), (), "./"
    )
    linked = set(re.findall(r'glossary#([a-z-]+)"', html))
    assert {"strength", "threshold", "budget", "template", "share", "suspect", "fingerprint"} <= linked <= known
    assert len(known) == len(GLOSSARY)
    page = pages.glossary("./")
    assert all(f'<dt id="{one.id}">' in page for one in GLOSSARY)
    assert (Path(__file__).parents[2] / "docs" / "glossary.md").read_text() == glossary.page()
