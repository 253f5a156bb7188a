"""What the web side needs from the daemon: a few questions, and two pieces of news to hand over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from exporter.model import (
    ExporterError,
    Facts,
    HiddenRow,
    Incident,
    IncidentDocument,
    IncidentSeverity,
    IncidentStatus,
    NearMiss,
    Notice,
    Report,
    Rule,
    SetAside,
    Verb,
)
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
    links: (source, URL) into the place where the logs are. line_urls, fact_urls: where exactly a line of evidence, or
    all lines of the fact that it decides, can be read, by the id of the line. now: what is known of it by now, where
    that is more than was told.
    """

    incident: Incident
    reports: tuple[Report, ...] = ()
    deliveries: tuple[DeliveryStatus, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    line_urls: Mapping[str, str] = field(default_factory=dict)
    fact_urls: Mapping[str, str] = field(default_factory=dict)
    now: Facts | None = None

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
class Asked:
    """Which incidents somebody looks for: all that is given must hold. `within` is a while before now in which they
    were seen, `words` stand in what is told of them."""

    status: IncidentStatus | None = None
    severity: IncidentSeverity | None = None
    service: str = ""
    within: timedelta | None = None
    words: str = ""


@dataclass(frozen=True)
class Watched:
    """A service of a source: kinds of its lines that are known, its lines and windows since a moment, its last window,
    and how strongly it stood out in each of the last 24 hours, the oldest first."""

    source: str
    service: str
    kinds: int
    lines: int
    since: datetime
    last: datetime
    hours: tuple[float, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """What was not judged, told or taken, how often since the process began, and why."""

    what: str
    source: str
    reason: str
    amount: int


@dataclass(frozen=True)
class Overview:
    """What an installation knows at a moment of event time. `threshold` is None before warm-up has ended; `budget` is
    in incidents a day. `near` came near to an incident, the nearest first."""

    until: datetime | None
    threshold: float | None
    budget: float
    watched: tuple[Watched, ...] = ()
    near: tuple[NearMiss, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


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


EVER = "ever"
"""For which a rule lasts that ends only when it is taken back."""

MOST_SAID = 2_000
"""Characters of a reason, a note, a fix."""

RULES_LAST = timedelta(days=90)
"""How long a rule of people holds where nobody says otherwise."""


@dataclass(frozen=True)
class Said:
    """What somebody says, and for how long a rule holds that is made of it: until a moment, or for a while; for ever
    where both are None. `confirmed` once it is known what that would have hidden."""

    by: str
    reason: str = ""
    until: datetime | None = None
    lasting: timedelta | None = RULES_LAST
    confirmed: bool = False

    def ends_at(self, since: datetime) -> datetime | None:
        return self.until or (since + self.lasting if self.lasting is not None else None)


Proposal = Literal["accept", "reject", "mute", "mute_service"]
"""Rules that can be made of an incident: all that it was made of, or the failure that it was, is expected; that
failure, or all of the service that is thought to be the cause, is muted."""


@dataclass(frozen=True)
class HiddenIncident:
    """An incident that a rule would have hidden."""

    id: str
    severity: IncidentSeverity
    starts_at: datetime
    headline: str


@dataclass(frozen=True)
class Preview:
    """What a rule would have hidden of the incidents since a moment."""

    rule: Rule
    since: datetime
    among: int
    hidden: tuple[HiddenIncident, ...] = ()

    @property
    def is_grave(self) -> bool:
        """Whether it would have hidden a critical one, or more than a tenth of all."""
        return any(one.severity == "critical" for one in self.hidden) or len(self.hidden) > self.among / 10


@dataclass(frozen=True)
class RuleRecord:
    """A rule, and how many things it has hidden, as far as that is kept."""

    rule: Rule
    hidden: int = 0


@dataclass(frozen=True)
class RuleStory:
    """A rule as it stands at a moment of event time: the newest things that it hid, and the incidents that go on and
    are told to nobody because of it."""

    record: RuleRecord
    at: datetime | None = None
    newest: tuple[HiddenRow, ...] = ()
    muted: tuple[HiddenIncident, ...] = ()

    @property
    def can_be_taken_back(self) -> bool:
        """From here: what the configuration says is taken out there."""
        return self.record.rule.removed_at is None and self.record.rule.origin == "people"


class UnconfirmedError(ExporterError):
    """A rule would hide much: it is made only once somebody has seen what."""

    def __init__(self, preview: Preview) -> None:
        super().__init__(
            f"rule {preview.rule.name} would have hidden {len(preview.hidden)} of {preview.among} incidents since "
            f"{preview.since.date().isoformat()}"
        )
        self.preview = preview


class Backend(Protocol):
    """The daemon as pages, API and webhooks see it."""

    async def list_incidents(self, status: IncidentStatus | None, limit: int) -> Sequence[IncidentRecord]:
        """The newest first; deliveries and links may be left out."""

    async def find(self, asked: Asked, limit: int) -> Sequence[IncidentRecord]:
        """Those that somebody looks for, the newest first; likewise."""

    async def overview(self) -> Overview:
        """What is watched, what was learnt, what came near, what was left out."""

    async def notices(self, limit: int) -> Sequence[Notice]:
        """What is worth knowing and pages nobody, the newest first."""

    async def incident(self, incident_id: str) -> IncidentRecord | None: ...

    async def act(self, incident_id: str, verb: Verb, said: Said) -> IncidentRecord | None:
        """Do to an incident what somebody says; None when there is no such incident.

        Raises PermanentError where it cannot be done, UnconfirmedError where it would hide much.
        """

    async def rules(self) -> Sequence[RuleRecord]:
        """Rules that stand, in order of their making."""

    async def rule(self, name: str) -> RuleStory | None:
        """The newest rule of a name, which may have been taken back; None where there never was one."""

    async def proposed(self, incident_id: str, proposal: Proposal) -> Any:
        """The settings of a rule that can be made of an incident; None where there is no such incident, or nothing of
        it was seen in logs."""

    async def preview(self, settings: Any) -> Preview:
        """What a rule of these settings would have hidden. Raises PermanentError where they are wrong."""

    async def add_rule(self, settings: Any, said: Said) -> RuleRecord:
        """Make a rule. Raises as `act`."""

    async def remove_rule(self, name: str, said: Said) -> RuleRecord:
        """Take a rule back. Raises PermanentError where there is none, or the configuration has it."""

    async def remember(self, documents: Sequence[IncidentDocument]) -> int:
        """Put what another memory held into this one. Returns how many are new, or newer than what was there.

        Raises PermanentError or TransientError.
        """

    async def forget(self, key: str) -> bool:
        """Delete what memory holds of an incident, by its id or its key; False where that is nothing. Raises so too."""

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
