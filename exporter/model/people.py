"""What people say of incidents: rules, how one was closed, who has taken it on, and the log of all of that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

IncidentSeverity = Literal["info", "warning", "critical"]

RuleAction = Literal["mute", "expected", "severity"]
"""`mute`: recorded and shown, and delivered nowhere; `expected`: neither opens an incident nor holds one open;
`severity`: no more severe than that."""

RuleOrigin = Literal["people", "configuration"]

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""In the order of `datetime.weekday`."""


@dataclass(frozen=True)
class Match:
    """What a rule is about: all that is given must hold; of what has several, one.

    Texts are compared whole, without regard to case; after `~` stands a regular expression, which is searched for,
    after `=` a text that begins with one of the two.
    `host` is a host or an instance; it holds where all that is unusual is of hosts that match. `hours` are minutes of
    the day in `timezone`, the second exclusive; they may go over midnight, and `weekdays` are those on which they
    begin.
    """

    source: str = ""
    services: tuple[str, ...] = ()
    host: str = ""
    kinds: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    severities: tuple[IncidentSeverity, ...] = ()
    hours: tuple[int, int] | None = None
    weekdays: tuple[Weekday, ...] = ()
    timezone: str = "UTC"


@dataclass(frozen=True)
class Rule:
    """What somebody has said is not news, and until when; times are event time, `since` None is ever since.

    `severity` is the most that what matches may have, for the action of that name.
    """

    name: str
    action: RuleAction
    match: Match
    by: str = ""
    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None
    severity: IncidentSeverity | None = None
    origin: RuleOrigin = "people"
    removed_at: datetime | None = None
    removed_by: str = ""

    @property
    def ends_at(self) -> datetime | None:
        """When it ends, or was taken back before; None where it has no end."""
        return min((at for at in (self.until, self.removed_at) if at), default=None)

    def holds_at(self, at: datetime) -> bool:
        """Whether it holds at a moment; likewise."""
        return (self.since is None or self.since <= at) and (self.ends_at is None or at < self.ends_at)

    def is_within(self, since: datetime, until: datetime) -> bool:
        """Whether it holds at any time of a range; the hours of a day are another matter."""
        begins = self.since is None or self.since < until
        return begins and (self.ends_at is None or self.ends_at > since)


Verdict = Literal["resolved", "accepted", "rejected", "muted"]


@dataclass(frozen=True)
class Closing:
    """How somebody ended an incident: it is over, it is normal now, it is no problem, or nobody wants to hear of it."""

    verdict: Verdict
    by: str
    at: datetime
    reason: str = ""


@dataclass(frozen=True)
class Acknowledgement:
    """Somebody looks after an incident: how severe it was by then, and its findings, as (service, kind).

    `until` is event time; None where it holds as long as the incident does.
    """

    by: str
    at: datetime
    severity: IncidentSeverity
    findings: tuple[tuple[str, str], ...] = ()
    note: str = ""
    until: datetime | None = None


Verb = Literal["resolve", "accept", "reject", "ack", "note", "unfix", "add", "remove"]
"""The last two are of rules."""


@dataclass(frozen=True)
class Act:
    """One thing that somebody did, as it is kept for good: to an incident, to a rule, or both."""

    verb: Verb
    by: str
    at: datetime
    reason: str = ""
    incident: str = ""
    rule: str = ""


@dataclass(frozen=True)
class HiddenRow:
    """One thing that a rule hid: an anomaly or a revision of an incident, of when, and in words."""

    rule: str
    id: str
    at: datetime
    service: str
    said: str

    @property
    def incident(self) -> str:
        """The incident that was told to nobody; empty for an anomaly."""
        identity = self.id.partition(":")[0]
        return identity if self.said == f"incident {identity}" else ""


def settings_of(rule: Rule) -> dict[str, Any]:
    """A rule as exporter.yml would say it."""
    match = rule.match
    hours = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in match.hours or ())
    found: dict[str, Any] = {
        "name": rule.name,
        "do": rule.action,
        "at_most": rule.severity,
        "source": match.source,
        "service": list(match.services),
        "host": match.host,
        "kinds": list(match.kinds),
        "texts": list(match.texts),
        "severities": list(match.severities),
        "hours": hours,
        "weekdays": list(match.weekdays),
        "timezone": match.timezone if match.timezone != "UTC" else "",
        "until": rule.until.isoformat() if rule.until else "",
        "by": rule.by,
        "reason": rule.reason,
    }
    return {name: value for name, value in found.items() if value}
