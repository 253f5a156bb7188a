"""Incidents as memory keeps them."""

from __future__ import annotations

from exporter.memory.signs import Signs, signature, signs_of
from exporter.model import Incident, IncidentDocument, Report
from exporter.report import rules as reports

MAX_TEXT_CHARS = 4_000

FORM = 2
"""Of documents: raised where one of an older form would be read wrong."""


def searched(signs: Signs) -> str:
    """What is embedded and searched: the alarming lines, the most telling first, for models cut long texts.

    Where there is none, what fell silent is.
    """
    texts = signs.lines or [f"{service} says less than usual" for service in signs.fell] or [signs.service]
    return "\n".join(texts)[:MAX_TEXT_CHARS]


def document(incident: Incident, report: Report) -> IncidentDocument:
    """The incident as memory keeps it, without its vector.

    Nothing of it is written by a model: a poisoned report would come back as a memory.
    """
    signs, closed = signs_of(incident), incident.closed
    fixed = closed if incident.fix and closed and closed.verdict == "resolved" else None
    return IncidentDocument(
        id=incident.id,
        revision=incident.revision,
        fingerprint=incident.fingerprint,
        headline=report.headline if report.writer == reports.RULES else reports.headline(incident),
        text=searched(signs),
        services=incident.services,
        severity=incident.severity,
        status=incident.status,
        starts_at=incident.starts_at,
        ends_at=incident.ends_at,
        fix=incident.fix,
        embedding_model="",
        embedding=(),
        form=FORM,
        service=incident.service,
        lines=signs.lines,
        kinds=signs.kinds,
        fell=signs.fell,
        signature=signature(signs),
        verdict=closed.verdict if closed else "",
        verdict_at=closed.at if closed else None,
        fixed_by=fixed.by if fixed else "",
        fixed_at=fixed.at if fixed else None,
    )
