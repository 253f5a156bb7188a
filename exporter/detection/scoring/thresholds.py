"""Choose a threshold from training scores alone, without labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FLOOR = 0.88
"""The share of the past that is never anomalous; chosen on HDFS, where it changed nothing on ten random splits."""


def otsu_top(scores: Floats, weights: Floats) -> float:
    """Otsu's cut on the logarithm of the top tenth: the two groups with the least variance inside."""
    values, counts = _above(scores, weights, 0.10)
    if len(values) < 2:
        return float(scores.max())
    logs = np.log(values)
    below = np.cumsum(counts)[:-1]
    total = counts.sum()
    mean = np.cumsum(counts * logs)[:-1]
    whole = (counts * logs).sum()
    between = (whole * below / total - mean) ** 2 / (below * (total - below))
    best = int(np.argmax(between))
    return float(np.exp((logs[best] + logs[best + 1]) / 2))


def largest_gap(scores: Floats, weights: Floats) -> float:
    """The widest gap between adjacent scores that leaves 0.2 to 12 % above."""
    values, above = _distinct(scores, weights)
    logs = np.log(values)
    gaps = np.diff(logs)
    fits = (above[1:] >= 0.002) & (above[1:] <= 0.12)
    if not fits.any():
        return float(scores.max())
    best = int(np.argmax(np.where(fits, gaps, -1.0)))
    return float(np.exp((logs[best] + logs[best + 1]) / 2))


def separation(scores: Floats, weights: Floats) -> float:
    """The cut leaving 0.3 to 12 % above whose upper side is farthest from the bulk of the lower one."""
    values, above = _distinct(scores, weights)
    logs = np.log(values)
    shares = np.append(-np.diff(above), above[-1])
    upper = np.cumsum((shares * logs)[::-1])[::-1] / above
    below = np.cumsum(shares)
    best, cut = -np.inf, float(scores.max())
    for index in np.flatnonzero((above[1:] >= 0.003) & (above[1:] <= 0.12)) + 1:
        bulk = logs[int(np.searchsorted(below[:index], 0.995 * below[index - 1]))]
        quality = upper[index] - bulk + logs[index] - logs[index - 1]
        if quality > best:
            best, cut = quality, float(np.exp((logs[index] + logs[index - 1]) / 2))
    return cut


def consensus(scores: Floats, weights: Floats | None = None) -> float:
    """The median of the three cuts, never below the floor's quantile."""
    scores = np.maximum(np.asarray(scores, float), 1e-6)
    counts = np.ones(len(scores)) if weights is None else np.asarray(weights, float)
    cut = float(np.median([rule(scores, counts) for rule in (otsu_top, largest_gap, separation)]))
    return max(cut, quantile(scores, counts, FLOOR))


def quantile(scores: Floats, weights: Floats, share: float) -> float:
    """The least score that at least `share` of the weight does not exceed."""
    order = np.argsort(scores, kind="stable")
    below = np.cumsum(weights[order])
    return float(scores[order][int(np.searchsorted(below, share * below[-1] - 1e-9))])


def _distinct(scores: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Distinct scores, ascending, and the share of the weight at or above each."""
    values, inverse = np.unique(scores, return_inverse=True)
    counts = np.bincount(inverse.ravel(), weights)
    return values, np.cumsum(counts[::-1])[::-1] / counts.sum()


def _above(scores: Floats, weights: Floats, share: float) -> tuple[Floats, Floats]:
    """The distinct scores of the top share, and their weights."""
    edge = quantile(scores, weights, 1 - share)
    top = scores >= edge
    values, inverse = np.unique(scores[top], return_inverse=True)
    return values, np.bincount(inverse.ravel(), weights[top]).astype(float)
