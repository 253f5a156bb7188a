"""Compare the windows of a stretch with each other: what is more, less, new, slower or missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from exporter.analysis.findings import Finding
from exporter.analysis.reading import extent
from exporter.model import EPOCH, AnalysisKind, Severity, failure_in, from_nanoseconds
from exporter.wording.text import listed, number

Floats = NDArray[np.float64]

Ints = NDArray[np.int64]

MIN_WINDOWS = 12

FALSE_ALARM = 0.01
"""Chance that anything is found in a stretch in which nothing happened; shared by all comparisons."""

WORTH_TELLING = 0.5

SPREAD = 0.2
"""How much rates wander by themselves, as a share: counts of real logs are not as even as dice."""

MANY_FAILURES = 4
"""Kinds of rare failures that are told one by one; more of them are a background, which is noted."""

LATER = 0.35
"""What is first seen after this share of the stretch is new."""


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

    @cached_property
    def counted(self) -> pl.DataFrame:
        """By service, template and window: how many lines, failed answers, errors and warnings, and the worst level.

        Each window is counted by itself, for groups over all records at once would take as much memory as they do.
        """
        level, lines = pl.col("severity"), self.records["window"].to_numpy()
        edges = np.searchsorted(lines, np.arange(self.windows + 1))
        parts = (
            self.records.slice(int(first), int(end - first))
            .group_by("service", "template", "window")
            .agg(
                pl.len().cast(pl.Int64).alias("lines"),
                pl.col("code").is_between(500, 599).sum().cast(pl.Int64).alias("failed"),
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

    @property
    def total(self) -> int:
        return self.records.height


def findings_of(logs: Logs) -> Iterable[Finding]:
    """All comparisons of windows with windows."""
    series = _series(logs)
    yield from _gaps(logs)
    yield from _new(logs, series)
    for (service, template), counts in series.items():
        yield from _more(logs, service, template, counts, series)
        yield from _since(logs, service, template, counts, series)
        yield from _less(logs, service, template, counts, series)
    yield from _slower(logs)


Series = Mapping[tuple[int, int], Ints]

WHOLE = 0
"""Stands for all templates of a service together."""

FAILED = -2
"""Stands for the answers of a service with a status of 500 or more."""

ERRORS = -3
"""Stands for all lines of a service of level error or worse."""

WORDS = {
    WHOLE: "all lines",
    FAILED: "answers with a status of 500 or more",
    ERRORS: "all lines of level error or worse",
}

SUMS: Mapping[int, AnalysisKind] = {WHOLE: "volume", FAILED: "errors", ERRORS: "errors"}
"""What it is to have more than usual of what stands for several templates."""


def _series(logs: Logs) -> Series:
    """Counts of each (service, template) in each window, and of all lines and all failed answers of each service."""
    found: dict[tuple[int, int], Ints] = {}
    for template, counts in ((None, "lines"), (WHOLE, "lines"), (FAILED, "failed"), (ERRORS, "errors")):
        rows = logs.counted if template is None else logs.counted.with_columns(template=pl.lit(template, pl.Int64))
        rows = rows.filter(pl.col(counts) > 0).group_by("service", "template", "window").agg(pl.col(counts).sum())
        rows = rows.sort("service", "template", "window")
        for (service, of), part in rows.group_by(["service", "template"], maintain_order=True):
            found[int(str(service)), int(str(of))] = series = np.zeros(logs.windows, np.int64)
            series[part["window"].to_numpy()] = part[counts].to_numpy()
    return found


@dataclass(frozen=True)
class _Usual:
    """What is usual of some counts: mean and variance, whatever happens in up to a quarter of the windows."""

    mean: float
    variance: float

    @classmethod
    def of(cls, counts: Floats) -> _Usual:
        ordered = np.sort(counts)
        kept = ordered[len(ordered) // 20 : len(ordered) - len(ordered) // 4]
        middle = float(np.median(counts))
        # At least half a line in all of the stretch: what was hardly ever seen may still come once.
        mean = max(float(kept.mean()), 0.5 / len(counts), middle)
        robust = float(1.4826 * np.median(np.abs(counts - middle))) ** 2
        variance = max(mean, float(kept.var()) * 1.5, robust) + (SPREAD * mean) ** 2
        return cls(mean, variance)

    def above(self, count: float, factor: float = 1.0) -> float:
        """Chance of so many or more, as a logarithm to the base 10."""
        from scipy.stats import nbinom

        mean, variance = self.mean * factor, self.variance * factor**2 + self.mean * factor
        size = mean**2 / max(variance - mean, 1e-9)
        return float(nbinom.logsf(count - 1, size, size / (size + mean)) / math.log(10))

    def below(self, count: float) -> float:
        """Chance of so few or fewer, as a logarithm to the base 10."""
        from scipy.stats import nbinom

        size = self.mean**2 / max(self.variance - self.mean, 1e-9)
        return float(nbinom.logcdf(count, size, size / (size + self.mean)) / math.log(10))


def _limit(tests: int) -> float:
    """The chance that a single comparison must fall below, as a logarithm to the base 10."""
    return math.log10(FALSE_ALARM / max(tests, 1))


def _surprise(chance: float, limit: float) -> float:
    """From 0.6 at the limit towards 1."""
    return 0.6 + 0.4 * (1 - math.exp(-(limit - chance) / 10))


def _runs(flagged: Iterable[int]) -> list[tuple[int, int]]:
    """First and last window of each run; one window between two does not part them."""
    runs: list[tuple[int, int]] = []
    for window in flagged:
        if runs and window - runs[-1][1] <= 2:
            runs[-1] = (runs[-1][0], window)
        else:
            runs.append((window, window))
    return runs


def _more(logs: Logs, service: int, template: int, counts: Ints, series: Series) -> Iterable[Finding]:
    """Windows with far more of something than usual; of a template, more than the service's traffic explains."""
    if counts.sum() < 5 or (template == WHOLE and len(logs.names) == 0):
        return
    usual = _Usual.of(counts.astype(np.float64))
    factor = np.ones(logs.windows)
    if template != WHOLE:
        others = (series[(service, WHOLE)] - counts).astype(np.float64)
        typical = max(float(np.median(others)), 1.0)
        factor = np.clip(others / typical, 1.0, 20.0)
    limit = _limit(len(series) * logs.windows)
    candidates = np.flatnonzero(counts > np.maximum(2 * usual.mean * factor, usual.mean + 3))
    chances = {int(w): usual.above(float(counts[w]), float(factor[w])) for w in candidates}
    for first, last in _runs(w for w, chance in chances.items() if chance < limit):
        span = slice(first, last + 1)
        expected = float((usual.mean * factor[span]).sum())
        best = min(chance for w, chance in chances.items() if first <= w <= last)
        yield _finding(
            logs,
            SUMS.get(template, "burst"),
            (service, template),
            (first, last),
            # A kind of line says more than a sum over many.
            _surprise(best, limit) * (0.9 if template <= 0 else 1.0),
            (float(counts[span].sum()), expected),
            "far more often than in the rest of the logs",
        )


def _since(logs: Logs, service: int, template: int, counts: Ints, series: Series) -> Iterable[Finding]:
    """Failures that began and went on for so long that they would pass for usual: the beginning says what was usual."""
    border = max(int(LATER * logs.windows), 3)
    if template not in (FAILED, ERRORS) or counts.sum() < 20:
        return
    others = (series[(service, WHOLE)] - counts).astype(np.float64)
    factor = np.clip(others / max(float(np.median(others[:border])), 1.0), 1.0, 20.0)
    usual = _Usual.of(counts[:border].astype(np.float64))
    limit = _limit(len(series) * logs.windows)
    many = np.flatnonzero(counts > np.maximum(2 * usual.mean * factor, usual.mean + 3))
    if len(many) <= logs.windows // 4 or many[0] < border:
        return
    # Neighbouring windows are alike: each further one counts less.
    chance = float(np.median([usual.above(float(counts[w]), float(factor[w])) for w in many]))
    chance *= 1 + 2 * math.log2(len(many))
    if chance < limit:
        span = (int(many[0]), int(many[-1]))
        inside = slice(span[0], span[1] + 1)
        amounts = float(counts[inside].sum()), float((usual.mean * factor[inside]).sum())
        reason = "far more often than at the beginning of the logs"
        yield _finding(logs, "errors", (service, template), span, 0.9 * _surprise(chance, limit), amounts, reason)


def _less(logs: Logs, service: int, template: int, counts: Ints, series: Series) -> Iterable[Finding]:
    """Stretches in which something that is always there is not."""
    if template in (FAILED, ERRORS):
        return
    # The first and the last window are rarely whole.
    inner = counts[1:-1]
    usual = _Usual.of(inner.astype(np.float64))
    if np.mean(inner > 0) < 0.6 or usual.mean < 3:
        return
    whole = series[(service, WHOLE)]
    few = np.flatnonzero(inner < 0.25 * usual.mean) + 1
    if template != WHOLE:
        few = few[whole[few] > 0.5 * np.median(whole[1:-1])]
    limit = _limit(len(series) * logs.windows)
    runs = _runs(int(w) for w in few)
    # What comes and goes is usual.
    for first, last in runs if len(runs) <= 2 else []:
        length = last - first + 1
        seen = float(counts[first : last + 1].sum())
        # Neighbouring windows are alike: each further one counts less.
        chance = usual.below(seen / length) * (1 + 2 * math.log2(length))
        if length >= (2 if template == WHOLE else 3) and chance < limit:
            silent = seen == 0
            yield _finding(
                logs,
                "silence" if silent else "volume",
                (service, template),
                (first, last),
                _surprise(chance, limit) * (1.0 if template == WHOLE else 0.85),
                (seen, usual.mean * length),
                "nothing of it, though it is there otherwise" if silent else "far less than in the rest of the logs",
            )


def _gaps(logs: Logs) -> Iterable[Finding]:
    """Stretches in which nobody says anything."""
    counts = np.bincount(logs.records["window"].to_numpy(), minlength=logs.windows)
    if np.mean(counts > 0) < 0.7 or np.median(counts) < 5:
        return
    for first, last in _runs(int(w) for w in np.flatnonzero(counts == 0)):
        length = last - first + 1
        if length >= 2:
            finding = _finding(
                logs, "gap", (0, WHOLE), (first, last), 0.9, (0.0, float(np.median(counts)) * length), "no lines at all"
            )
            yield replace(finding, service="", text="no service logs anything", examples=())


def _new(logs: Logs, series: Series) -> Iterable[Finding]:
    """Templates that come up late; the more of them come up all the time, the less it means."""
    firsts = {key: int(np.flatnonzero(counts)[0]) for key, counts in series.items() if key[1] > 0}
    border = max(int(LATER * logs.windows), 3)
    spoke = {key[0] for key, counts in series.items() if key[1] == WHOLE and counts[:border].sum() >= 20}
    later = [key for key, first in firsts.items() if first >= border and key[0] in spoke]
    severities = severities_of(logs.counted, logs.texts)
    rare = sum(1 for key in firsts if severities.get(key, 0) >= Severity.WARN and series[key].sum() <= 5)
    expected = len(later) / max(logs.windows - border, 1)
    for key in later:
        counts = series[key]
        amount = int(counts.sum())
        severity = severities.get(key, 0)
        weight = 1 - math.exp(-amount / 5)
        # Where one-off failures are usual, one more means little.
        usual = 1 - 0.25 * (1 - math.exp(-(rare - 1) / 3)) * math.exp(-amount / 10) if rare else 1.0
        if severity >= Severity.ERROR:
            score = (0.45 + 0.5 * weight) * usual
        elif severity >= Severity.WARN:
            score = (0.35 + 0.5 * weight) * usual
        else:
            score = 0.25 + 0.45 * weight / (1 + expected)
        if score < WORTH_TELLING:
            continue
        dense = np.flatnonzero(counts >= 0.2 * counts.max())
        span = (int(dense[0]), int(dense[-1]))
        seen = float(counts[span[0] : span[1] + 1].sum())
        yield _finding(logs, "new", key, span, score, (seen, 0.0), "never seen before in these logs")


def _slower(logs: Logs) -> Iterable[Finding]:
    """Stretches in which what a template says it took is a multiple of what it takes otherwise."""
    timed = logs.records.filter(pl.col("duration").is_not_null() & (pl.col("duration") > 0))
    grouped = (
        timed.group_by("service", "template", "window")
        .agg(pl.col("duration").cast(pl.Float64).log().median().alias("middle"), pl.len())
        .filter(pl.col("len") >= 3)
        .sort("service", "template", "window")
    )
    for (service, template), part in grouped.group_by(["service", "template"], maintain_order=True):
        if part.height < MIN_WINDOWS:
            continue
        middles, amounts = part["middle"].to_numpy(), part["len"].to_numpy()
        usual = float(np.median(middles))
        spread = max(1.4826 * float(np.median(np.abs(middles - usual))), 0.15)
        score = (middles - usual) / np.sqrt(spread**2 + 0.5 / amounts)
        flagged = part["window"].to_numpy()[(score > 5) & (middles - usual > math.log(2))]
        for first, last in _runs(int(w) for w in flagged):
            inside = (part["window"].to_numpy() >= first) & (part["window"].to_numpy() <= last)
            if amounts[inside].sum() < 10:
                continue
            strength = 0.6 + 0.3 * (1 - math.exp(-float(score[inside].max()) / 20))
            seen = math.exp(float(np.average(middles[inside], weights=amounts[inside])))
            key = (int(str(service)), int(str(template)))
            found = _finding(
                logs, "slow", key, (first, last), strength, (seen, math.exp(usual)), "takes longer than otherwise"
            )
            yield replace(found, unit="seconds")


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
        _finding(logs, "failure", (service, template), (first, last), 0.6, (amount, 0.0), "a failure, and a rare one")
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


def severities_of(records: pl.DataFrame, texts: Mapping[int, str]) -> dict[tuple[int, int], int]:
    """By service and template: the worst level of its lines, or what its words say where they have none."""
    frame = records.group_by("service", "template").agg(pl.col("severity").max())
    found = {(service, template): int(severity) for service, template, severity in frame.iter_rows()}
    silent = (key for key, severity in found.items() if severity < Severity.DEBUG)
    return found | {key: word for key in silent if (word := failure_in(texts.get(key[1], "")))}


def of_template(template: int) -> pl.Expr:
    """The lines that a series counts."""
    if template == FAILED:
        return pl.col("code").is_between(500, 599)
    if template == ERRORS:
        return pl.col("severity") >= Severity.ERROR
    return pl.lit(True) if template == WHOLE else pl.col("template") == template


def _finding(
    logs: Logs,
    kind: AnalysisKind,
    key: tuple[int, int],
    span: tuple[int, int],
    score: float,
    amounts: tuple[float, float],
    reason: str,
) -> Finding:
    service, template = key
    inside = logs.records.filter(
        (pl.col("service") == service) & pl.col("window").is_between(*span) & of_template(template)
    )
    severity = int(inside["severity"].to_numpy().max()) if template > 0 and inside.height else 0
    if kind == "errors":
        severity = int(Severity.ERROR)
    weight = 1.0 if severity >= Severity.ERROR else 0.97 if severity >= Severity.WARN else 0.9
    text = WORDS.get(template) or logs.texts.get(template, "lines of no template")
    since, until = map(from_nanoseconds, extent(inside["timestamp"]))
    if not inside.height:
        since, until = logs.moment(span[0]), logs.moment(span[1] + 1)
    if kind in ("silence", "volume") and amounts[0] < amounts[1]:
        since, until = logs.moment(span[0]), logs.moment(span[1] + 1)
    name = logs.names.get(service, "")
    return Finding(kind, name, text, round(score * weight, 3), *amounts, "lines", since, until, severity, reason)
