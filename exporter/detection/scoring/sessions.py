"""Score the vector of a session by a pool of others: detectors, a threshold without labels, what was to be expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.detection.scoring import thresholds
from exporter.detection.scoring.calibration import Calibration
from exporter.detection.scoring.ensemble import Ensemble
from exporter.detection.scoring.session_views import Columns, Presence, Scaled, Vector, fit_view
from exporter.detection.settings import DetectionSettings

Floats = npt.NDArray[np.float64]

COMMON = 0.02
MIN_COMMON = 10
"""A kind of session that is one in fifty is ordinary, however unlike the others it is."""


@dataclass(frozen=True)
class SessionModel:
    """What a session's vector means, learnt from a pool of distinct vectors and how often each occurred."""

    pool: tuple[Vector, ...]
    weights: Floats
    columns: Columns
    ensemble: Ensemble
    threshold: float
    calibration: Calibration
    raw: Floats
    """Scores of the pool."""
    ordinary: float
    """Calibrated score that most of the pool does not exceed."""

    @classmethod
    def fit(cls, pool: Mapping[Vector, int], settings: DetectionSettings) -> SessionModel:
        vectors = tuple(sorted(pool))
        weights = np.array([pool[one] for one in vectors], float)
        columns = Columns.of(vectors)
        counts = columns.matrix(vectors)
        views: dict[str, Presence | Scaled] = {
            one.view: fit_view(one.view, counts, weights) for one in settings.sessions
        }
        ensemble = Ensemble.fit(settings.sessions, counts, weights, lambda name: views[name].view, settings.pool)
        raw = ensemble.past
        threshold = thresholds.consensus(raw, weights)
        common = weights >= max(MIN_COMMON, COMMON * weights.sum())
        threshold = max(threshold, float(raw[common].max(initial=0.0)))
        calibration = Calibration.fit(raw, weights, trim=threshold)
        floor = thresholds.quantile(raw, weights, thresholds.FLOOR)
        ordinary = float(calibration.score(np.array([floor]))[0])
        return cls(vectors, weights, columns, ensemble, threshold, calibration, raw, ordinary)

    def strength(self, vectors: Sequence[Vector]) -> Floats:
        """Raw scores; a vector scores the same alone and among others."""
        return self.ensemble.score(self.columns.matrix(vectors))

    def nearest(self, one: Vector) -> Vector:
        """The most alike of the pool's ordinary vectors: what was to be expected instead."""
        calm = (self.raw <= self.threshold) & (self.weights >= min(2.0, self.weights.max()))
        if not calm.any():
            return ()
        rows = np.flatnonzero(calm)
        known = np.log1p(self.columns.matrix([self.pool[row] for row in rows]))
        distance = np.abs(known - np.log1p(self.columns.matrix([one]))).sum(axis=1)
        best = np.lexsort((rows, -self.weights[rows], np.round(distance, 9)))[0]
        return self.pool[rows[best]]

    def names(self, one: Vector) -> tuple[str, ...]:
        """The detectors that find a vector strange by themselves."""
        votes = self.ensemble.each(self.columns.matrix([one]))[0]
        return tuple(m.name for m, vote in zip(self.ensemble.members, votes, strict=True) if vote > self.threshold)
