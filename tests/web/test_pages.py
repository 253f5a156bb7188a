"""Incident pages as a reader's browser shows them: complete, quiet, and deaf to what hostile logs ask for."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import fields, is_dataclass, replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Incident, Match, Rule
from exporter.model.facts import Measured
from exporter.model.questions import (
    Asked,
    HiddenIncident,
    IncidentRecord,
    Preview,
    Readiness,
    RuleRecord,
    SourceProgress,
)
from exporter.web import WebSettings, pages, showing
from exporter.web.app import STATIC, create_app, start
from exporter.web.deeds import DEEDS, Filled
from exporter.web.sessions import Session
from tests.servers.browser import Browser
from tests.web.backend import (
    START,
    MemoryBackend,
    at,
    overview,
    resolved_record,
    rule_story,
    shop_incident,
    shop_record,
)
from tests.web.screen import wrong

PAGE = f"/incidents/{shop_incident().id}"

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)><svg onload=alert(1)>',
    "'><iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "</pre></textarea></title><script src=http://198.51.100.7/x.js></script>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}${7*7}",
    "<style>*{display:none}</style><link rel=stylesheet href=http://198.51.100.7/x.css>",
    "<meta http-equiv=refresh content='0;url=http://198.51.100.7/'><base href=http://198.51.100.7/>",
    "\x1b[31mred\x00\u202egnp.exe\u200b\ud800\U000e0041 \u2028 end",
    "<form action=http://198.51.100.7/><button>Log in again</button></form>",
)


@asynccontextmanager
async def serving(*records: IncidentRecord, readiness: Readiness | None = None) -> AsyncIterator[str]:
    backend = MemoryBackend(*records)
    if readiness:
        backend.is_ready = readiness
    settings = WebSettings(listen="127.0.0.1:0")
    runner = await start(create_app(settings, backend), settings)
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def in_browser(browser: Browser, look: Callable[[Browser], Any]) -> Any:
    """Use the browser, which blocks, while the loop serves; the console must stay silent, and nobody else be asked."""
    result = await asyncio.to_thread(look, browser)
    assert browser.errors == []
    assert browser.dialogs == []
    return result


def only_from(browser: Browser, base: str) -> bool:
    return bool(browser.requested_urls) and all(url.startswith(f"{base}/") for url in browser.requested_urls)


def poisoned(value: Any, text: str) -> Any:
    """The value with every text in it, however deep, replaced; what code decides (status, kinds, ids) stays."""
    decided = {
        *("id", "status", "severity", "kind", "action", "origin", "writer", "outcome", "state", "incident"),
        "fingerprint",
    }
    if is_dataclass(value) and not isinstance(value, type):
        changes = {
            field.name: poisoned(getattr(value, field.name), text)
            for field in fields(value)
            if field.init and field.name not in decided
        }
        return replace(value, **changes)
    if isinstance(value, str):
        return text
    if isinstance(value, tuple):
        return tuple(poisoned(item, text) for item in value)
    return value


# --- What a reader sees --------------------------------------------------------------------------


UNFOLD = "document.querySelectorAll('details').forEach(part => part.open = true)"


async def test_the_incident_page_tells_the_story(browser: Browser) -> None:
    async with serving(shop_record()) as base:

        def look(page: Browser) -> str:
            page.open(base + PAGE)
            page.evaluate(UNFOLD)
            return page.text("main")

        text = await in_browser(browser, look)
        assert only_from(browser, base)
    for said in (
        "payments: connections to db-payments:5432 are refused",
        "firing",
        "critical",
        "2026-03-14 09:26:00",
        "7 min",
        "From 09:26 on, payments writes a line never seen before",
        "What it says in its own may be wrong",
        "qwen3-8b",
        "model's reading, not checked",
        "1 sentence that said nothing, or cited nothing real, was left out",
        "As of revision 3; the incident is at revision 4.",
        "could not connect to <*>: connection refused",
        "never before",
        "× 464",
        "missing",
        "74%",
        "gateway: 52 of 100 requests failed since 09:26 until 09:33 UTC",
        "4 more lines",
        "Which hosts of payments write it",
        "node-3",
        "And 2 more.",
        "cited",
        "Delivered to alertmanager; not yet: slack (429, again in 20 s); failed: otlp (401",
        "First to change, and its own errors name the database it could not reach",
        "the same failure",
        "3rd time",
        "1 line in common",
        "may be related",
        "Raised max_connections of db-payments to 200",
        "Look at db-payments",
        "Receipts are no longer sent",
        "remaining connection slots are reserved",
        "Read-only: to act from here, give a token in web.token_file",
        'log-anomaly-exporter incidents resolve 3f9a1c0de47b2856 --fix "…" -c exporter.yml',
        "new kind of line",
        "401: the collector refuses the token",
    ):
        assert said in text, said


async def test_the_first_screen_of_a_phone_holds_what_one_reads_first(browser: Browser) -> None:
    long = replace(shop_record(), incident=replace(shop_incident(), fix="we raised the pool " * 100))
    old = IncidentRecord(replace(shop_incident(), id="old", facts=None))
    bare_one = IncidentRecord(replace(bare(), id="bare", facts=None))
    async with serving(
        replace(shop_record(), incident=replace(shop_incident(), id="new")), long, old, bare_one
    ) as base:

        def look(page: Browser) -> list[list[str]]:
            return [wrong(page, f"{base}/incidents/{name}") for name in ("new", shop_incident().id, "old", "bare")]

        assert await in_browser(browser, look) == [[], [], [], []]


def test_no_line_decides_where_only_numbers_say_what_is_wrong() -> None:
    incident = shop_incident()
    assert incident.facts
    fewer = Measured("fewer", "gateway", "", at(0), 0.4, 24.0, score=20.0)
    record = IncidentRecord(replace(incident, facts=replace(incident.facts, measured=(fewer,))))
    assert showing.decisive(record.incident) is None
    assert "No line says it: the numbers do." in pages.incident_page(record, "../")
    slow = replace(fewer, kind="slow", service="", text="could not connect to <*>: connection refused")
    shown = showing.decisive(replace(incident, facts=replace(incident.facts, measured=(slow,))))
    assert shown
    assert shown.id == "L8f0c1d22a9"


def test_lines_stand_by_what_they_show_and_each_once() -> None:
    record = shop_record()
    groups = showing.lines_by_fact(record)
    shown = [one.line.id for group in groups for one in group.lines]
    assert sorted(shown) == sorted(line.id for line in record.incident.evidence)
    assert groups[0].title.startswith("payments: could not connect")
    assert groups[0].lines[0].line.id == "L8f0c1d22a9"
    assert groups[-1].title == showing.OTHERS


@given(st.lists(st.floats(0, 1), max_size=12))
def test_shares_never_add_up_to_more_than_the_whole(values: list[float]) -> None:
    found = showing.shares(values)
    assert sum(found) <= 100
    assert all(0 <= share <= 100 for share in found)


async def test_every_citation_leads_to_its_line(browser: Browser) -> None:
    async with serving(shop_record()) as base:

        def look(page: Browser) -> Any:
            page.open(base + PAGE)
            broken = page.evaluate(
                "[...document.querySelectorAll('a.cite')].map(a => a.getAttribute('href').slice(1))"
                ".filter(id => !document.getElementById(id))"
            )
            page.click("#happened-part ul a.cite")
            return broken, page.wait_for("document.querySelector(':target') && document.querySelector(':target').id")

        broken, target = await in_browser(browser, look)
    assert broken == []
    assert target == "L8f0c1d22a9"


async def test_a_citation_of_what_is_not_there_is_no_link() -> None:
    record = shop_record()
    rules = record.reports[0]
    claim = replace(rules.what_happened[0], evidence=("L0000000000", '" onclick="alert(1)'))
    html = pages.incident_page(replace(record, reports=(replace(rules, what_happened=(claim,)),)), "../")
    assert 'href="#L0000000000"' not in html
    assert '<span class="cite gone"' in html
    assert 'onclick="' not in html


async def test_the_list_leads_to_the_page_and_back(browser: Browser) -> None:
    async with serving(shop_record(), resolved_record()) as base:

        def look(page: Browser) -> tuple[str, str]:
            page.open(base + "/")
            listed = page.text("main")
            page.click(".incident-card a")
            page.wait_for("location.pathname.startsWith('/incidents/') && document.readyState == 'complete'")
            heading = page.text("h1")
            page.click("header .pages a")
            page.wait_for("location.pathname == '/' && document.readyState == 'complete'")
            return listed, heading

        listed, heading = await in_browser(browser, look)
        assert only_from(browser, base)
    assert listed.index("payments:") < listed.index("search: index shards")
    assert heading.startswith("payments: connections")


async def test_a_page_that_is_not_there_says_so(browser: Browser) -> None:
    async with serving() as base:

        def look(page: Browser) -> str:
            page.open(base + "/incidents/unknown")
            return page.text("main")

        text = await asyncio.to_thread(look, browser)
        assert only_from(browser, base)
    assert "There is no incident of this id" in text
    assert [error.url for error in browser.errors] == [f"{base}/incidents/unknown"]  # the 404 itself, nothing else


async def test_the_pages_need_no_script(browser: Browser) -> None:
    async with serving(shop_record()) as base:

        def look(page: Browser) -> tuple[str, int]:
            page.javascript(enabled=False)
            page.open(base + PAGE)
            return page.text("h1"), page.evaluate("document.scripts.length")

        heading, scripts = await in_browser(browser, look)
    assert heading.startswith("payments:")
    assert scripts == 0


# --- Hostile text --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(HOSTILE)))
async def test_hostile_text_in_every_field_is_inert(browser: Browser, number: int) -> None:
    text = HOSTILE[number]
    record = poisoned(shop_record(), text)
    progress = SourceProgress(text, "stalled", 0.5, START, None, 0, text)
    async with serving(record, readiness=Readiness(False, (text,), (progress,))) as base:

        def look(page: Browser) -> list[tuple[str, int, Any, str]]:
            seen = []
            for path in ("/", PAGE):
                page.open(base + path)
                elements = page.evaluate(
                    "document.querySelectorAll('script, iframe, img, form:not(.filter), base, style, object, embed,"
                    ' meta[http-equiv], link:not([rel=icon]):not([href$="static/style.css"]), [onload], [onerror],'
                    " [onclick], [style]').length"
                )
                links = page.evaluate("[...document.links].map(a => a.protocol).filter(p => p != 'http:')")
                seen.append((page.text("body"), elements, links, page.evaluate("location.pathname")))
            return seen

        for shown, elements, links, path in await in_browser(browser, look):
            assert elements == 0
            assert links == []
            assert path in ("/", PAGE)
            assert pages.visible(text).split()[0] in shown
        assert only_from(browser, base)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_field_reaches_the_page_without_being_escaped(text: str) -> None:
    record, readiness = poisoned(shop_record(), text), Readiness(True)
    filled = Filled(text, "", "mute", False, text)
    hidden = Preview(Rule("r", "mute", Match()), START, 1, (HiddenIncident("i", "critical", START, text),))
    for html in (
        pages.incident_page(record, "../"),
        pages.incident_list([record], Asked(service=text, words=text), readiness, "./"),
        pages.overview(poisoned(overview(), text), readiness, [RuleRecord(poisoned(hidden.rule, text))], "./"),
        pages.act(record, DEEDS["mute"], filled, Session(text, text), hidden, "../../"),
        pages.login(text, Session(text, text), text, "./"),
        pages.rule_page(poisoned(rule_story(), text), "../", can_act=True),
        pages.take_back(poisoned(rule_story(), text), Session(text, text), text, text, "../../"),
    ):
        assert text not in html or not re.search(r"[<>\"'&\x00\u202e]", text)
        html.encode()


def test_what_hides_or_reorders_text_is_written_out() -> None:
    text = pages.visible("a\u202eb\u2066c\u200bd\x1be\x00f\ud800g\U000e0041h\u00adi\u2028j\x85k\ufeffl")
    assert text == ("a⟨U+202E⟩b⟨U+2066⟩c⟨U+200B⟩d␛e␀f⟨U+D800⟩g⟨U+E0041⟩h⟨U+00AD⟩i⟨U+2028⟩j⟨U+0085⟩k⟨U+FEFF⟩l")
    assert pages.visible("tab\tand\nline, Grüße, 日本語, עברית") == "tab\tand\nline, Grüße, 日本語, עברית"


def test_a_text_of_any_length_makes_a_page_of_bounded_length() -> None:
    record = poisoned(shop_record(), "x" * 200_000)
    assert len(pages.incident_page(record, "../")) < 1_000_000


@pytest.mark.parametrize("body", ["\tat com.shop.Pool.take(Pool.java:17) <init>\n" * 400, '"<&>' * 4_000])
def test_the_page_of_the_largest_incident_is_small_and_made_at_once(body: str) -> None:
    record = shop_record()
    lines = tuple(replace(record.incident.evidence[n % 4], id=f"L{n:010d}", body=body) for n in range(40))
    findings = tuple(replace(record.incident.contributions[n % 5], text=body[:300]) for n in range(20))
    history = tuple(replace(record.incident.timeline[n % 5], text=body[:200]) for n in range(50))
    series = tuple(replace(one, counts=tuple(range(120))) for one in record.incident.facts.series)  # type: ignore[union-attr]
    facts = replace(record.incident.facts, series=series)  # type: ignore[type-var]
    incident = replace(
        record.incident, evidence=lines, contributions=findings, timeline=history, facts=facts, fix="x" * 2_000
    )
    urls = {line.id: "https://kibana.example.org/app/discover#/?" + "a" * 900 for line in lines}
    largest = replace(record, incident=incident, line_urls=urls, fact_urls=urls)
    pages.incident_page(largest, "../")
    began = time.thread_time()
    html = pages.incident_page(largest, "../")
    assert time.thread_time() - began < 0.3
    assert len(html.encode()) < 300_000


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "//evil.example.org/",
        "/relative",
        "java\nscript:alert(1)",
        "http://a\u202eb/",
        "http://[",
        "",
    ],
)
def test_only_web_addresses_become_links(url: str) -> None:
    assert pages.web_url(url) == ""
    assert "Logs of shop</a>" not in pages.incident_page(replace(shop_record(), links=(("shop", url),)), "../")


def test_links_to_the_logs_are_kept_as_they_are() -> None:
    url = "https://kibana/app/discover#/?_g=(time:(from:'a',to:'b'))&x=1"
    assert pages.web_url(url) == url


# --- States --------------------------------------------------------------------------------------


def bare(**changes: Any) -> Incident:
    """An incident of which nothing is known but that it is."""
    values: dict[str, Any] = {
        "contributions": (),
        "evidence": (),
        "suspects": (),
        "timeline": (),
        **changes,
    }
    return replace(shop_incident(), **values)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (IncidentRecord(bare()), "The report is being written."),
        (IncidentRecord(bare(merged_into="91c2d0aa")), 'href="../incidents/91c2d0aa"'),
        (IncidentRecord(bare(sampled=0.25)), "In at least one window only 25% of the lines were read"),
        (IncidentRecord(bare(fix="Restarted it")), "Restarted it"),
        (IncidentRecord(bare(reopened=2)), "reopened 2×"),
        (IncidentRecord(bare(status="resolved", ends_at=at(5))), "lasted 5 min"),
        (IncidentRecord(bare(trigger="alert PaymentsDown")), "alert PaymentsDown"),
    ],
)
def test_every_state_of_an_incident_has_its_words(record: IncidentRecord, said: str) -> None:
    assert said in pages.incident_page(record, "../")


def test_a_bar_is_never_longer_than_its_rail() -> None:
    assert [pages.width(value, 10) for value in (-1, 0, 0.001, 5, 10, 1e9)] == [0, 0, 2, 50, 100, 100]
    assert pages.width(5, 0) == 0


# --- Readable by everybody -----------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", PAGE])
async def test_the_text_stands_out_from_its_background(browser: Browser, path: str, scheme: str) -> None:
    async with serving(shop_record(), resolved_record()) as base:

        def look(page: Browser) -> Any:
            page.prefer(color_scheme=scheme)
            page.open(base + path)
            return page.execute(CONTRAST)

        low = await in_browser(browser, look)
    assert low == []


@pytest.mark.parametrize(("width", "path"), [(320, "/"), (320, PAGE), (390, PAGE), (768, PAGE), (1280, PAGE)])
async def test_no_page_scrolls_sideways(browser: Browser, width: int, path: str) -> None:
    long = "x" * 300
    incident = replace(shop_incident(), service=long, services=(long, "y" * 90), trigger=long)
    record = replace(shop_record(), incident=incident)
    async with serving(record) as base:

        def look(page: Browser) -> int:
            page.resize(width, 800)
            page.open(base + path)
            return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

        assert await in_browser(browser, look) == 0


async def test_the_keyboard_finds_its_way(browser: Browser) -> None:
    async with serving(shop_record()) as base:

        def look(page: Browser) -> list[str]:
            page.open(base + PAGE)
            stops = []
            for _ in range(4):
                page.press("Tab")
                stops.append(page.evaluate("document.activeElement.textContent.trim()"))
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return stops

        stops = await in_browser(browser, look)
    assert stops[:3] == ["Skip to content", "log-anomaly-exporter", "Incidents"]


class Outline(HTMLParser):
    """Headings, ids and labels of a page, and whether its elements are closed in order."""

    VOID = frozenset({"meta", "link", "br", "rect", "path", "hr", "line", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.labelled_by: list[str] = []
        self.tables = 0
        self.captions = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.ids.extend([values["id"] or ""] if "id" in values else [])
        self.labelled_by.extend((values.get("aria-labelledby") or "").split())
        self.tables += tag == "table"
        self.captions += tag == "caption"
        if tag == "th":
            assert values.get("scope") in {"row", "col"}
        if tag == "html":
            assert values.get("lang") == "en"
        if tag in {"pre", "p", "div", "span", "li"} and "aria-label" in values:
            assert values.get("role"), "what is nothing of its own has no name"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outlines() -> Iterator[str]:
    progress = (SourceProgress("shop", "ready", 1.0, START, timedelta(seconds=40)),)
    yield pages.incident_list([shop_record(), resolved_record()], Asked(), Readiness(True, (), progress), "./")
    yield pages.incident_list([], Asked(status="firing"), Readiness(False, ("warming up",)), "./")
    yield pages.overview(overview(), Readiness(True, (), progress), (), "./")
    yield pages.login("", None, "", "./")
    yield pages.incident_page(shop_record(), "../")
    yield pages.incident_page(resolved_record(), "../")
    yield pages.incident_page(IncidentRecord(bare()), "../")
    yield pages.error_page(404, "Not Found", "There is no incident of this id.", "../")


def test_the_markup_is_well_formed_and_tells_its_structure() -> None:
    for html in outlines():
        outline = Outline()
        outline.feed(html)
        outline.close()
        assert outline.open == []
        assert outline.headings.count(1) == 1
        steps = zip([0, *outline.headings], outline.headings, strict=False)
        assert all(after - before <= 1 for before, after in steps)
        assert len(set(outline.ids)) == len(outline.ids)
        assert set(outline.labelled_by) <= set(outline.ids)
        assert outline.tables == outline.captions
        assert "<script" not in html
        assert " style=" not in html


def test_everything_served_is_our_own_and_asks_for_nothing_elsewhere() -> None:
    for file in STATIC.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http" not in text, file.name
        assert "url(" not in text, file.name
        assert "@import" not in text, file.name


# --- Screenshots ---------------------------------------------------------------------------------


@contextmanager
def kept(tmp_path: Path) -> Iterator[Path]:
    """Where pictures go: into the directory that LAE_SCREENSHOTS names, for a person to look at."""
    directory = Path(os.environ.get("LAE_SCREENSHOTS") or tmp_path)
    directory.mkdir(parents=True, exist_ok=True)
    yield directory


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
async def test_a_picture_of_the_page_can_be_taken(browser: Browser, tmp_path: Path, scheme: str, width: int) -> None:
    async with serving(shop_record()) as base:

        def look(page: Browser) -> tuple[Path, str]:
            page.resize(width, 900)
            page.prefer(color_scheme=scheme)
            page.open(base + PAGE)
            with kept(tmp_path) as directory:
                picture = page.screenshot(directory / f"incident-{scheme}-{width}.png")
            return picture, page.evaluate("getComputedStyle(document.body).backgroundColor")

        picture, background = await in_browser(browser, look)
    assert picture.read_bytes().startswith(b"\x89PNG")
    light = sum(int(part) for part in re.findall(r"\d+", background)[:3]) > 384
    assert light == (scheme == "light")


# WCAG 2.2 AA: 4.5 to 1 for text, measured against the nearest background that is painted.
CONTRAST = """
const parse = text => text.match(/[\\d.]+/g).map(Number);
const linear = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const background = element => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const low = [];
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.getClientRects().length) continue;
  const [a, b] = [luminance(parse(getComputedStyle(element).color)), luminance(background(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) low.push([element.tagName, element.className, element.textContent.trim().slice(0, 30), ratio]);
}
return low;
"""
