"""Incidents as memory keeps them, and how alike two are."""

from __future__ import annotations

from exporter.memory.embedding import normalise
from exporter.model import Embedder, Incident, IncidentDocument, Report
from exporter.report import rules as reports

MAX_TEXTS = 30

MAX_TEXT_CHARS = 4_000


def text_of(incident: Incident) -> str:
    """What is embedded and searched: services and templates, without what differs from time to time.

    Templates are redacted before they are mined. The services stand first, for models cut long texts.
    """
    by_share = sorted(incident.contributions, key=lambda c: (-c.share, c.kind, c.text))
    texts = dict.fromkeys(normalise(c.text) or c.kind for c in by_share)
    return "\n".join([" ".join(sorted(incident.services)), *list(texts)[:MAX_TEXTS]])[:MAX_TEXT_CHARS]


def document(incident: Incident, report: Report, embedder: Embedder | None = None) -> IncidentDocument:
    """The incident as memory keeps it, embedded when an embedder is given (which blocks).

    Nothing of it is written by a model: a poisoned report would come back as a memory.
    """
    text = text_of(incident)
    return IncidentDocument(
        id=incident.id,
        revision=incident.revision,
        fingerprint=incident.fingerprint,
        headline=report.headline if report.writer == reports.RULES else reports.headline(incident),
        text=text,
        services=incident.services,
        severity=incident.severity,
        status=incident.status,
        starts_at=incident.starts_at,
        ends_at=incident.ends_at,
        fix=incident.fix,
        embedding_model=embedder.model if embedder else "",
        embedding=tuple(embedder.embed([text])[0]) if embedder else (),
    )
