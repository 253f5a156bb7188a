"""Pages for everybody: axe finds nothing serious, a strict reader of HTML no error, in light and dark, on a phone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import Any

import html5lib
import pytest

from exporter.web import pages
from tests.servers.browser import Browser
from tests.web.backend import MemoryBackend, resolved_record, shop_incident, shop_record
from tests.web.test_acting_pages import TOKEN, serving
from tests.web.test_pages import UNFOLD, in_browser, outlines

PAGE = f"/incidents/{shop_incident().id}"
SERIOUS = {"serious", "critical"}


@cache
def axe() -> str:
    return files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    async with serving(MemoryBackend(shop_record(), resolved_record())) as base:
        yield base


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
async def test_axe_finds_nothing_serious(browser: Browser, scheme: str, width: int) -> None:
    async with served() as base:

        def look(page: Browser) -> list[Any]:
            page.resize(width, 844)
            page.prefer(color_scheme=scheme)
            page.open(f"{base}/login?to=incidents/{shop_incident().id}/mute")
            found = [violations(page)]
            page.fill("input[name=by]", "anna")
            page.fill("input[name=token]", TOKEN)
            page.click("button.do")
            page.wait_for("document.readyState == 'complete' && location.pathname.endsWith('/mute')")
            found.append(violations(page))
            for path in ("/", PAGE, "/overview", f"{PAGE}/note") if scheme == "light" else (PAGE,):
                page.open(base + path)
                page.evaluate(UNFOLD)
                found.append(violations(page))
            return found

        for one in await in_browser(browser, look):
            assert one == []


def violations(page: Browser) -> list[Any]:
    """What axe finds on a page that is serious."""
    page.evaluate(axe())
    found = page.execute(
        "return (await axe.run()).violations.map(v => [v.impact, v.id, v.nodes[0].html.slice(0, 200)])"
    )
    return [one for one in found if one[0] in SERIOUS]


def test_a_strict_reader_finds_no_error_in_what_is_served() -> None:
    parser = html5lib.HTMLParser(strict=True)
    for html in outlines():
        parser.parse(html)
    with pytest.raises(html5lib.html5parser.ParseError):
        parser.parse(pages.incident_page(shop_record(), "../").replace("</ol>", "", 1))
