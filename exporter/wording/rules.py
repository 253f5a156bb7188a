"""How rules of people are told: what one does, to what, until when, and what follows when it is taken back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from exporter.model import Rule, RuleAction, settings_of
from exporter.wording.text import brief, minute

MATCHED = ("source", "service", "host", "kinds", "texts", "severities", "hours", "weekdays", "timezone")
"""Settings that say what a rule is about, in the order in which they are told."""

TAKEN_BACK: Mapping[RuleAction, str] = {
    "mute": "What it matches is delivered again from now on, also what goes on and was told to nobody because of it.",
    "expected": "What it matches opens incidents again, and keeps them open, from now on.",
    "severity": "What it matches is as severe again, from now on, as its lines have it.",
}
"""What follows when it is taken back."""


def rule_line(rule: Rule) -> str:
    """All of a rule on one line."""
    by = f", by {brief(rule.by, 60)}" if rule.by else ""
    return f"{rule.name}  {does(rule)}; {_lasts(rule)}{by}"


def does(rule: Rule) -> str:
    """What it does to what.

    >>> from exporter.model import Match
    >>> does(Rule("night", "mute", Match(services=("backup",), hours=(1320, 360))))
    'mutes service backup; hours 22:00-06:00'
    """
    verb = {"mute": "mutes", "expected": "expects", "severity": f"at most {rule.severity}"}[rule.action]
    said = settings_of(rule)
    parts = [f"{name} {brief(_shown(said[name]), 120)}" for name in MATCHED if said.get(name)]
    return f"{verb} {'; '.join(parts)}"


def _shown(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value[:3]) + (", …" if len(value) > 3 else "")


def _lasts(rule: Rule) -> str:
    ends = f"until {minute(rule.until)}" if rule.until else "until it is taken back"
    return f"{ends}, in exporter.yml" if rule.origin == "configuration" else ends


def stands(rule: Rule, at: datetime | None) -> str:
    """How it stands at a moment of event time, short enough for a badge."""
    if rule.removed_at:
        return "taken back"
    return "over" if at and rule.until and rule.until <= at else "holds"
