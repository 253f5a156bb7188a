"""How strong an incident must be, so that no more open than the budget allows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from exporter.incidents.build import RANKS
from exporter.incidents.clusters import MIN_STRENGTH
from exporter.incidents.settings import IncidentSettings
from exporter.incidents.tracker import Told, advance
from exporter.model import Anomaly

MAX_THRESHOLD = 12.0
"""However noisy warm-up was: three windows of a one-in-ten-thousand score with errors open an incident."""


def alarm_threshold(
    anomalies: Iterable[Anomaly],
    days: float,
    budget: float,
    settings: IncidentSettings,
    tests_a_day: float,
    services: int = 1,
) -> float:
    """The strength from which an incident opens, so that at most `budget` pages a day come: openings, reopenings and
    escalations.

    By chance alone one of `tests_a_day` windows (services times windows a day) is as unlikely as their number: so
    much a lone window must be surprising at least (Bonferroni). What warm-up would have opened beyond the budget
    raises it further; less than half a day of it says nothing about a day.
    """
    least = max(MIN_STRENGTH, math.log10(max(tests_a_day / budget, 1.0)))
    if days < 0.5:
        return least
    _, told = advance((), anomalies, datetime.max.replace(tzinfo=UTC), settings, least, {}, services=services)
    peaks: dict[str, float] = {}
    for item in told:
        peaks[item.incident.id] = max(peaks.get(item.incident.id, 0.0), item.strength)
    ranked = sorted((peaks[item.incident.id] for item in paging(told)), reverse=True)
    allowed = round(days * budget)
    return min(MAX_THRESHOLD, max(least, ranked[allowed] * 1.05)) if len(ranked) > allowed else least


def paging(told: Iterable[Told]) -> Iterator[Told]:
    """What of it pages somebody: openings, reopenings, and what made an open incident more severe, whose alert is then
    another one."""
    known: dict[str, int] = {}
    for item in told:
        rank = RANKS[item.incident.severity]
        if item.change in ("opened", "reopened") or (
            item.change == "updated" and rank > known.get(item.incident.id, rank)
        ):
            yield item
        known[item.incident.id] = rank
