"""What the past says of the places of values: how long lines take, which words vary, and what other lines brought."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exporter.detection import valued
from exporter.detection.past import index as base
from exporter.detection.past.history import History
from exporter.detection.past.index import Bools, Index, Ints

Floats = npt.NDArray[np.float64]

PASSING = 0.05
"""Share of the lines that take longer than the duration that is told of them: the 95 % quantile."""

REPLACED = 0.5
"""Share of the lines of new kinds that kinds which are gone must have had, for the new to stand in for them."""


def exchanged(history: History, places: Ints, counts: Floats) -> Bools:
    """Which of these numbers are durations of all lines of a service that writes other kinds of lines since a release:
    those take another time, and each kind is judged by its own.

    counts: by place, the lines of a window.
    """
    index, total, old = history.index, history.total()[:, base.SUM], history.before_lately()
    kind, service = index.kind, index.service
    lines = np.zeros(len(index.services), np.int64)
    lines[service[kind == base.VOLUME]] = np.flatnonzero(kind == base.VOLUME)
    timed = (kind == base.VALUED + 2 * valued.TIMES) & (index.first != valued.SERVICE)
    came = timed & (counts > 0) & (old == 0) & (old[lines[service]] > 0)
    gone = (kind == base.TEMPLATE) & (counts == 0) & (total > 0)
    shares = [
        np.bincount(service[some], of[some] / np.maximum(of[lines[service[some]]], 1), len(lines))
        for some, of in ((came, counts), (gone, total))
    ]
    released = (shares[0] > 0) & (shares[1] >= REPLACED * shares[0])
    whole = (kind == base.VALUED + 2 * valued.TIMES + 1) & (index.first == valued.SERVICE)
    return np.asarray(whole[places] & released[service[places]])


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
