"""Turn statements and numbers into the text of log lines, many at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]

PLACEHOLDER = re.compile(r"\{([a-z]+)\}")

_WORDS = (
    "amber aspen atlas basil birch cedar cobalt coral delta ember falcon fern flint garnet harbor hazel indigo iris "
    "ivory jasper juniper kelp lagoon larch laurel lilac linen lotus maple marble mesa mint onyx opal orchid pearl "
    "pine plum poplar quartz raven reef river ruby saffron sage slate sorrel spruce teal thyme topaz tulip umber "
    "velvet violet walnut willow zephyr"
)
WORDS = pl.Series(_WORDS.split())
TABLES = pl.Series(["orders", "items", "prices", "stock", "users", "sessions", "shipments", "transactions"])
PLATFORM_NAMES = ("Windows NT 10.0", "X11; Linux x86_64", "Macintosh; Intel Mac OS X 10_15_7", "Android 14; Mobile")
AGENTS = pl.Series(
    [
        f"Mozilla/5.0 ({system}) {browser}/{version}.0"
        for version in range(96, 132)
        for system in PLATFORM_NAMES
        for browser in ("Firefox", "Chrome")
    ]
)


def mix(values: Numbers | int, salt: Numbers | int = 0) -> Numbers:
    """Well mixed 64-bit numbers (splitmix64): what looks random in a line, and is the same at every reading."""
    with np.errstate(over="ignore"):
        z = np.asarray(values, np.uint64) + np.asarray(salt, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


def _text(values: NDArray[np.generic]) -> pl.Series:
    return pl.Series(values).cast(pl.String)


def _pick(vocabulary: pl.Series, index: NDArray[np.generic]) -> pl.Series:
    return vocabulary.gather(pl.Series(index.astype(np.uint32)))


def _below(raw: Numbers, limit: int) -> NDArray[np.int64]:
    return (raw >> np.uint64(11)).astype(np.int64) % limit


def _skewed(raw: Numbers, limit: int) -> NDArray[np.int64]:
    """Numbers under `limit`, small ones far more often: how popular things are."""
    share = (raw >> np.uint64(11)).astype(np.float64) / 2.0**53
    return (share**3 * limit).astype(np.int64)


_HEX = pl.Series([f"{value:04x}" for value in range(65536)])


def hexadecimal(raw: Numbers, digits: int) -> pl.Series:
    """`digits` (a multiple of four, at most sixteen) hexadecimal digits of each number."""
    parts = [_pick(_HEX, (raw >> np.uint64(16 * i)) & np.uint64(0xFFFF)) for i in range(digits // 4)]
    return _join(*parts)


def _join(*parts: pl.Series | str) -> pl.Series:
    columns = [pl.lit(part) if isinstance(part, str) else pl.lit(part.alias(f"p{i}")) for i, part in enumerate(parts)]
    return pl.select(pl.concat_str(columns)).to_series()


def _address(raw: Numbers) -> pl.Series:
    # A few thousand clients: addresses that come back, as they do.
    client = mix(_skewed(raw, 4000).astype(np.uint64), 77)
    octets = [_text(((client >> np.uint64(8 * i)) & np.uint64(0xFF)).astype(np.int64)) for i in range(3)]
    return _join("10.", octets[0], ".", octets[1], ".", octets[2])


def _decimal(raw: Numbers, limit: int) -> pl.Series:
    value = _skewed(raw, limit)
    cents = pl.Series(_below(mix(raw, 5), 100)).cast(pl.String).str.zfill(2)
    return _join(_text(value), ".", cents)


# Of the request: all its lines name the same user, order and so on.
OF_REQUEST: Mapping[str, Callable[[Numbers], pl.Series]] = {
    "hex": lambda raw: hexadecimal(raw, 8),
    "user": lambda raw: _join("u", _text(10_000 + _skewed(mix(raw, 1), 50_000))),
    "order": lambda raw: _join("ORD-", _text(10_000_000 + _below(mix(raw, 2), 90_000_000))),
    "sku": lambda raw: _join("SKU-", _text(1000 + _skewed(mix(raw, 3), 6000))),
    "amount": lambda raw: _decimal(mix(raw, 4), 400),
    "ip": lambda raw: _address(mix(raw, 6)),
    "agent": lambda raw: _pick(AGENTS, len(AGENTS) - 1 - _skewed(mix(raw, 7), len(AGENTS))),
}

# Of the line: another value at each place.
OF_LINE: Mapping[str, Callable[[Numbers], pl.Series]] = {
    "few": lambda raw: _text(1 + _skewed(raw, 9)),
    "n": lambda raw: _text(10 + _skewed(raw, 990)),
    "big": lambda raw: _text(1_000_000 + _below(raw, 90_000_000)),
    "mb": lambda raw: _text(96 + _below(raw, 800)),
    "tiny": lambda raw: _text(1 + _skewed(raw, 20)),
    "seconds": lambda raw: _join(_text(2 + _below(raw, 7)), ".", _text(_below(mix(raw, 8), 1000))),
    "word": lambda raw: _pick(WORDS, _below(raw, len(WORDS))),
    "table": lambda raw: _pick(TABLES, _below(raw, len(TABLES))),
}

GIVEN = ("ms", "pod", "version", "date")
"""Values that the caller knows: how long it took, and who logs it."""


@dataclass(frozen=True)
class Lines:
    """What is printed: one element a line. `given` holds the texts of GIVEN for each line, as far as they are used."""

    statement: NDArray[np.int32]
    request: Numbers
    line: Numbers
    given: Callable[[str, NDArray[np.int64]], pl.Series]


class Printer:
    """The texts of statements, cut at their placeholders."""

    def __init__(self, texts: Sequence[str]) -> None:
        parts = [PLACEHOLDER.split(text) for text in texts]
        self._slots = max((len(part) // 2 for part in parts), default=0)
        self._kinds = sorted({kind for part in parts for kind in part[1::2]})
        unknown = set(self._kinds) - OF_REQUEST.keys() - OF_LINE.keys() - set(GIVEN)
        if unknown:
            raise ValueError(f"unknown placeholders: {sorted(unknown)}")
        number = {kind: i for i, kind in enumerate(self._kinds)}
        self._table = np.full((len(parts), max(self._slots, 1)), -1, np.int8)
        for row, part in enumerate(parts):
            self._table[row, : len(part) // 2] = [number[kind] for kind in part[1::2]]
        self._literals = [
            pl.Series([part[2 * slot] if 2 * slot < len(part) else "" for part in parts], dtype=pl.String)
            for slot in range(self._slots + 1)
        ]

    def print(self, lines: Lines) -> pl.Series:
        """The text of every line."""
        statement = pl.Series(lines.statement.astype(np.uint32))
        values = self._values(lines)
        columns: list[pl.Series] = [self._literals[0].gather(statement)]
        for slot in range(self._slots):
            columns += [values[slot], self._literals[slot + 1].gather(statement)]
        named = [pl.lit(column.alias(f"c{i}")) for i, column in enumerate(columns)]
        return pl.select(pl.concat_str(named, ignore_nulls=True)).to_series()

    def _values(self, lines: Lines) -> list[pl.Series]:
        kinds = self._table[lines.statement]
        width = kinds.shape[1]
        flat = kinds.ravel()
        order = np.argsort(flat, kind="stable")
        bounds = np.searchsorted(flat[order], np.arange(len(self._kinds) + 1))
        texts, places = [pl.Series([], dtype=pl.String)], [np.empty(0, np.int64)]
        for number, kind in enumerate(self._kinds):
            at = order[bounds[number] : bounds[number + 1]]
            if at.size:
                texts.append(self._render(kind, lines, at // width, at % width))
                places.append(at)
        where = np.full(flat.size, -1, np.int64)
        where[np.concatenate(places)] = np.arange(sum(map(len, places)))
        found = pl.concat([text.rename("v") for text in texts])
        return [_gather(found, where[slot::width]) for slot in range(self._slots)]

    def _render(self, kind: str, lines: Lines, at: NDArray[np.int64], slot: NDArray[np.int64]) -> pl.Series:
        if kind in OF_REQUEST:
            return OF_REQUEST[kind](lines.request[at])
        if kind in OF_LINE:
            return OF_LINE[kind](mix(lines.line[at], (slot + 1).astype(np.uint64)))
        return lines.given(kind, at)


def _gather(found: pl.Series, where: NDArray[np.int64]) -> pl.Series:
    index = pl.Series(where)
    return found.gather(index.set(index < 0, None))
