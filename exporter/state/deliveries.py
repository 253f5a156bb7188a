"""How far each place is with each incident, and what was told of many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from exporter.model import DigestReason, Write
from exporter.state.file import Rows


@dataclass(frozen=True)
class Delivery:
    """How far a place is with an incident; times are wall time, in seconds since the epoch.

    A place is a sink and, where it has several, which of its instances (`peer`). `next_attempt` is when it is to be
    looked at without news: after a failure, or to keep an alert alive; 0 is never. `digest` names the digest by which
    it was told of, if it was.
    """

    sink: str
    incident: str
    peer: str = ""
    revision: int = 0
    part: int = -1
    receipt: str | None = None
    attempts: int = 0
    next_attempt: int = 0
    delivered_at: int = 0
    error: str = ""
    digest: str = ""

    def has(self, revision: int, part: int) -> bool:
        """Whether the place was told this, or something newer."""
        return (revision, part) <= (self.revision, self.part)


@dataclass(frozen=True)
class DigestRow:
    """A digest of one place: made at `made_at`, told `times` times, the last time at `told_at` (0: not yet)."""

    sink: str
    peer: str
    id: str
    reason: DigestReason
    made_at: int
    told_at: int = 0
    times: int = 0
    receipt: str | None = None


_COLUMNS = tuple(field.name for field in fields(Delivery))
_DIGEST = tuple(field.name for field in fields(DigestRow))


async def delivery_of(rows: Rows, sink: str, peer: str, incident: str) -> Delivery:
    """How far a place is with an incident. A row without a peer counts for each peer that has none of its own."""
    query = f"SELECT {', '.join(_COLUMNS)} FROM deliveries WHERE sink = ? AND peer IN (?, '') AND incident = ?"
    found = await rows.read(f"{query} ORDER BY peer DESC LIMIT 1", (sink, peer, incident))
    return Delivery(*found[0]) if found else Delivery(sink, incident, peer)


async def deliveries_of(rows: Rows, incident: str) -> list[Delivery]:
    """How far each place is with an incident."""
    query = f"SELECT {', '.join(_COLUMNS)} FROM deliveries WHERE incident = ? ORDER BY sink, peer"
    return [Delivery(*row) for row in await rows.read(query, (incident,))]


def delivery_row(delivery: Delivery) -> Write:
    return Write("deliveries", _COLUMNS, (tuple(getattr(delivery, name) for name in _COLUMNS),))


async def incidents_at_their_time(rows: Rows, sink: str, peer: str, now: int) -> list[str]:
    """Incidents that a place is to be told of again, or for the first time after a failure, the longest due first."""
    query = (
        "SELECT incident FROM deliveries d WHERE sink = ? AND peer = ? AND next_attempt > 0 AND next_attempt <= ? "
        "ORDER BY next_attempt, incident"
    )
    found = [incident for (incident,) in await rows.read(query, (sink, peer, now))]
    if peer:
        # What a release wrote that had one row for all instances.
        older = (
            "SELECT incident FROM deliveries d WHERE sink = ? AND peer = '' AND next_attempt > 0 AND next_attempt <= ? "
            "AND NOT EXISTS "
            "(SELECT 1 FROM deliveries o WHERE o.sink = d.sink AND o.incident = d.incident AND o.peer = ?)"
        )
        found += [incident for (incident,) in await rows.read(older, (sink, now, peer))]
    return found


async def failing(rows: Rows, sink: str, peer: str) -> list[str]:
    """Incidents of which the last attempt of a place failed."""
    query = "SELECT incident FROM deliveries WHERE sink = ? AND peer = ? AND next_attempt > 0 AND attempts > 0"
    return [incident for (incident,) in await rows.read(query, (sink, peer))]


async def is_new(rows: Rows, sink: str) -> bool:
    """Whether a sink was never told of anything, nor tried to be."""
    return not await rows.read("SELECT 1 FROM deliveries WHERE sink = ? LIMIT 1", (sink,))


def digest_row(digest: DigestRow) -> Write:
    return Write("digests", _DIGEST, (tuple(getattr(digest, name) for name in _DIGEST),))


async def digests_of(rows: Rows, sink: str, peer: str) -> list[DigestRow]:
    """The digests of a place, the newest last."""
    query = f"SELECT {', '.join(_DIGEST)} FROM digests WHERE sink = ? AND peer = ? ORDER BY made_at, id"
    return [DigestRow(*row) for row in await rows.read(query, (sink, peer))]


async def members_of(rows: Rows, digest: DigestRow) -> Sequence[Delivery]:
    """How far a place is with each incident that a digest holds."""
    query = f"SELECT {', '.join(_COLUMNS)} FROM deliveries WHERE sink = ? AND peer = ? AND digest = ? ORDER BY incident"
    found = await rows.read(query, (digest.sink, digest.peer, digest.id))
    return [Delivery(*row) for row in found]
