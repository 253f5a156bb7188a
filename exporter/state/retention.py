"""Drop what nobody needs any more."""

from __future__ import annotations

from datetime import datetime, timedelta

from exporter.model.times import seconds
from exporter.state.checkpoints import CHOSEN, MOST_CHOICES
from exporter.state.file import State

HOUSEKEEPING = timedelta(minutes=10)
"""How often that is done."""

ANOMALIES_KEPT = timedelta(days=7)
NEWS_KEPT = timedelta(days=30)
TRIGGERS_KEPT = timedelta(days=7)
MOST_TRIGGERS = 20_000
"""The newest of that time."""
MOST_NOTICES = 10_000
NEAR_MISSES_KEPT = 200
"""The strongest of as many days as news are kept."""
MOST_HIDDEN = 10_000
"""Things that rules hid, the newest of as many days as news are kept."""
MOST_ACTS = 100_000
"""Of people, the newest of `retention`."""


async def drop_old_rows(state: State, now: datetime, grouped: datetime | None, retention: timedelta) -> None:
    """Everything older than its retention: in event time what waits to be grouped or told, in wall time the rest.

    What warm-up found and learnt from stays: the threshold rests on it.
    """
    if grouped is not None:
        await state.prune("anomalies", "reached", seconds(grouped - ANOMALIES_KEPT), only="quiet = 0")
        await state.prune("news", "at", seconds(grouped - NEWS_KEPT))
        await state.prune("notices", "window", seconds(grouped - NEWS_KEPT))
        newest = f"(SELECT window FROM notices ORDER BY window DESC LIMIT 1 OFFSET {MOST_NOTICES})"
        await state.prune("notices", only=f"window <= {newest}")
        await state.prune("near_misses", "ends_at", seconds(grouped - NEWS_KEPT))
        strongest = f"(SELECT id FROM near_misses ORDER BY ratio DESC, ends_at DESC, id LIMIT {NEAR_MISSES_KEPT})"
        await state.prune("near_misses", only=f"id NOT IN {strongest}")
        await state.prune("hidden", "at", seconds(grouped - NEWS_KEPT))
        newest = f"(SELECT at FROM hidden ORDER BY at DESC LIMIT 1 OFFSET {MOST_HIDDEN})"
        await state.prune("hidden", only=f"at <= {newest}")
    kept = seconds(now - retention)
    await state.prune("acts", "at", kept)
    await state.prune("acts", only=f"number <= (SELECT MAX(number) FROM acts) - {MOST_ACTS}")
    await state.prune("rules", "removed_at", kept, only="removed_at IS NOT NULL")
    await state.prune("incidents", "updated_at", kept)
    for table in ("news", "reports", "deliveries", "questions", "answers"):
        await state.prune(table, only="incident NOT IN (SELECT id FROM incidents)")
    await state.prune("spent", "hour", seconds(now - NEWS_KEPT))
    await state.prune("digests", only="id NOT IN (SELECT digest FROM deliveries WHERE digest != '')")
    await state.prune("told_notices", "told_at", seconds(now - NEWS_KEPT))
    await state.prune("changes", "at", kept)
    await state.prune("decisions", "end", kept, only=f"kind NOT IN ('warmup', '{CHOSEN}')")
    newest_choices = f"(SELECT start FROM decisions AS d WHERE d.source = decisions.source AND d.kind = '{CHOSEN}'"
    oldest = f"{newest_choices} ORDER BY start DESC LIMIT 1 OFFSET {MOST_CHOICES - 1})"
    await state.prune("decisions", only=f"kind = '{CHOSEN}' AND start < {oldest}")
    await state.prune("triggers", "received_at", seconds(now - TRIGGERS_KEPT))
    newest = f"(SELECT received_at FROM triggers ORDER BY received_at DESC LIMIT 1 OFFSET {MOST_TRIGGERS})"
    await state.prune("triggers", only=f"done = 1 AND received_at <= {newest}")
