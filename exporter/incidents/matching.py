"""Whether a rule of people is about something: a source, a service, a host, a time, a finding."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import polars as pl

from exporter.incidents.rule_settings import LITERAL, PATTERN
from exporter.model import WEEKDAYS, Contribution, IncidentSeverity, Rule, Severity
from exporter.wording.text import one_line
from exporter.wording.words import kind_of, reason

MAX_TEXT = 4_000
"""Characters of a finding that a rule looks at."""

WHOLE_SERVICE = frozenset({"errors", "volume"})
"""Kinds that count all of a service: a rule that lists findings means these only where nothing else stands out
beside what it lists, for they count what any failure writes."""

DAY = timedelta(days=1)


class Matcher:
    """One rule, asked whether it is about things."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._zone = ZoneInfo(rule.match.timezone)

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def takes_all(self) -> bool:
        """Whether it is about every finding of what it matches."""
        return not (self.rule.match.kinds or self.rule.match.texts)

    def is_about(self, source: str, service: str, hosts: Collection[str]) -> bool:
        """Whether it is about this service, with what is unusual on these hosts."""
        match = self.rule.match
        if not _fits(match.source, source):
            return False
        if match.services and not any(_fits(wanted, service) for wanted in match.services):
            return False
        return not match.host or (bool(hosts) and all(_fits(match.host, host) for host in hosts))

    def is_as_severe(self, severity: IncidentSeverity) -> bool:
        return not self.rule.match.severities or severity in self.rule.match.severities

    def covered(self, findings: Sequence[Contribution]) -> set[int]:
        """Which findings of one service it is about, by their places."""
        if self.takes_all:
            return set(range(len(findings)))
        matched = {place for place, finding in enumerate(findings) if self._finds(finding)}
        listed = {place for place in matched if findings[place].kind not in WHOLE_SERVICE}
        others = any(f.kind not in WHOLE_SERVICE and place not in listed for place, f in enumerate(findings))
        return listed if listed and others else matched

    def _finds(self, finding: Contribution) -> bool:
        match = self.rule.match
        kinds = (finding.kind, kind_of(finding).name)
        if match.kinds and not any(_fits(wanted, kind) for wanted in match.kinds for kind in kinds):
            return False
        text = finding.text[:MAX_TEXT]
        return not match.texts or any(_reads(wanted, text, finding) for wanted in match.texts)

    def is_its_hour(self, at: datetime) -> bool:
        """Whether a moment lies in its hours and weekdays."""
        match, local = self.rule.match, at.astimezone(self._zone)
        begun = local
        if match.hours:
            (first, last), minute = match.hours, local.hour * 60 + local.minute
            if first > last and minute < last:
                begun = local - DAY
            elif not (first <= minute < last or (first > last and minute >= first)):
                return False
        return not match.weekdays or WEEKDAYS[begun.weekday()] in match.weekdays

    def borders(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """When it begins or ends to hold, after `since` and up to `until`."""
        rule, match = self.rule, self.rule.match
        edges = [at for at in (rule.since, rule.ends_at) if at]
        if (match.hours or match.weekdays) and rule.is_within(since, until):
            day = since.astimezone(self._zone).date() - DAY
            while (midnight := datetime.combine(day, time(), self._zone)) <= until:
                edges += [midnight + timedelta(minutes=minute) for minute in match.hours or (0,)]
                day += DAY
        yield from (at.astimezone(since.tzinfo) for at in edges if since < at <= until)


def severity_of(level: int) -> IncidentSeverity:
    """How severe an incident of lines of such a level would be."""
    return "critical" if level >= Severity.FATAL else "warning" if level >= Severity.ERROR else "info"


def _fits(wanted: str, value: str) -> bool:
    if wanted.startswith(PATTERN):
        return _contains(wanted[1:], value)
    return not wanted or wanted.removeprefix(LITERAL).casefold() == value.casefold()


def _reads(wanted: str, text: str, finding: Contribution) -> bool:
    """As it is shown, where the end of what is long may be an ellipsis."""
    if wanted.startswith(PATTERN):
        return _contains(wanted[1:], text) or _contains(wanted[1:], reason(finding, MAX_TEXT))
    shown, said = one_line(text).casefold(), one_line(wanted.removeprefix(LITERAL)).casefold()
    return shown.startswith(said[:-1].rstrip()) if said.endswith("…") else shown == said


@lru_cache(8192)
def _contains(pattern: str, text: str) -> bool:
    """By Rust's engine, which takes linear time whatever people write."""
    return bool(pl.Series([text]).str.contains(pattern)[0])
