"""What the past says of the places of values: how long lines take, which words vary, and what other lines brought."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from exporter.detection import valued
from exporter.detection.past import index as base
from exporter.detection.past.index import Bools, Index, Ints

Floats = npt.NDArray[np.float64]

PASSING = 0.05
"""Share of the lines that take longer than the duration that is told of them: the 95 % quantile."""


def without(index: Index, families: Collection[tuple[str, int]], counts: Floats) -> Floats:
    """Counts of a window in which the durations of whole services leave out some families of their lines.

    families: each with its service.
    """
    if not families:
        return counts
    out = counts.copy()
    timed = (index.kind == base.VALUED + 2 * valued.TIMES) | (index.kind == base.VALUED + 2 * valued.TIMES + 1)
    for row in np.flatnonzero(timed & (index.first != valued.SERVICE) & (counts > 0)).tolist():
        service, kind, family, duration = index.keys[row]
        whole = index.place((service, kind, valued.SERVICE, duration))
        if whole is not None and (service, family) in families:
            out[whole] -= counts[row]
    return out


def passed(index: Index, counts: Floats | Ints) -> Ints:
    """By place of all lines that have a duration, the highest edge that one line in twenty passes; -1 for none: their
    95 % quantile, of which the edges are doublings."""
    rows: Ints = np.flatnonzero(index.kind == base.VALUED + 2 * valued.TIMES + 1)
    passes = counts[rows] >= PASSING * np.maximum(counts[index.against[rows]], 1)
    out = np.full(len(index), -1)
    np.maximum.at(out, index.against[rows[passes]], index.second[rows[passes]] & 0xFFFFFFFF)
    return out


def varying(index: Index, total: Ints) -> Bools:
    """By place of all lines of words: of one kind of line each, and of whole services those where one kind of line
    has several. A word that each kind of line has always tells no more than which kinds there are."""
    groups: Ints = np.flatnonzero(index.kind == base.VALUED + 2 * valued.WORDS)
    rows: Ints = np.flatnonzero((index.kind == base.VALUED + 2 * valued.WORDS + 1) & (index.first != valued.SERVICE))
    words = np.bincount(index.against[rows][total[rows, base.WINDOWS] > 0], minlength=len(index))
    own = index.first[groups] != valued.SERVICE
    of = np.stack([index.service[groups], index.second[groups]], axis=1)
    several = {tuple(key) for key in of[own & (words[groups] > 1)].tolist()}
    out = np.zeros(len(index), np.bool_)
    out[groups] = own | np.array([tuple(key) in several for key in of.tolist()], np.bool_)
    return out
