"""What a window brings: its distinct shapes by service, and the text of those that have no template yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from exporter.model import Reduced

MAX_EXAMPLE_CHARS = 400

# Below this many rows it costs less to look at each than to ask polars.
_FEW_ROWS = 500


class Groups(NamedTuple):
    """The distinct shapes of each service in a window, in the order of their keys: when first, and how many lines."""

    services: list[int]
    shapes: list[int]
    first: list[int]
    sizes: list[int]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A shape that has no template yet."""

    service: str
    first: int
    text: str
    given: bool
    key: int
    example: str


def groups_of(lines: pl.DataFrame) -> Groups:
    services, shapes, timestamps = (lines[name].to_numpy() for name in ("service", "shape", "timestamp"))
    if not lines["timestamp"].is_sorted():
        order = np.argsort(timestamps, kind="stable")
        services, shapes, timestamps = services[order], shapes[order], timestamps[order]
    counted = np.flatnonzero(shapes)
    if len(counted) < len(shapes):
        services, shapes, timestamps = services[counted], shapes[counted], timestamps[counted]
    alone = not len(services) or (services == services[0]).all()
    keys = shapes if alone else _numbered(services, shapes)
    _, first, sizes = np.unique(keys, return_index=True, return_counts=True)
    return Groups(services[first].tolist(), shapes[first].tolist(), timestamps[first].tolist(), sizes.tolist())


def _numbered(*columns: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """One number for each distinct combination of the columns' values."""
    numbers = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, inverse = np.unique(column, return_inverse=True)
        numbers = numbers * len(values) + inverse.ravel()
    return numbers


def unknown_of(reduced: Reduced, owners: Sequence[str], groups: Groups, rows: Sequence[int]) -> list[Unknown]:
    """Some of the groups with their text, whether it is a template already, and a line that has it."""
    if not rows:
        return []
    wanted = {groups.shapes[row] for row in rows}
    found = _rows_of(reduced.shapes, wanted, ("shape", "text", "given"))
    texts = {key: (text, given) for key, text, given in found}
    exemplars = reversed(_rows_of(reduced.exemplars, wanted, ("service", "shape", "body")))
    examples = {(name or "", key): body[:MAX_EXAMPLE_CHARS] for name, key, body in exemplars}
    return [
        Unknown(owner, first, *texts[shape], shape, examples.get((owner, shape), ""))
        for owner, shape, first in ((owners[row], groups.shapes[row], groups.first[row]) for row in rows)
    ]


def _rows_of(frame: pl.DataFrame, shapes: set[int], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Rows of some shapes, in the order of the frame."""
    if frame.height > _FEW_ROWS:
        frame = frame.filter(pl.col("shape").is_in(pl.Series(list(shapes), dtype=pl.UInt64).implode()))
    at = columns.index("shape")
    return [row for row in zip(*(frame[name].to_list() for name in columns), strict=True) if row[at] in shapes]
