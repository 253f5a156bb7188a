"""Count which values the lines of a window have: of each kind of line, and of the service, so many of so many."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from exporter.mining.words import place_of, value_of

if TYPE_CHECKING:
    from exporter.mining.templates import Mined

Ints = npt.NDArray[np.int64]

CODES, TIMES, WORDS = range(3)
"""Kinds of places: the codes of lines, their durations, and words where several have stood."""

SERVICE = 0
"""Stands for the family where all lines of a service are counted."""

ALL_LINES = "all its lines"
"""What stands for the text where all lines of a service are counted."""

ALL = -1
"""Stands for the value where all lines of a place are counted, whatever theirs is."""

NOT_ZERO, REDIRECTED, REFUSED, BROKEN = 1, 3, 4, 5
"""Classes of codes: an exit or a gRPC code that is not zero, and 3xx to 5xx of HTTP; 0 and 2 went well."""

EDGES = 18
"""Durations are counted above 1, 2, 4 … milliseconds, up to two minutes."""

MOST_WORDS = 16
"""Words at a place that are told apart; where there are more, only their lines are counted."""

MOST_PLACES = 200
"""Places of words of a service that are counted, the first by their numbers."""

VALUES = {
    "service": pl.String(),
    "family": pl.Int64(),
    "kind": pl.Int8(),
    "place": pl.Int64(),
    "value": pl.Int64(),
    "x": pl.Int64(),
    "n": pl.Int64(),
    "template": pl.Int64(),
    "said": pl.String(),
    "flags": pl.Int8(),
}
"""Of `n` lines at a place `x` have a value. `template` is one of theirs, `said` is how a word is written. `flags`: what
judging the window found of it (`UNLIKELY`, `UNLIKELY_OF_TEN`), whether it is `LEFT` out of the past, and whether
something of it was `NOTICED` though it is no failure."""

UNLIKELY, UNLIKELY_OF_TEN, LEFT, NOTICED = 1, 2, 4, 8

NO_VALUES = pl.DataFrame(schema=VALUES)

GROUP = ("service", "family", "kind", "place")
"""What values are shares of."""


def values_of(named: pl.DataFrame, names: pl.DataFrame, mined: Mined) -> pl.DataFrame:
    """The values of lines: what LINE_COLUMNS say of each, with its `service`, the `key` of that, and its `template`.

    names: `Reduced.names`, where the words of fields are.
    """
    keys, first, service = np.unique(named["key"].to_numpy(), return_index=True, return_inverse=True)
    lines = _Lines(service.ravel(), named["template"].to_numpy(), mined.families)
    said = mined.words["said"].to_list()
    found = (_codes(lines, named), _times(lines, named), _words(keys, mined), _fields(lines, named, names, said))
    parts = [part for part in found if part is not None]
    return _framed(parts, named["service"].gather(first).to_list(), said) if parts else NO_VALUES


class _Lines:
    """The lines of a window: numbers of their services, their templates and families."""

    def __init__(self, service: Ints, template: Ints, families: Mapping[int, int]) -> None:
        self.service, self.template = service, template
        known, inverse = np.unique(template, return_inverse=True)
        self.family = np.array([families.get(one, one) for one in known.tolist()], np.int64)[inverse.ravel()]

    def counted(self, kind: int, rows: Ints, value: Ints, place: Ints | None = None) -> _Counted:
        """Some of the lines with a value each: by family, and all of a service together."""
        place = np.zeros(len(rows), np.int64) if place is None else place
        own = self.template[rows] != SERVICE
        of_family = self._summed(rows[own], self.family[rows[own]], place[own], value[own])
        of_service = self._summed(rows, np.full(len(rows), SERVICE), place, value)
        found = pl.concat([of_family, of_service])
        names = ("service", "family", "place", "value", "lines", "template")
        service, family, places, values, weight, template = (found[name].to_numpy() for name in names)
        return _Counted(kind, service, family, places, values, weight, template, np.full(len(found), -1))

    def _summed(self, rows: Ints, family: Ints, place: Ints, value: Ints) -> pl.DataFrame:
        """So many lines of each value, and the first of their templates: a window has many lines and few of these."""
        keys = {"service": self.service[rows], "family": family, "place": place, "value": value}
        lines = pl.DataFrame(
            {**keys, "template": self.template[rows]}, schema=dict.fromkeys([*keys, "template"], pl.Int64)
        )
        return lines.group_by(*keys).agg(pl.len().cast(pl.Int64).alias("lines"), pl.col("template").min()).sort(*keys)


class _Counted(NamedTuple):
    """Lines with a value, `weight` of them a row; `said` is the row of a word among those that were mined."""

    kind: int
    service: Ints
    family: Ints
    place: Ints
    value: Ints
    weight: Ints
    template: Ints
    said: Ints


def _codes(lines: _Lines, named: pl.DataFrame) -> _Counted | None:
    codes = named["code"]
    if codes.null_count() == len(codes):
        return None
    rows = np.flatnonzero(codes.is_not_null().to_numpy())
    code = codes.drop_nulls().to_numpy().astype(np.int64)
    # An exit code of a signal (137) is no status, and 255 is what a program that failed otherwise returns.
    exits = (code < 200) | (code == 255)
    return lines.counted(CODES, rows, np.where(exits, np.where(code == 0, 0, NOT_ZERO), code // 100))


def _times(lines: _Lines, named: pl.DataFrame) -> _Counted | None:
    """Each line has the highest edge that it is at or above; ALL is less than a millisecond."""
    durations = named["duration"]
    if durations.null_count() == len(durations):
        return None
    seconds = durations.fill_null(float("nan")).to_numpy().astype(float)
    rows = np.flatnonzero(np.isfinite(seconds))
    edge = np.floor(np.log2(np.maximum(seconds[rows] * 1000, 0.5)))
    # A place is a name, of which 31 bits tell it apart.
    place = (named["place"].to_numpy()[rows] >> np.uint64(33)).astype(np.int64)
    return lines.counted(TIMES, rows, np.clip(edge, ALL, EDGES - 1).astype(np.int64), place)


def _words(keys: npt.NDArray[np.uint64], mined: Mined) -> _Counted | None:
    words = mined.words
    if words.is_empty():
        return None
    service = np.searchsorted(keys, words["service"].to_numpy())
    family, place, value, lines, template = (
        words[name].to_numpy() for name in ("family", "place", "value", "lines", "template")
    )
    return _Counted(WORDS, service, family, place, value, lines, template, np.arange(len(words)))


def _fields(lines: _Lines, named: pl.DataFrame, names: pl.DataFrame, said: list[str]) -> _Counted | None:
    """The words of fields beside the message; how they are said is added to `said`."""
    keys = named["fields"].to_numpy()
    rows = np.flatnonzero(keys)
    if not len(rows):
        return None
    distinct, of = np.unique(keys[rows], return_inverse=True)
    known = names.filter(pl.col("key").is_in(pl.Series(distinct).implode()))
    texts = dict(zip(known["key"].to_list(), known["text"].to_list(), strict=True))
    parts = []
    for number, key in enumerate(distinct.tolist()):
        own = rows[of.ravel() == number]
        for name, word in sorted(json.loads(texts[key]).items()):
            every = np.ones(len(own), np.int64)
            part = lines.counted(WORDS, own, every * value_of(word), every * place_of(name))
            parts.append(part._replace(said=np.full(len(part.said), len(said))))
            said.append(f"{name}: {word}")
    return _Counted(WORDS, *(np.concatenate([part[column] for part in parts]) for column in range(1, 8)))


def _framed(parts: Sequence[_Counted], services: Sequence[str], texts: Sequence[str]) -> pl.DataFrame:
    """So many of so many: a row for each value of a place, and one for all of its lines."""
    kind = np.concatenate([np.full(len(part.service), part.kind) for part in parts])
    service, family, place, value, weight, template, said = (
        np.concatenate([part[column] for part in parts]) for column in range(1, 8)
    )
    rank = np.argsort(np.argsort(services))
    groups, of = np.unique(np.stack([rank[service], family, kind, place], axis=1), axis=0, return_inverse=True)
    of = of.ravel()
    distinct, inverse = np.unique(np.stack([of, value], axis=1), axis=0, return_inverse=True)
    inverse = inverse.ravel()
    x = np.bincount(inverse, weight).astype(np.int64)
    least, saying = np.full(len(distinct), np.iinfo(np.int64).max), np.full(len(distinct), len(said))
    np.minimum.at(least, inverse, template)
    np.minimum.at(saying, inverse, np.where(said < 0, len(said), said))
    rows: list[tuple[object, ...]] = []
    ends = np.searchsorted(distinct[:, 0], np.arange(len(groups) + 1)).tolist()
    names = sorted(services)
    passed = Counter[str]()
    for number, (owner, family_, kind_, place_) in enumerate(groups.tolist()):
        own = slice(ends[number], ends[number + 1])
        head, amounts, templates = (names[owner], family_, kind_, place_), x[own].tolist(), least[own].tolist()
        n = sum(amounts)
        rows.append((*head, ALL, n, n, min(templates), "", 0))
        if kind_ == WORDS:
            passed[names[owner]] += 1
            if len(amounts) > MOST_WORDS or passed[names[owner]] > MOST_PLACES:
                continue
        values, told = distinct[own, 1].tolist(), saying[own].tolist()
        if kind_ == TIMES:
            values, amounts = _above(values, amounts)
            templates, told = [min(templates)] * len(values), [len(said)] * len(values)
        for one, amount, of_these, text in zip(values, amounts, templates, told, strict=True):
            rows.append((*head, one, amount, n, of_these, texts[text] if text < len(texts) else "", 0))
    return pl.DataFrame(rows, schema=VALUES, orient="row")


def _above(edges: Sequence[int], lines: Sequence[int]) -> tuple[list[int], list[int]]:
    """How many lines are at or above each edge that any is at or above.

    >>> _above([-1, 1], [5, 2])
    ([0, 1], [2, 2])
    """
    counts = Counter(dict(zip(edges, lines, strict=True)))
    every = range(max(edges) + 1)
    below = accumulate(counts[one - 1] for one in every)
    return list(every), [sum(lines) - under for under in below]


def flagged(values: pl.DataFrame, groups: Iterable[tuple[str, int, int, int]], flag: int) -> pl.DataFrame:
    """The values with a flag at all values of these groups."""
    frame = pl.DataFrame(list(groups), schema={name: VALUES[name] for name in GROUP}, orient="row")
    marked = values.join(frame.with_columns(marked=True), on=list(GROUP), how="left", maintain_order="left")
    flags = pl.when(pl.col("marked")).then(pl.col("flags") | flag).otherwise(pl.col("flags"))
    return marked.with_columns(flags.cast(pl.Int8()).alias("flags")).drop("marked")


def renamed(values: pl.DataFrame, moves: Mapping[int, int]) -> pl.DataFrame:
    """Templates that were merged are told as the survivors."""
    return values.with_columns(pl.col("template").replace(moves)) if len(values) else values
