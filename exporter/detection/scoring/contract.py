"""Refuse a detector that cannot be trusted on its view: not finite, swayed by its neighbours, or blind to news."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from exporter.detection.scoring.ensemble import Ensemble
from exporter.detection.scoring.session_views import fit_view
from exporter.detection.settings import SESSION_DETECTORS, WINDOW_DETECTORS, DetectionSettings, DetectorSettings
from exporter.model import ConfigError

Floats = npt.NDArray[np.float64]

ROWS = 300
TEMPLATES = 12
TOLERANCE = 1e-9

MIN_RISE = 0.1
"""What an unseen template must add to the score of a usual row, in units of the spread of past scores."""


def verify(settings: DetectionSettings, features: int) -> None:
    """Try every detector that is not one of the defaults. Raises ConfigError that says which, and what is wrong.

    features: how many numbers the views give of a window.
    """
    for place, chosen, known in (
        ("sessions", settings.sessions, SESSION_DETECTORS),
        ("windows", settings.windows, WINDOW_DETECTORS),
    ):
        for index, one in enumerate(chosen):
            if (one.view == "deviations") != (place == "windows"):
                raise ConfigError(f"detection.{place}.{index}.view: {one.view!r} is not a view of {place}")
            if one in known:
                continue
            problems = faults(one, features)
            if problems:
                raise ConfigError(
                    f"detection.{place}.{index}: {one.type} on the view {one.view!r} {' and '.join(problems)}; "
                    "take another view (presence), or another detector"
                )


def faults(settings: DetectorSettings, features: int) -> list[str]:
    """What this detector does wrong on this view, or on so many features of a window; empty when it may be used."""
    rows, usual, novel = _deviations(features) if settings.view == "deviations" else _sessions()
    try:
        ensemble = _fit(settings, rows)
        alone = np.array([ensemble.score(row[None, :])[0] for row in rows[:20]])
        together = ensemble.score(rows)
        crowd = ensemble.score(np.vstack([novel, np.repeat(novel, 50, axis=0)]))[0]
        single = ensemble.score(novel)[0]
    except ConfigError:
        raise
    except Exception as error:
        # A detector of somebody else may raise anything; whatever it is, it cannot be used.
        return [f"fails ({type(error).__name__}: {error})"]
    found = []
    raw = [member.detector.decision_function(member.view(rows)) for member in ensemble.members]
    if not all(np.isfinite(scores).all() for scores in raw):
        found.append("gives scores that are not finite")
    if np.abs(alone - together[:20]).max() > TOLERANCE or abs(crowd - single) > TOLERANCE:
        found.append("scores a row by the other rows of the call")
    if single - ensemble.score(usual)[0] < MIN_RISE:
        found.append("is blind to a template that was never seen before")
    return found


def _fit(settings: DetectorSettings, rows: Floats) -> Ensemble:
    weights = np.ones(len(rows))
    view = np.asarray if settings.view == "deviations" else fit_view(settings.view, rows, weights).view
    return Ensemble.fit([settings], rows, weights, lambda name: view, len(rows))


@lru_cache(1)
def _sessions() -> tuple[Floats, Floats, Floats]:
    """Counts of templates, the last column for those that are unseen; a usual row, and it with an unseen template."""
    chance = np.random.default_rng(0)
    rates = np.append([0.01, 0.05, 0.1], np.linspace(0.5, 6, TEMPLATES - 3))
    counts = np.hstack([chance.poisson(rates, (ROWS, TEMPLATES)), np.zeros((ROWS, 1))]).astype(float)
    usual = np.append(np.round(rates), 0.0)[None, :]
    novel = np.append(np.round(rates), 5.0)[None, :]
    return counts, usual, novel


@lru_cache(1)
def _deviations(features: int) -> tuple[Floats, Floats, Floats]:
    """Features of calm windows; a usual one, and one of which half are like nothing before."""
    chance = np.random.default_rng(0)
    rows = np.abs(chance.normal(0, 0.3, (ROWS, features)))
    usual = np.median(rows, axis=0)[None, :]
    novel = usual.copy()
    novel[0, [0, *range(2, features // 2 + 1)]] = 3.0
    return rows, usual, novel
