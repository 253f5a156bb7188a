"""Score windows of services by the features of all views: one scale for each service, one calibrated score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.detection.scoring.calibration import Calibration, rounded
from exporter.detection.scoring.ensemble import Ensemble
from exporter.detection.settings import DetectorSettings

Floats = npt.NDArray[np.float64]

NOTHING = "nothing unusual of its own"
"""The reason where no feature is above its unit."""

PRIOR = Calibration(np.array([0.0]), np.array([1.0]), edge=0.7, edge_p=0.1, decay=5.0)
"""What strengths mean before anything was fitted: about what they mean on the simulated shop and on TrainTicket."""

DECAYS = (4.0, 8.0)
"""A heavier tail would hide every failure, a lighter one promise too much: where nothing fails it decays by 5 to 6 (the
shop), where failures fill the past by 2 (TrainTicket). With 4 for 3 average precision there is 0.49 for 0.44, and in
the shop no more false incidents open."""

RARE = 2.0
"""What is rare, in units of the 80 % quantile: of a normal distribution, about the 99 % quantile. Taken from that one,
failures in an uncleaned past would set the scale that they are measured by (TrainTicket: AS@1 0.65, not 0.77)."""

ENSEMBLE_SHARE = 0.5

STILL = 4.0
"""How many times what a window shows may the last windows together count in the ranking of services: enough for what is
faint and goes on. Chosen on TrainTicket, where 3 to 6 rank alike."""

SHRINK = 30.0
"""Windows of its own that weigh as much as the pool: more for the loud, less for the new. Chosen on TrainTicket."""


@dataclass(frozen=True)
class Features:
    """What is measured of a window, one column each: numbers of at least 0, larger when stranger.

    units: what is ordinary of each, whatever the past was.
    words: what a service does of which each is the strongest sign.
    headline: what the strongest evidence alone says, one number a row of columns in units of what is rare.
    """

    names: tuple[str, ...]
    units: Floats
    words: tuple[str, ...]
    headline: Callable[[Floats], Floats]

    @property
    def columns(self) -> tuple[str, ...]:
        """The features of a window alone, and of the last windows together: what is too little for one adds up."""
        return (*self.names, *(f"{name}_together" for name in self.names))

    def rough(self, rows: Floats) -> Floats:
        """Strength before anything was fitted: enough to rank services by."""
        return rounded(self.headline(rows / self.units))

    def reason(self, row: Floats) -> str:
        """The strongest feature, in words."""
        units = row / self.units
        strongest = int(units.argmax())
        return self.words[strongest] if units[strongest] >= 1 else NOTHING


@dataclass(frozen=True)
class WindowModel:
    """What the features of a window mean, learnt over all services of the source."""

    features: Features
    scale: Floats
    usual: Mapping[str, Floats]
    """Of each service, how much louder than the pool it usually is; near 1 where little is known."""
    ensemble: Ensemble

    @classmethod
    def fit(
        cls,
        features: Features,
        services: Sequence[str],
        rows: Floats,
        detectors: Sequence[DetectorSettings],
        limit: int,
    ) -> tuple[WindowModel, Floats]:
        """The model, and the strengths of the rows."""
        scale = np.maximum(np.quantile(rows, 0.8, axis=0, method="higher") * RARE, features.units)
        usual = _usual(services, rows)
        scaled = rows / (scale * _of(usual, services, len(scale)))
        distinct, inverse = np.unique(squash(scaled), axis=0, return_inverse=True)
        weights = np.bincount(inverse.ravel()).astype(float)
        ensemble = Ensemble.fit(detectors, distinct, weights, lambda name: np.asarray, limit)
        model = cls(features, scale, usual, ensemble)
        return model, model._strength(ensemble.past[inverse.ravel()], scaled)

    def strength(self, services: Sequence[str], rows: Floats) -> Floats:
        """The mean of the ensemble and of the strongest evidence, in units of what is rare for the service."""
        if not len(rows):
            return np.zeros(0)
        scaled = self._scaled(services, rows)
        return self._strength(self.ensemble.score(squash(scaled)), scaled)

    def names(self, service: str, row: Floats) -> tuple[str, ...]:
        """The detectors that find a window stranger than 99.5 % of the past."""
        votes = self.ensemble.each(squash(self._scaled([service], row[None, :])))[0]
        return tuple(m.name for m, vote in zip(self.ensemble.members, votes, strict=True) if vote >= 1.0)

    def _scaled(self, services: Sequence[str], rows: Floats) -> Floats:
        return np.asarray(rows / (self.scale * _of(self.usual, services, len(self.scale))))

    def _strength(self, agreed: Floats, scaled: Floats) -> Floats:
        return rounded(np.maximum(agreed, 0.0) * ENSEMBLE_SHARE + self.features.headline(scaled))


def squash(scaled: Floats) -> Floats:
    """Logarithms of features: the difference between 20 and 40 units is not worth that between 0 and 20."""
    return np.asarray(np.log1p(np.maximum(scaled, 0.0)))


def _usual(services: Sequence[str], rows: Floats) -> dict[str, Floats]:
    pooled = np.maximum(np.quantile(rows, 0.95, axis=0, method="higher"), 1e-3)
    names, inverse = np.unique(np.array(services), return_inverse=True)
    out = {}
    for index, name in enumerate(names):
        own = rows[inverse == index]
        loud = np.maximum(np.quantile(own, 0.95, axis=0, method="higher"), 1e-3) / pooled
        weight = len(own) / (len(own) + SHRINK)
        out[str(name)] = np.clip((1 - weight) + weight * loud, 0.5, 2.0)
    return out


def _of(usual: Mapping[str, Floats], services: Sequence[str], features: int) -> Floats:
    even = np.ones(features)
    return np.array([usual.get(service, even) for service in services])


@dataclass(frozen=True)
class Models:
    """One model of single windows, one of the last windows together, and what the sum of their strengths means."""

    single: WindowModel
    together: WindowModel
    pooled: Calibration

    @classmethod
    def fit(
        cls,
        features: Features,
        services: Sequence[str],
        rows: Floats,
        detectors: Sequence[DetectorSettings],
        limit: int,
    ) -> Models:
        """From a pool of rows (`Features.columns`) of these services."""
        (single, alone), (together, summed) = (
            WindowModel.fit(features, services, half, detectors, limit) for half in np.hsplit(rows, 2)
        )
        return cls(single, together, Calibration.fit(alone + summed, least_edge=0.5, decays=DECAYS))

    def strengths(self, services: Sequence[str], rows: Floats) -> tuple[Floats, Floats]:
        """Of each service, in single windows and in the last ones together."""
        single, together = np.hsplit(rows, 2)
        return self.single.strength(services, single), self.together.strength(services, together)

    def witnesses(self, service: str, row: Floats) -> tuple[int, tuple[str, ...]]:
        """Whether the window alone (0) or the last ones together (1) are stranger, and the detectors that agree."""
        strengths = self.strengths([service], row[None, :])
        scale = int(strengths[1][0] > strengths[0][0])
        return scale, (self.single, self.together)[scale].names(service, np.hsplit(row, 2)[scale])


def scored(
    features: Features, models: Models | None, services: Sequence[str], rows: Floats
) -> tuple[Floats, Floats, list[str]]:
    """Strength (to rank services by), score in [0, 1], and the reason in words; rough before anything was fitted."""
    single, together = np.hsplit(rows, 2)
    if models is None:
        strength = features.rough(single)
        reasons = [features.reason(row) for row in single]
        return _ongoing(strength, features.rough(together)), PRIOR.score(strength), reasons
    strengths = models.strengths(services, rows)
    stronger = np.where(strengths[0] >= strengths[1], 0, 1)
    reasons = [features.reason((single, together)[half][i]) for i, half in enumerate(stronger)]
    return _ongoing(*strengths), models.pooled.score(strengths[0] + strengths[1]), reasons


def _ongoing(single: Floats, together: Floats) -> Floats:
    """What ranks services: both, but of the last windows only what this one still shows; the rest is over."""
    return rounded(single + np.minimum(together, STILL * single))
