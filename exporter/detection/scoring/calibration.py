"""Turn raw scores into [0, 1] so that they mean the same everywhere: one minus how often the past was as unusual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.detection.scoring import thresholds

Floats = npt.NDArray[np.float64]

EDGE, CENSORED = 0.90, 0.97
"""Quantiles of the past between which the tail's decay is measured. Nobody cleaned the past: what is above the second
may be failures, and would make every failure look usual. On the simulated shop without failures the decay is the same
from 90 % to 99.99 %; on the TrainTicket day it changes above 95 %."""

PRIOR_EXCESSES = 10
MIN_P = 1e-9


def rounded(scores: Floats) -> Floats:
    """Scores as they meet thresholds and rows: differences below 1e-9 are noise of the arithmetic."""
    return np.round(scores, 9)


@dataclass(frozen=True)
class Calibration:
    """The distribution of past scores: counted up to the edge, exponential beyond."""

    scores: Floats  # ascending
    above: Floats  # the share of the past at or above each
    edge: float
    edge_p: float
    decay: float

    @classmethod
    def fit(
        cls,
        scores: Floats,
        weights: Floats | None = None,
        trim: float | None = None,
        least_edge: float = 1e-3,
        decays: tuple[float, float] | None = None,
    ) -> Calibration:
        """From past scores; those above `trim` are taken for anomalies and left out.

        The tail begins at `least_edge` or higher, for below it a score is ordinary however even the past was, and
        decays by powers of e for each unit within `decays`.
        """
        values = np.maximum(rounded(np.asarray(scores, float)), 0.0)
        counts = np.ones(len(values)) if weights is None else np.asarray(weights, float)
        if trim is not None and (values <= trim).any():
            values, counts = values[values <= trim], counts[values <= trim]
        distinct, inverse = np.unique(values, return_inverse=True)
        mass = np.bincount(inverse.ravel(), counts).astype(float)
        above = (np.cumsum(mass[::-1])[::-1] + 1.0) / (mass.sum() + 1.0)
        edge = max(thresholds.quantile(values, counts, EDGE), least_edge)
        tail = distinct > edge
        edge_p = (mass[tail].sum() + 1.0) / (mass.sum() + 1.0)
        decay = _decay(distinct[tail] - edge, mass[tail], edge, (1 - CENSORED) * mass.sum())
        return cls(distinct, above, edge, float(edge_p), float(np.clip(decay, *decays)) if decays else decay)

    def p(self, scores: Floats) -> Floats:
        """How often the past was at least as unusual."""
        values = np.maximum(rounded(np.asarray(scores, float)), 0.0)
        place = np.searchsorted(self.scores, values, side="left")
        counted = np.append(self.above, 0.0)[place]
        beyond = self.edge_p * np.exp(-self.decay * np.maximum(values - self.edge, 0.0))
        return np.clip(np.where(values > self.edge, beyond, np.maximum(counted, self.edge_p)), MIN_P, 1.0)

    def score(self, scores: Floats) -> Floats:
        """In [0, 1]: one minus p."""
        return rounded(1.0 - self.p(scores))


def _decay(excesses: Floats, mass: Floats, edge: float, censored: float) -> float:
    """Of an exponential tail, from the lower excesses; the topmost count as no farther than the last of those."""
    prior = PRIOR_EXCESSES * edge / 3
    if not len(excesses):
        return PRIOR_EXCESSES / prior
    over = np.cumsum(mass[::-1])[::-1]
    seen = over > censored
    limit = excesses[seen].max() if seen.any() else excesses.max()
    return float((mass[seen].sum() + PRIOR_EXCESSES) / ((mass * np.minimum(excesses, limit)).sum() + prior))
