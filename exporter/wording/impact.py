"""What a reader asks after the headline: whom it hit, what did not change, and what is known to fix it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from exporter.model import Incident, Report, SimilarIncident
from exporter.model.facts import Facts
from exporter.wording import headlines, words
from exporter.wording.headlines import sentences, usually
from exporter.wording.text import amount, brief, clock, day, hour

COMPARED = "What was compared"
"""Heads what did not change, where it has a heading."""

NOT_KNOWN = "Nothing like it is remembered."


def impact(incident: Incident, now: Facts | None = None) -> str:
    """Whom it hit, with the time that the numbers count: requests that failed, else lines, else what stands out most.

    now: what is known of it by now, where that is more than was told.

    >>> from datetime import UTC, datetime
    >>> from exporter.model.facts import Impact
    >>> at = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)
    >>> _of(Facts(at.replace(minute=33), impact=Impact("gateway", 52, 100, at)))
    'gateway: 52 of 100 requests failed since 09:26 until 09:33 UTC.'
    """
    facts = now or incident.facts
    if facts and (said := _of(facts)):
        return said
    if incident.contributions:
        return f"{words.reason(incident.contributions[0], 160)}."
    return "No failed request is known."


def _of(facts: Facts) -> str:
    if facts.impact:
        return sentences(facts)[0][0]
    measured, top = facts.measured[:1], facts.decisive
    if measured and not facts.fails_first:
        return sentences(Facts(facts.until, measured=measured))[0][0]
    if top is None:
        return ""
    lines = f"{amount(top.count, 'lines')} since {hour(top.since)} until {clock(facts.until)}"
    return f"{brief(top.service, 60)}: {lines}{usually(top)}. No failed request is known."


def unchanged(incident: Incident) -> str:
    """What was compared with the hour before and is as it was; empty where nothing is known to be.

    Of lines of which only some were read, and where somebody told of a release, that none tells of a start says less.
    """
    if incident.facts is None:
        return ""
    facts, sampled = incident.facts, incident.sampled < 1
    own = (entry.text for entry in incident.timeline if entry.service in ("", facts.subject))
    hushed = sampled or any(text.endswith(words.RELEASED) for text in own)
    same = tuple(one for one in facts.same if one.kind != "starts" or not hushed)
    return headlines.unchanged(replace(facts, same=same))


def known_fix(incident: Incident, report: Report | None, similar: Sequence[SimilarIncident]) -> tuple[str, str]:
    """What is known to fix it, before it and after: what fixed this one, or the like of it; else that nothing is."""
    if incident.fix:
        return "Fixed by", incident.fix
    for tier in ("same", "related"):
        past = next((one for one in similar if one.tier == tier and one.fix), None)
        if past:
            return f"{_how(past)}, then", words.fixed(past, 600)
    if same := next((one for one in similar if one.tier == "same"), None):
        return _how(same), words.NO_FIX
    if report is None:
        return "", "The report is being written."
    said = words.unasked(report)
    return "", f"{said[:1].upper()}{said[1:]}." if said else NOT_KNOWN


def _how(past: SimilarIncident) -> str:
    where = f" in {brief(past.elsewhere, 60)}" if past.elsewhere else ""
    return f"{words.tier(past)} {day(past.starts_at)}{where}".capitalize()
