"""The records of a stretch by window, and its failures that came a few times only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from exporter.analysis.findings import Example, Finding
from exporter.analysis.reading import extent
from exporter.model import EPOCH, Severity, from_nanoseconds, nanoseconds
from exporter.wording.text import listed, number

Ints = NDArray[np.int64]

MIN_WINDOWS = 12

EXAMPLES = 3

MANY_FAILURES = 4
"""Kinds of rare failures that are told one by one; more of them are a background, which is noted."""


@dataclass(frozen=True)
class Logs:
    """The records (not their continuation lines) with their templates, and the grid on which they are counted."""

    records: pl.DataFrame
    texts: Mapping[int, str]
    names: Mapping[int, str]
    exemplars: pl.DataFrame
    starts: Ints
    """Of the windows that are compared, in seconds since the epoch: those with lines where the logs have holes."""
    window: timedelta
    merged: Mapping[int, int] = field(default_factory=dict)
    """Of templates that were merged into others, the survivor."""

    @cached_property
    def counted(self) -> pl.DataFrame:
        """By service, template and window: how many lines, errors and warnings, and the worst level.

        Each window is counted by itself, for groups over all records at once would take as much memory as they do.
        """
        level, lines = pl.col("severity"), self.records["window"].to_numpy()
        edges = np.searchsorted(lines, np.arange(self.windows + 1))
        parts = (
            self.records.slice(int(first), int(end - first))
            .group_by("service", "template", "window")
            .agg(
                pl.len().cast(pl.Int64).alias("lines"),
                (level >= Severity.ERROR).sum().cast(pl.Int64).alias("errors"),
                level.is_between(Severity.WARN, Severity.ERROR - 1).sum().cast(pl.Int64).alias("warnings"),
                level.max(),
            )
            for first, end in pairwise(edges)
        )
        return pl.concat(parts)

    @property
    def windows(self) -> int:
        return len(self.starts)

    def moment(self, window: int) -> datetime:
        """When a window begins; the one after the last is when that ends."""
        inside = min(window, self.windows - 1)
        return EPOCH + timedelta(seconds=int(self.starts[inside])) + (window - inside) * self.window

    @cached_property
    def kinds(self) -> int:
        """Kinds of lines of all services."""
        return self.counted.select("service", "template").n_unique()

    @property
    def services(self) -> int:
        return int(self.counted["service"].n_unique())

    def place(self, moment: datetime) -> int:
        """The window that a moment is in, or the one before it where the logs have a hole there."""
        at = np.searchsorted(self.starts, (moment - EPOCH) // timedelta(seconds=1), side="right") - 1
        return max(int(at), 0)

    def of(self, service: str) -> pl.DataFrame:
        """The records of a service, of all where none is named."""
        if not service:
            return self.records
        keys = [key for key, name in self.names.items() if name == service]
        return self.records.filter(pl.col("service").is_in(keys or [0]))

    def counts(self, records: pl.DataFrame) -> Ints:
        """How many of some records each window has."""
        return np.bincount(records["window"].to_numpy(), minlength=self.windows)

    def lines(self, service: str, records: pl.DataFrame, span: tuple[datetime, datetime]) -> pl.DataFrame:
        """The exemplars of some records of a service, of a time that includes its end."""
        inside = pl.col("timestamp").is_between(nanoseconds(span[0]), nanoseconds(span[1]) + 1000)
        own = pl.col("service") == service if service else pl.lit(True)
        return self.exemplars.filter(own & inside).join(records, on=["shape", "timestamp"], how="semi")

    @property
    def total(self) -> int:
        return self.records.height


def runs(windows: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of each run of windows, given in order; one window between two does not part them."""
    found: list[tuple[int, int]] = []
    for window in windows:
        if found and window - found[-1][1] <= 2:
            found[-1] = (found[-1][0], window)
        else:
            found.append((window, window))
    return found


def examples_of(lines: pl.DataFrame) -> tuple[Example, ...]:
    """The first of some exemplars."""
    rows = lines.sort("timestamp", "id").head(EXAMPLES).select("id", "timestamp", "body").rows()
    return tuple(Example(place, from_nanoseconds(moment), body) for place, moment, body in rows)


def rare_failures(logs: Logs, found: Sequence[Finding]) -> tuple[list[Finding], list[str]]:
    """Failures that happened a few times only, whenever that was, and that are not told yet; many are a background."""
    told = {(finding.service, text) for finding in found for text in (finding.text, *finding.also)}
    rare = (
        logs.counted.group_by("service", "template")
        .agg(
            pl.col("lines").sum(),
            pl.col("severity").max(),
            pl.col("window").min().alias("first"),
            pl.col("window").max(),
        )
        .filter((pl.col("severity") >= Severity.ERROR) & (pl.col("lines") <= max(3.0, min(20.0, 0.001 * logs.total))))
        .sort("severity", "lines", "service", "template", descending=[True, False, False, False])
    )
    findings = [
        _rare(logs, service, template, (first, last), amount)
        for service, template, amount, _, first, last in rare.rows()
    ]
    left = [finding for finding in findings if (finding.service, finding.text) not in told]
    fatal = [finding for finding in left if finding.severity >= Severity.FATAL]
    others = [finding for finding in left if finding.severity < Severity.FATAL]
    if len(others) <= MANY_FAILURES:
        return left, []
    lines = sum(finding.observed for finding in others)
    names = sorted({finding.service or "unknown" for finding in others})
    note = (
        f"{len(others)} kinds of failures came a few times each, {number(lines)} lines in all, in {listed(names, 6)}."
    )
    return fatal, [note]


def _rare(logs: Logs, service: int, template: int, windows: tuple[int, int], lines: int) -> Finding:
    inside = logs.records.filter(
        (pl.col("service") == service) & pl.col("window").is_between(*windows) & (pl.col("template") == template)
    )
    severity = int(inside["severity"].to_numpy().max())
    since, until = map(from_nanoseconds, extent(inside["timestamp"]))
    text, name = logs.texts.get(template, "lines of no template"), logs.names.get(service, "")
    reason, examples = "a failure, and a rare one", examples_of(logs.lines(name, inside, (since, until)))
    return Finding("failure", name, text, 0.6, lines, 0.0, "lines", since, until, severity, reason, examples)
