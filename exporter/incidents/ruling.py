"""What rules and acknowledgements of people make of news: less severe, delivered nowhere, or closed in every place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from exporter.incidents.build import RANKS
from exporter.incidents.rules import Covered, Hidden, Rules
from exporter.incidents.tracker import Told
from exporter.model import Acknowledgement, Change, Closing, Incident, IncidentSeverity, Rule

MOMENT = timedelta(microseconds=1)
"""Between two moments lies no other."""


class Ruling:
    """Rules over the news of grouping."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._hidden: list[Hidden] = []

    def took(self, hidden: Iterable[Hidden]) -> None:
        """What the rules took out of anomalies: the news of the incidents beside say so."""
        self._hidden += hidden

    def changes_at(self, moment: datetime) -> bool:
        """Whether a rule begins or ends at a moment."""
        return bool(self.rules.borders(moment - MOMENT, moment))

    def __call__(self, news: Told, before: Incident | None) -> tuple[Told, Incident]:
        """The news as they are told, and the incident as it is recorded."""
        incident, at = news.incident, news.at
        opening = incident.opening
        shares = news.shares or (opening.shares if opening else ())
        threshold = opening.threshold if opening else 0.0
        capped = self.rules.capped(incident, shares, threshold, at)
        if capped.wholly:
            most = self.rules.most(incident.severity, capped.names)
            incident = _at_severity(incident, before, most, at)
        muted = self.rules.muted(incident, shares, threshold, at)
        names = (*incident.ruled_by, *self._took_from(incident), *_acting(capped), *_acting(muted))
        incident = replace(incident, ruled_by=tuple(dict.fromkeys(names)))
        return self._told(replace(news, incident=incident), before, muted)

    def _took_from(self, incident: Incident) -> list[str]:
        """Rules that took something out of its services while it lasted."""
        return [
            one.rule
            for one in self._hidden
            if one.anomaly.service in incident.services and one.anomaly.ends_at >= incident.starts_at
        ]

    def _told(self, news: Told, before: Incident | None, muted: Covered) -> tuple[Told, Incident]:
        incident, was = news.incident, before.withheld if before else ""
        if incident.status == "resolved":
            # What nobody was told of needs no end; of what was only acknowledged the end is told.
            withheld = replace(incident, withheld="muted" if was == "muted" else "")
            return replace(news, incident=withheld), withheld
        if muted.wholly:
            silent = replace(incident, withheld="muted")
            if before is None or was == "muted" or before.status == "resolved":
                return replace(news, incident=silent), silent
            return self._closed(news, silent, muted.names[0])
        incident = replace(incident, withheld="")
        if was == "muted":
            incident = replace(incident, closed=None)
            change: Change = "reopened" if before and before.closed else "opened"
            return replace(news, incident=incident, change=change), incident
        if incident.acknowledged and before and before.acknowledged == incident.acknowledged:
            over = _is_over(incident, incident.acknowledged, news.at)
            incident = replace(incident, acknowledged=None) if over else replace(incident, withheld="acknowledged")
        return replace(news, incident=incident), incident

    def _closed(self, news: Told, silent: Incident, name: str) -> tuple[Told, Incident]:
        """Whoever was told of what is muted now is told that it is over for them."""
        rule = self.rules.named(name)
        closing = Closing("muted", rule.by if rule else "", news.at, _said(rule, name))
        ended = replace(silent, status="resolved", ends_at=silent.last_seen, withheld="", closed=closing)
        return replace(news, incident=ended, change="resolved"), replace(silent, closed=closing)


def acknowledgement(
    incident: Incident, by: str, at: datetime, note: str, until: datetime | None = None
) -> Acknowledgement:
    """Of an incident as it stands."""
    findings = sorted({(finding.service, str(finding.kind)) for finding in incident.contributions})
    return Acknowledgement(by, at, incident.severity, tuple(findings), note, until)


def _is_over(incident: Incident, known: Acknowledgement, at: datetime) -> bool:
    """Whether its time is over, or there is more to it than when somebody took it on: severer, or of another kind or
    service."""
    if known.until and at >= known.until:
        return True
    findings = {(finding.service, str(finding.kind)) for finding in incident.contributions}
    return RANKS[incident.severity] > RANKS[known.severity] or not findings <= set(known.findings)


def _acting(covered: Covered) -> Sequence[str]:
    return covered.names if covered.wholly else ()


def _said(rule: Rule | None, name: str) -> str:
    return f"rule {name}" + (f": {rule.reason}" if rule and rule.reason else "")


def _at_severity(incident: Incident, before: Incident | None, severity: IncidentSeverity, at: datetime) -> Incident:
    """An incident that is less severe than its windows have it, but never than was told already."""
    if before is not None and not before.withheld:
        severity = max(severity, before.severity, key=lambda one: RANKS[one])
    if severity == incident.severity:
        return incident
    retired, left = (before.retired_labels, before.retired_at) if before else ((), ())
    if before is not None and before.severity != severity:
        retired, left = (*retired, before.labels), (*left, at)
    labels = {**incident.labels, "severity": severity}
    return replace(incident, severity=severity, labels=labels, retired_labels=retired, retired_at=left)
