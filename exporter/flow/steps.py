"""The rows of windows that were judged: what was found, in place of what was before, and what takes it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from exporter.model import Anomaly, SqlValue, TimeRange, Write
from exporter.model.times import Window, seconds
from exporter.state.checkpoints import Checkpoint, checkpoint_row
from exporter.state.file import State
from exporter.state.incidents import grouped_through
from exporter.state.regroup import can_group_again, regroup_row
from exporter.state.undo import forgotten
from exporter.state.windows import anomalies_of_steps, anomaly_rows, knows_anomaly

Row = tuple[SqlValue, ...]


@dataclass(frozen=True)
class Step:
    """A window that was judged, or passed over: what became known at its end, and what changed with it."""

    window: Window
    anomalies: Sequence[Anomaly]
    writes: Sequence[Write]


async def rows_of(state: State, source: str, steps: Sequence[Step], checkpoint: Checkpoint) -> list[Write]:
    """The rows of consecutive windows up to a checkpoint. What late lines may still change can be taken back."""
    settled = checkpoint.settled_through
    found = Found(source, checkpoint.warm_until, await grouped_through(state))
    known = await anomalies_of_steps(state, source, TimeRange(steps[0].window.end, steps[-1].window.end))
    writes, regroup = [checkpoint_row(source, checkpoint)], []
    for step in steps:
        window, reached = step.window, step.window.end
        writes += [replace(one, step=window.key) for one in step.writes] if window.start >= settled else step.writes
        if found.is_grouped(reached) and not await can_group_again(state, reached):
            new = [anomaly for anomaly in step.anomalies if not await knows_anomaly(state, anomaly)]
            writes += found.late(new)
            continue
        rows = found.rows(step.anomalies, reached, known.get(seconds(reached), ()))
        writes += rows
        regroup += [reached] if rows and found.is_grouped(reached) else []
    again = [await regroup_row(state, regroup[0])] if regroup else []
    return [*writes, *again, await forgotten(state, source, "<", seconds(settled))]


@dataclass(frozen=True)
class Found:
    """Rows for `group`, of one source.

    What warm-up finds keeps its own time, wherever other sources are: it is told to nobody and sets the threshold.
    """

    source: str
    warm_until: datetime
    grouped: datetime | None

    def is_grouped(self, reached: datetime) -> bool:
        """Whether what became known at a moment was grouped already."""
        return reached > self.warm_until and self.grouped is not None and reached <= self.grouped

    def rows(self, anomalies: Sequence[Anomaly], reached: datetime, known: Sequence[Row]) -> list[Write]:
        """Of what became known at a moment, in place of what was known of it; none where nothing differs."""
        own = [replace(anomaly, reached=reached) for anomaly in anomalies]
        found = anomaly_rows(self.source, own, reached <= self.warm_until)
        if set(known) == set(found.rows):
            return []
        gone = replace(found, columns=found.columns[:3], rows=tuple(row[:3] for row in known), delete=True)
        return [gone, found]

    def late(self, anomalies: Sequence[Anomaly]) -> list[Write]:
        """Of what became known too long ago to be grouped again: it is taken in at the next step."""
        if self.grouped is None or not anomalies:
            return []
        reached = self.grouped + timedelta(seconds=1)
        return [anomaly_rows(self.source, [replace(one, reached=reached, late=True) for one in anomalies], False)]
