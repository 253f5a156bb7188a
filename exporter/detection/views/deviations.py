"""Score windows of services: deviations of rates, transitions, gaps and errors from each service's own past."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.detection.observation import GAP_STEPS
from exporter.detection.past import index as base
from exporter.detection.past.index import Bools, Index, Ints, Placed
from exporter.detection.scoring.calibration import Calibration, rounded
from exporter.detection.scoring.ensemble import Ensemble
from exporter.detection.settings import DetectorSettings

Floats = npt.NDArray[np.float64]

FEATURES = ("rate", "missing", "step", "steps", "errors", "slow")
"""The deviations of a window, all at least 0 and larger when stranger: strongest template rate; strongest shortfall
of a template; strongest transitions; all transitions together; error lines; gaps into and inside the service."""

COLUMNS = (*FEATURES, *(f"{name}_together" for name in FEATURES))
"""The deviations of a window, and those of the last windows together: what is too little for one adds up."""

_FLOORS = {"step": 1.5, "steps": 1.0, "slow": 1.0}
"""What is worth one unit of the means at least, whatever the past."""

_FLOOR = 2.5
"""The same of the strongest of many: z-scores below this are ordinary."""

TOP_STEPS = 4
"""A fault that ends a flow early shows in a few transitions at once: what is missing, and what came instead."""

STEP_EVIDENCE = 5
"""Transitions that must agree before their mean counts half. Like the other two chosen on TrainTicket, not finely."""

GAP_EVIDENCE = 30
"""Gaps that must agree before their mean counts half: one pause of a small service is no slowness."""

MIN_GAP = 0.3 * 1.4427 * GAP_STEPS
"""Gaps vary by at least 30 %: what is more regular than that is regular by chance."""

MIN_GAP_WINDOWS = 5

MAX_GAPS = 20
"""One transition counts for at most so many gaps."""

FINE, MOST = 4096.0, 128.0
"""Deviations are rounded to one part of this and bounded: sums of their squares are then exact in any order."""

NOTHING = "nothing unusual of its own"

_GAPS = (base.GAP, base.GAP_IN, base.GAP_OUT)


@dataclass(frozen=True)
class Now:
    """One window, or several together: by place its count (of gaps the mean level) and weight (how often a gap was)."""

    count: Floats
    weight: Floats

    @classmethod
    def of(cls, index: Index, parts: Sequence[Placed]) -> Now:
        """The sum of windows; of gaps, the mean over their occurrences."""
        places = np.concatenate([part.places for part in parts])
        count = np.concatenate([part.count for part in parts]).astype(float)
        exposure = np.concatenate([part.exposure for part in parts]).astype(float)
        gaps = np.isin(index.kind[places], _GAPS)
        weight = np.where(gaps, np.minimum(exposure, MAX_GAPS), exposure)
        length = len(index)
        sums: Floats = np.asarray(np.bincount(places, np.where(gaps, count * weight, count), length), float)
        weights: Floats = np.asarray(np.bincount(places, weight, length), float)
        levels = np.isin(index.kind, _GAPS) & (weights > 0)
        sums[levels] /= weights[levels]
        return cls(sums, weights)


@dataclass(frozen=True)
class Deviations:
    """Every number of a window against what the past expects, one row a number.

    place: in the index. Of several pasts (all, the same hour, lately) the one in which a number is least strange
    counts: what is usual at this hour, or has been lately, is not strange.
    """

    index: Index
    place: Ints
    count: Floats
    expected: Floats
    z: Floats
    weight: Floats

    def of(self, service: str) -> Iterator[tuple[int, int, int, float, float, float]]:
        """Kind, a, b, count, expected and z of each number of a service, the strangest first."""
        number = self.index.number(service)
        own: Ints = np.flatnonzero(self.index.service[self.place] == (-1 if number is None else number))
        keys = {row: self.index.keys[self.place[row]] for row in own.tolist()}
        for row in sorted(keys, key=lambda one: (-abs(self.z[one]), keys[one])):
            _, kind, a, b = keys[row]
            yield kind, a, b, float(self.count[row]), float(self.expected[row]), float(self.z[row])


def deviations(index: Index, now: Now, pasts: Sequence[Ints], harmless: Bools | None = None) -> Deviations:
    """Compare with each past. Only what a service usually does or does now is compared, while it says anything.

    harmless: by place, new templates that speak of no failure: neither they nor the transitions that they take part
    in, or push aside, are deviations. Most of them are a release.
    """
    kind, against = index.kind, index.against
    counted = np.flatnonzero(((kind == base.TEMPLATE) | (kind == base.EDGE)) & (now.count[against] > 0))
    errors = np.flatnonzero((kind == base.ERRORS) & (now.weight > 0))
    gaps = np.flatnonzero(np.isin(kind, _GAPS) & (now.weight > 0))
    place = np.concatenate([counted, errors, gaps])
    best, expected = np.full(len(place), np.nan), np.zeros(len(place))
    for past in pasts:
        parts = (_counted(index, now, past, counted), _errors(now, past, errors, against), _gaps(now, past, gaps))
        z = np.concatenate([part[0] for part in parts])
        least = ~np.isnan(z) & (np.isnan(best) | (np.abs(z) < np.abs(best)))
        best[least] = z[least]
        expected[least] = np.concatenate([part[1] for part in parts])[least]
    known = ~np.isnan(best)
    if harmless is not None and harmless.any():
        known &= ~_touched(index, now, harmless)[place]
    place = place[known]
    z = np.clip(np.round(best[known] * FINE) / FINE, -MOST, MOST)
    return Deviations(index, place, now.count[place], expected[known], z, now.weight[place])


def _touched(index: Index, now: Now, harmless: Bools) -> Bools:
    """The places of these templates, of transitions from and to them, and of the others from where those begin."""
    out = harmless & (now.count > 0)
    if not out.any():
        return out
    edges = np.flatnonzero(index.kind == base.EDGE)
    # A template of a service as one number.
    many = int(max(index.first.max(), index.second.max())) + 1
    service = index.service[edges] * many
    source, target = service + index.first[edges], service + index.second[edges]
    new = index.service[out] * many + index.first[out]
    into = np.isin(target, new)
    before = source[into & (now.count[edges] > 0)]
    out[edges] = into | np.isin(source, new) | np.isin(source, before)
    return out


def _counted(index: Index, now: Now, past: Ints, rows: Ints) -> tuple[Floats, Floats]:
    """Counts against their exposure, also those that are missing now."""
    against = index.against[rows]
    count, n = now.count[rows], now.count[against]
    total, squared = past[against, base.SUM].astype(float), past[against, base.SQUARES].astype(float)
    sums, squares, cross = (past[rows, column].astype(float) for column in (base.SUM, base.SQUARES, base.CROSS))
    known = (total > 0) & ((count > 0) | (sums > 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = sums / total
        residual = squares - 2 * rate * cross + rate**2 * squared
        extra = np.clip(np.nan_to_num((residual - rate * total) / (rate**2 * squared), posinf=0.0), 0.0, 1e6)
    expected = (sums + 0.5) / (total + 1) * n
    # Square roots (of counts) and arc sines (of shares) have the same variance at any level.
    share = 2 * (_arcsine(count, n) - _arcsine(expected, n)) * np.sqrt(n + 0.5)
    z = np.where(index.kind[rows] == base.EDGE, share, _roots(count, expected)) / np.sqrt(1 + extra * expected)
    return np.where(known, z, np.nan), expected


def _roots(count: Floats, expected: Floats) -> Floats:
    return np.asarray(2 * (np.sqrt(count + 0.375) - np.sqrt(expected + 0.375)))


def _arcsine(count: Floats, total: Floats) -> Floats:
    return np.asarray(np.arcsin(np.sqrt(np.clip((count + 0.375) / (total + 0.75), 0, 1))))


def _spread(past: Ints, rows: Ints) -> tuple[Floats, Floats]:
    """How often a number was there, and by how much more than chance it varies, in parts of its mean squared."""
    windows, sums, squares = (past[rows, column].astype(float) for column in (base.WINDOWS, base.SUM, base.SQUARES))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums / windows
        extra = np.clip(np.nan_to_num((squares / windows - mean**2 - mean) / mean**2, posinf=0.0), 0.0, 1e6)
    return windows, extra


def _errors(now: Now, past: Ints, rows: Ints, against: Ints) -> tuple[Floats, Floats]:
    windows, extra = _spread(past, rows)
    total = past[against[rows], base.SUM]
    expected = (past[rows, base.SUM] + 0.5) / (total + 1) * now.weight[rows]
    z = _roots(now.count[rows], expected) / np.sqrt(1 + extra * expected)
    return np.where(windows > 0, z, np.nan), expected


def _gaps(now: Now, past: Ints, rows: Ints) -> tuple[Floats, Floats]:
    """Levels of gaps against the mean and spread of their level in earlier windows."""
    windows, sums, squares = (past[rows, column].astype(float) for column in (base.WINDOWS, base.SUM, base.SQUARES))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums / windows
        spread = np.sqrt(np.maximum(squares / windows - mean**2, 0.0))
        z = np.clip((now.count[rows] - mean) / np.maximum(spread, MIN_GAP), -3, 5)
    return np.where(windows >= MIN_GAP_WINDOWS, z, np.nan), np.nan_to_num(mean)


def vectors(found: Deviations, services: Sequence[str]) -> Floats:
    """FEATURES of these services, one row each."""
    index = found.index
    length = len(index.services)
    kind, number = index.kind[found.place], index.service[found.place]
    template, edge = kind == base.TEMPLATE, kind == base.EDGE
    own = (kind == base.GAP) | (kind == base.GAP_IN)
    squares = found.z[edge] ** 2
    steps = np.bincount(number[edge], squares, length) / (np.bincount(number[edge], minlength=length) + STEP_EVIDENCE)
    slow = np.bincount(number[own], found.z[own] * found.weight[own], length) / (
        np.bincount(number[own], found.weight[own], length) + GAP_EVIDENCE
    )
    table = np.stack(
        [
            _largest(number[template], found.z[template], length),
            _largest(number[template], -found.z[template], length),
            np.sqrt(_top(number[edge], squares, length)),
            np.sqrt(steps),
            _largest(number[kind == base.ERRORS], found.z[kind == base.ERRORS], length),
            np.maximum(slow, 0.0),
        ],
        axis=1,
    )
    known = [index.number(service) for service in services]
    return rounded(np.array([table[n] if n is not None else np.zeros(len(FEATURES)) for n in known]))


def _largest(number: Ints, values: Floats, length: int) -> Floats:
    """The largest value of each service, at least 0."""
    out = np.zeros(length)
    np.maximum.at(out, number, values)
    return out


def _top(number: Ints, values: Floats, length: int) -> Floats:
    """The mean of the TOP_STEPS largest values of each service."""
    order = np.lexsort((-values, number))
    number, values = number[order], values[order]
    rank = np.arange(len(number)) - np.searchsorted(number, number)
    kept = rank < TOP_STEPS
    sums, numbers = np.bincount(number[kept], values[kept], length), np.bincount(number[kept], minlength=length)
    return np.asarray(sums / np.maximum(numbers, 1))


COUNTS_SHARE = 0.3
"""What a count says of its service beside order and pace: counts of lines and errors change in every caller too. At
0.5 average precision on TrainTicket falls, at 0 a job that no longer runs is not seen in the shop."""


def headline(scaled: Floats) -> Floats:
    """What the strongest evidence alone says: transitions that changed, a service slow throughout, or a count."""
    columns = dict(zip(FEATURES, scaled.T, strict=True))
    counts = np.maximum(np.maximum(columns["rate"], columns["missing"]), columns["errors"])
    return np.asarray(
        np.maximum(np.maximum((columns["step"] + columns["steps"]) / 2, columns["slow"]), COUNTS_SHARE * counts)
    )


PRIOR = Calibration(np.array([0.0]), np.array([1.0]), edge=0.7, edge_p=0.1, decay=5.0)
"""What strengths mean before anything was fitted: about what they mean on the shop and the day mentioned above."""

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


def _floors() -> Floats:
    return np.array([_FLOORS.get(name, _FLOOR) for name in FEATURES])


def rough(rows: Floats) -> Floats:
    """Strength before anything was fitted: enough to rank services by."""
    return rounded(headline(rows / _floors()))


_REASONS = {
    "rate": "writes far more of one template than usual",
    "missing": "writes far less of one template than usual",
    "step": "the order of its steps changed",
    "steps": "the order of its steps changed",
    "errors": "writes more errors than usual",
    "slow": "became slow in its own steps",
}


def reason(row: Floats) -> str:
    """The strongest deviation (of FEATURES), in words."""
    units = row / _floors()
    strongest = int(units.argmax())
    return _REASONS[FEATURES[strongest]] if units[strongest] >= 1 else NOTHING


@dataclass(frozen=True)
class WindowModel:
    """What a window's deviations mean, learnt over all services of the source."""

    scale: Floats
    usual: Mapping[str, Floats]
    """Of each service, how much louder than the pool it usually is; near 1 where little is known."""
    ensemble: Ensemble

    @classmethod
    def fit(
        cls, services: Sequence[str], rows: Floats, detectors: Sequence[DetectorSettings], limit: int
    ) -> tuple[WindowModel, Floats]:
        """The model, and the strengths of the rows."""
        scale = np.maximum(np.quantile(rows, 0.8, axis=0, method="higher") * RARE, _floors())
        usual = _usual(services, rows)
        scaled = rows / (scale * _of(usual, services))
        distinct, inverse = np.unique(squash(scaled), axis=0, return_inverse=True)
        weights = np.bincount(inverse.ravel()).astype(float)
        ensemble = Ensemble.fit(detectors, distinct, weights, lambda name: np.asarray, limit)
        return cls(scale, usual, ensemble), _strength(ensemble.past[inverse.ravel()], scaled)

    def strength(self, services: Sequence[str], rows: Floats) -> Floats:
        """The mean of the ensemble and of the strongest evidence, in units of what is rare for the service."""
        if not len(rows):
            return np.zeros(0)
        scaled = rows / (self.scale * _of(self.usual, services))
        return _strength(self.ensemble.score(squash(scaled)), scaled)

    def names(self, service: str, row: Floats) -> tuple[str, ...]:
        """The detectors that find a window stranger than 99.5 % of the past."""
        votes = self.ensemble.each(squash(row[None, :] / (self.scale * _of(self.usual, [service]))))[0]
        return tuple(m.name for m, vote in zip(self.ensemble.members, votes, strict=True) if vote >= 1.0)


def _strength(agreed: Floats, scaled: Floats) -> Floats:
    return rounded(np.maximum(agreed, 0.0) * ENSEMBLE_SHARE + headline(scaled))


def squash(scaled: Floats) -> Floats:
    """Logarithms of deviations: the difference between 20 and 40 units is not worth that between 0 and 20."""
    return np.asarray(np.log1p(np.maximum(scaled, 0.0)))


SHRINK = 30.0
"""Windows of its own that weigh as much as the pool: more for the loud, less for the new. Chosen on TrainTicket."""


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


def _of(usual: Mapping[str, Floats], services: Sequence[str]) -> Floats:
    even = np.ones(len(FEATURES))
    return np.array([usual.get(service, even) for service in services])


@dataclass(frozen=True)
class Models:
    """One model of single windows, one of the last windows together, and what the sum of their strengths means."""

    single: WindowModel
    together: WindowModel
    pooled: Calibration

    def strengths(self, services: Sequence[str], rows: Floats) -> tuple[Floats, Floats]:
        """Of each service, in single windows and in the last ones together."""
        single, together = np.hsplit(rows, 2)
        return self.single.strength(services, single), self.together.strength(services, together)


def fit(services: Sequence[str], rows: Floats, detectors: Sequence[DetectorSettings], limit: int) -> Models:
    """From a pool of vectors (COLUMNS) of these services."""
    (single, alone), (together, summed) = (
        WindowModel.fit(services, half, detectors, limit) for half in np.hsplit(rows, 2)
    )
    return Models(single, together, Calibration.fit(alone + summed, least_edge=0.5, decays=DECAYS))


def scored(models: Models | None, services: Sequence[str], rows: Floats) -> tuple[Floats, Floats, list[str]]:
    """Strength (to rank services by), score in [0, 1], and the reason in words."""
    single, together = np.hsplit(rows, 2)
    if models is None:
        strength = rough(single)
        return _ongoing(strength, rough(together)), PRIOR.score(strength), [reason(row) for row in single]
    strengths = models.strengths(services, rows)
    stronger = np.where(strengths[0] >= strengths[1], 0, 1)
    reasons = [reason((single, together)[half][i]) for i, half in enumerate(stronger)]
    return _ongoing(*strengths), models.pooled.score(strengths[0] + strengths[1]), reasons


def _ongoing(single: Floats, together: Floats) -> Floats:
    """What ranks services: both, but of the last windows only what this one still shows; the rest is over."""
    return rounded(single + np.minimum(together, STILL * single))


def witnesses(models: Models | None, service: str, row: Floats) -> tuple[int, tuple[str, ...]]:
    """Whether the window alone (0) or the last ones together (1) are stranger, and the detectors that agree."""
    if models is None:
        return 0, ()
    strengths = models.strengths([service], row[None, :])
    scale = int(strengths[1][0] > strengths[0][0])
    return scale, (models.single, models.together)[scale].names(service, np.hsplit(row, 2)[scale])
