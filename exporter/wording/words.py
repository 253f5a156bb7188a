"""The words for our own ideas: kinds of findings, cause, reasons, memories, states. Each idea is worded here only.

What comes from logs, models or people inside them is clean and short (`exporter.wording.text`); a place that has
markup of its own escapes the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from exporter.model import (
    AnalysisKind,
    Contribution,
    ContributionKind,
    Incident,
    Notice,
    Report,
    Severity,
    SimilarIncident,
    Verdict,
)
from exporter.model.memory import MOST_COUNTED
from exporter.model.questions import IncidentRecord
from exporter.wording.text import amount, brief, day, duration, listed, minute, number, ordinal, percent, unmasked

WHY = "Observed against expected"
"""Heads the reasons of an incident."""

LIKELY_CAUSE = "Most likely cause"
"""Heads the ranked services."""

SEEN_BEFORE = "Seen before"
"""Heads the past incidents that are alike."""

WHAT_TO_DO = "What to do"
"""Heads the steps."""

PEOPLE = "What people said"
"""Heads who took it on, and how it was ended."""

FIXED_BY, NO_FIX = "fixed by", "no fix recorded"
"""What is known of the end of a past incident."""


# --- Kinds of findings -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """The words for one kind of finding.

    Slots are filled when it is said: `{text}` is the template or what was counted, `{seen}` the observed amount with
    its unit, `{expected}` the expected number, `{more}` "more" or "fewer", and `{where}` the services with a colon,
    which may be empty. What was seen is of the window that was strangest, which is said: `{worst}`.
    """

    name: str
    """Stands before the template in lists and tables."""
    headline: str
    """Stands after the service in a headline."""
    sentence: str
    """Stands in the report."""
    unexpected: str = "not expected"
    """How the observed compares where nothing was expected."""
    step: str = ""
    """What to look at because of it, where that is more than its logs."""


WORST = ", at its strangest"
"""Of numbers that are not of the whole incident."""

KINDS: Mapping[ContributionKind, Kind] = {
    "new_template": Kind(
        name="new kind of line",
        headline="new message “{text}”",
        sentence="{where}“{text}” was never seen before; {seen}{worst}.",
        unexpected="never before",
    ),
    "template": Kind(
        name="unusual number",
        headline="{more} “{text}”",
        sentence="{where}“{text}”: {seen}, expected {expected}{worst}.",
    ),
    "transition": Kind(
        name="unusual order",
        headline="unusual order of messages around “{text}”",
        sentence="{where}the order of messages is unusual: “{text}”: {seen}, expected {expected}{worst}.",
    ),
    "gap": Kind(
        name="unusual pause",
        headline="unusual pause around “{text}”",
        sentence="{where}an unusual pause: “{text}” took {seen}, expected {expected}{worst}.",
    ),
    "errors": Kind(
        name="errors",
        headline="{more} errors",
        sentence="{where}{text}: {seen}, expected {expected}{worst}.",
    ),
    "volume": Kind(
        name="volume",
        headline="{more} log lines",
        sentence="{where}{text}: {seen}, expected {expected}{worst}.",
    ),
    "silence": Kind(
        name="silence",
        headline="silent",
        sentence="{text}: {seen} where {expected} were expected{worst}.",
        step="Check that what fell silent still runs, and that its logs are still shipped.",
    ),
    "new_service": Kind(
        name="new service",
        headline="a service never seen before",
        sentence="{text} was never seen before; {seen}{worst}.",
        unexpected="never before",
        step="Check that the new service is meant to be there.",
    ),
    "status": Kind(
        name="unusual status",
        headline="{text}: {seen}",
        sentence="{where}{text}: {seen}, expected {expected}{worst}.",
        unexpected="never before",
    ),
    "duration": Kind(
        name="slower than usual",
        headline="slow “{text}”",
        sentence="{where}“{text}” takes {seen}, expected {expected} (p95){worst}.",
        step="Look at what it waits for: its own dependencies, and what it shares with others.",
    ),
    "value": Kind(
        name="unusual value",
        headline="{text}: {seen}",
        sentence="{where}{text}: {seen}, expected {expected}{worst}.",
        unexpected="never before",
    ),
    "session": Kind(
        name="unusual session",
        headline="unusual sessions, “{text}”",
        sentence="{where}“{text}”: {seen}, expected {expected}{worst}.",
    ),
}

ANALYSIS_KINDS: Mapping[AnalysisKind, str] = {
    "new": KINDS["new_template"].name,
    "service": KINDS["new_service"].name,
    "burst": "burst of one kind of line",
    "volume": "unusual volume",
    "silence": KINDS["silence"].name,
    "gap": "gap in the logs",
    "errors": KINDS["errors"].name,
    "value": KINDS["value"].name,
    "failure": "rare failure",
    "slow": KINDS["duration"].name,
    "order": KINDS["transition"].name,
    "pause": KINDS["gap"].name,
    "session": KINDS["session"].name,
    "window": "unusual stretch",
}
"""What `analyze` finds: titles of its findings."""


def kind_of(finding: Contribution) -> Kind:
    """The words for a finding: ours, or those that came with it from the view that alone knows its kind.

    >>> kind_of(Contribution("silence", "cart", 0, 38.2)).name
    'silence'
    """
    if not finding.words:
        return KINDS[cast(ContributionKind, finding.kind)]
    name = brief(finding.words, 60)
    said = name.replace("{", "{{").replace("}", "}}")
    return Kind(name, f"{said} “{{text}}”", f"{{where}}{said}: “{{text}}”: {{seen}}, expected {{expected}}{{worst}}.")


def reason(finding: Contribution, limit: int = 240) -> str:
    """A finding on one line of about `limit` characters: the kind, the template, the numbers.

    >>> reason(Contribution("silence", "receipt <*> sent", 0, 38.2))
    'silence: receipt <*> sent (0 lines, expected 38)'
    """
    name, numbers = kind_of(finding).name, expectation(finding)
    text = brief(finding.text, max(limit - len(name) - len(numbers) - 5, 20))
    return f"{name}: {text} ({numbers})"


def expectation(finding: Contribution) -> str:
    """What was seen against what was expected.

    >>> expectation(Contribution("errors", "errors of payments", 371, 0.8))
    '371 lines, expected 0.8'
    >>> expectation(Contribution("status", "status 5xx of GET /api/cart", 95, 0.7, among=230))
    '41% of 230, expected 0.3%'
    """
    if finding.among and not finding.expected:
        return f"{_seen(finding)}, never before"
    return f"{_seen(finding)}, expected {_expected(finding)}"


def _seen(finding: Contribution) -> str:
    """What was seen with its unit; of a share of few lines their number, for a percentage would promise too much."""
    if not finding.among:
        return amount(finding.observed, finding.unit)
    if finding.among < FEW:
        return f"{number(finding.observed)} of {finding.among}"
    return f"{_share(finding.observed / finding.among)} of {finding.among:,}"


def _expected(finding: Contribution) -> str:
    if finding.among:
        return _share(finding.expected / finding.among) if finding.expected else "none"
    return amount(finding.expected, finding.unit) if finding.kind == "duration" else number(finding.expected)


def _share(share: float) -> str:
    return percent(share) if share >= 0.1 else f"{100 * share:.2g}%"


FEW = 100
"""Lines below which a share is said as so many of so many."""


def change(finding: Contribution) -> str:
    """How the observed compares with the expected.

    >>> change(Contribution("errors", "errors of payments", 371, 0.8)), change(Contribution("volume", "lines", 2, 8))
    ('× 464', '÷ 4')
    """
    observed, expected = finding.observed, finding.expected
    if observed == expected:
        return "as expected"
    if expected <= 0:
        return kind_of(finding).unexpected
    if observed <= 0:
        return "missing"
    ratio = observed / expected
    return f"× {number(ratio)}" if ratio >= 1 else f"÷ {number(1 / ratio)}"


def in_headline(finding: Contribution) -> str:
    """A finding as a headline says it, after the service."""
    text = brief(unmasked(finding.text), 90)
    return kind_of(finding).headline.format(text=text, more=_more(finding), seen=_seen(finding))


def sentence(finding: Contribution, services: Sequence[str]) -> str:
    """A finding as the report says it, with the services whose lines show it.

    >>> sentence(Contribution("template", "cache miss", 1, 12), ["cart"])
    'cart: “cache miss”: 1 line, expected 12, at its strangest.'
    """
    return kind_of(finding).sentence.format(
        where=f"{listed(services, 3)}: " if services else "",
        text=brief(unmasked(finding.text), 200),
        seen=_seen(finding),
        expected=_expected(finding),
        more=_more(finding),
        worst=WORST,
    )


def _more(finding: Contribution) -> str:
    return "more" if finding.observed >= finding.expected else "fewer"


def notice(one: Notice) -> str:
    """What is worth knowing and pages nobody, on one line.

    >>> from datetime import datetime
    >>> notice(Notice("N1", "release", "", "cart", datetime(2026, 3, 1), deployed="1.4"))
    'cart: version 1.4 was deployed'
    """
    said = "; ".join(f"{brief(finding.text, 120)}: {expectation(finding)}" for finding in one.findings)
    return f"{brief(one.service, 80) or 'all services'}: " + {
        "release": f"version {brief(one.deployed, 80)}{RELEASED}", "gone": "is silent for so long that it is gone",
        "renamed": f"writes under the name {brief(one.renamed, 80)} from now on",
        "refused": f"more requests are refused than usual ({said})", "adopted": f"is as usual from now on ({said})",
    }[one.kind]  # fmt: skip


# --- Incidents -------------------------------------------------------------------------------------------


def cause(incident: Incident) -> str:
    """The service that is now thought to be the cause, by its name in the logs: whoever shows it cleans it."""
    return incident.suspects[0].service if incident.suspects else incident.service


def suspects(incident: Incident, count: int = 3, limit: int = 200) -> list[str]:
    """The first `count` of the ranked services with their weights, and why, in at most `limit` characters."""
    return [
        f"{brief(s.service, 80)} ({percent(s.weight)}){': ' + brief(s.reason, limit) if s.reason else ''}"
        for s in incident.suspects[:count]
    ]


def headline(incident: Incident, report: Report | None, limit: int = 200) -> str:
    """The report's headline, or the least that can be said."""
    written = brief(report.headline, limit) if report else ""
    return written or f"Unusual logs of {brief(cause(incident), 80)}"


def title(record: IncidentRecord) -> str:
    """What the rules say: the model's words are never a title, for a title looks like a fact."""
    return headline(record.incident, record.rules, limit=500)


def state(incident: Incident) -> str:
    """How bad it is, or that it is over: Critical, Warning, Info, Resolved."""
    return "Resolved" if incident.status == "resolved" else incident.severity.capitalize()


CLOSED: Mapping[Verdict, str] = {
    "resolved": "Resolved by",
    "accepted": "Accepted as normal by",
    "rejected": "Rejected as no problem by",
    "muted": "Muted by",
}
"""How somebody ended an incident, before who it was."""


def people(incident: Incident, limit: int = 300) -> list[str]:
    """What people said of an incident: how they ended it, who looks after it; a line each."""
    lines = []
    if closed := incident.closed:
        lines.append(_by(CLOSED[closed.verdict], closed.by, closed.reason, limit))
    if taken := incident.acknowledged:
        when = f", {minute(taken.at)}" + (f", until {minute(taken.until)}" if taken.until else "")
        lines.append(_by("Acknowledged by", taken.by, taken.note, limit, when))
    return lines


def _by(what: str, by: str, text: str, limit: int, when: str = "") -> str:
    said = f"{what} {brief(by, 80)}{when}"
    return f"{said}: {brief(text, limit)}" if text else said


def mark(incident: Incident) -> str:
    """What people made of it in one word (accepted, rejected, muted, acknowledged), or nothing."""
    if incident.closed and incident.closed.verdict != "resolved":
        return incident.closed.verdict
    return "acknowledged" if incident.acknowledged else ""


def ruled(incident: Incident) -> str:
    """That rules changed it, or keep it from being told; else nothing."""
    names = listed([brief(name, 60) for name in incident.ruled_by])
    if incident.withheld == "muted":
        return f"Told to nobody, by {_rules(incident)} {names}."
    return f"Without what {_rules(incident)} {names} took out of it, or made less severe." if names else ""


def _rules(incident: Incident) -> str:
    return "rule" if len(incident.ruled_by) == 1 else "the rules"


def lasted(incident: Incident) -> str:
    """How long it lasted, or has been going on, in event time."""
    return duration(incident.last_seen - incident.starts_at)


RELEASED = " was deployed"
"""How the entry of a timeline ends that tells of a release, as `/webhooks/change` told it."""


SAMPLED = "In at least one window only "
"""How `sampled` begins, whatever the share."""


def sampled(incident: Incident) -> str:
    """That numbers are estimates, where not all lines were read; else nothing."""
    if incident.sampled >= 1:
        return ""
    return (
        f"{SAMPLED}{100 * incident.sampled:.3g}% of the lines were read, for there were more than "
        "`max_lines_per_window`: numbers of lines are estimates there; order, sessions and absence were not judged."
    )


def seen_before(report: Report, most: int, limit: int = 300) -> list[str]:
    """Past incidents that are like it, or that memory could not be asked; nothing where it knows of none."""
    return [similar(past, limit) for past in report.similar[:most]] or [*filter(None, [unasked(report)])]


def unasked(report: Report) -> str:
    """That memory could not be asked, and why; else nothing."""
    return f"memory could not be asked: {brief(report.unasked, 200)}" if report.unasked else ""


def similar(past: SimilarIncident, limit: int = 300) -> str:
    """A past incident, why it is named, and what fixed it, in about `limit` characters."""
    told = f"{tier(past)} {day(past.starts_at)}: {brief(past.headline, limit // 2)}"
    return f"{told} ({'; '.join([*because(past), fixed(past, limit // 2)])})"


def tier(past: SimilarIncident) -> str:
    """How a past incident is called: the same failure, or one that may be related."""
    return "the same failure as on" if past.tier == "same" else "may be related,"


def because(past: SimilarIncident) -> list[str]:
    """Why a past incident is named: how often it was, what is in common, and that others fit as well."""
    lines = len(past.common)
    found = [
        time_of(past).removeprefix("the ") if past.times else "",
        listed(past.kinds, 3),
        f"{lines} {'line' if lines == 1 else 'lines'} in common" if lines else "",
        "another cause fits as well" if past.rivals else "",
        f"in {brief(past.elsewhere, 80)}" if past.elsewhere else "",
    ]
    return [*filter(None, found)]


def apart(past: SimilarIncident) -> str:
    """What would tell it from others that fit as well: its own line that is not seen now; nothing where none do."""
    return f"it would be this one if “{brief(past.then[0], 160)}” is seen, too" if past.rivals and past.then else ""


def fixed(past: SimilarIncident, limit: int) -> str:
    """What fixed a past incident, the fix in at most `limit` characters, by whom, and whether that held."""
    if not past.fix:
        return NO_FIX
    by = f" ({brief(past.fixed_by, 60)})" if past.fixed_by else ""
    held = f", came back after {duration(past.came_back)}" if past.came_back is not None else ""
    return f"{FIXED_BY}: {brief(past.fix, limit)}{by}{held}"


def time_of(past: SimilarIncident) -> str:
    """Which occurrence of its failure the new one is, as far as is counted."""
    return f"{'at least ' if past.times > MOST_COUNTED else ''}the {ordinal(past.times)} time"


def level(severity: int) -> str:
    """The name of a severity number of OpenTelemetry; nothing when the line did not say.

    >>> level(17), level(15), level(0)
    ('error', 'warn', '')
    """
    known = [each for each in Severity if each <= severity]
    return max(known).name.lower() if severity > 0 and known else ""
