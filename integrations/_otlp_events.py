"""Incident changes and notices as events, before they are records of OpenTelemetry, whose modules change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.model import RULES, Change, Claim, NoticeTold, Notification, Report, nanoseconds, to_json
from exporter.wording import narrative, words
from exporter.wording.text import brief, link, shorten

MAX_TEXT = 2_000
MAX_ITEM = 300
MAX_ITEMS = 10

EVENTS: Mapping[Change, str] = {
    "opened": "log_anomaly.incident.opened",
    "updated": "log_anomaly.incident.updated",
    "reported": "log_anomaly.incident.updated",
    "resolved": "log_anomaly.incident.resolved",
    "reopened": "log_anomaly.incident.reopened",
}
NOTICED = "log_anomaly.notice"
SEVERITIES = {"info": 9, "warning": 13, "critical": 17}
"""OpenTelemetry's SeverityNumber: INFO, WARN, ERROR."""

Attribute = str | int | float | bool | tuple[str, ...]


@dataclass(frozen=True)
class Event:
    """A log record before it is OpenTelemetry's: its modules for logs are not stable, this is."""

    name: str
    timestamp: int
    observed: int
    severity_number: int
    body: str
    attributes: Mapping[str, Attribute]


def event(notification: Notification) -> Event:
    """The event of a change: event time, severity, a line to read, and the facts as attributes."""
    incident, report = notification.incident, notification.report
    firing = incident.status == "firing"
    attributes: dict[str, Attribute | None] = {
        "event.id": notification.event_id,
        "log_anomaly.change": notification.change,
        "log_anomaly.incident.id": incident.id,
        "log_anomaly.incident.revision": incident.revision,
        "log_anomaly.incident.status": incident.status,
        "log_anomaly.incident.severity": incident.severity,
        "log_anomaly.incident.score": round(incident.score, 6),
        "log_anomaly.incident.fingerprint": incident.fingerprint,
        "log_anomaly.incident.starts_at": to_json(incident.starts_at),
        "log_anomaly.incident.ends_at": to_json(incident.ends_at),
        "log_anomaly.incident.url": link(notification.url),
        "log_anomaly.incident.services": _list(incident.services),
        "log_anomaly.incident.sources": _list(incident.sources),
        "log_anomaly.incident.reasons": tuple(words.reason(c, MAX_ITEM) for c in incident.contributions[:MAX_ITEMS]),
        "log_anomaly.incident.evidence": tuple(brief(e.id, 40) for e in incident.evidence[:MAX_ITEMS]),
        "log_anomaly.incident.people": tuple(brief(line, MAX_ITEM) for line in words.people(incident)),
        "log_anomaly.service.name": brief(words.cause(incident), MAX_ITEM),
        "log_anomaly.report.writer": brief(report.writer, MAX_ITEM),
        "log_anomaly.report.summary": shorten(
            " ".join(narrative.claim(one, MAX_ITEM) for one in report.what_happened[:MAX_ITEMS]), MAX_TEXT
        ),
        **{
            f"log_anomaly.report.{name}": tuple(narrative.claim(one, MAX_ITEM) for one in told[:MAX_ITEMS])
            for name, told in _parts(report)
        },
        "log_anomaly.report.similar": tuple(words.seen_before(report, 3, MAX_ITEM)),
    }
    return Event(
        name=EVENTS[notification.change],
        timestamp=nanoseconds(incident.updated_at),
        observed=nanoseconds(notification.now),
        severity_number=SEVERITIES[incident.severity] if firing else SEVERITIES["info"],
        body=words.headline(incident, report, MAX_ITEM),
        attributes={key: value for key, value in attributes.items() if value not in (None, "", ())},
    )


def _parts(report: Report) -> Sequence[tuple[str, Sequence[Claim]]]:
    """What a model made of it: each sentence of its own begins with its mark."""
    if report.writer == RULES:
        return []
    return [
        ("what_happened", report.what_happened),
        ("cause", report.causes),
        ("steps", report.steps),
        ("not_known", report.not_known),
        ("left_out", report.left_out),
    ]


def notice_event(told: NoticeTold) -> Event:
    """The event of a notice."""
    notice = told.notice
    attributes: dict[str, Attribute | None] = {
        "event.id": told.event_id,
        "log_anomaly.notice.id": notice.id,
        "log_anomaly.notice.kind": notice.kind,
        "log_anomaly.notice.version": brief(notice.deployed, MAX_ITEM),
        "log_anomaly.service.name": brief(notice.service, MAX_ITEM),
    }
    return Event(
        name=NOTICED,
        timestamp=nanoseconds(notice.at),
        observed=nanoseconds(told.now),
        severity_number=SEVERITIES["info"],
        body=words.notice(notice),
        attributes={key: value for key, value in attributes.items() if value},
    )


def _list(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(brief(name, MAX_ITEM) for name in names[:MAX_ITEMS])
