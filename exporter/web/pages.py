"""Incidents as HTML that needs no script: every text is foreign, so it is escaped, and what would hide is made visible.

Times are event times in UTC; durations are differences of event times, so a page says the same whenever it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from exporter.model import READING, SUGGESTION, HiddenRow, Notice, SimilarIncident
from exporter.model.questions import Asked, IncidentRecord, Overview, Preview, Readiness, RuleRecord, RuleStory
from exporter.web import charts, showing
from exporter.web.deeds import DEEDS, LASTING, OF_PROPOSAL, Deed, Filled
from exporter.web.lists import WITHIN, trend
from exporter.web.sessions import Session
from exporter.wording import impact, narrative, words
from exporter.wording.glossary import GLOSSARY
from exporter.wording.rules import TAKEN_BACK, does, stands
from exporter.wording.text import duration, link, number, percent, second, storable
from exporter.wording.text import visible as written_out
from exporter.wording.why import why_it_opened

T = TypeVar("T")

MOST_SERVICES = 100
"""Services of which a page says more than their number."""

MAX_TEXT = 4_000
"""Characters of one text that a page shows."""

MAX_URL = 20_000
"""Characters of an address that becomes a link: those of Kibana are long."""


def incident_list(
    records: Sequence[IncidentRecord],
    asked: Asked,
    readiness: Readiness,
    root: str,
    open_to_all: bool = False,
    notices: Sequence[Notice] = (),
    limit: int = 100,
    stay: str = "",
) -> str:
    """The page of the incidents that somebody asked for, the newest first, and below it what pages nobody. It loads
    itself again where it says how that is stopped (`stay`)."""
    chosen = next((name for name, (_, within) in WITHIN.items() if within == asked.within), "")
    return _render(
        "incidents.html",
        root,
        records=records,
        asked=asked,
        narrowed=asked != Asked(),
        within=[(name, text) for name, (text, _) in WITHIN.items()],
        chosen_within=chosen,
        services=sorted({name for record in records for name in record.incident.services})[:MOST_SERVICES],
        readiness=readiness,
        open_to_all=open_to_all,
        notices=notices,
        limit=limit,
        refreshed=bool(stay),
        stay=stay,
    )


def overview(
    seen: Overview, readiness: Readiness, rules: Sequence[RuleRecord], root: str, can_act: bool = False
) -> str:
    """What is watched, what was learnt, what came near, what rules hid, what was left out."""
    ordered = sorted(seen.watched, key=lambda one: (-max(one.hours, default=0.0), one.service, one.source))
    return _render(
        "overview.html",
        root,
        seen=seen,
        readiness=readiness,
        rules=[(record, stands(record.rule, seen.until)) for record in rules],
        can_act=can_act,
        watched=ordered[:MOST_SERVICES],
        kinds=sum(one.kinds for one in seen.watched),
        full=seen.threshold or max((max(one.hours, default=0.0) for one in seen.watched), default=0.0) or 1.0,
    )


def incident_page(record: IncidentRecord, root: str, can_act: bool = False, notices: Sequence[Notice] = ()) -> str:
    """The page that an alert links to. `can_act`: whether there is a token, with which people act. `notices` of its
    time are marked."""
    incident, past = record.incident, similar(record)
    return _render(
        "incident.html",
        root,
        record=record,
        incident=incident,
        title=words.title(record),
        decisive=showing.decisive(incident),
        fix=impact.known_fix(incident, record.rules, past),
        can_act=can_act,
        actions=[(verb, deed.name) for verb, deed in DEEDS.items() if verb != "ack" or incident.status == "firing"],
        charts=charts.charts(incident, record.now or incident.facts, notices),
        hit=impact.impact(incident, record.now),
        places=facts.places if (facts := record.now or incident.facts) and facts.fails_first else (),
        similar=past,
        groups=showing.lines_by_fact(record),
        findings=_with_shares(incident.contributions, [item.share for item in incident.contributions]),
        suspects=_with_shares(incident.suspects, [item.weight for item in incident.suspects]),
        delivered=showing.told_to(record.deliveries),
        sampled=words.sampled(incident),
        ruled=words.ruled(incident),
        notes=_notes(record),
        known={evidence.id for evidence in incident.evidence},
    )


def login(to: str, session: Session | None, wrong: str, root: str) -> str:
    """Where people sign in, to be led to a page of ours."""
    return _render("login.html", root, to=to, session=session, wrong=wrong)


def act(
    record: IncidentRecord, deed: Deed, filled: Filled, session: Session, preview: Preview | None, root: str
) -> str:
    """The form of one verb, with what the rule that it makes would have hidden."""
    given = {"deed": deed, "filled": filled, "session": session, "preview": preview}
    known = {"title": words.title(record), "cause": words.cause(record.incident)}
    return _render(
        "act.html", root, incident=record.incident, lasting=LASTING, of_proposal=OF_PROPOSAL, **given, **known
    )


def rule_page(story: RuleStory, root: str, can_act: bool = False) -> str:
    """A rule: who made it, when, until when, and what it hid."""
    return _render(
        "rule.html",
        root,
        newest=_each_incident_once(story.newest),
        stands=stands(story.record.rule, story.at),
        can_act=can_act,
        can_be_taken_back=story.can_be_taken_back,
        **_of_rule(story),
    )


def take_back(story: RuleStory, session: Session, text: str, wrong: str, root: str) -> str:
    """The form by which a rule is taken back, with what that brings back."""
    rule = story.record.rule
    given = {"session": session, "text": text, "wrong": wrong, "follows": TAKEN_BACK[rule.action]}
    return _render("take_back.html", root, **given, **_of_rule(story))


def _of_rule(story: RuleStory) -> dict[str, Any]:
    record = story.record
    return {"rule": record.rule, "does": does(record.rule), "hidden": record.hidden, "muted": story.muted}


def _each_incident_once(hidden: Sequence[HiddenRow]) -> list[HiddenRow]:
    """Each revision of an incident was hidden; the newest of them stands for all."""
    found: dict[str, HiddenRow] = {}
    for one in hidden:
        found.setdefault(one.incident or one.id, one)
    return list(found.values())


def glossary(root: str) -> str:
    """What words mean."""
    return _render("glossary.html", root, glossary=GLOSSARY)


def error_page(status: int, reason: str, text: str, root: str) -> str:
    """What a person sees instead of a page."""
    return _render("error.html", root, status=status, reason=reason, text=text)


def similar(record: IncidentRecord) -> list[SimilarIncident]:
    """The past incidents that any report names, each once, the most useful first."""
    found = {item.id: item for report in reversed(record.reports) for item in report.similar}
    order = [item.id for report in record.reports for item in report.similar]
    return sorted(found.values(), key=lambda item: order.index(item.id))


def _with_shares(items: Sequence[T], values: Sequence[float]) -> list[tuple[T, int]]:
    return list(zip(items, showing.shares(values), strict=True))


def _notes(record: IncidentRecord) -> list[str]:
    """Notes of the rules, without the one that stands at the head of the page."""
    notes = record.rules.notes if record.rules else ()
    return [note for note in notes if not (record.incident.sampled < 1 and note.startswith(words.SAMPLED))]


def visible(text: str) -> str:
    """The text, cut, with each character that would hide or reorder others written out."""
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]} … ({number(len(text) - MAX_TEXT)} more characters)"
    return written_out(text)


def width(value: float, largest: float) -> int:
    """The length of a bar, in percent; what is above nothing is seen."""
    if largest <= 0 or value <= 0:
        return 0
    return max(2, min(100, round(100 * value / largest)))


def web_url(url: str) -> str:
    """The URL when it may be a link: http or https, absolute; else nothing."""
    return link(url, MAX_URL) or ""


def segment(text: str) -> str:
    """The text as one segment of a path."""
    return quote(storable(text), safe="")


def root_of(path: str) -> str:
    """The way from a path back to /, relative, so that pages also work under a path of a reverse proxy."""
    return "../" * (path.count("/") - 1) or "./"


def load() -> None:
    """Read all that pages are made of: they are there also when no file can be opened any more."""
    for name in _environment().list_templates():
        _environment().get_template(name)


def _render(template: str, root: str, **values: Any) -> str:
    return _environment().get_template(template).render(root=root, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        second=second,
        duration=duration,
        number=number,
        percent=percent,
        level=words.level,
        width=width,
        web_url=web_url,
        urlencode=segment,
    )
    # Ours, and with an apostrophe that is shown as it is.
    marks = {mark: Markup(mark) for mark in (READING, SUGGESTION)}  # noqa: S704
    environment.globals.update(words=words, narrative=narrative, why=why_it_opened, trend=trend, marks=marks, does=does)
    return environment


def _finalize(value: Any) -> Any:
    """Every text that a template prints passes here, before it is escaped: no filter can be forgotten."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
