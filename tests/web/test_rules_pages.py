"""Rules on the pages: who made one, when, until when, what it hid, and who may take it back."""

from __future__ import annotations

from typing import Any

import aiohttp
import html5lib
import pytest

from exporter.model.questions import Readiness, RuleRecord, RuleStory
from exporter.web import pages
from exporter.web.sessions import Session
from tests.servers.browser import Browser
from tests.web.backend import HOSTILE, MemoryBackend, at, overview, rule_story, shop_record
from tests.web.test_access import violations
from tests.web.test_acting_pages import Person, acting, serving, signed_in

SCREENS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]


def backend(*stories: RuleStory) -> MemoryBackend:
    found = MemoryBackend(shop_record())
    found.stories = {one.record.rule.name: one for one in stories}
    found.made = {one.record.rule.name: one.record for one in stories}
    return found


def overview_of(*stories: RuleStory, can_act: bool) -> str:
    return pages.overview(overview(), Readiness(True), [one.record for one in stories], "./", can_act)


def test_the_overview_says_of_each_rule_what_it_does_and_leads_to_taking_it_back() -> None:
    html = overview_of(rule_story(), rule_story(name="night", origin="configuration", until=at(-1)), can_act=True)
    assert "mutes service orders" in html
    assert 'href="./rules/mute-9a"' in html
    assert 'href="./rules/mute-9a/remove"' in html
    assert 'href="./rules/night/remove"' not in html, "exporter.yml has it"
    assert html.count(">over<") == 1
    assert "/remove" not in overview_of(rule_story(), can_act=False)


def test_the_page_of_a_rule_tells_each_incident_that_it_hid_once() -> None:
    html = pages.rule_page(rule_story(), "../", can_act=True)
    assert html.count(">incident 9a<") == 1
    assert "2026-03-14 09:32:00" in html, "its newest revision"
    assert "3 things, the newest first" in html
    assert "<script" not in html


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"origin": "configuration"}, "take it out there, and reload"),
        ({"removed_at": at(5), "removed_by": "ben"}, "by ben"),
    ],
)
async def test_what_cannot_be_taken_back_from_here_has_no_button_and_says_why(said: Any, shown: str) -> None:
    async with serving(backend(rule_story(**said))) as base, signed_in(base) as (client, _):
        html = await (await client.get(f"{base}/rules/mute-9a")).text()
        assert shown in html
        assert "Take back<" not in html
        asked = await client.get(f"{base}/rules/mute-9a/remove", allow_redirects=False)
        assert (asked.status, asked.headers["Location"]) == (303, "../mute-9a")


async def test_without_a_token_rules_are_read_only_and_say_how_to_take_one_back() -> None:
    async with serving(backend(rule_story()), token=None) as base, aiohttp.ClientSession() as client:
        html = await (await client.get(f"{base}/rules/mute-9a")).text()
        assert "web.token_file" in html
        assert "rules remove mute-9a" in html
        assert "<form" not in html
        assert "/remove" not in await (await client.get(f"{base}/overview")).text()
        assert (await client.get(f"{base}/rules/mute-9a/remove")).status == 403
        assert (await client.get(f"{base}/rules/nobody-made-it")).status == 404


async def test_only_a_form_of_ours_by_who_is_signed_in_takes_a_rule_back() -> None:
    rules = backend(rule_story())
    async with serving(rules) as base, signed_in(base) as (client, form):
        url, ours = f"{base}/rules/mute-9a/remove", {"Origin": base}
        for headers, given in (({}, form), ({"Origin": "http://evil.example"}, form), (ours, "guessed")):
            assert (await client.post(url, data={"form": given}, headers=headers)).status == 403
        async with aiohttp.ClientSession() as stranger:
            assert (await stranger.post(url, data={"form": form}, headers=ours)).status == 403
            asked = await stranger.get(url, allow_redirects=False)
            assert asked.headers["Location"] == "../../login?to=rules/mute-9a/remove"
        assert [*rules.made] == ["mute-9a"]
        assert (await client.post(url, data={"form": form}, headers=ours)).status == 200
        assert rules.made == {}
        again = await client.post(url, data={"form": form, "text": "why not"}, headers=ours)
        assert again.status == 400
        assert "Nothing has changed" in (said := await again.text())
        assert "why not" in said, "what was written stays"


async def test_rules_are_for_everybody_on_every_screen(browser: Browser) -> None:
    async with serving(backend(rule_story())) as base:

        def look(one: Person) -> list[Any]:
            one.page.open(f"{base}/login?to=rules/mute-9a/remove")
            one.sign_in()
            found = []
            for scheme, width in SCREENS:
                one.page.resize(width, 844)
                one.page.prefer(color_scheme=scheme)
                for path in ("overview", "rules/mute-9a", "rules/mute-9a/remove"):
                    one.page.open(f"{base}/{path}")
                    wide = one.page.evaluate("document.documentElement.scrollWidth")
                    found.append((path, violations(one.page), wide > width))
            return found

        seen = await acting(browser, base, look)
    assert [one for one in seen if one[1] or one[2]] == []


def test_a_strict_reader_finds_no_error_in_the_pages_of_rules() -> None:
    parser = html5lib.HTMLParser(strict=True)
    session = Session("anna", "f" * 64)
    parser.parse(overview_of(rule_story(), can_act=True))
    for one in (rule_story(), rule_story(removed_at=at(5)), RuleStory(RuleRecord(rule_story().record.rule))):
        parser.parse(pages.rule_page(one, "../", can_act=True))
        parser.parse(pages.take_back(one, session, HOSTILE, HOSTILE, "../../"))
