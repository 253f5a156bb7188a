"""How grouping stood before its newest steps, and from when on it has to be done again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from exporter.model import Write
from exporter.model.times import moment, seconds
from exporter.state.bodies import pack
from exporter.state.file import Rows, meta_row
from exporter.state.undo import forgotten

_GROUPING = ""
"""In the place of a source."""

_NONE_YET = -1
"""The step that was the first."""


@dataclass(frozen=True)
class Before:
    """Grouping as it stood before a step: up to when, its clusters, and what was noted of it since."""

    since: datetime | None
    clusters: Mapping[str, str]
    """Bodies of those that have changed since, by id; empty where there was none."""
    missed: frozenset[str]
    """Near misses that were noted since."""


def grouping_step_row(since: datetime | None, clusters: Mapping[str, Any], missed: Iterable[str]) -> Write:
    """Keep how clusters stood, None where there was none, before the step from `since` on; and what it missed."""
    bodies = {key: pack(cluster) if cluster else "" for key, cluster in clusters.items()}
    found = [("clusters", key, body) for key, body in bodies.items()] + [("near_misses", key, "") for key in missed]
    rows = tuple((_GROUPING, _step(since), *row) for row in [("", "", ""), *found])
    return Write("undo", ("source", "step", "name", "key", "body"), rows)


def _step(since: datetime | None) -> int:
    return _NONE_YET if since is None else seconds(since)


async def can_group_again(rows: Rows, reached: datetime) -> bool:
    """Whether what became known at a moment can still be grouped in its own order."""
    query = "SELECT 1 FROM undo WHERE source = ? AND step < ? LIMIT 1"
    return bool(await rows.read(query, (_GROUPING, seconds(reached))))


async def grouping_before(rows: Rows, reached: datetime) -> Before:
    """Grouping as it stood before it took in what became known at a moment."""
    found = await rows.read("SELECT MAX(step) FROM undo WHERE source = ? AND step < ?", (_GROUPING, seconds(reached)))
    step = int(found[0][0])
    query = "SELECT name, key, body FROM undo WHERE source = ? AND step >= ? ORDER BY step DESC"
    kept = await rows.read(query, (_GROUPING, step))
    clusters = {key: body for name, key, body in kept if name == "clusters"}
    missed = frozenset(key for name, key, _ in kept if name == "near_misses")
    return Before(None if step == _NONE_YET else moment(step), clusters, missed)


async def without_grouping_steps(rows: Rows, until: datetime) -> Write:
    """Forget the steps that are not needed to group again what became known after a moment."""
    found = await rows.read("SELECT MAX(step) FROM undo WHERE source = ? AND step <= ?", (_GROUPING, seconds(until)))
    step = found[0][0]
    return await forgotten(rows, _GROUPING, "<", _NONE_YET if step is None else int(step))


async def without_grouping_steps_from(rows: Rows, since: datetime | None) -> Write:
    """Forget a step and those after it."""
    return await forgotten(rows, _GROUPING, ">=", _step(since))


def ungrouped_row() -> Write:
    """Forget all steps: what was grouped stays as it was told."""
    return Write("undo", ("source",), ((_GROUPING,),), delete=True)


async def regroup_row(rows: Rows, reached: datetime) -> Write:
    """Mark that what became known at a moment has changed since it was grouped."""
    known = await regroup_from(rows)
    return meta_row("regroup_from", str(seconds(min(reached, known or reached))))


async def regroup_from(rows: Rows) -> datetime | None:
    value = await rows.meta("regroup_from")
    return moment(int(value)) if value else None


def regrouped_row() -> Write:
    return Write("meta", ("key",), (("regroup_from",),), delete=True)
