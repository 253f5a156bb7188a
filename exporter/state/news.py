"""What there is to tell of incidents, and how far each sink is with it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

from exporter.model import Change, Incident, Report, Write
from exporter.model.times import moment, seconds
from exporter.state.bodies import pack, unpack
from exporter.state.file import Rows


@dataclass(frozen=True)
class News:
    """One revision of an incident to be told; of its reports the first is part 0, later ones follow.

    `body` and `report` are unpacked by whoever tells them. `at` is event time, in seconds since the epoch.
    """

    incident: str
    revision: int
    part: int
    change: Change
    at: int
    body: str
    report: str


@dataclass(frozen=True)
class Delivery:
    """How far a sink is with an incident; times are wall time, in seconds since the epoch.

    `next_attempt` is when it is to be looked at without news: after a failure, or to keep an alert alive. 0 is never.
    """

    sink: str
    incident: str
    revision: int = 0
    part: int = -1
    receipt: str | None = None
    attempts: int = 0
    next_attempt: int = 0
    delivered_at: int = 0
    error: str = ""

    def has(self, news: News) -> bool:
        """Whether the sink was told this, or something newer."""
        return (news.revision, news.part) <= (self.revision, self.part)


_NEWS = tuple(field.name for field in fields(News))
_DELIVERY = tuple(field.name for field in fields(Delivery))


def news_row(incident: Incident, change: Change, at: datetime, part: int = 0, report: Report | None = None) -> Write:
    """The row from which reports and deliveries of a revision are made; it is told once it has its report."""
    told = pack(report) if report else None
    row = (incident.id, incident.revision, part, change, seconds(at), pack(incident), told)
    return Write("news", _NEWS, (row,))


async def unreported(rows: Rows) -> list[tuple[Incident, Change, datetime]]:
    """Revisions that have no report, in order."""
    query = "SELECT body, change, at FROM news WHERE report IS NULL ORDER BY at, incident, revision"
    return [(unpack(Incident, body), change, moment(at)) for body, change, at in await rows.read(query)]


async def newest_number(rows: Rows) -> int:
    """The number of the news that was written last; each time a row is written it has a new one."""
    found = await rows.read("SELECT MAX(number) FROM news")
    return int(found[0][0] or 0)


async def incidents_with_news(rows: Rows, after: int) -> set[str]:
    """Incidents of which there are news with a higher number than `after` that can be told."""
    found = await rows.read("SELECT incident FROM news WHERE number > ? AND report IS NOT NULL", (after,))
    return {incident for (incident,) in found}


async def incidents_at_their_time(rows: Rows, sink: str, now: int) -> set[str]:
    """Incidents that a sink is to be told of again, or for the first time after a failure."""
    query = "SELECT incident FROM deliveries WHERE sink = ? AND next_attempt > 0 AND next_attempt <= ?"
    return {incident for (incident,) in await rows.read(query, (sink, now))}


async def news_after(rows: Rows, incident: str, had: Delivery) -> list[News]:
    """What can be told of an incident beyond what a sink had, in order."""
    query = (
        f"SELECT {', '.join(_NEWS)} FROM news WHERE incident = ? AND (revision, part) > (?, ?) AND report IS NOT NULL"
    )
    found = await rows.read(f"{query} ORDER BY revision, part", (incident, had.revision, had.part))
    return [News(*row) for row in found]


async def newest_news(rows: Rows, incident: str) -> News | None:
    """The newest that can be told of an incident."""
    query = f"SELECT {', '.join(_NEWS)} FROM news WHERE incident = ? AND report IS NOT NULL"
    found = await rows.read(f"{query} ORDER BY revision DESC, part DESC LIMIT 1", (incident,))
    return News(*found[0]) if found else None


async def delivery_of(rows: Rows, sink: str, incident: str) -> Delivery:
    """How far a sink is with an incident."""
    query = f"SELECT {', '.join(_DELIVERY)} FROM deliveries WHERE sink = ? AND incident = ?"
    found = await rows.read(query, (sink, incident))
    return Delivery(*found[0]) if found else Delivery(sink, incident)


async def deliveries_of(rows: Rows, incident: str) -> list[Delivery]:
    """How far each sink is with an incident."""
    query = f"SELECT {', '.join(_DELIVERY)} FROM deliveries WHERE incident = ? ORDER BY sink"
    return [Delivery(*row) for row in await rows.read(query, (incident,))]


def delivery_row(delivery: Delivery) -> Write:
    return Write("deliveries", _DELIVERY, (tuple(getattr(delivery, name) for name in _DELIVERY),))
