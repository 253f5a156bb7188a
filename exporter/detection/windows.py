"""Score windows of services: deviations of rates, transitions, gaps and errors from each service's own past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from exporter.detection import baseline as base
from exporter.detection.calibration import Calibration, rounded
from exporter.detection.ensemble import Ensemble
from exporter.detection.settings import DetectorSettings
from exporter.observation import GAP_STEPS

Floats = npt.NDArray[np.float64]

FEATURES = ("rate", "missing", "step", "steps", "errors", "slow")
"""The deviations of a window, all at least 0 and larger when stranger: strongest template rate; strongest shortfall
of a template; strongest transitions; all transitions together; error lines; gaps into and inside the service."""

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

NOTHING = "nothing unusual of its own"


def deviations(seen: pl.DataFrame, past: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Every number of a window, as `features` has them, against what the past expects.

    Columns: service, kind, a, b, count, expected, z. Of several pasts (all, the same hour, lately) the one in which
    a number is least strange counts: what is usual at this hour, or has been lately, is not strange.
    """
    frames = [_against(seen, one) for one in past]
    if len(frames) == 1:
        return frames[0]
    keys = list(base.KEYS)
    ranked = pl.concat(frames).with_columns(pl.col("z").abs().alias("size"))
    return ranked.sort(*keys, "size").unique(keys, keep="first", maintain_order=True).drop("size")


def _against(seen: pl.DataFrame, past: pl.DataFrame) -> pl.DataFrame:
    known = past.filter(pl.col("service").is_in(seen["service"].unique().implode()))
    return pl.concat(
        [
            _counted(seen, known, base.TEMPLATE, base.EXPOSURE, ("service",)),
            _counted(seen, known, base.EDGE, base.PREVIOUS, ("service", "a")),
            _errors(seen, known),
            _gaps(seen, known),
        ]
    )


def _counted(seen: pl.DataFrame, past: pl.DataFrame, kind: int, against: int, keys: tuple[str, ...]) -> pl.DataFrame:
    """Counts against their exposure, also those that are missing now."""
    col = pl.col
    now = seen.filter(col("kind") == against).select(*keys, col("count").alias("n"))
    total = past.filter(col("kind") == against).select(*keys, col("sum").alias("n1"), col("squares").alias("n2"))
    counts = seen.filter(col("kind") == kind).select("service", "a", "b", "count")
    joined = (
        past.filter(col("kind") == kind)
        .drop("kind", "windows")
        .join(counts, on=["service", "a", "b"], how="full", coalesce=True)
        .with_columns(col("count", "sum", "squares", "cross").fill_null(0))
        .join(now, on=keys)
        .join(total, on=keys)
    )
    rate = col("sum") / col("n1")
    residual = col("squares") - 2 * rate * col("cross") + rate**2 * col("n2")
    extra = ((residual - rate * col("n1")) / (rate**2 * col("n2"))).fill_nan(0.0).clip(0.0, 1e6)
    joined = joined.with_columns(
        ((col("sum") + 0.5) / (col("n1") + 1) * col("n")).alias("expected"), extra.alias("extra")
    )
    # Square roots (of counts) and arc sines (of shares) have the same variance at any level.
    if kind == base.EDGE:
        share = _arcsine(col("count"), col("n")) - _arcsine(col("expected"), col("n"))
        z = 2 * share * (col("n") + 0.5).sqrt()
    else:
        z = 2 * ((col("count") + 0.375).sqrt() - (col("expected") + 0.375).sqrt())
    return joined.select(
        "service",
        pl.lit(kind, pl.Int8()).alias("kind"),
        "a",
        "b",
        col("count").cast(pl.Float64()),
        "expected",
        (z / (1 + col("extra") * col("expected")).sqrt()).alias("z"),
    )


def _arcsine(count: pl.Expr, total: pl.Expr) -> pl.Expr:
    return ((count + 0.375) / (total + 0.75)).clip(0, 1).sqrt().arcsin()


def _errors(seen: pl.DataFrame, past: pl.DataFrame) -> pl.DataFrame:
    col = pl.col
    total = past.filter(col("kind") == base.VOLUME).select("service", col("sum").alias("n1"))
    known = past.filter(col("kind") == base.ERRORS).select("service", "sum", "squares", "windows")
    now = seen.filter(col("kind") == base.ERRORS)
    joined = now.join(known, on="service").join(total, on="service")
    mean = col("sum") / col("windows")
    extra = ((col("squares") / col("windows") - mean**2 - mean) / mean**2).fill_nan(0.0).clip(0.0, 1e6)
    joined = joined.with_columns(
        ((col("sum") + 0.5) / (col("n1") + 1) * col("exposure")).alias("expected"), extra.alias("extra")
    )
    z = 2 * ((col("count") + 0.375).sqrt() - (col("expected") + 0.375).sqrt())
    return joined.select(
        "service",
        "kind",
        "a",
        "b",
        col("count").cast(pl.Float64()),
        "expected",
        (z / (1 + col("extra") * col("expected")).sqrt()).alias("z"),
    )


def _gaps(seen: pl.DataFrame, past: pl.DataFrame) -> pl.DataFrame:
    """Levels of gaps against the mean and spread of their level in earlier windows."""
    col = pl.col
    kinds = [base.GAP, base.GAP_IN, base.GAP_OUT]
    known = past.filter(col("kind").is_in(kinds) & (col("windows") >= MIN_GAP_WINDOWS))
    joined = seen.filter(col("kind").is_in(kinds)).join(known, on=base.KEYS)
    mean = col("sum") / col("windows")
    spread = (col("squares") / col("windows") - mean**2).clip(0, None).sqrt()
    z = (col("count") - mean) / pl.max_horizontal(spread, pl.lit(MIN_GAP))
    return joined.select(
        "service", "kind", "a", "b", col("count").cast(pl.Float64()), mean.alias("expected"), z.clip(-3, 5).alias("z")
    )


def vectors(found: pl.DataFrame, seen: pl.DataFrame) -> pl.DataFrame:
    """FEATURES of each service, from the deviations of its window. `seen` holds how often each gap occurred."""
    col = pl.col
    z = col("z")
    of = {kind: col("kind") == kind for kind in (base.TEMPLATE, base.EDGE, base.ERRORS)}
    gaps = [base.GAP, base.GAP_IN]
    weighed = found.join(
        seen.filter(col("kind").is_in(gaps)).select(*base.KEYS, "exposure"), on=base.KEYS, how="left"
    ).with_columns(col("exposure").fill_null(0).clip(0, MAX_GAPS).alias("weight"))
    slow = (z * col("weight")).sum() / (col("weight").sum() + GAP_EVIDENCE)
    return (
        weighed.group_by("service")
        .agg(
            z.filter(of[base.TEMPLATE]).max().alias("rate"),
            (-z.filter(of[base.TEMPLATE]).min()).alias("missing"),
            (z.filter(of[base.EDGE]) ** 2).top_k(TOP_STEPS).mean().sqrt().alias("step"),
            ((z.filter(of[base.EDGE]) ** 2).sum() / (of[base.EDGE].sum() + STEP_EVIDENCE)).sqrt().alias("steps"),
            z.filter(of[base.ERRORS]).max().alias("errors"),
            slow.alias("slow"),
        )
        .with_columns(col(FEATURES).fill_null(0.0).clip(0.0, None).round(9))
        .sort("service")
    )


def headline(scaled: Floats) -> Floats:
    """What the strongest evidence alone says: a transition that changed, or a service that became slow throughout."""
    columns = dict(zip(FEATURES, scaled.T, strict=True))
    return np.asarray(np.maximum((columns["step"] + columns["steps"]) / 2, columns["slow"]))


PRIOR = Calibration(np.array([0.0]), np.array([1.0]), edge=0.7, edge_p=0.1, decay=5.0)
"""What strengths mean before anything was fitted: about what they mean on the shop and the day mentioned above."""

DECAYS = (3.0, 8.0)
"""A heavier tail would hide every failure, a lighter one promise too much."""

RARE = 2.0
"""What is rare, in units of the 80 % quantile: of a normal distribution, about the 99 % quantile. Taken from that one,
failures in an uncleaned past would set the scale that they are measured by (TrainTicket: AS@1 0.65, not 0.77)."""

ENSEMBLE_SHARE = 0.5


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


def reason(features: Mapping[str, float]) -> str:
    """The strongest deviation, in words."""
    units = {name: value / _FLOORS.get(name, _FLOOR) for name, value in features.items()}
    name = max(FEATURES, key=lambda one: units[one])
    return _REASONS[name] if units[name] >= 1 else NOTHING


@dataclass(frozen=True)
class WindowModel:
    """What a window's deviations mean, learnt over all services of the source."""

    scale: Floats
    usual: Mapping[str, Floats]
    """Of each service, how much louder than the pool it usually is; near 1 where little is known."""
    ensemble: Ensemble
    pooled: Calibration

    @classmethod
    def fit(
        cls, services: Sequence[str], rows: Floats, detectors: Sequence[DetectorSettings], limit: int
    ) -> WindowModel:
        scale = np.maximum(np.quantile(rows, 0.8, axis=0, method="higher") * RARE, _floors())
        usual = _usual(services, rows)
        scaled = squash(rows / (scale * _of(usual, services)))
        distinct, inverse = np.unique(scaled, axis=0, return_inverse=True)
        weights = np.bincount(inverse.ravel()).astype(float)
        ensemble = Ensemble.fit(detectors, distinct, weights, lambda name: np.asarray, limit)
        blank = cls(scale, usual, ensemble, PRIOR)
        pooled = Calibration.fit(blank.strength(services, rows), least_edge=0.5, decays=DECAYS)
        return cls(scale, usual, ensemble, pooled)

    def strength(self, services: Sequence[str], rows: Floats) -> Floats:
        """The mean of the ensemble and of the strongest evidence, in units of what is rare for the service."""
        if not len(rows):
            return np.zeros(0)
        scaled = rows / (self.scale * _of(self.usual, services))
        return rounded(np.maximum(self.ensemble.score(squash(scaled)), 0.0) * ENSEMBLE_SHARE + headline(scaled))

    def names(self, service: str, row: Floats) -> tuple[str, ...]:
        """The detectors that find a window stranger than 99.5 % of the past."""
        votes = self.ensemble.each(squash(row[None, :] / (self.scale * _of(self.usual, [service]))))[0]
        return tuple(m.name for m, vote in zip(self.ensemble.members, votes, strict=True) if vote >= 1.0)


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
