"""Alerts of others: those that wait for the analysis of their logs, and what became of those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from exporter.model import Write
from exporter.model.questions import AlertTrigger
from exporter.model.times import seconds
from exporter.state.aside import dated, readable
from exporter.state.bodies import pack
from exporter.state.file import Rows

ASKED_AT_ONCE = 250
"""Alerts that one query looks for; each has up to two names."""


@dataclass(frozen=True)
class Taken:
    """An alert that was taken in, and whether it was analysed."""

    alert: AlertTrigger
    done: bool


def trigger_row(alert: AlertTrigger, received_at: datetime, done: bool) -> Write:
    names = ("fingerprint", "starts_at", "status", "received_at", "done", "body")
    row = (alert.fingerprint, seconds(alert.starts_at), alert.status, seconds(received_at), int(done), pack(alert))
    return Write("triggers", names, (row,))


async def known_triggers(rows: Rows, alerts: Sequence[AlertTrigger]) -> set[tuple[str, int, str]]:
    """The identities of those alerts that were taken in before, done or not."""
    known = set()
    for start in range(0, len(alerts), ASKED_AT_ONCE):
        part = alerts[start : start + ASKED_AT_ONCE]
        names = sorted({name for alert in part for name in (alert.fingerprint, alert.sent_as) if name})
        marks = ", ".join("?" * len(names))
        query = f"SELECT fingerprint, starts_at, status, body FROM triggers WHERE fingerprint IN ({marks})"
        found = {(key, at, status): body for key, at, status, body in await rows.read(query, names)}
        known |= {alert.identity for alert in part if _is_among(rows, alert, found)}
    return known


def _is_among(rows: Rows, alert: AlertTrigger, found: dict[tuple[str, int, str], str]) -> bool:
    if alert.identity in found:
        return True
    # Earlier releases took the sender's word for which alert it is; two of them may have had the same.
    body = found.get((alert.sent_as, seconds(alert.starts_at), alert.status))
    before = readable(rows, "triggers", alert.sent_as, AlertTrigger, body) if body else None
    return before is not None and before.labels == alert.labels


async def fired(rows: Rows, alert: AlertTrigger) -> Taken | None:
    """The firing alert that a resolved one ends; None where nothing is known of it."""
    query = "SELECT body, done FROM triggers WHERE fingerprint IN (?, ?) AND starts_at = ? AND status = 'firing'"
    for body, done in await rows.read(query, (alert.fingerprint, alert.sent_as, seconds(alert.starts_at))):
        found = readable(rows, "triggers", alert.fingerprint, AlertTrigger, body)
        if found is not None and found.labels == alert.labels:
            return Taken(found, bool(done))
    return None


async def belonging(rows: Rows, incident_id: str, ended: AlertTrigger) -> int:
    """How many alerts of an incident that they opened are firing still, when this one has ended."""
    query = """
        SELECT COUNT(*) FROM triggers AS firing
        WHERE status = 'firing' AND json_valid(body) AND json_extract(body, '$.incident') = ?
        AND NOT (starts_at = ? AND fingerprint IN (?, ?)) AND NOT EXISTS (
            SELECT 1 FROM triggers AS ended WHERE starts_at = firing.starts_at AND status = 'resolved' AND done = 1
            AND firing.fingerprint IN (fingerprint, CASE WHEN json_valid(body) THEN json_extract(body, '$.sent_as') END)
        )
    """
    this = (seconds(ended.starts_at), ended.fingerprint, ended.sent_as)
    found = await rows.read(query, (incident_id, *this))
    return int(found[0][0])


async def waiting_count(rows: Rows) -> int:
    found = await rows.read("SELECT COUNT(*) FROM triggers WHERE done = 0")
    return int(found[0][0])


async def waiting(rows: Rows) -> list[tuple[AlertTrigger, datetime]]:
    """Alerts that wait, and when each was received, the longest waiting first."""
    query = "SELECT fingerprint, body, received_at FROM triggers WHERE done = 0 ORDER BY received_at"
    found = [
        (readable(rows, "triggers", key, AlertTrigger, body), dated(rows, "triggers", key, at))
        for key, body, at in await rows.read(query)
    ]
    return [(alert, at) for alert, at in found if alert is not None and at is not None]
