"""Charts: what failed against what is usual, over the time that is known; neither eyes nor scripts are needed."""

from __future__ import annotations

from dataclasses import replace

from exporter.model import Notice
from exporter.model.facts import Facts, Impact, Series, Start
from exporter.web import pages
from exporter.web.charts import HIGH, MOST_MARKS, charts
from tests.web.backend import at, shop_facts, shop_incident, shop_record


def test_a_chart_says_in_words_what_it_shows() -> None:
    lines, failed = charts(shop_incident(), shop_facts())
    assert lines.alternative == (
        "Lines that say what failed, payments, each 1 min: 0 before 09:26 UTC, from then on 184, between 12 and 31, "
        "most at 09:28; usually none."
    )
    assert failed.expected == "usually 0.5"
    html = pages.incident_page(shop_record(), "../")
    assert html.count('role="img"') == 2
    assert f'<title id="chart-1">{lines.alternative}</title>' in html


def test_bars_stand_on_the_ground_and_the_highest_reaches_the_top() -> None:
    for chart in charts(shop_incident(), shop_facts()):
        assert all(round(bar.y + bar.height, 2) == HIGH for bar in chart.bars)
        assert min(bar.y for bar in chart.bars) == 0
        assert all(0 <= bar.x < chart.steps for bar in chart.bars)
        assert chart.shade == (60.0, 67.0)
    assert charts(shop_incident(), shop_facts())[0].gaps == (20,)


def test_starts_releases_and_notices_of_its_time_are_marked_in_order_and_not_without_end() -> None:
    release = Notice("N1", "release", "", "checkout", at(-10), deployed="7.1")
    before = Notice("N2", "release", "", "checkout", at(-600), deployed="7.0")
    chart = charts(shop_incident(), shop_facts(), [release, before])[0]
    marked = [(mark.number, mark.x, mark.text) for mark in chart.marks]
    assert marked == [(1, 50.0, "checkout: version 7.1 was deployed"), (2, 57.0, "payments started 2.4.1")]
    many = replace(shop_facts(), starts=tuple(Start("payments", f"2.4.{n}", at(-n)) for n in range(50)))
    assert len(charts(shop_incident(), many)[0].marks) == MOST_MARKS


def test_nothing_is_drawn_of_what_nothing_is_known_of() -> None:
    assert charts(shop_incident(), None) == []
    empty = Facts(at(7), series=(Series("lines", "payments", at(-60), 60, (0, None)),))
    assert charts(shop_incident(), empty) == []


def test_what_is_known_by_now_is_shown_in_place_of_what_was_told_before() -> None:
    later = replace(shop_facts(), until=at(20), impact=Impact("gateway", 150, 300, at(0)))
    html = pages.incident_page(replace(shop_record(), now=later), "../")
    assert "gateway: 150 of 300 requests failed since 09:26 until 09:46 UTC." in html
    assert "52 of 100" not in html.partition("What happened")[0]
