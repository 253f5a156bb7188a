"""What is told of many incidents at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from exporter.model.incidents import IncidentStatus
from exporter.model.people import IncidentSeverity

DigestReason = Literal["burst", "outage"]
"""Why many incidents are told as one: they came at once, or came and went while nothing was watched."""


@dataclass(frozen=True)
class DigestLine:
    """One incident in a digest. `changed` says whether it reads otherwise than when the digest was told last."""

    id: str
    status: IncidentStatus
    severity: IncidentSeverity
    services: tuple[str, ...]
    starts_at: datetime
    last_seen: datetime
    headline: str
    url: str | None = None
    changed: bool = True


@dataclass(frozen=True)
class Digest:
    """What a sink for people is told of many incidents at once: those that matter most first.

    `id` stays the same while incidents come to it or change; `event_id` is the same at every repetition of one telling.
    `again` is true when it was told before: only lines that `changed` are news then. `url` is where all of them stand.
    """

    id: str
    event_id: str
    reason: DigestReason
    lines: tuple[DigestLine, ...]
    now: datetime
    again: bool = False
    url: str | None = None
    receipt: str | None = None
    in_doubt: bool = True
