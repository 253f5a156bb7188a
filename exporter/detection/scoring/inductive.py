"""PyOD's KNN, COPOD and ECOD in forms that score a row by the past alone, and the same in every call."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pyod.models.base import BaseDetector
from pyod.models.knn import KNN as PyodKNN
from scipy.spatial import KDTree

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class _Tails(BaseDetector):  # type: ignore[misc]
    """Sums, over dimensions, of how unlikely a value is by the empirical distribution of each column."""

    def __init__(self, contamination: float = 0.1) -> None:
        super().__init__(contamination=contamination)

    def fit(self, X: Floats, y: Any = None) -> _Tails:
        X = np.asarray(X, float)
        self._set_n_classes(y)
        self.sorted_ = np.sort(X, axis=0)
        spread = X - X.mean(axis=0)
        third, second = (spread**3).mean(axis=0), (spread**2).mean(axis=0)
        self.skewness_ = np.where(second > 1e-12, third / np.maximum(second, 1e-12) ** 1.5, 0.0)
        self.decision_scores_ = self.decision_function(X)
        self._process_decision_scores()
        return self

    def tails(self, X: Floats) -> tuple[Floats, Floats]:
        """-log of the share of the past at or below, and at or above, each value; never infinite."""
        rows = len(self.sorted_)
        left, right = np.empty_like(X, float), np.empty_like(X, float)
        for column in range(X.shape[1]):
            known = self.sorted_[:, column]
            left[:, column] = np.searchsorted(known, X[:, column], side="right")
            right[:, column] = rows - np.searchsorted(known, X[:, column], side="left")
        return -np.log(np.maximum(left, 0.5) / rows), -np.log(np.maximum(right, 0.5) / rows)

    def dimensions(self, X: Floats) -> Floats:
        """What each column adds to the score: the explanation."""
        raise NotImplementedError

    def decision_function(self, X: Floats) -> Floats:
        return np.asarray(self.dimensions(np.asarray(X, float)).sum(axis=1))


class COPOD(_Tails):
    """Copula-based outlier detection (Li et al., 2020), inductive."""

    def dimensions(self, X: Floats) -> Floats:
        left, right = self.tails(X)
        skewed = np.where(self.skewness_ < 0, left, right)
        return np.asarray(np.maximum(skewed, (left + right) / 2))


class ECOD(_Tails):
    """Outlier detection by empirical cumulative distributions (Li et al., 2022), inductive."""

    def dimensions(self, X: Floats) -> Floats:
        left, right = self.tails(X)
        skewed = np.where(self.skewness_ < 0, left, right)
        return np.asarray(np.maximum(np.maximum(left, right), skewed))


class KNN(PyodKNN):  # type: ignore[misc]
    """Mean distance to the nearest neighbours, equal rows kept once with their number.

    Values are rounded to 1/4096 and bounded, so that sums of products are exact in double precision: fast matrix
    multiplication then gives the same distances however rows are batched, and so does a tree. That is faster by far
    for few columns (20,000 rows of 6: 20 times) and slower by far for many (10,000 rows of 64: 10 times). PyOD's brute
    force gives others in every batch.
    """

    def fit(self, X: Floats, y: Any = None) -> KNN:
        self._set_n_classes(y)
        rows, numbers = np.unique(_exact(X), axis=0, return_counts=True)
        # Of more rows than suffice, every so many in sorted order: spread as all of them are.
        step = -(-len(rows) // MAX_ROWS)
        self.rows_, self.numbers_ = rows[::step], numbers[::step]
        self.neighbors_ = max(1, round(self.n_neighbors * self.numbers_.sum() / numbers.sum()))
        copies = np.minimum(self.numbers_, self.neighbors_)
        if copies.sum() <= MAX_COPIES * len(self.rows_):
            # Few are equal: then it is faster to keep them as often as they count.
            self.rows_, self.numbers_ = np.repeat(self.rows_, copies, axis=0), np.ones(int(copies.sum()), np.int64)
        self.squares_ = (self.rows_**2).sum(axis=1)
        self.tree_ = KDTree(self.rows_) if self.rows_.shape[1] <= TREE_COLUMNS else None
        # Scores of the past are asked for once, by the caller.
        self.decision_scores_ = np.zeros(len(X))
        return self

    def decision_function(self, X: Floats) -> Floats:
        rows = _exact(X)
        parts = [self._mean_distance(rows[start : start + CHUNK]) for start in range(0, len(rows), CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _mean_distance(self, rows: Floats) -> Floats:
        distances, numbers = self._nearest(rows, min(self.neighbors_, len(self.rows_)))
        before = np.cumsum(numbers, axis=1) - numbers
        taken = np.clip(self.neighbors_ - before, 0, numbers)
        return np.asarray((distances * taken).sum(axis=1) / taken.sum(axis=1))

    def _nearest(self, rows: Floats, near: int) -> tuple[Floats, Ints]:
        """Distances to this many kept rows, the nearest first, and how often each of those counts."""
        if self.tree_:
            distances, place = self.tree_.query(rows, k=range(1, near + 1))
            return distances, self.numbers_[place]
        squares = (rows**2).sum(axis=1)[:, None] - (2 * rows) @ self.rows_.T + self.squares_
        if self.numbers_.max() == 1:
            squares.partition(near - 1, axis=1)
            return np.sqrt(np.maximum(np.sort(squares[:, :near], axis=1), 0.0)), np.ones((len(rows), near), np.int64)
        place = np.argpartition(squares, near - 1, axis=1)[:, :near]
        nearest = np.take_along_axis(squares, place, axis=1)
        order = np.argsort(nearest, axis=1)
        place = np.take_along_axis(place, order, axis=1)
        return np.sqrt(np.maximum(np.take_along_axis(nearest, order, axis=1), 0.0)), self.numbers_[place]


CHUNK = 256
TREE_COLUMNS = 8
"""Columns up to which neighbours are looked up in a tree."""

MAX_ROWS = 2048
"""Distinct rows that a row is compared with."""

MAX_COPIES = 1.5
"""Rows to distinct rows, up to which equal ones are kept apart."""

STEPS, BOUND = 4096.0, 255.0


def _exact(values: Floats) -> Floats:
    return np.asarray(np.clip(np.round(np.asarray(values, float) * STEPS) / STEPS, -BOUND, BOUND))
