"""COPOD and ECOD that score a row by the past alone: PyOD's own score it by the other rows of the call as well."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pyod.models.base import BaseDetector

Floats = npt.NDArray[np.float64]


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
