"""Compare what happens now with what the past expects, number by number: z-scores, of many numbers at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.detection.observation import GAP_STEPS
from exporter.detection.past import index as base
from exporter.detection.past.index import Bools, Index, Ints, Placed
from exporter.detection.scoring.calibration import rounded

Floats = npt.NDArray[np.float64]

MIN_GAP = 0.3 * 1.4427 * GAP_STEPS
"""Gaps vary by at least 30 %: what is more regular than that is regular by chance."""

MIN_GAP_WINDOWS = 5
"""Windows with a gap before it can be longer than usual."""

REPLACED = 0.5
"""Share of what falls short in a service that its new harmless lines must make up for to have taken its place."""

MAX_GAPS = 20
"""One transition counts for at most so many gaps."""

FINE, MOST = 4096.0, 128.0
"""Deviations are rounded to one part of this and bounded: sums of their squares are then exact in any order."""

_GAPS = (base.GAP, base.GAP_IN, base.GAP_OUT)


@dataclass(frozen=True)
class Now:
    """One window, or several together: by place its count (of gaps the mean level) and weight (how often a gap was)."""

    count: Floats
    weight: Floats

    @classmethod
    def of(cls, index: Index, parts: Sequence[Placed]) -> Now:
        """The sum of windows; of gaps, the mean over their occurrences. Values are no part of it."""
        places = np.concatenate([part.places for part in parts])
        count = np.concatenate([part.count for part in parts]).astype(float)
        exposure = np.concatenate([part.exposure for part in parts]).astype(float)
        compared = (index.kind[places] < base.VALUED) | (index.kind[places] >= base.OWN)
        places, count, exposure = places[compared], count[compared], exposure[compared]
        gaps = np.isin(index.kind[places], _GAPS)
        weight = np.where(gaps, np.minimum(exposure, MAX_GAPS), exposure)
        length = len(index)
        sums: Floats = np.asarray(np.bincount(places, np.where(gaps, count * weight, count), length), float)
        weights: Floats = np.asarray(np.bincount(places, weight, length), float)
        levels = np.isin(index.kind, _GAPS) & (weights > 0)
        sums[levels] /= weights[levels]
        return cls(sums, weights)


@dataclass(frozen=True)
class Compared:
    """Every number of a window against what the past expects, one row a number.

    place: in the index. Of several pasts (all, the same hour, lately) the one in which a number is least strange
    counts: what is usual at this hour, or has been lately, is not strange.
    """

    index: Index
    place: Ints
    count: Floats
    expected: Floats
    z: Floats
    weight: Floats

    def largest(self, services: Sequence[str]) -> Floats:
        """The largest z of these services, at least 0, one row and one column each: a feature."""
        length = len(self.index.services)
        found = largest(self.index.service[self.place], self.z, length)
        return by_name(self.index, found[:, None], services)

    def of(self, service: str) -> Iterator[tuple[int, int, int, float, float, float]]:
        """Kind, a, b, count, expected and z of each number of a service, the strangest first."""
        number = self.index.number(service)
        own: Ints = np.flatnonzero(self.index.service[self.place] == (-1 if number is None else number))
        keys = {row: self.index.keys[self.place[row]] for row in own.tolist()}
        for row in sorted(keys, key=lambda one: (-abs(self.z[one]), keys[one])):
            _, kind, a, b = keys[row]
            yield kind, a, b, float(self.count[row]), float(self.expected[row]), float(self.z[row])


def compare(
    index: Index,
    now: Now,
    pasts: Sequence[Ints],
    kinds: Collection[int],
    harmless: Bools | None = None,
    vanished: Bools | None = None,
    switched: Bools | None = None,
) -> Compared:
    """Compare numbers of these kinds with each past. Only what a service usually does or does now is compared, while
    it says anything.

    Lines to debug may be switched off: what falls short of them is left out.

    harmless: by place, new templates that speak of no failure: neither they nor the transitions that they take part
    in, or push aside, nor the templates that they replace, are deviations. Most of them are a release.
    vanished: by place, what is no longer missed (`History.vanished`).
    switched: by place, steps that lead through lines to debug which were switched off or on.
    """
    kind, against = index.kind, index.against
    wanted = np.isin(kind, sorted(kinds))
    counted = np.flatnonzero(wanted & ((kind == base.TEMPLATE) | (kind == base.EDGE)) & (now.count[against] > 0))
    among = np.flatnonzero(wanted & ((kind == base.ERRORS) | (kind >= base.OWN)) & (now.weight > 0))
    gaps = np.flatnonzero(wanted & np.isin(kind, _GAPS) & (now.weight > 0))
    place = np.concatenate([counted, among, gaps])
    best, expected = np.full(len(place), np.nan), np.zeros(len(place))
    for past in pasts:
        parts = (_counted(index, now, past, counted), _among(now, past, among, against), _gaps(now, past, gaps))
        z = np.concatenate([part[0] for part in parts])
        least = ~np.isnan(z) & (np.isnan(best) | (np.abs(z) < np.abs(best)))
        best[least] = z[least]
        expected[least] = np.concatenate([part[1] for part in parts])[least]
    alive = (pasts[0][:, base.WINDOWS] > 0) | (now.count > 0)
    known = ~np.isnan(best) & ~(index.of_debug(place, alive) & (np.nan_to_num(best) < 0))
    if switched is not None:
        known &= ~switched[place]
    if vanished is not None:
        known &= ~(vanished[place] & (now.weight[place] == 0))
    if harmless is not None and harmless.any():
        known &= ~_touched(index, now, harmless)[place]
        known &= ~_replaced(index, now, harmless, place, np.where(known, best, 0.0), expected)
    place = place[known]
    z = np.clip(np.round(best[known] * FINE) / FINE, -MOST, MOST)
    return Compared(index, place, now.count[place], expected[known], z, now.weight[place])


def _touched(index: Index, now: Now, harmless: Bools) -> Bools:
    """The places of these templates, of transitions from and to them, and of the others from where those begin."""
    out = harmless & (now.count > 0)
    return out | beside(index, np.flatnonzero(out), now.count > 0) if out.any() else out


def beside(index: Index, templates: Ints, led: Bools) -> Bools:
    """By place, the transitions from and to templates, given by their places, and of the others from where those begin
    that `led` to them."""
    out = np.zeros(len(index), np.bool_)
    edges = np.flatnonzero(index.kind == base.EDGE)
    # A template of a service as one number.
    many = int(max(index.first.max(), index.second.max())) + 1
    service = index.service[edges] * many
    source, target = service + index.first[edges], service + index.second[edges]
    own = index.service[templates] * many + index.first[templates]
    into = np.isin(target, own)
    before = source[into & led[edges]]
    out[edges] = into | np.isin(source, own) | np.isin(source, before)
    return out


def _replaced(index: Index, now: Now, harmless: Bools, place: Ints, z: Floats, expected: Floats) -> Bools:
    """Shortfalls of templates that new lines of the same service, which speak of no failure, stand in for: a release
    writes other texts."""
    short = (index.kind[place] == base.TEMPLATE) & (z < 0)
    length = len(index.services)
    lost = np.bincount(index.service[place[short]], (expected - now.count[place])[short], length)
    fresh = np.flatnonzero(harmless & (index.kind == base.TEMPLATE) & (now.count > 0))
    came = np.bincount(index.service[fresh], now.count[fresh], length)
    return np.asarray(short & ((came > 0) & (came >= REPLACED * lost))[index.service[place]])


def _counted(index: Index, now: Now, past: Ints, rows: Ints) -> tuple[Floats, Floats]:
    """Counts against their exposure, also those that are missing now."""
    against = index.against[rows]
    count, n = now.count[rows], now.count[against]
    total, squared = past[against, base.SUM].astype(float), past[against, base.SQUARES].astype(float)
    sums, squares, cross = (past[rows, column].astype(float) for column in (base.SUM, base.SQUARES, base.CROSS))
    known = (total > 0) & ((count > 0) | (sums > 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = sums / total
        residual = squares - 2 * rate * cross + rate**2 * squared
        extra = np.clip(np.nan_to_num((residual - rate * total) / (rate**2 * squared), posinf=0.0), 0.0, 1e6)
    expected = (sums + 0.5) / (total + 1) * n
    # Square roots (of counts) and arc sines (of shares) have the same variance at any level.
    share = 2 * (_arcsine(count, n) - _arcsine(expected, n)) * np.sqrt(n + 0.5)
    z = np.where(index.kind[rows] == base.EDGE, share, _roots(count, expected)) / np.sqrt(1 + extra * expected)
    return np.where(known, z, np.nan), expected


def _roots(count: Floats, expected: Floats) -> Floats:
    return np.asarray(2 * (np.sqrt(count + 0.375) - np.sqrt(expected + 0.375)))


def _arcsine(count: Floats, total: Floats) -> Floats:
    return np.asarray(np.arcsin(np.sqrt(np.clip((count + 0.375) / (total + 0.75), 0, 1))))


def _spread(past: Ints, rows: Ints) -> tuple[Floats, Floats]:
    """How often a number was there, and by how much more than chance it varies, in parts of its mean squared."""
    windows, sums, squares = (past[rows, column].astype(float) for column in (base.WINDOWS, base.SUM, base.SQUARES))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums / windows
        extra = np.clip(np.nan_to_num((squares / windows - mean**2 - mean) / mean**2, posinf=0.0), 0.0, 1e6)
    return windows, extra


def _among(now: Now, past: Ints, rows: Ints, against: Ints) -> tuple[Floats, Floats]:
    """Counts among the lines of their service."""
    windows, extra = _spread(past, rows)
    total = past[against[rows], base.SUM]
    expected = (past[rows, base.SUM] + 0.5) / (total + 1) * now.weight[rows]
    z = _roots(now.count[rows], expected) / np.sqrt(1 + extra * expected)
    return np.where(windows > 0, z, np.nan), expected


def _gaps(now: Now, past: Ints, rows: Ints) -> tuple[Floats, Floats]:
    """Levels of gaps against the mean and spread of their level in earlier windows."""
    windows, sums, squares = (past[rows, column].astype(float) for column in (base.WINDOWS, base.SUM, base.SQUARES))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums / windows
        spread = np.sqrt(np.maximum(squares / windows - mean**2, 0.0))
        z = np.clip((now.count[rows] - mean) / np.maximum(spread, MIN_GAP), -3, 5)
    return np.where(windows >= MIN_GAP_WINDOWS, z, np.nan), np.nan_to_num(mean)


def largest(number: Ints, values: Floats, length: int) -> Floats:
    """The largest value of each service, by its number in the index; at least 0."""
    out = np.zeros(length)
    np.maximum.at(out, number, values)
    return out


def by_name(index: Index, table: Floats, services: Sequence[str]) -> Floats:
    """The rows of these services, of a table with one row for each service of the index; zeros where it has none."""
    known = [index.number(service) for service in services]
    return rounded(np.array([table[n] if n is not None else np.zeros(table.shape[1]) for n in known]))
