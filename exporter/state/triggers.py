"""Alerts of others that wait for the analysis of their logs."""

from __future__ import annotations

from datetime import datetime

from exporter.model import Write
from exporter.model.questions import AlertTrigger
from exporter.model.times import seconds
from exporter.state.aside import dated, readable
from exporter.state.bodies import pack
from exporter.state.file import Rows


def trigger_row(alert: AlertTrigger, received_at: datetime, done: bool) -> Write:
    names = ("fingerprint", "starts_at", "status", "received_at", "done", "body")
    row = (alert.fingerprint, seconds(alert.starts_at), alert.status, seconds(received_at), int(done), pack(alert))
    return Write("triggers", names, (row,))


async def knows_trigger(rows: Rows, alert: AlertTrigger) -> bool:
    """Whether the alert was taken in before, done or not."""
    query = "SELECT 1 FROM triggers WHERE fingerprint = ? AND starts_at = ? AND status = ?"
    return bool(await rows.read(query, (alert.fingerprint, seconds(alert.starts_at), alert.status)))


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
