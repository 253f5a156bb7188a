"""Count how often things happen: each number has a place in arrays, where integer sums add up exactly in any order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from exporter.detection import valued
from exporter.detection.observation import Observation
from exporter.model import Severity

TEMPLATE, EDGE, GAP, GAP_IN, GAP_OUT, ERRORS, EXPOSURE, PREVIOUS, VOLUME = range(9)
"""Kinds of numbers. EXPOSURE, PREVIOUS and VOLUME hold what TEMPLATE, EDGE and ERRORS are counted against."""

VALUED = 9
"""Kinds from here on are those of values (`exporter.detection.valued`): of each of its three the lines of a place, then
those of them that have a value. The same again for windows that are left out of the past: they are told, not learnt."""

LEFT_OUT = VALUED + 6

DEBUG = 21
"""Lines of a template of which none is more than written to debug: what is missing of it is no news."""

OWN = 32
"""Kinds from here up to 127 belong to a view each (`View.codes`): numbers of a service, or of one of its templates,
that are counted among the lines of the service."""

_GAPS = {"gap": GAP, "in": GAP_IN, "out": GAP_OUT}
_TEMPLATED = frozenset((TEMPLATE, EDGE, GAP, GAP_IN, GAP_OUT, PREVIOUS, DEBUG))
_PAIRED = frozenset((EDGE, GAP, GAP_IN, GAP_OUT))

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Key = tuple[str, int, int, int]
"""Service, kind, and what is counted: a template, or the two of a transition; 0 where there is none. Of a view's own
kind the second is what the view likes."""

Number = tuple[Key, int, int]
"""A number of a window: key, count, and what it is counted against; of a gap its level, and how often it was."""

WINDOWS, SUM, SQUARES, CROSS = range(4)
"""Columns of sums: windows in which it was present, its counts, their squares, and times what it is counted against."""

SCHEMA = {
    "service": pl.String(),
    "kind": pl.Int8(),
    "a": pl.Int64(),
    "b": pl.Int64(),
    "windows": pl.Int64(),
    "sum": pl.Int64(),
    "squares": pl.Int64(),
    "cross": pl.Int64(),
}


@dataclass(frozen=True)
class Seen:
    """Every number of a window, and what it is counted against; of a gap its level, and how often it occurred."""

    keys: Sequence[Key]
    count: Ints
    exposure: Ints


def seen(observation: Observation, own: Iterable[Number] = ()) -> Seen:
    """The numbers of a window. Templates are counted against traces where there are traces, else against lines.

    own: numbers that views add, of the kinds that are theirs.
    """
    rows: list[Number] = []
    against: dict[str, int] = {}
    for service, lines, errors, traces in _rows(observation.services, "service", "lines", "errors", "traces"):
        against[service] = traces if traces * 2 > lines**0.5 else lines
        rows.append(((service, EXPOSURE, 0, 0), against[service], 0))
        rows.append(((service, ERRORS, 0, 0), errors, lines))
        rows.append(((service, VOLUME, 0, 0), lines, 0))
    edges: list[tuple[str, int, int, int]] = []
    previous: dict[tuple[str, int], int] = {}
    columns = ("service", "kind", "previous", "next", "count", "gap")
    for service, kind, first, second, count, gap in _rows(observation.transitions, *columns):
        if kind == "self":
            edges.append((service, first, second, count))
            previous[service, first] = previous.get((service, first), 0) + count
        else:
            rows.append(((service, _GAPS[kind], first, second), gap, count))
    rows += [((service, PREVIOUS, first, 0), count, 0) for (service, first), count in previous.items()]
    rows += [((s, EDGE, first, second), count, previous[s, first]) for s, first, second, count in edges]
    debug = observation.counts.filter(pl.col("severity").is_between(1, int(Severity.INFO) - 1))
    rows += [((s, DEBUG, template, 0), count, 0) for s, template, count in _rows(debug, "service", "template", "count")]
    rows += own
    few = np.array([row[1:] for row in rows], np.int64).reshape(-1, 2)
    parts = (
        ([row[0] for row in rows], few[:, 0], few[:, 1]),
        _templates(observation.counts, against),
        _values(observation.values),
    )
    keys = [*chain.from_iterable(part[0] for part in parts)]
    return Seen(keys, np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts]))


def _templates(counts: pl.DataFrame, against: Mapping[str, int]) -> tuple[list[Key], Ints, Ints]:
    services = counts["service"].to_list()
    keys = list(zip(services, repeat(TEMPLATE), counts["template"].to_list(), repeat(0), strict=False))
    return keys, counts["count"].to_numpy(), np.array([against[service] for service in services], np.int64)


def _values(values: pl.DataFrame) -> tuple[list[Key], Ints, Ints]:
    """Lines of places and of their values, each counted against the lines of its place; those have `n`, too."""
    whole = pl.col("value") == valued.ALL
    first = pl.when(pl.col("flags") & valued.LEFT != 0).then(LEFT_OUT).otherwise(VALUED)
    frame = values.select(
        "service",
        (first + 2 * pl.col("kind") + (~whole)).cast(pl.Int64).alias("kind"),
        "family",
        (pl.col("place") * (1 << 32) + pl.when(whole).then(0).otherwise(pl.col("value"))).alias("value"),
    )
    keys = list(zip(*(frame[column].to_list() for column in frame.columns), strict=True))
    count = np.where(values["value"].to_numpy() == valued.ALL, values["n"].to_numpy(), values["x"].to_numpy())
    return keys, count, values["n"].to_numpy()


def _whole(key: Key) -> Key:
    """Of lines with a value, the key of all lines of their place."""
    service, kind, family, value = key
    return service, kind - 1, family, (value >> 32) << 32


def is_value(kind: int) -> bool:
    """Whether a number is of the lines of a place that have a value."""
    return VALUED <= kind < LEFT_OUT + 6 and (kind - VALUED) % 2 == 1


def _rows(frame: pl.DataFrame, *columns: str) -> Iterable[tuple[Any, ...]]:
    return zip(*(frame[column].to_list() for column in columns), strict=True)


def moved(key: Key, moves: Mapping[int, int]) -> Key:
    """The key of a number once its templates were merged into others."""
    service, kind, a, b = key
    if kind not in _TEMPLATED and kind < OWN:
        return key
    return service, kind, moves.get(a, a), moves.get(b, b) if kind in _PAIRED else b


class Index:
    """The place of each number in arrays, in the order in which they came."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.services: list[str] = []
        self._places: dict[Key, int] = {}
        self._numbers: dict[str, int] = {}
        self._columns = np.zeros((6, 64), np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def kind(self) -> Ints:
        """The kind of each number."""
        return self._columns[0, : len(self.keys)]

    @property
    def service(self) -> Ints:
        """The number of the service of each, in `services`."""
        return self._columns[1, : len(self.keys)]

    @property
    def against(self) -> Ints:
        """The place of what each is counted against; its own where there is nothing."""
        return self._columns[2, : len(self.keys)]

    @property
    def first(self) -> Ints:
        """What is counted: the template, or the first of a transition; 0 where there is none."""
        return self._columns[3, : len(self.keys)]

    @property
    def second(self) -> Ints:
        """The second template of a transition; 0 where there is none."""
        return self._columns[4, : len(self.keys)]

    @property
    def learnt(self) -> Ints:
        """The place of the same number in windows that are learnt from; its own but for what is left out."""
        return self._columns[5, : len(self.keys)]

    def of_debug(self, places: Ints, alive: Bools) -> Bools:
        """Which of these are lines of templates that are, or were, written to debug. `alive`: by place, what is in any
        window: others have their places only until there is nothing to say that they were."""
        many = int(self.first.max(initial=0)) + 1
        marked = (self.kind == DEBUG) & alive
        debug = self.service[marked] * many + self.first[marked]
        return np.asarray(
            (self.kind[places] == TEMPLATE) & np.isin(self.service[places] * many + self.first[places], debug)
        )

    def counting(self, templates: Iterable[int]) -> Ints:
        """The places of all that counts one of these templates."""
        wanted = np.array(sorted(templates), np.int64)
        templated = np.isin(self.kind, sorted(_TEMPLATED)) | (self.kind >= OWN)
        first = templated & np.isin(self.first, wanted)
        return np.flatnonzero(first | np.isin(self.kind, sorted(_PAIRED)) & np.isin(self.second, wanted))

    def places(self, keys: Iterable[Key]) -> Ints:
        """The places of these, new ones where they have none."""
        wanted = list(keys)
        found = list(map(self._places.get, wanted))
        if None in found:
            found = [self._places[key] if key in self._places else self._add(key) for key in wanted]
        return np.array(found, np.int64)

    def place(self, key: Key) -> int | None:
        """The place of one, if it has any."""
        return self._places.get(key)

    def number(self, service: str) -> int | None:
        """The number of a service, if any of its numbers has a place."""
        return self._numbers.get(service)

    def _add(self, key: Key) -> int:
        service, kind, a, b = key
        lines = (service, VOLUME, 0, 0)
        base = {TEMPLATE: (service, EXPOSURE, 0, 0), EDGE: (service, PREVIOUS, a, 0), ERRORS: lines}
        of = _whole(key) if is_value(kind) else base.get(kind, lines if kind >= OWN else None)
        left_out = LEFT_OUT <= kind < LEFT_OUT + 6
        # What it belongs to may come with it, and takes its place first.
        against = None if of is None else int(self.places([of])[0])
        learnt = int(self.places([(service, kind - 6, a, b)])[0]) if left_out else None
        place = self._places[key] = len(self.keys)
        self.keys.append(key)
        if service not in self._numbers:
            self._numbers[service] = len(self.services)
            self.services.append(service)
        if place >= self._columns.shape[1]:
            self._columns = np.hstack([self._columns, np.zeros_like(self._columns)])
        own = [place if other is None else other for other in (against, learnt)]
        self._columns[:, place] = kind, self._numbers[service], own[0], a, b, own[1]
        return place


@dataclass(frozen=True)
class Placed:
    """The numbers of a window by their places; a place stands twice when templates were merged."""

    places: Ints
    count: Ints
    exposure: Ints

    def add_to(self, sums: Ints, sign: int = 1) -> None:
        """What the window adds to sums over windows."""
        fresh = np.stack([np.ones_like(self.count), self.count, self.count**2, self.count * self.exposure], axis=1)
        np.add.at(sums, self.places, sign * fresh)


def widened(array: Ints, length: int) -> Ints:
    """The array, with zeros up to `length` at least; grows in doublings."""
    if len(array) >= length:
        return array
    wide = np.zeros((max(length, 2 * len(array)), *array.shape[1:]), array.dtype)
    wide[: len(array)] = array
    return wide


def frame(index: Index, sums: Ints) -> pl.DataFrame:
    """Sums as rows, in an order of their own; what was in no window is left out."""
    chosen = np.flatnonzero(sums[: len(index), WINDOWS] > 0)
    keys = [index.keys[place] for place in chosen.tolist()]
    columns = list(zip(*keys, strict=True)) or [(), (), (), ()]
    data = dict(zip(SCHEMA, [*columns, *sums[chosen].T], strict=True))
    return pl.DataFrame(data, schema=SCHEMA).sort("service", "kind", "a", "b")


def keys_of(rows: pl.DataFrame, moves: Mapping[int, int]) -> list[Key]:
    """The keys of rows that `frame` made, as they are after merges."""
    keys = zip(*(rows[name].to_list() for name in ("service", "kind", "a", "b")), strict=True)
    return [moved(key, moves) for key in keys] if moves else list(keys)


def sums_of(rows: pl.DataFrame) -> Ints:
    """The sums of rows that `frame` made."""
    return rows.select("windows", "sum", "squares", "cross").to_numpy().astype(np.int64)
