"""What the web side needs from the daemon: a few questions, and two pieces of news to hand over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol

from exporter.model import Incident, IncidentStatus, Report, SetAside
from exporter.model.times import seconds


@dataclass(frozen=True)
class DeliveryStatus:
    """How far one sink, or one of its instances, is with one incident. `error` is empty after a success."""

    sink: str
    outcome: Literal["delivered", "pending", "failed"]
    revision: int
    at: datetime | None = None
    attempts: int = 0
    error: str = ""
    peer: str = ""


@dataclass(frozen=True)
class IncidentRecord:
    """An incident with all that is known around it.

    reports: the newest of each writer, the deterministic one ("rules") included.
    links: (source, URL) into the place where the logs are.
    """

    incident: Incident
    reports: tuple[Report, ...] = ()
    deliveries: tuple[DeliveryStatus, ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    @property
    def rules(self) -> Report | None:
        return next((report for report in self.reports if report.writer == "rules"), None)

    @property
    def model(self) -> Report | None:
        return next((report for report in self.reports if report.writer != "rules"), None)


@dataclass(frozen=True)
class SourceProgress:
    """Where one source stands. `progress` is that of warm-up, from 0 to 1."""

    source: str
    state: Literal["warming_up", "ready", "stalled"]
    progress: float = 1.0
    read_through: datetime | None = None
    lag: timedelta | None = None
    gaps: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Health:
    """Whether the process does its work; `why` says what is wrong."""

    ok: bool
    why: str = ""


@dataclass(frozen=True)
class Readiness:
    """Whether incidents can be trusted to be complete, and if not, why."""

    ok: bool
    reasons: tuple[str, ...] = ()
    sources: tuple[SourceProgress, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    """What cannot be read and is skipped."""
    serving: bool = True
    """Whether what is asked can be answered and what is sent be accepted; sources have no part in that."""


@dataclass(frozen=True)
class AlertTrigger:
    """An alert that somebody else raised. Labels and annotations are foreign text.

    (fingerprint, starts_at, status) is its identity: the same alert comes again and again. `fingerprint` is of all of
    its labels, whatever the sender calls it (`sent_as`). Alerts of one `group` of the sender's and one time are
    analysed together; `incident` is what they opened.
    """

    fingerprint: str
    status: Literal["firing", "resolved"]
    starts_at: datetime
    ends_at: datetime | None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    sent_as: str = ""
    incident: str = ""

    @property
    def identity(self) -> tuple[str, int, str]:
        return self.fingerprint, seconds(self.starts_at), self.status


TakenAlert = Literal["accepted", "duplicate", "overloaded"]
"""What became of an alert: kept, known already, or refused for there is no room; then it must be sent again."""


class Backend(Protocol):
    """The daemon as pages, API and webhooks see it."""

    async def list_incidents(self, status: IncidentStatus | None, limit: int) -> Sequence[IncidentRecord]:
        """The newest first; deliveries and links may be left out."""

    async def incident(self, incident_id: str) -> IncidentRecord | None: ...

    async def resolve(self, incident_id: str, fix: str | None) -> IncidentRecord | None:
        """Close an incident by hand and remember what fixed it; None when there is no such incident."""

    async def reload(self) -> None:
        """Read the configuration again. Raises ConfigError where something is wrong in it, and goes on as before."""

    async def health(self) -> Health: ...

    async def readiness(self) -> Readiness: ...

    async def take(self, alerts: Sequence[AlertTrigger]) -> Sequence[TakenAlert]:
        """Keep alerts (durably) to analyse the logs around them. It returns at once; the work is done later."""

    async def change(self, service: str, version: str, at: datetime) -> bool:
        """Remember that a version of a service was deployed; False where no more of that is remembered now."""

    def metrics(self) -> str:
        """All metrics in Prometheus' text format."""
