"""Rules of people over what detection found: what they match takes no part in incidents, or is not told."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import get_args

from exporter.incidents.build import RANKS
from exporter.incidents.matching import Matcher, severity_of
from exporter.model import (
    Anomaly,
    Contribution,
    Evidence,
    Incident,
    IncidentSeverity,
    Rule,
    RuleAction,
    Severity,
    Share,
)

LEAST_CHANCE = 1e-6
"""The least that a score of detection tells apart, as where the strength of an incident is counted."""


@dataclass(frozen=True)
class Hidden:
    """What a rule took out of detection's findings."""

    rule: str
    anomaly: Anomaly


@dataclass(frozen=True)
class Covered:
    """What the rules of one action match of an incident: their names, and whether too little is left of it."""

    names: tuple[str, ...] = ()
    wholly: bool = False


NOTHING = Covered()


class Rules:
    """All rules that hold at some time, asked what they change."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        matchers = [Matcher(rule) for rule in rules]
        actions = get_args(RuleAction)
        self._of = {action: [one for one in matchers if one.rule.action == action] for action in actions}

    def named(self, name: str) -> Rule | None:
        """The rule of a name."""
        return next((one.rule for all_of in self._of.values() for one in all_of if one.name == name), None)

    def borders(self, since: datetime, until: datetime) -> list[datetime]:
        """When any rule begins or ends to hold, after `since` and up to `until`, in order."""
        return sorted({at for matchers in self._of.values() for one in matchers for at in one.borders(since, until)})

    def expected(self, anomalies: Iterable[Anomaly]) -> tuple[list[Anomaly], list[Hidden]]:
        """What is left of anomalies when what is expected is taken out, and what that was."""
        left, hidden = [], []
        for anomaly in anomalies:
            rest, names = self._rest(anomaly)
            if rest is not None:
                left.append(rest)
            hidden += [Hidden(name, anomaly) for name in names]
        return left, hidden

    def _rest(self, anomaly: Anomaly) -> tuple[Anomaly | None, tuple[str, ...]]:
        about = [one for one in self._of["expected"] if _is_about(one, anomaly)]
        covered = {one.name: one.covered(anomaly.contributions) for one in about}
        gone = set().union(*covered.values()) if covered else set()
        if not gone and not any(one.takes_all for one in about):
            return anomaly, ()
        names = tuple(one.name for one in about if one.takes_all or covered[one.name])
        return _without(anomaly, gone), names

    def muted(self, incident: Incident, shares: Sequence[Share], threshold: float, at: datetime) -> Covered:
        """What is muted of an incident, of which services have these shares in its strength, at a moment."""
        return _covered(self._at("mute", at), incident, shares, threshold)

    def capped(self, incident: Incident, shares: Sequence[Share], threshold: float, at: datetime) -> Covered:
        """What is less severe of an incident, likewise."""
        return _covered(self._at("severity", at), incident, shares, threshold)

    def most(self, severity: IncidentSeverity, names: Collection[str]) -> IncidentSeverity:
        """The most that an incident of a severity may have, by rules that cover it."""
        caps = [one.rule.severity for one in self._of["severity"] if one.name in names and one.rule.severity]
        return min([severity, *caps], key=lambda one: RANKS[one])

    def _at(self, action: str, at: datetime) -> list[Matcher]:
        return [one for one in self._of[action] if one.rule.holds_at(at) and one.is_its_hour(at)]


def would_cover(rule: Rule, incident: Incident) -> bool:
    """Whether too little would have been left of an incident, had a rule held when it opened: whatever its dates."""
    matcher, opening = Matcher(rule), incident.opening
    if not matcher.is_its_hour(incident.starts_at):
        return False
    shares, threshold = (opening.shares, opening.threshold) if opening else ((), 0.0)
    return _covered([matcher], incident, shares, threshold).wholly


def _is_about(matcher: Matcher, anomaly: Anomaly) -> bool:
    """By the time of its window; one that becomes known after a rule was made is of it, too."""
    rule = matcher.rule
    begun = rule.since is None or rule.since < anomaly.reached
    return (
        begun
        and (rule.ends_at is None or anomaly.window < rule.ends_at)
        and matcher.is_its_hour(anomaly.window)
        and matcher.is_about(anomaly.source, anomaly.service, anomaly.hosts)
        and matcher.is_as_severe(severity_of(anomaly.severity))
    )


def _without(anomaly: Anomaly, gone: Collection[int]) -> Anomaly | None:
    """An anomaly without some of its findings: as much less unlikely as was theirs; None where it is none any more."""
    findings = anomaly.contributions
    left = tuple(finding for place, finding in enumerate(findings) if place not in gone)
    total = sum(finding.share for finding in findings)
    rest = sum(finding.share for finding in left) / total if total else 0.0
    chance = max(1.0 - anomaly.score, LEAST_CHANCE) ** rest
    score = round(1.0 - chance, 9)
    if not left or score < anomaly.threshold:
        return None
    lost = {line for place in gone for line in findings[place].evidence}
    evidence = _cited(anomaly.evidence, lost - {line for finding in left for line in finding.evidence})
    severity = anomaly.severity
    if len(evidence) < len(anomaly.evidence):
        severity = max((line.severity for line in evidence), default=Severity.UNSPECIFIED)
    return replace(anomaly, score=score, contributions=left, evidence=evidence, severity=severity)


def _cited(evidence: Iterable[Evidence], lost: Collection[str]) -> tuple[Evidence, ...]:
    return tuple(line for line in evidence if line.id not in lost)


def _covered(matchers: Sequence[Matcher], incident: Incident, shares: Sequence[Share], threshold: float) -> Covered:
    about = [one for one in matchers if one.is_as_severe(incident.severity)]
    if not about:
        return NOTHING
    names: dict[str, None] = {}
    left = 0.0
    parts = {(share.source, share.service): share.strength for share in shares}
    for source, service in parts or _places(incident):
        rest, by = _uncovered(about, incident, source, service)
        names |= dict.fromkeys(by)
        # What no window has made has no strength: any of it that is left is enough.
        left += rest * parts.get((source, service), math.inf if rest else 0.0)
    return Covered(tuple(names), bool(names) and left < max(threshold, 1e-9))


def _places(incident: Incident) -> list[tuple[str, str]]:
    """Sources and services of an incident that no window has made."""
    return [(source, name) for source in incident.sources or ("",) for name in incident.services]


def _uncovered(matchers: Sequence[Matcher], incident: Incident, source: str, service: str) -> tuple[float, list[str]]:
    """The part of a service's findings in an incident that no rule is about, and the rules that are about others."""
    findings = [one for one in incident.contributions if _is_of(one, source, service)]
    hosts = {line.host for line in incident.evidence if line.service == service and line.host}
    gone: set[int] = set()
    names: list[str] = []
    for one in matchers:
        if not one.is_about(source, service, hosts):
            continue
        if one.takes_all:
            return 0.0, [*names, one.name]
        if found := one.covered(findings):
            names.append(one.name)
            gone |= found
    total = sum(one.share for one in findings)
    left = sum(one.share for place, one in enumerate(findings) if place not in gone)
    return (left / total if total else 1.0), names


def _is_of(finding: Contribution, source: str, service: str) -> bool:
    return finding.service == service and finding.source in ("", source)
