"""Leave templates out of a window, as if their lines had not been written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import polars as pl

from exporter.detection.observation import COUNTS, Observation
from exporter.model import Severity


def without(observation: Observation, templates: Mapping[str, Collection[int]]) -> Observation:
    """The window without these templates of services. How many lines a service wrote stays, for that is what others are
    counted against; sessions and values stay, which are judged by themselves."""
    pairs = [(service, template) for service, own in sorted(templates.items()) for template in sorted(own)]
    left = pl.DataFrame(pairs, schema={name: COUNTS[name] for name in ("service", "template")}, orient="row")
    gone = observation.counts.join(left, on=("service", "template"), how="semi")
    if gone.is_empty():
        return observation
    counts = observation.counts.join(left, on=("service", "template"), how="anti", maintain_order="left")
    transitions = observation.transitions
    for column in ("previous", "next"):
        named = left.rename({"template": column})
        transitions = transitions.join(named, on=("service", column), how="anti", maintain_order="left")
    services = _with_fewer_errors(observation.services, gone)
    return replace(observation, services=services, counts=counts, transitions=transitions)


def _with_fewer_errors(services: pl.DataFrame, gone: pl.DataFrame) -> pl.DataFrame:
    errors = gone.filter(pl.col("severity") >= int(Severity.ERROR)).group_by("service")
    fewer = errors.agg(pl.col("count").sum().alias("fewer"))
    joined = services.join(fewer, on="service", how="left", maintain_order="left")
    left = pl.max_horizontal(pl.col("errors") - pl.col("fewer").fill_null(0), 0)
    return joined.with_columns(left.alias("errors")).select(services.columns)
