"""The last outage of ours: a range of event time that was read long after it had passed."""

from __future__ import annotations

from datetime import datetime

from exporter.model import TimeRange, Write
from exporter.model.times import moment, seconds
from exporter.state.file import Rows, meta_row


def outage_row(span: TimeRange) -> Write:
    """`span` ends when reading began again."""
    return meta_row("outage", f"{seconds(span.start)} {seconds(span.end)}")


async def last_outage(rows: Rows) -> TimeRange | None:
    """The last one; None when there was none."""
    value = await rows.meta("outage")
    if value is None:
        return None
    start, end = map(int, value.split())
    return TimeRange(moment(start), moment(end))


async def over_before(rows: Rows, time: datetime) -> list[tuple[str, int, int]]:
    """Incidents that were resolved before an event time, with the newest revision and part that can be told."""
    query = (
        "SELECT n.incident, n.revision, MAX(n.part) FROM news n JOIN incidents i "
        "ON i.id = n.incident AND i.revision = n.revision "
        "WHERE i.status = 'resolved' AND n.report IS NOT NULL GROUP BY n.incident HAVING MAX(n.at) < ?"
    )
    found = await rows.read(query, (seconds(time),))
    return [(incident, revision, part) for incident, revision, part in found]
