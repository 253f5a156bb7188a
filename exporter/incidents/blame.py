"""Who is thought to be the cause, and why, once it is known what failed; it is not changed for a trifle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from exporter.model import Facts, Suspect, TimelineEntry
from exporter.wording.headlines import reason

MARGIN = 2.0
"""Times as likely as the one that was told another must be before it is told in its place."""


def steady(told: Sequence[Suspect], ranked: Sequence[Suspect]) -> tuple[Suspect, ...]:
    """The ranking, the one that was told still first unless another is far likelier by now."""
    if not told or not ranked or told[0].service == ranked[0].service:
        return tuple(ranked)
    old = next((one for one in ranked if one.service == told[0].service), None)
    return tuple(ranked) if old is None or ranked[0].weight >= MARGIN * old.weight else _first(ranked, old)


def blamed(ranked: Sequence[Suspect], facts: Facts) -> tuple[Suspect, ...]:
    """The ranking, first the service of which facts say that it is broken, each with what it says itself.

    What complains of another, or says only that something failed, names no cause.
    """
    named = [_with_reason(one, facts) for one in ranked]
    own = next((one for one in named if one.service == facts.broken), None)
    return _first(named, own) if own else tuple(named)


def _first(ranked: Sequence[Suspect], one: Suspect) -> tuple[Suspect, ...]:
    """One of them before all others; the places keep their weights."""
    order = [one, *(other for other in ranked if other is not one)]
    return tuple(replace(each, weight=place.weight) for each, place in zip(order, ranked, strict=True))


def _with_reason(one: Suspect, facts: Facts) -> Suspect:
    said = reason(facts, one.service)
    named = one.reason.partition("; named by ")
    return replace(one, reason=f"{said}{named[1]}{named[2]}") if said else one


def turned(told: Sequence[Suspect], now: Sequence[Suspect], at: datetime) -> TimelineEntry | None:
    """That another is thought to be the cause now, and why; nothing where it is the same."""
    if not told or not now or told[0].service == now[0].service:
        return None
    because = f": {now[0].reason}" if now[0].reason else ""
    text = f"now thought to be the cause, no longer {told[0].service}{because}"
    return TimelineEntry(at, text, now[0].service)
