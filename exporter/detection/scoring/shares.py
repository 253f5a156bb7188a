"""How unlikely it is that so many of so many lines have a value: shares, against sums over the windows of the past.

Everything that is kept of the past are integer sums over windows, so that parts add up exactly in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PRIOR_RHO, PRIOR_WINDOWS = 0.005, 10.0
"""How far shares of windows differ beyond chance (the correlation of lines of one window) until the value has been seen
in about ten windows. Chosen on made shares of 2 to 200 lines a minute with drift, bursts and releases."""

LEAST_RHO, MOST_RHO = 1e-4, 0.9

TERMS = 24
"""Terms of the tail that are added one by one; the rest is taken for geometric."""

SLOW = 0.95
"""A tail whose terms decay no faster is that of the shares themselves: a beta of the same variance."""

BOUND = 3.0
"""Standard deviations beyond what is expected that one window may count for where several are taken together."""


@dataclass(frozen=True)
class Sums:
    """Of each place, over windows: lines, their squares, lines with the value, their squares, the products of both, and
    windows that had the value."""

    n: Floats
    nn: Floats
    x: Floats
    xx: Floats
    xn: Floats
    had: Floats


@dataclass(frozen=True)
class Usual:
    """The share that a value usually has; `spread` is how much shares of windows vary, with what is not known of the
    mean."""

    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, sums: Sums, floor: Floats) -> Usual:
        """From the past; the mean is at least `floor`."""
        share = sums.x / np.maximum(sums.n, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            beyond = sums.xx - 2 * share * sums.xn + share**2 * sums.nn
            rho = (beyond / (share * (1 - share)) - sums.n) / np.maximum(sums.nn - sums.n, 1.0)
        rho = np.clip(np.nan_to_num(rho, nan=0.0, posinf=0.0, neginf=0.0), 0.0, MOST_RHO)
        # A place that showed the value in ten windows speaks for itself.
        rho = np.maximum((sums.had * rho + PRIOR_WINDOWS * PRIOR_RHO) / (sums.had + PRIOR_WINDOWS), LEAST_RHO)
        size = np.maximum(sums.nn / np.maximum(sums.n, 1.0) - 1, 0.0)
        known = sums.n / (1 + size * rho)
        mean = np.maximum((sums.x + 0.5) / (sums.n + 1.0), floor)
        return cls(mean, np.minimum(rho + (1 - rho) / (known + 2), MOST_RHO))

    def bounded(self, x: Floats, n: Floats) -> Floats:
        """What a window may count for among others: of one alone the window itself speaks."""
        spread = np.sqrt(n * self.mean * (1 - self.mean) * (1 + np.maximum(n - 1, 0) * self.spread))
        return np.asarray(np.minimum(x, np.floor(n * self.mean + BOUND * spread + 1)))


def tail(x: Floats, n: Floats, mean: Floats, rho: Floats) -> Floats:
    """P(X >= x) of a beta-binomial: 1 where x is not above its mean. Within a fifth of the exact tail."""
    from scipy.special import betainc, gammaln

    out, above = np.ones(len(x)), (x > 0) & (x > n * mean)
    if not above.any():
        return out
    x, n, mean, rho = x[above], n[above], np.clip(mean[above], 1e-9, 1 - 1e-9), np.clip(rho[above], 1e-7, 0.99)
    a, b = mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1)
    first = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
    first += gammaln(x + a) + gammaln(n - x + b) - gammaln(n + a + b) + gammaln(a + b) - gammaln(a) - gammaln(b)
    term, total, ratio = np.ones(len(x)), np.ones(len(x)), np.zeros(len(x))
    for step in range(TERMS + 1):
        left = np.maximum(n - x - step, 0.0)
        ratio = left * (x + step + a) / ((x + step + 1) * np.maximum(n - x - step - 1 + b, 1e-12))
        if step < TERMS:
            term = term * ratio
            total += term
    exact = np.exp(first + np.log(total + term * ratio / (1 - np.minimum(ratio, SLOW))))
    size = 1 / (rho + (1 - rho) / n) - 1
    smooth = betainc((1 - mean) * size, mean * size, np.clip(1 - (x - 0.5) / n, 0.0, 1.0))
    out[above] = np.minimum(1.0, np.where(ratio < SLOW, exact, smooth))
    return out
