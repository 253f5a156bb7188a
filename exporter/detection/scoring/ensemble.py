"""Average PyOD detectors, each on its view, so that a row scores the same alone, in a batch and after a restart."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.detection.scoring import thresholds
from exporter.detection.scoring.calibration import rounded
from exporter.detection.settings import DetectorSettings
from exporter.model import ConfigError

Floats = npt.NDArray[np.float64]
Transform = Callable[[Floats], Floats]

CLIP = 5.0
"""How many times the 99.5 % quantile one detector may count: none may outshout the others."""

PYOD = {
    "ABOD": "abod", "CBLOF": "cblof", "COF": "cof", "GMM": "gmm", "HBOS": "hbos", "IForest": "iforest", "INNE": "inne",
    "KDE": "kde", "KPCA": "kpca", "LODA": "loda", "LOF": "lof", "MCD": "mcd", "OCSVM": "ocsvm",
    "PCA": "pca", "ROD": "rod", "Sampling": "sampling",
}  # fmt: skip
"""Where PyOD keeps its classes. Its COPOD, ECOD and KNN score a row by its neighbours in the call: ours do not."""


@lru_cache(1)
def _inductive() -> dict[str, Any]:
    from exporter.detection.scoring.inductive import COPOD, ECOD, KNN

    return {"COPOD": COPOD, "ECOD": ECOD, "KNN": KNN}


def detector_class(name: str) -> Any:
    """The class that a name in the configuration stands for. Raises ConfigError."""
    own = _inductive()
    if name in own:
        return own[name]
    module, _, kind = name.rpartition(":")
    try:
        found = getattr(import_module(module or f"pyod.models.{PYOD[name]}"), kind or name)
    except (KeyError, ImportError, AttributeError) as error:
        choices = ", ".join(sorted({*PYOD, *own}))
        raise ConfigError(f"detection: no detector {name!r}; take one of {choices}, or module:Class") from error
    return found


def build(settings: DetectorSettings, rows: int) -> Any:
    """A detector that gives the same scores each time and in any number of threads. Raises ConfigError."""
    kind = detector_class(settings.type)
    known = inspect.signature(kind.__init__).parameters
    options: dict[str, Any] = dict(settings.options)
    if "random_state" in known:
        options.setdefault("random_state", 0)
    if "n_jobs" in known:
        options["n_jobs"] = 1
    if settings.type == "KNN":
        options.setdefault("n_neighbors", max(5, min(300, rows // 20)))
        options["n_neighbors"] = min(options["n_neighbors"], max(1, rows - 1))
    try:
        return kind(**options)
    except TypeError as error:
        raise ConfigError(f"detection: {settings.type} does not take these options: {error}") from error


@dataclass(frozen=True)
class Fitted:
    """One detector, its view and the scale of its past scores."""

    name: str
    detector: Any
    view: Transform
    middle: float
    spread: float

    def score(self, rows: Floats) -> Floats:
        """In units of the distance from the median to the 99.5 % quantile of the past, at most CLIP."""
        return self.scale(np.asarray(self.detector.decision_function(self.view(rows)), float))

    def scale(self, raw: Floats) -> Floats:
        """The same of what the detector itself says."""
        raw = np.nan_to_num(raw, nan=self.middle, posinf=np.finfo(float).max / 4, neginf=self.middle)
        return np.asarray(np.clip((raw - self.middle) / self.spread, -CLIP, CLIP))


@dataclass(frozen=True)
class Ensemble:
    """Detectors fitted on the same pool."""

    members: tuple[Fitted, ...]
    past: Floats
    """Scores of the rows that it was fitted on."""

    @classmethod
    def fit(
        cls,
        settings: Sequence[DetectorSettings],
        rows: Floats,
        weights: Floats,
        view: Callable[[str], Transform],
        limit: int,
    ) -> Ensemble:
        """`rows` are distinct and stand for `weights` each; `limit` is how many a detector is given."""
        repeats = _repeats(weights, limit)
        fitted = [_fit(one, rows, repeats, view(one.view)) for one in settings]
        return cls(tuple(one for one, _ in fitted), _mean([scores for _, scores in fitted]))

    def each(self, rows: Floats) -> Floats:
        """One column a detector."""
        if not len(rows):
            return np.zeros((0, len(self.members)))
        return np.column_stack([member.score(rows) for member in self.members])

    def score(self, rows: Floats) -> Floats:
        """The plain mean; rounded, so that arithmetic noise never meets a threshold."""
        return _mean([member.score(rows) for member in self.members])


def _mean(scores: Sequence[Floats]) -> Floats:
    return rounded(np.mean(scores, axis=0))


def _repeats(weights: Floats, limit: int) -> npt.NDArray[np.int64]:
    """How often each distinct row is given to a detector, at least once."""
    total = weights.sum()
    scale = min(1.0, max(limit - len(weights), 0) / total)
    return np.asarray(np.maximum(1, np.floor(weights * scale)), np.int64)


def _fit(
    settings: DetectorSettings, rows: Floats, repeats: npt.NDArray[np.int64], view: Transform
) -> tuple[Fitted, Floats]:
    """The detector, and what it says of the rows."""
    detector = build(settings, int(repeats.sum()))
    seen = view(rows)
    # A pool without variance divides by zero inside PyOD; scores that come of it are caught below.
    with np.errstate(divide="ignore", invalid="ignore"):
        detector.fit(np.repeat(seen, repeats, axis=0))
        raw = np.asarray(detector.decision_function(seen), float)
    scores = np.nan_to_num(raw)
    middle = thresholds.quantile(scores, repeats.astype(float), 0.5)
    top = thresholds.quantile(scores, repeats.astype(float), 0.995)
    spread = top - middle
    if spread <= 1e-12:
        spread = max(float(scores.max()) - middle, abs(middle), 1e-6)
    fitted = Fitted(settings.type, detector, view, middle, spread)
    return fitted, fitted.scale(raw)
