"""Anomalies, incidents, reports and what a sink is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NewType

from exporter.model.facts import Facts
from exporter.model.logs import stable_key
from exporter.model.memory import SimilarIncident
from exporter.model.people import Acknowledgement, Closing, IncidentSeverity


@dataclass(frozen=True)
class Evidence:
    """A redacted log line that a report may cite; `id` is short and derived from the source's id."""

    id: str
    source: str
    service: str
    timestamp: datetime
    body: str
    severity: int = 0
    template: str = ""
    host: str = ""
    trace: str = ""
    template_id: int | None = None
    """Its source's number of that template, as in `Contribution.templates`; negative where only its window knows it."""


def evidence_id(source: str, line_id: str) -> str:
    """The short id of a line, the same whenever the line is read."""
    return f"L{stable_key(f'{source}/{line_id}'):016x}"[:11]


ContributionKind = Literal[
    "new_template",
    "template",
    "transition",
    "gap",
    "errors",
    "volume",
    "silence",
    "new_service",
    "session",
    "status",
    "duration",
    "value",
]
"""Kinds of findings that `exporter.wording` has words for."""

OwnKind = NewType("OwnKind", str)
"""A kind that only a view of detection knows: its findings bring the words for it along."""


AnalysisKind = Literal[
    "new",
    "service",
    "burst",
    "volume",
    "silence",
    "gap",
    "errors",
    "value",
    "failure",
    "slow",
    "order",
    "pause",
    "session",
    "window",
]
"""What `analyze` finds, which compares a stretch of logs with itself."""


@dataclass(frozen=True)
class Contribution:
    """One reason for a score, in numbers: what was seen against what was expected.

    `share` is the part of the score that it explains, in [0, 1]. Texts are templates, not only ids, for
    incidents outlive the miner's state.
    """

    kind: ContributionKind | OwnKind
    text: str
    observed: float
    expected: float
    unit: str = "lines"
    share: float = 0.0
    since: datetime | None = None
    templates: tuple[int, ...] = ()
    evidence: tuple[str, ...] = ()
    service: str = ""
    """Set in an incident, which has several."""
    source: str = ""
    """Set in an incident; numbers of templates are those of a source."""
    among: int = 0
    """Of so many lines it is a share: of all lines at a place, those that have a value."""
    words: str = ""
    """What an OwnKind is called wherever the finding is shown: an incident outlives the view, too."""


AnomalyKind = Literal["window", "session", "absence", "gap", "calm", "spoke"]

ENDS: Mapping[AnomalyKind, AnomalyKind] = {"calm": "window", "spoke": "absence"}
"""What is no anomaly: it says that what lasted is over, of the other kind, and which was the last window of it."""


NoticeKind = Literal["refused", "release", "adopted", "gone", "renamed"]


@dataclass(frozen=True)
class Notice:
    """What is worth knowing and pages nobody: it opens no incident. `at` is when it began, in event time.

    "refused": more requests than usual were refused (4xx), which mostly says something of who asks; `findings` say how
    many. "release": a new version was deployed, as we were told. "adopted": what a service writes has been unlike
    before for `adopt_after`, without a word of failure, and is usual now. "gone": it has said nothing for so long, and
    is no longer missed. "renamed": what it wrote is written under the name `renamed`.
    """

    id: str
    kind: NoticeKind
    source: str
    service: str
    at: datetime
    findings: tuple[Contribution, ...] = ()
    deployed: str = ""
    """The version; a body in the state file has one of its own by that name."""
    renamed: str = ""


@dataclass(frozen=True)
class Anomaly:
    """An entity that behaved unlike its past in one window.

    `score` and `threshold` are calibrated to [0, 1] and mean the same for every service. `reached` is the
    event time at which it became known: the end of its window, later for absence and for late lines.
    """

    source: str
    service: str
    window: datetime
    duration: timedelta
    kind: AnomalyKind
    score: float
    threshold: float
    severity: int
    contributions: tuple[Contribution, ...]
    reached: datetime
    evidence: tuple[Evidence, ...] = ()
    detectors: tuple[str, ...] = ()
    session: str | None = None
    late: bool = False
    hosts: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    sampled: float = 1.0
    lasts: bool = False
    """Whether what it shows goes on, anomalous or not, until it is said to be over (ENDS)."""
    fails: bool = True
    """Whether what goes on is a failure, as far as that is known; else a change, beside which something may fail."""
    shows: bool = True
    """Whether its window shows by itself what it belongs to; else that was in windows before it."""
    gap: timedelta = timedelta(0)
    """Of `calm`: the longest time without a sign of it; nothing where its last windows all showed it."""
    neighbours: tuple[str, ...] = ()
    """Services that its own usually calls, or is called by."""

    @property
    def id(self) -> str:
        """The same for the same finding, whenever it is made."""
        key = f"{self.source}/{self.service}/{self.window.isoformat()}/{self.kind}/{self.session or ''}"
        return f"{stable_key(key):016x}"

    @property
    def ends_at(self) -> datetime:
        return self.window + self.duration


IncidentStatus = Literal["firing", "resolved"]


@dataclass(frozen=True)
class Suspect:
    """How likely a service is the cause of an incident, and why, in words. Weights of an incident sum to 1."""

    service: str
    weight: float
    reason: str
    first_seen: datetime | None = None


@dataclass(frozen=True)
class Release:
    """A new version of a service, told to us; `service` may be empty: all of them."""

    service: str
    version: str
    at: datetime


@dataclass(frozen=True)
class TimelineEntry:
    """One thing that happened during an incident."""

    at: datetime
    text: str
    service: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Share:
    """What a service of a source brought to the strength of an incident: that of its strongest windows.

    `windows` are their starts, `views` the detectors that agreed, `strength` what counts of it: of many services some
    are always unusual, so each but the strongest counts for what it has beyond the choice among them.
    """

    source: str
    service: str
    strength: float
    windows: tuple[datetime, ...] = ()
    views: tuple[str, ...] = ()


@dataclass(frozen=True)
class Past:
    """What a source was compared with: the windows between two moments."""

    source: str
    since: datetime
    through: datetime


@dataclass(frozen=True)
class Opening:
    """Why anomalies became an incident, or did not, at a moment of event time: the account is kept, for the threshold
    is set anew, and what was learnt is forgotten.

    `strength` is in powers of ten of unlikelihood, as is `threshold`; `lasted` is how long it had gone on, against
    `required` (`for`); `among` is the number of services of which some are always unusual.
    """

    at: datetime
    strength: float
    threshold: float
    lasted: timedelta
    required: timedelta
    among: int
    shares: tuple[Share, ...] = ()
    past: tuple[Past, ...] = ()


@dataclass(frozen=True)
class NearMiss:
    """Anomalies that ended without becoming an incident, and why: "weak" (below the threshold) or "short" (`for`)."""

    id: str
    service: str
    services: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime
    reason: Literal["weak", "short"]
    opening: Opening
    contributions: tuple[Contribution, ...] = ()


@dataclass(frozen=True)
class Incident:
    """Anomalies that belong together, from the moment they open it to its end.

    `id` never changes and is in URLs, deliveries and documents; `fingerprint` says what kind of failure it is and
    serves recurrence only; `labels` are frozen when it opens, an escalation moves them to `retired_labels`.
    `revision` grows with each change that a reader should see.
    """

    id: str
    fingerprint: str
    revision: int
    status: IncidentStatus
    severity: IncidentSeverity
    score: float
    service: str
    services: tuple[str, ...]
    sources: tuple[str, ...]
    starts_at: datetime
    updated_at: datetime
    ends_at: datetime | None
    labels: Mapping[str, str]
    contributions: tuple[Contribution, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()
    retired_labels: tuple[Mapping[str, str], ...] = ()
    retired_at: tuple[datetime, ...] = ()
    """When each of the newest `retired_labels` was left, in event time; a release that did not keep it left none."""
    reopened: int = 0
    merged_into: str | None = None
    fix: str | None = None
    anomalies: int = 0
    trigger: str = "detector"
    sampled: float = 1.0
    opening: Opening | None = None
    """Why it opened; None where an alert opened it, or a release that did not keep why."""
    peak: float | None = None
    """The greatest strength that it had before it first ended, and how long it had gone on by then: with a threshold
    above it, or a longer `for`, it would not have opened, made of the same windows. Whom a window joins may depend on
    which of several clusters is an incident already."""
    held: timedelta | None = None
    closed: Closing | None = None
    """How a person, or a rule, ended it; None where it ended by itself, or goes on."""
    acknowledged: Acknowledgement | None = None
    withheld: Literal["", "muted", "acknowledged"] = ""
    """Why this revision is recorded and shown, and delivered nowhere; empty where it is told."""
    ruled_by: tuple[str, ...] = ()
    """The rules that took something out of it, or made less of it."""
    facts: Facts | None = None
    """What is known of it as of this revision; None where an alert opened it, or a release that knew none."""
    summary: str = ""
    """What the alert that opened it says of itself."""
    looked: tuple[Past, ...] = ()
    """Of which sources, and from when to when, the logs around that alert were compared with their past."""

    @property
    def last_seen(self) -> datetime:
        return self.ends_at or self.updated_at

    @property
    def alerted(self) -> bool:
        """Whether somebody else's alert opened it."""
        return self.trigger.startswith("alert ")


READING = "model's reading, not checked"
SUGGESTION = "suggestion, not checked"
"""What stands beside a model's own words, wherever they are shown."""


@dataclass(frozen=True)
class Claim:
    """A sentence, and the lines that it cites.

    `verified` when code told it and the lines show it: what cites nothing, or is a model's, never is. `mark` is READING
    or SUGGESTION where the words are a model's, and empty where they are ours.
    """

    text: str
    evidence: tuple[str, ...] = ()
    verified: bool = True
    mark: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "verified", bool(self.verified and self.evidence and not self.mark))


RULES = "rules"
"""The writer of the deterministic report."""


@dataclass(frozen=True)
class Report:
    """What happened, the likely cause and what to do, each sentence with its citations.

    `writer` is RULES for the deterministic writer, else the model's name: then what happened, the cause and the steps
    are facts that the model chose, told by code, and its own words, which carry a mark. `revision` is the incident's
    that it describes.
    """

    incident: str
    revision: int
    writer: str
    headline: str
    what_happened: tuple[Claim, ...]
    causes: tuple[Claim, ...] = ()
    steps: tuple[Claim, ...] = ()
    similar: tuple[SimilarIncident, ...] = ()
    dropped_claims: int = 0
    notes: tuple[str, ...] = ()
    unasked: str = ""
    """Why memory could not be asked; then `similar` says nothing."""
    not_known: tuple[Claim, ...] = ()
    """What the model says that cannot be seen."""
    left_out: tuple[Claim, ...] = ()
    """Facts that matter more than what the model chose, and that it did not choose."""
    calls: int = 0
    """Requests to the model that the report has cost, and tokens of prompts and answers."""
    tokens: int = 0


Change = Literal["opened", "updated", "resolved", "reopened", "reported"]


@dataclass(frozen=True)
class Notification:
    """What one sink is told: the incident as it stands and the report on it.

    `event_id` is the same at every repetition of the same news. `receipt` is what the sink returned for this
    incident before: how it finds its own annotation or message again. `now` is wall time. `in_doubt` is false where
    no earlier attempt can have been taken without our knowing: else whoever can be asked is asked first.
    """

    event_id: str
    change: Change
    incident: Incident
    report: Report
    now: datetime
    url: str | None = None
    source_links: tuple[tuple[str, str], ...] = ()
    receipt: str | None = None
    in_doubt: bool = True


@dataclass(frozen=True)
class NoticeTold:
    """What a sink with `notices: true` is told of a notice. `event_id` is the same at every repetition; `now` is wall
    time; `url` is where notices stand."""

    event_id: str
    notice: Notice
    now: datetime
    url: str | None = None
