"""Rank services by how likely each is the cause: own evidence first, symptoms of callers and late comers less."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from exporter.model import Suspect, TimeRange

SCORES = {
    "service": pl.String(),
    "score": pl.Float64(),
    "strength": pl.Float64(),
    "reason": pl.String(),
}

Scored = tuple[datetime, pl.DataFrame]
"""The start of a window and the scores of its services."""

SHOWN = 0.5
"""Part of its strongest window from which a service counts as changed: the strongest often comes later."""


def localise(frames: Sequence[Scored], span: TimeRange, window: timedelta) -> tuple[Suspect, ...]:
    """Rank the services of one source over an interval by their strongest window, each weighed by its part inside."""
    shown: dict[str, list[tuple[float, datetime, str]]] = {}
    for start, frame in frames:
        inside = (min(start + window, span.end) - max(start, span.start)) / window
        if inside > 0:
            columns = (frame[name].to_list() for name in ("service", "strength", "reason"))
            for service, strength, reason in zip(*columns, strict=True):
                shown.setdefault(service, []).append((strength * inside, start, reason))
    strongest = {service: max(rows, key=lambda row: row[0]) for service, rows in shown.items()}
    total = sum(strength for strength, _, _ in strongest.values()) or 1.0
    return tuple(
        Suspect(service, strength / total, reason, min(at for s, at, _ in shown[service] if s >= SHOWN * strength))
        for service, (strength, _, reason) in sorted(strongest.items(), key=lambda item: (-item[1][0], item[0]))
    )
