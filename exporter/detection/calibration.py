"""Turn raw scores into [0, 1] so that they mean the same everywhere: one minus how often the past was as unusual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.detection import thresholds

Floats = npt.NDArray[np.float64]

TAIL = 0.02
"""The top share of the past from which the tail is extrapolated."""

MIN_P = 1e-9
SHAPES = (3.0, 12.0)
"""Bounds of the tail's exponent: a heavier tail would hide every failure, a lighter one promise too much."""


def rounded(scores: Floats) -> Floats:
    """Scores as they meet thresholds and rows: differences below 1e-9 are noise of the arithmetic."""
    return np.round(scores, 9)


@dataclass(frozen=True)
class Calibration:
    """The distribution of past scores: counted where there are enough, a power law beyond."""

    scores: Floats  # ascending
    above: Floats  # the share of the past at or above each
    edge: float
    edge_p: float
    shape: float

    @classmethod
    def fit(
        cls, scores: Floats, weights: Floats | None = None, trim: float | None = None, least: float = 1e-3
    ) -> Calibration:
        """From past scores; those above `trim` are taken for anomalies and left out.

        The tail begins at `least` or higher: below, a score is ordinary, however even the past was.
        """
        values = np.maximum(rounded(np.asarray(scores, float)), 0.0)
        counts = np.ones(len(values)) if weights is None else np.asarray(weights, float)
        if trim is not None and (values <= trim).any():
            values, counts = values[values <= trim], counts[values <= trim]
        distinct, inverse = np.unique(values, return_inverse=True)
        mass = np.bincount(inverse.ravel(), counts)
        total = mass.sum()
        above = (np.cumsum(mass[::-1])[::-1] + 1.0) / (total + 1.0)
        edge = max(thresholds.quantile(values, counts, 1 - TAIL), least)
        tail = distinct > edge
        edge_p = (mass[tail].sum() + 1.0) / (total + 1.0)
        logs = np.log(distinct[tail] / edge)
        # Hill's estimator, pulled towards a middling tail where few exceed the edge.
        excess = (mass[tail] * logs).sum() + 10 / 5.0
        shape = float(np.clip((mass[tail].sum() + 10) / excess, *SHAPES))
        return cls(distinct, above, edge, float(edge_p), shape)

    def p(self, scores: Floats) -> Floats:
        """How often the past was at least as unusual."""
        values = np.maximum(rounded(np.asarray(scores, float)), 0.0)
        place = np.searchsorted(self.scores, values, side="left")
        counted = np.append(self.above, 0.0)[place]
        beyond = self.edge_p * (self.edge / np.maximum(values, self.edge)) ** self.shape
        return np.clip(np.where(values > self.edge, beyond, np.maximum(counted, self.edge_p)), MIN_P, 1.0)

    def score(self, scores: Floats) -> Floats:
        """In [0, 1]: one minus p."""
        return rounded(1.0 - self.p(scores))

    def raw(self, score: float) -> float:
        """The raw score that this calibrated score stands for."""
        p = 1.0 - score
        if p < self.edge_p:
            return float(self.edge * (self.edge_p / p) ** (1 / self.shape))
        return float(self.scores[min(int(np.searchsorted(-self.above, -p)), len(self.scores) - 1)])
