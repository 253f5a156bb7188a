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
    """Rank the services of one source over an interval by their strongest window; windows that overlap it count."""
    chosen = [(start, frame) for start, frame in frames if start < span.end and start + window > span.start]
    if not chosen:
        return ()
    table = pl.concat(
        [
            frame.select("service", "score", "strength", "reason").with_columns(pl.lit(start).alias("start"))
            for start, frame in chosen
        ]
    )
    strongest = table.sort("strength", "start", descending=[True, False]).group_by("service", maintain_order=True)
    shown = pl.col("strength") >= SHOWN * pl.col("strength").max()
    best = strongest.agg(pl.col("strength", "reason").first(), pl.col("start").filter(shown).min())
    rows = best.sort("strength", "service", descending=[True, False])
    total = sum(rows["strength"].to_list()) or 1.0
    return tuple(
        Suspect(row["service"], row["strength"] / total, row["reason"], row["start"])
        for row in rows.iter_rows(named=True)
    )
