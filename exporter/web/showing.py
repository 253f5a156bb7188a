"""What the page of an incident shows, in order: the decisive line, lines by fact, shares that add up, who was told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import escape

from exporter.model import Claim, Evidence, Incident, Report
from exporter.model.facts import Failing
from exporter.model.questions import DeliveryStatus, IncidentRecord
from exporter.wording import words
from exporter.wording.text import amount, brief, clock, listed, number, shorten

FOLDED = 3
"""Lines of a body that are shown before it is folded: a stack trace is read from its first line."""

ALL_TOGETHER, LEAST = 80_000, 500
"""Characters of markup that the bodies of all lines may take on a page, and of each at least."""

MOST_TITLE = 160
"""Characters of what a fact or finding is called."""

OTHERS = "Other lines around it"


@dataclass(frozen=True)
class Shown:
    """A line as it is shown: what of it is seen at once, what is folded, and how many lines that is."""

    line: Evidence
    head: str
    rest: str
    more: int
    cited: bool


@dataclass(frozen=True)
class Group:
    """Lines that show one fact or finding; the last group, of lines that show none, is called OTHERS."""

    title: str
    detail: str
    lines: tuple[Shown, ...]
    url: str = ""
    """Where all of them are kept."""


def decisive(incident: Incident) -> Evidence | None:
    """The line that decides: the fact's own, else the first line that the strongest findings cite, else any.

    None where only numbers say what is wrong, and no line shows it.
    """
    kept = {line.id: line for line in incident.evidence}
    facts = incident.facts
    top = facts.decisive if facts else None
    if facts and (measured := facts.measured[:1]) and not facts.fails_first:
        about = (measured[0].service, measured[0].text)
        findings = [one for one in incident.contributions if (one.service, one.text) == about]
        return next((kept[line] for one in findings for line in one.evidence if line in kept), None)
    if top and top.line in kept:
        return kept[top.line]
    cited = (kept[line] for finding in incident.contributions for line in finding.evidence if line in kept)
    return next(cited, incident.evidence[0] if incident.evidence else None)


def lines_by_fact(record: IncidentRecord) -> list[Group]:
    """All lines that are kept, each once: of what failed first, then of findings, then what is left."""
    incident = record.incident
    cited = {line for report in record.reports for claim in _claims(report) for line in claim.evidence}
    left = {line.id: line for line in incident.evidence}
    room = max(ALL_TOGETHER // max(len(left), 1), LEAST)
    groups = []
    for title, detail, ids in _facts(incident):
        if lines := [left.pop(line) for line in ids if line in left]:
            url = record.fact_urls.get(ids[0], "")
            groups.append(
                Group(
                    shorten(title, MOST_TITLE),
                    detail,
                    tuple(_shown(line, cited, room) for line in _in_order(lines)),
                    url,
                )
            )
    if left:
        groups.append(Group(OTHERS, "", tuple(_shown(line, cited, room) for line in _in_order(left.values()))))
    return groups


def _claims(report: Report) -> tuple[Claim, ...]:
    return (*report.what_happened, *report.causes, *report.steps)


def _facts(incident: Incident) -> Iterator[tuple[str, str, list[str]]]:
    """Facts and findings, each with how often it was and its lines."""
    facts = incident.facts
    failing = sorted(facts.failing, key=lambda one: one is not facts.decisive) if facts else []
    for one in failing:
        said = f"{amount(one.count, 'lines')} since {clock(one.since)}"
        usual = f"usually {number(one.usual)} a minute" if one.usual else "none in the hour before"
        yield f"{one.service}: {one.words}", f"{said}, {usual}", _lines_of(incident, one)
    for finding in incident.contributions:
        own = list(finding.evidence)
        yield f"{words.kind_of(finding).name}: {finding.text}", words.expectation(finding), own


def _lines_of(incident: Incident, failing: Failing) -> list[str]:
    """The fact's own line, then others of its kind of line."""
    own = next((line for line in incident.evidence if line.id == failing.line), None)
    if own is None:
        return []
    alike = [line for line in incident.evidence if _key(line) == _key(own)] if own.template else []
    return [own.id, *(line.id for line in alike)]


def _key(line: Evidence) -> tuple[str, str, str]:
    return line.source, line.service, line.template


def _in_order(lines: Iterable[Evidence]) -> list[Evidence]:
    return sorted(lines, key=lambda line: (line.timestamp, line.id))


def _shown(line: Evidence, cited: set[str], room: int) -> Shown:
    body = _cut(line.body, room)
    whole = body.split("\n")
    if len(whole) <= FOLDED:
        return Shown(line, body, "", 0, line.id in cited)
    return Shown(line, whole[0], "\n".join(whole[1:]), len(whole) - 1, line.id in cited)


def _cut(text: str, room: int) -> str:
    """What fits, by the length that it has as markup."""
    cut = text[:room]
    if (length := len(escape(cut))) > room:
        cut = cut[: room * room // length]
    return cut if cut == text else f"{cut} … ({number(len(text) - len(cut))} more characters)"


def shares(values: Sequence[float]) -> list[int]:
    """Whole percents of parts of one whole: together never more than 100.

    >>> shares([0.335, 0.335, 0.33]), shares([0.5, 0.25]), shares([3.0, 1.0]), shares([])
    ([34, 33, 33], [50, 25], [75, 25], [])
    """
    whole = max(1.0, sum(values))
    exact = [100 * max(value, 0.0) / whole for value in values]
    found = [int(value) for value in exact]
    spare = round(sum(exact)) - sum(found)
    for place in sorted(range(len(exact)), key=lambda n: found[n] - exact[n])[: max(spare, 0)]:
        found[place] += 1
    return found


def told_to(deliveries: Sequence[DeliveryStatus]) -> str:
    """How far it is delivered, on one line; nothing where nobody is told.

    >>> told_to([DeliveryStatus("slack", "delivered", 2), DeliveryStatus("otlp", "failed", 2, error="401")])
    'Delivered to slack; failed: otlp (401)'
    """
    names = {
        outcome: list(dict.fromkeys(_place(one) for one in deliveries if one.outcome == outcome))
        for outcome in ("delivered", "pending", "failed")
    }
    said = [
        f"delivered to {listed(names['delivered'], 4)}" if names["delivered"] else "",
        f"not yet: {listed(names['pending'], 4)}" if names["pending"] else "",
        f"failed: {listed(names['failed'], 4)}" if names["failed"] else "",
    ]
    whole = "; ".join(filter(None, said))
    return whole[:1].upper() + whole[1:]


def _place(one: DeliveryStatus) -> str:
    name = f"{brief(one.sink, 60)} {brief(one.peer, 60)}".strip()
    return f"{name} ({brief(one.error, 60)})" if one.error else name
