"""Ask memory for a report that goes out whatever memory does, and put into the report what it knew only later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from exporter.ingest.redaction import Redactor
from exporter.memory.recall import Memory
from exporter.model import RULES, Incident, Report, SimilarIncident, TimeRange
from exporter.report import rules as reports
from exporter.wording.text import brief, without_links

log = logging.getLogger(__name__)

RECALL_LATER = timedelta(seconds=15)

NOT_YET = "it has not answered yet"

Links = Sequence[tuple[str, str]]
Gaps = Sequence[tuple[str, TimeRange, str]]


@dataclass(frozen=True)
class Recalled:
    """What memory knows of an incident, or why it could not be asked."""

    similar: tuple[SimilarIncident, ...] = ()
    unasked: str = ""


async def without_memory(memory: Memory, incident: Incident, redactor: Redactor) -> Recalled:
    """What memory knows, or that it could not be asked: it may raise anything, and take any time."""
    try:
        return Recalled(await asyncio.wait_for(memory.recall(incident), RECALL_LATER.total_seconds()))
    except TimeoutError:
        return Recalled(unasked=f"no answer within {RECALL_LATER.total_seconds():g} s")
    except Exception as error:
        why = redactor.redact(str(error) or type(error).__name__)
        return Recalled(unasked=brief(without_links(why), 200))


def recalled(incident: Incident, found: Recalled, links: Links, gaps: Gaps) -> Report:
    """The report of the rules with what memory knows, or without it where that cannot be told."""
    try:
        return reports.write(incident, found.similar, links, gaps, found.unasked)
    except Exception as error:
        if not found.similar:
            raise
        log.exception("memory: what it knows of incident %s cannot be told", incident.id)
        return reports.write(incident, (), links, gaps, f"what it knows cannot be told ({type(error).__name__})")


def completed(report: Report, incident: Incident, found: Recalled, links: Links, gaps: Gaps) -> Report:
    """A report that was written without memory, with what memory knows."""
    written = recalled(incident, found, links, gaps)
    if report.writer == RULES:
        return written
    steps = (*reports.known_fixes(written.similar), *report.steps)
    return replace(report, similar=written.similar, unasked=written.unasked, notes=written.notes, steps=steps)
