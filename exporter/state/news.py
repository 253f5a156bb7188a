"""What there is to tell of incidents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from exporter.model import Change, Incident, Report, Write
from exporter.model.times import seconds
from exporter.state.aside import dated, readable
from exporter.state.bodies import pack
from exporter.state.deliveries import Delivery
from exporter.state.file import Rows


@dataclass(frozen=True)
class News:
    """One revision of an incident to be told; of its reports the first is part 0, later ones follow."""

    revision: int
    part: int
    change: Change
    incident: Incident
    report: Report


_COLUMNS = ("incident", "revision", "part", "change", "at", "body", "report")


def news_row(incident: Incident, change: Change, at: datetime, part: int = 0, report: Report | None = None) -> Write:
    """The row from which reports and deliveries of a revision are made; it is told once it has its report.

    `at` is event time.
    """
    told = pack(report) if report else None
    row = (incident.id, incident.revision, part, change, seconds(at), pack(incident), told)
    return Write("news", _COLUMNS, (row,))


async def unreported(rows: Rows) -> list[int]:
    """The numbers of the revisions that have no report, in the order in which they are to be told."""
    found = await rows.read("SELECT number FROM news WHERE report IS NULL ORDER BY at, incident, revision")
    return [number for (number,) in found]


async def number_to_come(rows: Rows) -> int:
    """Incidents of which nothing can be told yet: they opened, and are being reported on."""
    query = (
        "SELECT COUNT(DISTINCT incident) FROM news AS one WHERE report IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM news WHERE incident = one.incident AND report IS NOT NULL)"
    )
    return int((await rows.read(query))[0][0])


async def unreported_news(rows: Rows, number: int) -> tuple[Incident, Change, datetime] | None:
    """One of them; None where it cannot be read or is gone."""
    found = await rows.read("SELECT incident, revision, part, body, change, at FROM news WHERE number = ?", (number,))
    for incident, revision, part, body, change, at in found:
        key = f"{incident}:{revision}:{part}"
        read, when = readable(rows, "news", key, Incident, body), dated(rows, "news", key, at)
        return (read, change, when) if read is not None and when is not None else None
    return None


async def newest_number(rows: Rows) -> int:
    """The number of the news that was written last; each time a row is written it has a new one."""
    found = await rows.read("SELECT MAX(number) FROM news")
    return int(found[0][0] or 0)


async def oldest_number(rows: Rows, incident: str) -> int:
    """The number of the first news of an incident."""
    found = await rows.read("SELECT MIN(number) FROM news WHERE incident = ?", (incident,))
    return int(found[0][0] or 0)


async def incidents_with_news(rows: Rows, after: int) -> list[str]:
    """Incidents of which there are news with a higher number than `after` that can be told, in order."""
    query = "SELECT incident FROM news WHERE number > ? AND report IS NOT NULL ORDER BY number"
    found = await rows.read(query, (after,))
    return list(dict.fromkeys(incident for (incident,) in found))


async def next_news(rows: Rows, incident: str, had: Delivery) -> News | None:
    """The first that can be told of an incident beyond what a place had; what cannot be read, or is withheld, is passed
    over."""
    return await _first(rows, incident, had, "ASC")


async def newest_news(rows: Rows, incident: str, had: Delivery | None = None) -> News | None:
    """The newest that can be told of an incident, beyond what a place had if that is given."""
    return await _first(rows, incident, had or Delivery("", incident), "DESC")


async def _first(rows: Rows, incident: str, had: Delivery, order: str) -> News | None:
    query = (
        "SELECT revision, part, change, body, report FROM news "
        "WHERE incident = ? AND (revision, part) > (?, ?) AND report IS NOT NULL "
        f"ORDER BY revision {order}, part {order}"
    )
    for revision, part, change, body, report in await rows.read(query, (incident, had.revision, had.part)):
        key = f"{incident}:{revision}:{part}"
        told = readable(rows, "news", key, Incident, body), readable(rows, "news", key, Report, report)
        if None not in told and not told[0].withheld:
            return News(revision, part, change, *told)
    return None
