"""A sentence cites lines of the templates that its finding is about, and no others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from exporter.config import parse
from exporter.detection.evidence import cited
from exporter.model import Contribution, Evidence
from exporter.report.rules import citations, write
from exporter.run.backtest import backtest
from tests import samples

SHOP = Path(__file__).parent.parent / "data" / "82d5d22" / "shop.ndjson.zst"

LINE = Evidence("Laaaaaaaaaa", "shop", "cart", samples.at(0), "order 1", template="order <NUM>", template_id=7)
FINDING = Contribution("template", "order <NUM> stored", 9, 1, templates=(8,), service="cart", source="shop")


async def test_every_citation_of_a_shop_that_fails_is_of_a_template_of_its_finding() -> None:
    source = {"type": "file", "name": "shop", "path": str(SHOP), "sessions": {"field": "order.id", "idle": "2m"}}
    settings = {"sources": [source], "detection": {"min_windows": 30}, "warmup": {"history": "1h"}}
    start, end = datetime(2025, 6, 2, 10, 30, tzinfo=UTC), datetime(2025, 6, 2, 11, 10, tzinfo=UTC)
    found = (await backtest(parse({**settings, "alarm_budget": "100/day"}), start, end)).incidents
    assert len(found) >= 3
    for incident in found:
        kept = {line.id: line for line in incident.evidence}
        for finding in incident.contributions:
            named = {kept[key].template_id for key in (*finding.evidence, *citations(finding, kept)) if key in kept}
            assert named <= set(finding.templates), finding.text
        assert any(claim.evidence for claim in write(incident).what_happened[1:])


def test_a_template_whose_text_is_a_part_of_another_is_not_taken_for_it() -> None:
    assert cited(FINDING, (LINE,)).evidence == ()
    assert cited(replace(FINDING, templates=(7, 9)), (LINE,)).evidence == (LINE.id,)


def test_a_line_without_a_template_shows_nothing() -> None:
    nameless = replace(LINE, template="", template_id=None)
    assert cited(replace(FINDING, templates=(0,)), (nameless,)).evidence == ()


def test_a_finding_without_lines_of_its_own_cites_those_of_its_templates() -> None:
    finding = replace(FINDING, kind="transition", text="order <NUM> -> (end)", unit="times", templates=(7,))
    report = write(samples.incident(evidence=(LINE,), contributions=(finding,)))
    assert report.what_happened[1].evidence == (LINE.id,)
    assert report.what_happened[1].text.startswith("cart: the order of messages is unusual")


def test_numbers_of_templates_mean_nothing_in_another_source_or_outside_the_window_that_gave_them() -> None:
    finding = replace(FINDING, templates=(7, -1))
    others = (replace(LINE, source="elsewhere"), replace(LINE, service="mailer"), replace(LINE, template_id=-1))
    assert [citations(finding, {line.id: line}) for line in others] == [()] * 3
    assert citations(finding, {LINE.id: LINE}) == (LINE.id,)


def test_an_incident_of_an_older_state_file_keeps_the_lines_that_its_findings_name() -> None:
    old = replace(LINE, template_id=None)
    finding = replace(FINDING, source="", evidence=(LINE.id,))
    assert citations(finding, {LINE.id: old}) == (LINE.id,)
