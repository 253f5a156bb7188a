"""What people do by clicking: signed in with the token, by forms without a script, and seen in every place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from exporter.model import Incident, Severity
from exporter.model.questions import Said
from exporter.state.people import acts_of
from exporter.web import WebSettings
from exporter.web.app import create_app, start
from exporter.web.sessions import COOKIE
from tests.people.weeks import DAY, HOUR, Places, Weeks, failure, weeks
from tests.servers.browser import Browser
from tests.web.backend import MemoryBackend, shop_incident, shop_record

TOKEN = "a-token-of-this-test"
LAG = timedelta(seconds=30)
PAGE = f"/incidents/{shop_incident().id}"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@asynccontextmanager
async def serving(backend: Any, **settings: Any) -> AsyncIterator[str]:
    own = WebSettings(**{"listen": "127.0.0.1:0", "token": SecretStr(TOKEN), **settings})
    runner = await start(create_app(own, backend), own)
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Person:
    """Somebody with a browser, in which nothing may run."""

    def __init__(self, browser: Browser, base: str) -> None:
        self.page = browser
        self.base = base

    def act(self, incident: str, button: str, text: str = "", *choices: str) -> str:
        """Open the incident, press a button, sign in where that is asked, fill the form in and send it; what is seen
        then."""
        self.page.javascript(enabled=False)
        self.page.open(f"{self.base}/incidents/{incident}")
        self.press(button)
        self.sign_in()
        if text:
            self.page.fill("textarea", text)
        for choice in choices:
            self.page.click(f"input[value='{choice}']")
        self.press(self.page.evaluate("document.querySelector('main form.fields button.do').innerText"))
        return self.page.text("main")

    def sign_in(self) -> None:
        """Where that is asked."""
        if self.page.evaluate("!!document.querySelector('input[name=token]')"):
            self.page.fill("input[name=by]", "anna")
            self.page.fill("input[name=token]", TOKEN)
            self.press("Sign in")

    def press(self, name: str) -> None:
        """A button or link by what stands on it; wait for the page that it leads to."""
        self.page.evaluate("document.documentElement.dataset.left = 'no'")
        self.page.evaluate(
            f"[...document.querySelectorAll('main a, main button')].find(e => e.innerText == {name!r}).click()"
        )
        self.page.wait_for("document.readyState == 'complete' && !document.documentElement.dataset.left")


async def acting(browser: Browser, base: str, do: Callable[[Person], Any]) -> Any:
    found = await asyncio.to_thread(do, Person(browser, base))
    assert browser.dialogs == []
    assert all(url.startswith(f"{base}/") for url in browser.requested_urls)
    return found


async def opened(world: Weeks, service: str) -> Incident:
    at = world.clock.moment
    await world.hour(failure(service, "pool exhausted", at, 60, Severity.ERROR))
    return next(one for one in await world.incidents("firing") if one.service == service)


@pytest.fixture
async def lived(tmp_path: Path) -> AsyncIterator[tuple[Weeks, Places]]:
    async with weeks(tmp_path) as found:
        yield found


async def test_somebody_acknowledges_notes_and_resolves_by_clicking(
    browser: Browser, lived: tuple[Weeks, Places]
) -> None:
    world, places = lived
    incident = await opened(world, "orders")
    async with serving(world.operations) as base:
        seen = await acting(browser, base, lambda one: one.act(incident.id, "Acknowledge", "I look at it", "4h"))
        assert "Acknowledged by anna" in seen
        assert "I look at it" in seen
        await acting(browser, base, lambda one: one.act(incident.id, "Note", "it is the pool"))
        seen = await acting(browser, base, lambda one: one.act(incident.id, "Resolve", "raised the pool to 60"))
    assert "Fixed by: raised the pool to 60" in seen
    await world.tell()
    assert places.webhook.requests[-1].json()["incident"]["fix"] == "raised the pool to 60"
    (message,) = places.slack.parents
    assert message.text.startswith("Resolved: ")
    done = [(act.verb, act.by, act.reason) for act in await acts_of(world.assembly.state, incident.id)]
    assert done == [
        ("ack", "anna", "I look at it"),
        ("note", "anna", "it is the pool"),
        ("resolve", "anna", "raised the pool to 60"),
    ]


async def test_what_is_muted_is_shown_and_told_to_nobody_and_what_that_hides_is_seen_before(
    browser: Browser, lived: tuple[Weeks, Places]
) -> None:
    world, _ = lived
    incident = await opened(world, "orders")

    def look(one: Person) -> str:
        refused = one.act(incident.id, "Mute", "deploying", "mute_service", "4h")
        assert "rule mute-service-" in refused
        assert "1 of 1 incidents" in refused
        assert "see what, and say that you mean it" in refused
        one.page.click("input[name=confirmed]")
        one.press("Mute")
        return one.page.text("main")

    async with serving(world.operations) as base:
        assert "muted" not in await acting(browser, base, look)
        await world.hour([])
        (rule,) = await world.operations.rules()
    assert (rule.rule.action, rule.rule.match.services, rule.rule.by) == ("mute", ("orders",), "anna")
    assert rule.rule.until is not None
    assert rule.rule.since is not None
    assert rule.rule.until - rule.rule.since == 4 * HOUR


async def test_a_mute_is_taken_back_by_clicking_and_what_goes_on_is_told(
    browser: Browser, lived: tuple[Weeks, Places]
) -> None:
    world, places = lived
    at = world.clock.moment
    settings = {"name": "deploying", "do": "mute", "service": "orders"}
    await world.operations.add_rule(settings, Said("ben", "a deployment", lasting=DAY, confirmed=True))
    incident = await opened(world, "orders")
    assert incident.withheld == "muted"
    assert places.webhook.requests == []

    def look(one: Person) -> list[str]:
        one.page.javascript(enabled=False)
        one.page.open(f"{one.base}/incidents/{incident.id}")
        one.press("See deploying")
        seen = [one.page.text("main")]
        one.press("Take back")
        one.sign_in()
        seen.append(one.page.text("main"))
        one.page.fill("textarea", "it is over")
        one.press("Take back")
        return [*seen, one.page.text("main")]

    # In life what is grouped is older than the query offset.
    world.clock.moment += LAG
    async with serving(world.operations) as base:
        story, asked, done = await acting(browser, base, look)
    world.clock.moment -= LAG
    for said in ("It mutes service orders.", "By ben", "Because a deployment", f"Since {at:%Y-%m-%d %H:%M:%S}"):
        assert said in " ".join(story.split()), said
    assert f"{at + DAY:%Y-%m-%d %H:%M:%S}" in story
    assert f"incident {incident.id}" in story
    assert "1 incident goes on and is told to nobody because of it" in asked
    assert "orders: " in asked
    assert "by anna" in done
    assert "Read-only" not in done
    await world.hour(failure("orders", "pool exhausted", world.clock.moment, 60, Severity.ERROR))
    assert places.webhook.requests[0].json()["change"] == "opened"
    assert await world.operations.rules() == []
    acts = [(act.verb, act.by, act.reason) for act in await acts_of(world.assembly.state)]
    assert acts == [("add", "ben", "a deployment"), ("remove", "anna", "it is over")]


@pytest.mark.parametrize(
    ("button", "verdict"), [("Reject", "Rejected as no problem"), ("Accept", "Accepted as normal")]
)
async def test_what_is_said_to_be_no_problem_ends_everywhere(
    browser: Browser, lived: tuple[Weeks, Places], button: str, verdict: str
) -> None:
    world, places = lived
    incident = await opened(world, "orders")
    async with serving(world.operations) as base:
        seen = await acting(browser, base, lambda one: one.act(incident.id, button, "a load test", "30d"))
    assert f"{verdict} by anna: a load test" in seen
    await world.tell()
    (annotation,) = places.grafana.annotations.values()
    assert f"{verdict} by anna: a load test" in annotation.text
    (rule,) = await world.operations.rules()
    assert rule.rule.until is not None


async def test_what_is_resolved_by_clicking_ends_in_an_alertmanager(
    browser: Browser, tmp_path: Path, alertmanager_url: str
) -> None:
    async with weeks(tmp_path, {"type": "alertmanager", "urls": [alertmanager_url]}) as (world, _):
        world.clock.moment = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HOUR
        incident = await opened(world, "orders")
        world.clock.moment = datetime.now(UTC)
        await world.tell()
        assert await states(alertmanager_url, incident.id) == ["active"]
        async with serving(world.operations) as base:
            await acting(browser, base, lambda one: one.act(incident.id, "Resolve", "raised the pool"))
        world.clock.moment = datetime.now(UTC)
        await world.tell()
        assert await states(alertmanager_url, incident.id) == []


async def states(url: str, incident: str) -> list[str]:
    """Of the alerts of an incident; those that are over are shown no more."""
    async with aiohttp.ClientSession() as client, client.get(f"{url}/api/v2/alerts") as answer:
        found = await answer.json()
    return [one["status"]["state"] for one in found if one["labels"].get("incident_id") == incident]


# --- Who may ------------------------------------------------------------------------------------------------


async def test_without_a_token_the_pages_are_read_only_and_say_how_to_get_one(browser: Browser) -> None:
    async with serving(MemoryBackend(shop_record()), token=None) as base:

        def look(one: Person) -> tuple[str, int, str]:
            one.page.open(base + PAGE)
            seen = one.page.text(".actions"), one.page.evaluate("document.querySelectorAll('form, button').length")
            one.page.open(f"{base}{PAGE}/resolve")
            return *seen, one.page.text("main")

        said, forms, refused = await acting(browser, base, look)
    assert "web.token_file" in said
    assert forms == 0
    assert "web.token_file of exporter.yml" in refused


async def test_a_wrong_token_signs_nobody_in(browser: Browser) -> None:
    async with serving(MemoryBackend(shop_record())) as base:

        def look(one: Person) -> tuple[str, str]:
            one.page.open(f"{base}{PAGE}/resolve")
            one.page.fill("input[name=by]", "eve")
            one.page.fill("input[name=token]", "guessed")
            one.press("Sign in")
            return one.page.text("[role=alert]"), one.page.evaluate("document.cookie")

        said, cookie = await acting(browser, base, look)
    assert said == "This is not the token of web.token_file."
    assert cookie == ""


@asynccontextmanager
async def signed_in(base: str) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A client with a cookie, and what its forms must carry."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        given = {"by": "anna", "token": TOKEN, "to": ""}
        answer = await client.post(f"{base}/login", data=given, headers={"Origin": base}, allow_redirects=False)
        cookie = answer.headers["Set-Cookie"]
        assert answer.status == 303
        assert cookie.startswith(f"{COOKIE}=")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        page = await (await client.get(f"{base}{PAGE}/note")).text()
        yield client, page.partition('name="form" value="')[2].partition('"')[0]


async def test_only_a_form_of_ours_by_who_is_signed_in_does_anything() -> None:
    backend = MemoryBackend(shop_record())
    async with serving(backend) as base, signed_in(base) as (client, form):
        url, own = f"{base}{PAGE}/note", {"form": form, "text": "seen"}
        for headers, fields in (
            ({}, own),
            ({"Origin": "http://evil.example"}, own),
            ({"Origin": "null"}, own),
            ({"Origin": base, "Sec-Fetch-Site": "cross-site"}, own),
            ({"Origin": base, "Sec-Fetch-Site": "same-site"}, own),
            ({"Origin": base}, {**own, "form": "guessed"}),
            ({"Origin": base}, {"text": "seen"}),
        ):
            assert (await client.post(url, data=fields, headers=headers)).status == 403, (headers, fields)
        async with aiohttp.ClientSession() as stranger:
            assert (await stranger.post(url, data=own, headers={"Origin": base})).status == 403
        assert backend.acts == []
        done = await client.post(url, data=own, headers={"Origin": base, "Sec-Fetch-Site": "same-origin"})
        assert done.status == 200
        assert [(verb, said.by, said.reason) for _, verb, said in backend.acts] == [("note", "anna", "seen")]


async def test_a_cookie_ends_with_its_token_and_with_signing_out(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    async with serving(MemoryBackend(shop_record()), token=None, token_file=file) as base:
        async with signed_in(base) as (client, form):
            answer = await client.post(f"{base}/logout", data={"form": form}, headers={"Origin": base})
            assert answer.status == 200
            assert "Sign in to act" in await (await client.get(f"{base}{PAGE}/note")).text()
        async with signed_in(base) as (client, form):
            file.write_text("another\n")
            assert "Sign in to act" in await (await client.get(f"{base}{PAGE}/note")).text()
            own = {"form": form, "text": "seen"}
            assert (await client.post(f"{base}{PAGE}/note", data=own, headers={"Origin": base})).status == 403


async def test_a_read_token_shuts_the_pages_but_signing_in_and_who_did_reads_them() -> None:
    async with serving(MemoryBackend(shop_record()), read_token=SecretStr("reader")) as base:
        async with aiohttp.ClientSession() as client:
            assert [(await client.get(base + path)).status for path in ("/", PAGE, f"{PAGE}/note")] == [401, 401, 401]
            assert (await client.get(f"{base}/login")).status == 200
        async with signed_in(base) as (client, _):
            assert (await client.get(base + PAGE)).status == 200


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "incidents/../../x", "javascript:alert(1)", "\\\\x"]
)
async def test_signing_in_leads_nowhere_else(to: str) -> None:
    async with serving(MemoryBackend()) as base, aiohttp.ClientSession() as client:
        given = {"by": "anna", "token": TOKEN, "to": to}
        answer = await client.post(f"{base}/login", data=given, headers={"Origin": base}, allow_redirects=False)
        assert answer.headers["Location"] == "./"


async def test_what_is_no_form_is_refused() -> None:
    async with serving(MemoryBackend(shop_record())) as base, signed_in(base) as (client, form):
        url, ours = f"{base}{PAGE}/note", {"Origin": base}
        assert (await client.post(url, json={"form": form}, headers=ours)).status == 415
        many = "&".join(f"x{n}=1" for n in range(1_000))
        assert (await client.post(url, data=many, headers={**ours, **FORM})).status == 400
        assert (await client.post(url, data="x=" + "a" * 100_000, headers={**ours, **FORM})).status == 413
        assert (await client.post(url, data={"form": form, "text": " "}, headers=ours)).status == 400
