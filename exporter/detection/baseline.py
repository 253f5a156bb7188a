"""Count how often things happen, as integer sums that add up exactly in any order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from exporter.observation import Observation

TEMPLATE, EDGE, GAP, GAP_IN, GAP_OUT, ERRORS, EXPOSURE, PREVIOUS, VOLUME = range(9)
"""Kinds of rows. EXPOSURE and PREVIOUS hold what TEMPLATE and EDGE are counted against."""

_GAPS = {"gap": GAP, "in": GAP_IN, "out": GAP_OUT}

KEYS = ("service", "kind", "a", "b")
SCHEMA = {
    "service": pl.String(),
    "kind": pl.Int8(),
    "a": pl.Int64(),
    "b": pl.Int64(),
    "windows": pl.Int64(),  # in which it was present
    "sum": pl.Int64(),
    "squares": pl.Int64(),
    "cross": pl.Int64(),  # of its count and what it is counted against
}
SUMS = ("windows", "sum", "squares", "cross")


def empty() -> pl.DataFrame:
    """Sums over no windows."""
    return pl.DataFrame(schema=SCHEMA)


def sums(seen: pl.DataFrame) -> pl.DataFrame:
    """What one window, as `features` has it, adds."""
    return seen.select(
        *KEYS,
        pl.lit(1, pl.Int64()).alias("windows"),
        pl.col("count").alias("sum"),
        (pl.col("count") ** 2).alias("squares"),
        (pl.col("count") * pl.col("exposure")).alias("cross"),
    ).cast(SCHEMA)  # type: ignore[arg-type]


def features(observation: Observation) -> pl.DataFrame:
    """Every number of a window: `count`, and the `exposure` that it is counted against; for gaps the level instead."""
    services = observation.services
    # Templates are counted against traces where there are traces, else against the lines of the service.
    exposure = services.select(
        "service",
        pl.when(pl.col("traces") * 2 > pl.col("lines").sqrt()).then("traces").otherwise("lines").alias("exposure"),
    )
    counts = observation.counts.join(exposure, on="service")
    edges = observation.transitions.filter(pl.col("kind") == "self")
    previous = edges.group_by("service", "previous").agg(pl.col("count").sum().alias("exposure"))
    edges = edges.join(previous, on=("service", "previous"))
    gaps = observation.transitions.filter(pl.col("kind") != "self")
    zero = pl.lit(0, pl.Int64())
    parts = [
        _part(counts, TEMPLATE, pl.col("template"), zero, pl.col("count"), pl.col("exposure")),
        _part(edges, EDGE, pl.col("previous"), pl.col("next"), pl.col("count"), pl.col("exposure")),
        _part(exposure, EXPOSURE, zero, zero, pl.col("exposure"), zero),
        _part(previous, PREVIOUS, pl.col("previous"), zero, pl.col("exposure"), zero),
        _part(services, ERRORS, zero, zero, pl.col("errors"), pl.col("lines")),
        _part(services, VOLUME, zero, zero, pl.col("lines"), zero),
        gaps.select(
            "service",
            pl.col("kind").replace_strict(_GAPS, return_dtype=pl.Int8()),
            pl.col("previous").alias("a"),
            pl.col("next").alias("b"),
            pl.col("gap").alias("count"),
            pl.col("count").alias("exposure"),
        ),
    ]
    return pl.concat(parts)


def _part(frame: pl.DataFrame, kind: int, a: pl.Expr, b: pl.Expr, count: pl.Expr, exposure: pl.Expr) -> pl.DataFrame:
    return frame.select(
        "service",
        pl.lit(kind, pl.Int8()).alias("kind"),
        a.alias("a"),
        b.alias("b"),
        count.alias("count"),
        exposure.alias("exposure"),
    )


def add(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Sums over all the windows of the parts; integers, so the order of the parts decides nothing."""
    frames = [part for part in parts if not part.is_empty()]
    if not frames:
        return empty()
    return pl.concat(frames).group_by(KEYS).agg(pl.col(SUMS).sum()).filter(pl.col("windows") > 0)


def subtract(whole: pl.DataFrame, part: pl.DataFrame) -> pl.DataFrame:
    """The whole without a part of it."""
    return add([whole, part.with_columns(-pl.col(SUMS))])


def rename(whole: pl.DataFrame, moves: Mapping[int, int]) -> pl.DataFrame:
    """Sums of templates that were merged move to the survivors."""
    templated = pl.col("kind").is_in([TEMPLATE, EDGE, GAP, GAP_IN, GAP_OUT, PREVIOUS])
    both = pl.col("kind").is_in([EDGE, GAP, GAP_IN, GAP_OUT])
    return add(
        [
            whole.with_columns(
                pl.when(templated).then(pl.col("a").replace(moves)).otherwise("a").alias("a"),
                pl.when(both).then(pl.col("b").replace(moves)).otherwise("b").alias("b"),
            )
        ]
    )
