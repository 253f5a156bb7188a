"""Each idea has its words once, and every sink, page and command can say every kind of finding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest

from exporter.analysis.findings import Analysis, Finding, Overview
from exporter.analysis.text import render as render_analysis
from exporter.config import SINKS, resolve
from exporter.model import (
    AnalysisKind,
    Contribution,
    ContributionKind,
    Incident,
    IncidentSeverity,
    Notification,
    Severity,
    dumps,
    to_json,
)
from exporter.model.questions import IncidentRecord
from exporter.report.rules import write
from exporter.web import pages
from exporter.wording import narrative, words
from exporter.wording.terminal import incident_line, render
from tests import samples

KINDS: tuple[ContributionKind, ...] = get_args(ContributionKind)
ANALYSIS_KINDS: tuple[AnalysisKind, ...] = get_args(AnalysisKind)


def found(kind: ContributionKind) -> Notification:
    """The news of an incident with one finding, as the rules report it."""
    finding = Contribution(kind, "some text", 7, 1.25, share=1.0, since=samples.at(0))
    incident = samples.incident(contributions=(finding,))
    return samples.notification(incident, report=write(incident))


def places(news: Notification) -> Mapping[str, str]:
    """All that is said of an incident, by where it is said."""
    said = {name: dumps(to_json(resolve(sink).preview(news))) for name, sink in SINKS.items()}
    said["terminal"] = render(news.incident, news.report, news.url, color=False, width=100)
    said["page"] = pages.incident_page(IncidentRecord(news.incident, (news.report,)), "../")
    return said


def unsaid(kind: ContributionKind) -> list[str]:
    """Places that do not say what kind of finding it is."""
    news = found(kind)
    name, sentence = words.KINDS[kind].name, news.report.what_happened[1].text
    # A webhook gets the incident as data, and the sentences of its report.
    return [place for place, said in places(news).items() if name not in said and sentence not in said]


def test_the_words_are_those_of_all_kinds_and_of_no_others() -> None:
    assert set(words.KINDS) == set(KINDS)
    assert set(words.ANALYSIS_KINDS) == set(ANALYSIS_KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_place_can_say_every_kind_of_finding(kind: ContributionKind) -> None:
    assert unsaid(kind) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_all_its_words(kind: ContributionKind) -> None:
    known = words.KINDS[kind]
    assert all(getattr(known, field.name) for field in fields(known) if field.name != "step")
    [finding] = found(kind).incident.contributions
    sentence = words.sentence(finding, ["cart"])
    assert "some text" in sentence
    for said in (sentence, words.sentence(finding, []), words.in_headline(finding), words.reason(finding)):
        assert "  " not in said
        assert not set("{}") & set(said)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_without_words_is_noticed_by_every_place(
    kind: ContributionKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    news = found(kind)
    monkeypatch.setattr(words, "KINDS", {name: known for name, known in words.KINDS.items() if name != kind})
    for sink in set(SINKS) - {"webhook"}:
        with pytest.raises(KeyError, match=kind):
            resolve(SINKS[sink]).preview(news)
    with pytest.raises(KeyError, match=kind):
        write(news.incident)
    with pytest.raises(Exception, match=kind):
        pages.incident_page(IncidentRecord(news.incident, (news.report,)), "../")


@pytest.mark.parametrize("kind", ANALYSIS_KINDS)
def test_analyze_can_say_every_kind_that_it_finds(kind: AnalysisKind) -> None:
    window = timedelta(minutes=1)
    overview = Overview(100, samples.START, samples.at(5), window, (), 3, 0, {})
    finding = Finding(
        kind, "cart", "some text", 0.9, 7, 1.25, "lines", samples.START, samples.at(2), int(Severity.ERROR), "why"
    )
    assert f"1. cart: {words.ANALYSIS_KINDS[kind]}" in render_analysis(Analysis(overview, (finding,)))


@pytest.mark.parametrize("severity", get_args(IncidentSeverity))
def test_every_place_says_how_bad_it_is(severity: IncidentSeverity) -> None:
    news = samples.notification(samples.incident(severity=severity, labels=samples.labels(severity=severity)))
    said = {name: text.lower() for name, text in places(news).items()}
    # An event of OpenTelemetry and an alert carry it as a field and as a label.
    assert [place for place, text in said.items() if severity not in text] == []


def test_a_title_is_what_the_rules_say_and_never_the_words_of_a_model() -> None:
    incident = samples.incident()
    rules, model = samples.report(), samples.report(writer="qwen3-8b", headline="Nothing to see")
    assert words.title(IncidentRecord(incident, (model, rules))) == rules.headline
    assert words.title(IncidentRecord(incident, (model,))) == "Unusual logs of payments"


def test_a_cause_that_nobody_is_suspected_of_is_the_service_that_opened() -> None:
    assert words.cause(samples.incident(suspects=(), service="cart")) == "cart"


@pytest.mark.parametrize(
    ("observed", "expected", "said"),
    [(5, 0, "not expected"), (0, 5, "missing"), (10, 5, "× 2"), (5, 10, "÷ 2"), (5, 5, "as expected")],
)
def test_a_change_is_said_as_a_person_would(observed: float, expected: float, said: str) -> None:
    assert words.change(Contribution("errors", "errors of cart", observed, expected)) == said


def test_one_of_a_thing_is_said_in_the_singular() -> None:
    assert words.expectation(Contribution("new_template", "x", 1, 0)) == "1 line, expected 0"


@pytest.mark.parametrize(
    ("severity", "said"),
    [(0, ""), (-1, ""), (1, "trace"), (5, "debug"), (10, "info"), (13, "warn"), (17, "error"), (24, "fatal")],
)
def test_a_severity_has_the_name_of_its_range(severity: int, said: str) -> None:
    assert words.level(severity) == said


def test_that_lines_were_sampled_is_said_once() -> None:
    incident = samples.incident(sampled=0.123)
    said = places(samples.notification(incident, report=write(incident)))
    for place in ("terminal", "page"):
        text = " ".join(said[place].split())
        assert text.count("In at least one window only 12.3% of the lines were read") == 1, place
    older = write(replace(incident, sampled=0.5))
    page = pages.incident_page(IncidentRecord(incident, (older,)), "../")
    assert page.count("of the lines were read") == 1
    assert "12.3%" in page


def test_a_list_names_incidents_one_a_line() -> None:
    incident: Incident = samples.incident(services=("payments\x1b[31m", "checkout"))
    firing = incident_line(incident)
    assert firing == "3f9a1c0de47b2856  since 2026-03-14 09:26 UTC  critical  payments and checkout"
    assert "2026-03-14 09:26–09:47 UTC  critical" in incident_line(samples.resolved())


def test_a_report_of_a_model_is_named_as_such() -> None:
    assert narrative.generated(samples.report(writer="qwen3-8b")) == "facts chosen by qwen3-8b, its own words marked"
    assert narrative.generated(samples.report()) == ""


OWN_FORMAT = re.compile(r"strftime|isprintable|:%[HYd]|:\.0%|\\x1b|\\u20[02]")
OWN_FOR_A_REASON = {
    "exporter/analysis/text.py",  # paints its own words
    "exporter/cli/main.py",  # draws a line of progress over itself
    "exporter/flow/warmup.py",  # says a plan in the configuration's own terms
    "exporter/ingest/redaction/library.py",  # a key of its own
    "exporter/ingest/redaction/view.py",  # shows text with nothing escaped, to look at
    "integrations/elasticsearch.py",  # writes what a server reads
    "integrations/slack/message.py",  # escapes what is clean
}


def test_no_other_room_cleans_text_or_formats_moments_by_itself() -> None:
    root = Path(__file__).parents[2]
    files = [file for top in ("exporter", "integrations") for file in (root / top).rglob("*.py")]
    named = {file.relative_to(root).as_posix(): file.read_text() for file in files}
    elsewhere = ("exporter/wording/", "exporter/reading/", "exporter/demo/shop/")
    own = {name for name, code in named.items() if OWN_FORMAT.search(code) and not name.startswith(elsewhere)}
    assert own == OWN_FOR_A_REASON
