"""Say what is unusual in a stretch of logs by comparing it with itself: no configuration, no history."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from exporter.detection import DetectionSettings, Detector, observation
from exporter.detection.observation import survivors
from exporter.ingest import messages, reduction
from exporter.ingest.redaction import RedactionSettings
from exporter.ingest.reduction import ReductionSettings
from exporter.mining.miner import Mined, Miner, MiningSettings, failure_words
from exporter.model import (
    EPOCH,
    Anomaly,
    ConfigError,
    Duration,
    Reduced,
    Settings,
    Severity,
    format_duration,
    from_nanoseconds,
    nanoseconds,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS = tuple(timedelta(seconds=s) for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 21600, 86400))
MANY_WINDOWS = 120
"""Windows that the stretch is cut into, at most."""
MOST_JUDGED = 5_000
"""Windows that the detector judges at most; a --window that makes more of them goes without it."""
MOST_WINDOWS = 20_000
MIN_WINDOWS = 12
MIN_LINES = 200
"""With fewer, nothing can be said of what is usual."""
PROBE_LINES = 50_000
"""Lines that are looked at before the number of examples to keep is chosen."""
FALSE_ALARM = 0.01
"""Chance that anything is found in a stretch in which nothing happened; shared by all comparisons."""
WORTH_TELLING = 0.5
SPREAD = 0.2
"""How much rates wander by themselves, as a share: counts of real logs are not as even as dice."""
LASTING = 3
"""Windows in a row that only the detector finds anomalous, before they are told."""

CLEARLY = 0.9999
"""Score of the strangest window of such a stretch; of the windows of a day by chance about one is so strange."""
EXAMPLES = 3
MANY_FAILURES = 4
"""Kinds of rare failures that are told one by one; more of them are a background, which is noted."""
POSSIBLE = tuple(nanoseconds(datetime(year, 1, 1, tzinfo=UTC)) for year in (1990, 2100))
LATER = 0.35
"""What is first seen after this share of the stretch is new."""

LEVELS = {Severity.TRACE: "trace", Severity.DEBUG: "debug", Severity.INFO: "info", Severity.WARN: "warning"}


class AnalyzeSettings(Settings):
    """What one may say about the logs; everything else is found."""

    window: Duration | None = None
    """Length of the windows that are compared; absent: chosen by the length of the stretch."""
    session_pattern: str | None = None
    top: int = Field(default=10, ge=1)
    """Findings that are told."""
    max_lines: int = Field(default=30_000_000, ge=1)
    """More are not read."""
    mining: MiningSettings = MiningSettings()
    redaction: RedactionSettings = RedactionSettings()


@dataclass(frozen=True)
class Example:
    """A line that shows a finding; `place` says where it stands (file and line or offset)."""

    place: str
    timestamp: datetime | None
    body: str


@dataclass(frozen=True)
class Finding:
    """One thing that is unusual: what was seen against what was expected, and when.

    `score` in [0, 1] ranks; from 0.5 on it is worth telling.
    """

    kind: str
    service: str
    text: str
    score: float
    observed: float
    expected: float
    unit: str
    since: datetime | None
    until: datetime | None
    severity: int
    reason: str
    examples: tuple[Example, ...] = ()
    also: tuple[str, ...] = ()
    """Other kinds of lines of the same service that move the same way, and are not told one by one."""
    confirmed: bool = False
    """Whether the daemon's detector, which sees only what was before, found the service anomalous then, too."""


@dataclass(frozen=True)
class ServiceOverview:
    """How much a service says."""

    service: str
    lines: int
    errors: int
    warnings: int
    templates: int


@dataclass(frozen=True)
class Overview:
    """What was read."""

    lines: int
    start: datetime | None
    end: datetime | None
    window: timedelta | None
    services: tuple[ServiceOverview, ...]
    templates: int
    continuations: int
    dropped: Mapping[str, int]
    by_position: bool = False
    """Without usable timestamps, the order of the lines stands for time."""


@dataclass(frozen=True)
class Analysis:
    """What was read, and what is unusual in it, the most unusual first."""

    overview: Overview
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def unusual(self) -> bool:
        return bool(self.findings)


async def analyze(pages: AsyncIterator[pl.DataFrame], settings: AnalyzeSettings | None = None) -> Analysis:
    """Read all pages, compare the windows of the stretch with each other, and say what stands out."""
    settings = settings or AnalyzeSettings()
    reduced, by_position, dropped = await _read(pages, settings)
    return await asyncio.to_thread(_analyze, reduced, by_position, dropped, settings)


# --- Reading ----------------------------------------------------------------------------------------------


async def _read(pages: AsyncIterator[pl.DataFrame], settings: AnalyzeSettings) -> tuple[Reduced, bool, dict[str, int]]:
    """Reduce all pages; the first ones decide how finely examples are kept, and whether there is time at all."""
    waiting: list[pl.DataFrame] = []
    parts: list[Reduced] = []
    reader: _Reader | None = None
    seen = over = 0
    async for page in pages:
        room = settings.max_lines - seen
        over += max(0, page.height - room)
        page = page.head(max(0, room))
        seen += page.height
        if reader is None:
            waiting.append(page)
            if seen < PROBE_LINES:
                continue
            reader = _reader(waiting, settings, whole=False)
            parts += [await asyncio.to_thread(reader.reduce, held) for held in waiting]
        elif page.height:
            parts.append(await asyncio.to_thread(reader.reduce, page))
    if reader is None:
        reader = _reader(waiting, settings, whole=True)
        parts = [await asyncio.to_thread(reader.reduce, held) for held in waiting]
    merged = await asyncio.to_thread(reduction.merge, parts) if parts else reduction.empty()
    dropped = dict(merged.dropped)
    if reader.impossible:
        dropped["impossible_timestamp"] = reader.impossible
    if over:
        dropped["max_lines"] = over
    return merged, reader.by_position, dropped


@dataclass
class _Reader:
    """Reduces pages; without timestamps, a line's number stands for the second in which it was written."""

    settings: ReductionSettings
    by_position: bool
    position: int = 0
    impossible: int = 0

    def reduce(self, page: pl.DataFrame) -> Reduced:
        if self.by_position:
            numbers = np.arange(self.position, self.position + page.height, dtype=np.int64)
            page = page.with_columns(pl.Series("timestamp", numbers * 1_000_000_000))
            self.position += page.height
        else:
            wrong = page["timestamp"].is_not_null() & ~_possible(page["timestamp"])
            self.impossible += int(wrong.sum())
            page = page.filter(~wrong)
        return reduction.reduce(page, self.settings)


def _reader(pages: Sequence[pl.DataFrame], settings: AnalyzeSettings, whole: bool) -> _Reader:
    times = pl.concat([page["timestamp"] for page in pages]) if pages else pl.Series("timestamp", [], pl.Int64)
    possible = times.filter(_possible(times))
    by_position = len(possible) < 0.5 * len(times)
    first, last = _extent(possible)
    span = float(len(times)) if by_position else (last - first) / 1e9
    window = settings.window or _window(span, 60 if whole else 8)
    reducing = ReductionSettings(
        window=window,
        session_pattern=settings.session_pattern,
        max_line_chars=settings.mining.max_line_chars,
        multiline=settings.mining.multiline,
        drop_stack_frames=settings.mining.drop_stack_frames,
        redaction=settings.redaction,
    )
    return _Reader(reducing, by_position)


def _possible(times: pl.Series) -> pl.Series:
    """Clocks that are not set give the year 1970 or worse; one such line would stretch everything."""
    return times.is_between(POSSIBLE[0], POSSIBLE[1], closed="left").fill_null(False)


def _extent(times: pl.Series) -> tuple[int, int]:
    """Earliest and latest of some times; 0 where there is none."""
    known = times.drop_nulls().to_numpy()
    return (int(known.min()), int(known.max())) if len(known) else (0, 0)


def _window(span: float, most: int = MANY_WINDOWS) -> timedelta:
    """The shortest usual length of which the span has at most so many."""
    return next((step for step in STEPS if span / step.total_seconds() <= most), STEPS[-1])


# --- Comparing --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Logs:
    """The records (not their continuation lines) with their templates, and the grid on which they are counted."""

    records: pl.DataFrame
    texts: Mapping[int, str]
    names: Mapping[int, str]
    exemplars: pl.DataFrame
    starts: Ints
    """Of the windows that are compared, in seconds since the epoch: those with lines where the logs have holes."""
    window: timedelta

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


def _analyze(reduced: Reduced, by_position: bool, dropped: Mapping[str, int], settings: AnalyzeSettings) -> Analysis:
    if reduced.lines.is_empty():
        overview = Overview(0, None, None, None, (), 0, 0, dropped)
        return Analysis(overview, (), (_nothing_read(dropped),))
    logs, anomalies, limited = _mine(reduced, settings)
    enough = logs.windows >= MIN_WINDOWS and logs.total >= MIN_LINES
    found = _grouped(_outside_gaps([*_found(logs)])) if enough else []
    failures, background = _rare_failures(logs, found)
    ranked = sorted([*_confirmed(found, anomalies), *failures], key=_rank)
    overview = _overview(logs, reduced, {**dropped, **limited}, by_position)
    notes = (*background, *_notes(overview, logs, len(ranked), settings.top))
    shown = tuple(_with_examples(finding, logs) for finding in ranked[: settings.top])
    if by_position:
        overview = replace(overview, start=None, end=None)
    return Analysis(overview, shown, notes)


def _rank(finding: Finding) -> tuple[float, datetime, str, str]:
    return -finding.score, finding.since or EPOCH, finding.service, finding.text


def _mine(reduced: Reduced, settings: AnalyzeSettings) -> tuple[_Logs, list[Anomaly], dict[str, int]]:
    """Mine all windows in order, and let the detector of the daemon judge them as it would have."""
    seconds = reduced.lines["timestamp"].to_numpy() // 1_000_000_000
    window = settings.window or _fitting(seconds)
    step = window // timedelta(seconds=1)
    starts = _grid(seconds, step)
    if len(starts) > MOST_WINDOWS:
        raise ConfigError(f"--window {format_duration(window)}: makes {len(starts):,} windows; choose a longer one")
    miner, parts = Miner("analyze", settings.mining), list[pl.DataFrame]()
    merged, texts, limited = list[tuple[int, int]](), dict[int, str](), dict[str, int]()
    judge = _Judge(window, len(starts))
    by_window = reduction.windows(reduced, window)
    for index, moment in enumerate(starts.tolist()):
        part = by_window.get(moment) or reduction.empty()
        mined = miner.mine(moment, part)
        judge.take(moment, part, mined)
        merged += mined.merged
        texts.update(mined.texts)
        for reason, amount in mined.dropped.items():
            limited[reason] = limited.get(reason, 0) + amount
        records = part.lines.filter(~pl.col("continuation")).join(mined.templates, on=["service", "shape"], how="left")
        parts.append(records.with_columns(window=pl.lit(index, pl.Int64)))
    records = pl.concat(parts).with_columns(pl.col("template").fill_null(-1))
    moves = survivors(merged)
    if moves:
        records = records.with_columns(pl.col("template").replace(moves))
    names = dict(reduced.names.rows())
    logs = _Logs(records, texts, names, reduced.exemplars, starts, window)
    return logs, judge.finish(), limited


def _fitting(seconds: Ints) -> timedelta:
    """The shortest usual length of which not too many have lines."""
    return next((step for step in STEPS if len(np.unique(seconds // _seconds(step))) <= MANY_WINDOWS), STEPS[-1])


def _seconds(step: timedelta) -> int:
    return step // timedelta(seconds=1)


def _grid(seconds: Ints, step: int) -> Ints:
    """The starts of all windows; where many are empty, the logs have holes, and those with lines are compared."""
    filled = np.unique(seconds // step)
    whole = int(filled[-1] - filled[0]) + 1
    return np.asarray((np.arange(filled[0], filled[-1] + 1) if len(filled) >= 0.7 * whole else filled) * step)


class _Judge:
    """The detector of the daemon over the windows of the stretch, if there are enough of them."""

    def __init__(self, window: timedelta, windows: int) -> None:
        self._window = window
        self._step = window // timedelta(seconds=1)
        self._detector = Detector("analyze", DetectionSettings(), window=window, late_window=window)
        self._enough = DetectionSettings().min_windows <= windows <= MOST_JUDGED
        self._anomalies: list[Anomaly] = []

    def take(self, moment: int, part: Reduced, mined: Mined) -> None:
        if not self._enough:
            return
        seen = observation.observe("analyze", moment, self._window, part, mined)
        self._anomalies += self._detector.judge(seen, mined, part.exemplars, late=False).anomalies
        self._anomalies += self._detector.settle(moment - self._step).anomalies

    def finish(self) -> list[Anomaly]:
        if self._enough:
            self._anomalies += self._detector.finish().anomalies
        return self._anomalies


def _found(logs: _Logs) -> Iterable[Finding]:
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


def _series(logs: _Logs) -> Series:
    """Counts of each (service, template) in each window, and of all lines and all failed answers of each service."""
    found: dict[tuple[int, int], Ints] = {}
    keyed = logs.records.select("service", "template", "window", "code", "severity")
    failed, errors = pl.col("code").is_between(500, 599), pl.col("severity") >= Severity.ERROR
    for rows in (
        keyed,
        keyed.with_columns(template=pl.lit(WHOLE, pl.Int64)),
        keyed.filter(failed).with_columns(template=pl.lit(FAILED, pl.Int64)),
        keyed.filter(errors).with_columns(template=pl.lit(ERRORS, pl.Int64)),
    ):
        counted = rows.group_by("service", "template", "window").len().sort("service", "template", "window")
        for (service, template), part in counted.group_by(["service", "template"], maintain_order=True):
            counts = np.zeros(logs.windows, np.int64)
            counts[part["window"].to_numpy()] = part["len"].to_numpy()
            found[(int(str(service)), int(str(template)))] = counts
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


def _more(logs: _Logs, service: int, template: int, counts: Ints, series: Series) -> Iterable[Finding]:
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
            {WHOLE: "volume", FAILED: "errors", ERRORS: "errors"}.get(template, "burst"),
            (service, template),
            (first, last),
            # A kind of line says more than a sum over many.
            _surprise(best, limit) * (0.9 if template <= 0 else 1.0),
            (float(counts[span].sum()), expected),
            "far more often than in the rest of the logs",
        )


def _since(logs: _Logs, service: int, template: int, counts: Ints, series: Series) -> Iterable[Finding]:
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


def _less(logs: _Logs, service: int, template: int, counts: Ints, series: Series) -> Iterable[Finding]:
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


def _gaps(logs: _Logs) -> Iterable[Finding]:
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


def _new(logs: _Logs, series: Series) -> Iterable[Finding]:
    """Templates that come up late; the more of them come up all the time, the less it means."""
    firsts = {key: int(np.flatnonzero(counts)[0]) for key, counts in series.items() if key[1] > 0}
    border = max(int(LATER * logs.windows), 3)
    spoke = {key[0] for key, counts in series.items() if key[1] == WHOLE and counts[:border].sum() >= 20}
    later = [key for key, first in firsts.items() if first >= border and key[0] in spoke]
    severities = _severities(logs)
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


def _slower(logs: _Logs) -> Iterable[Finding]:
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


def _rare_failures(logs: _Logs, found: Sequence[Finding]) -> tuple[list[Finding], list[str]]:
    """Failures that happened a few times only, whenever that was, and that are not told yet; many are a background."""
    told = {(finding.service, text) for finding in found for text in (finding.text, *finding.also)}
    rare = (
        logs.records.group_by("service", "template")
        .agg(pl.len(), pl.col("severity").max(), pl.col("window").min().alias("first"), pl.col("window").max())
        .filter((pl.col("severity") >= Severity.ERROR) & (pl.col("len") <= max(3.0, min(20.0, 0.001 * logs.total))))
        .sort("severity", "len", "service", "template", descending=[True, False, False, False])
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
    names = sorted({printable(finding.service, 40) or "unknown" for finding in others})
    shown = ", ".join(names[:6]) + (" and others" if len(names) > 6 else "")
    note = f"{len(others)} kinds of failures came a few times each, {lines:,.0f} lines in all, in {shown}."
    return fatal, [note]


def _severities(logs: _Logs) -> dict[tuple[int, int], int]:
    """What most lines of a template say of themselves, and 17 where its words speak of failure."""
    frame = logs.records.group_by("service", "template").agg(pl.col("severity").max())
    found = {(service, template): severity for service, template, severity in frame.rows()}
    for (service, template), severity in found.items():
        if severity < Severity.DEBUG and failure_words(logs.texts.get(template, "")):
            found[(service, template)] = int(Severity.ERROR)
    return found


def _of(template: int) -> pl.Expr:
    """The lines that a series counts."""
    if template == FAILED:
        return pl.col("code").is_between(500, 599)
    if template == ERRORS:
        return pl.col("severity") >= Severity.ERROR
    return pl.lit(True) if template == WHOLE else pl.col("template") == template


def _finding(
    logs: _Logs,
    kind: str,
    key: tuple[int, int],
    span: tuple[int, int],
    score: float,
    amounts: tuple[float, float],
    reason: str,
) -> Finding:
    service, template = key
    inside = logs.records.filter((pl.col("service") == service) & pl.col("window").is_between(*span) & _of(template))
    severity = int(inside["severity"].to_numpy().max()) if template > 0 and inside.height else 0
    if kind == "errors":
        severity = int(Severity.ERROR)
    weight = 1.0 if severity >= Severity.ERROR else 0.97 if severity >= Severity.WARN else 0.9
    text = WORDS.get(template) or logs.texts.get(template, "lines of no template")
    since, until = map(from_nanoseconds, _extent(inside["timestamp"]))
    if not inside.height:
        since, until = logs.moment(span[0]), logs.moment(span[1] + 1)
    if kind in ("silence", "volume") and amounts[0] < amounts[1]:
        since, until = logs.moment(span[0]), logs.moment(span[1] + 1)
    name = logs.names.get(service, "")
    return Finding(kind, name, text, round(score * weight, 3), *amounts, "lines", since, until, severity, reason)


def _outside_gaps(findings: Sequence[Finding]) -> list[Finding]:
    """Where nobody says anything, that is told once, and not as the silence of each."""
    gaps = [finding for finding in findings if finding.kind == "gap"]
    return [
        finding
        for finding in findings
        if finding in gaps or finding.observed >= finding.expected or not any(_overlap(finding, gap) for gap in gaps)
    ]


def _grouped(findings: Sequence[Finding]) -> list[Finding]:
    """One finding for each template and time; what goes up or down together in a service is told by its strongest."""
    kept: list[Finding] = []
    # Of equals, the one with more words says more.
    telling = [finding for finding in findings if finding.score >= WORTH_TELLING]
    for finding in sorted(telling, key=lambda f: (-round(f.score, 1), -len(f.text), -f.score, f.text)):
        twin = next((i for i, other in enumerate(kept) if _same(finding, other)), None)
        if twin is None:
            kept.append(finding)
        elif finding.text != kept[twin].text and finding.text not in kept[twin].also:
            kept[twin] = replace(
                kept[twin], also=(*kept[twin].also, finding.text), score=max(kept[twin].score, finding.score)
            )
    return kept


def _same(one: Finding, other: Finding) -> bool:
    """Whether one says what the other has said: the same template, or the same movement of the same service."""
    if one.service != other.service or not _overlap(one, other):
        return False
    if one.text == other.text or one.text in other.also:
        return True
    if (one.observed > one.expected) != (other.observed > other.expected):
        return False
    return one.text in WORDS.values() or one.kind == other.kind


def _overlap(one: Finding, other: Finding) -> bool:
    if not (one.since and one.until and other.since and other.until):
        return False
    return one.since <= other.until and other.since <= one.until


def _confirmed(found: Sequence[Finding], anomalies: Sequence[Anomaly]) -> list[Finding]:
    """What the detector saw too says so; what only the detector saw is told if it lasted, or is about sessions."""
    stretches: dict[str, list[Anomaly]] = {}
    for anomaly in anomalies:
        if anomaly.kind == "window" and anomaly.contributions:
            stretches.setdefault(anomaly.service, []).append(anomaly)
    told = [replace(finding, confirmed=_seen(finding, stretches.get(finding.service, ()))) for finding in found]
    for service, several in sorted(stretches.items()):
        alone = [a for a in several if not any(f.service == service and _touches(f, a) for f in found)]
        told += [_stretch(run) for run in _in_a_row(alone) if _lasting(run)]
    return [*told, *_sessions(anomalies)]


def _lasting(run: Sequence[Anomaly]) -> bool:
    """Neighbouring windows share what is judged of the last ones together: one of them must be clearly strange."""
    return len(run) >= LASTING and max(anomaly.score for anomaly in run) >= CLEARLY


def _in_a_row(anomalies: Sequence[Anomaly]) -> list[list[Anomaly]]:
    """Anomalies of one service, parted where a window between them is not one."""
    runs: list[list[Anomaly]] = []
    for anomaly in sorted(anomalies, key=lambda anomaly: anomaly.window):
        if runs and anomaly.window <= runs[-1][-1].ends_at:
            runs[-1].append(anomaly)
        else:
            runs.append([anomaly])
    return runs


def _seen(finding: Finding, anomalies: Sequence[Anomaly]) -> bool:
    return any(_touches(finding, anomaly) for anomaly in anomalies)


def _touches(finding: Finding, anomaly: Anomaly) -> bool:
    if not (finding.since and finding.until):
        return False
    return finding.since < anomaly.ends_at and anomaly.window <= finding.until


def _stretch(anomalies: Sequence[Anomaly]) -> Finding:
    """Several windows of a service that only the detector has found."""
    strongest = max(anomalies, key=lambda anomaly: anomaly.score)
    top = strongest.contributions[0]
    return Finding(
        "window",
        strongest.service,
        top.text,
        0.55,
        top.observed,
        top.expected,
        top.unit,
        anomalies[0].window,
        anomalies[-1].ends_at,
        strongest.severity,
        f"{len(anomalies)} windows are unlike the others in the whole of what they hold",
        _cited(strongest),
        confirmed=True,
    )


def _sessions(anomalies: Sequence[Anomaly]) -> Iterable[Finding]:
    """Sessions that are unlike the others, together by what is unlike in them; the last verdict of each counts."""
    last = {anomaly.session: anomaly for anomaly in anomalies if anomaly.kind == "session" and anomaly.contributions}
    alike: dict[tuple[str, str], list[Anomaly]] = {}
    for anomaly in last.values():
        alike.setdefault((anomaly.service, anomaly.contributions[0].text), []).append(anomaly)
    for (service, text), several in alike.items():
        top = several[0].contributions[0]
        names = ", ".join(printable(anomaly.session or "", 60) for anomaly in several[:3])
        yield Finding(
            "session",
            service,
            text,
            round(0.6 + 0.3 * (1 - math.exp(-len(several) / 5)), 3),
            len(several),
            0.0,
            "sessions",
            min(anomaly.window for anomaly in several),
            max(anomaly.ends_at for anomaly in several),
            max(anomaly.severity for anomaly in several),
            f"such as {names}, with {_number(top.observed)} {top.unit} of it, expected {_number(top.expected)}",
            _cited(several[0]),
            confirmed=True,
        )


def _cited(anomaly: Anomaly) -> tuple[Example, ...]:
    return tuple(Example(line.host or line.id, line.timestamp, line.body) for line in anomaly.evidence[:EXAMPLES])


# --- Telling ----------------------------------------------------------------------------------------------


def _with_examples(finding: Finding, logs: _Logs) -> Finding:
    """The first lines of the finding's template in its time."""
    if finding.examples or finding.observed < finding.expected or not (finding.since and finding.until):
        return finding
    service = next((key for key, name in logs.names.items() if name == finding.service), 0)
    inside = logs.records.filter(
        (pl.col("service") == service)
        & pl.col("timestamp").is_between(nanoseconds(finding.since), nanoseconds(finding.until) + 1000)
    )
    sums = {text: key for key, text in WORDS.items()}
    ids = [key for key, text in logs.texts.items() if text == finding.text]
    inside = inside.filter(_of(sums[finding.text]) if finding.text in sums else pl.col("template").is_in(ids))
    lines = logs.exemplars.filter(pl.col("service") == finding.service if finding.service else pl.lit(True))
    # Lines of one shape differ in their status: only those that were counted show the finding.
    lines = lines.join(inside, on=["shape", "timestamp"], how="semi")
    if finding.text == WORDS[FAILED]:
        lines = lines.filter(messages.codes_in(lines["body"]).is_between(500, 599).fill_null(True))
    span = pl.col("timestamp").is_between(nanoseconds(finding.since), nanoseconds(finding.until) + 1000)
    chosen = lines.filter(span).sort("timestamp", "id").head(EXAMPLES)
    rows = chosen.select("id", "timestamp", "body").rows()
    examples = tuple(Example(place, from_nanoseconds(moment), body) for place, moment, body in rows)
    return replace(finding, examples=examples)


def _overview(logs: _Logs, reduced: Reduced, dropped: Mapping[str, int], by_position: bool) -> Overview:
    frame = (
        logs.records.group_by("service")
        .agg(
            pl.len(),
            (pl.col("severity") >= Severity.ERROR).sum().alias("errors"),
            pl.col("severity").is_between(Severity.WARN, Severity.ERROR - 1).sum().alias("warnings"),
            pl.col("template").n_unique().alias("templates"),
        )
        .sort("len", "service", descending=[True, False])
    )
    first, last = _extent(reduced.lines["timestamp"])
    services = tuple(
        ServiceOverview(logs.names.get(key, "unknown"), lines, errors, warnings, templates)
        for key, lines, errors, warnings, templates in frame.rows()
    )
    return Overview(
        reduced.lines.height,
        from_nanoseconds(first),
        from_nanoseconds(last),
        logs.window,
        services,
        logs.records.select("service", "template").n_unique(),
        int(reduced.lines["continuation"].sum()),
        dropped,
        by_position,
    )


_REASONS = {
    "absent_timestamp": "had no time stamp and were left out",
    "impossible_timestamp": "had an impossible time stamp and were left out",
    "max_lines": "were over the limit of lines and were not read",
}


def _nothing_read(dropped: Mapping[str, int]) -> str:
    if dropped:
        return "No line could be used: " + "; ".join(
            f"{amount:,} {_REASONS.get(reason, reason)}" for reason, amount in dropped.items()
        )
    return "There are no lines."


def _notes(overview: Overview, logs: _Logs, findings: int, top: int) -> Iterable[str]:
    for reason, amount in overview.dropped.items():
        if amount:
            yield f"{amount:,} lines {_REASONS.get(reason, f'were limited ({reason})')}."
    if overview.by_position:
        yield "Most lines have no time stamp: their order stands for time, and nothing is said of rates and pauses."
    if logs.windows < MIN_WINDOWS or logs.total < MIN_LINES:
        yield (
            "The stretch is too short to say what is usual in it: only rare failures are looked for. More lines, or "
            "a shorter --window, tell more."
        )
    if findings > top:
        yield f"{findings - top} more findings are weaker; --top shows them."


def render(analysis: Analysis, color: bool = False) -> str:
    """The analysis as text for a terminal. Text of logs is shown without control characters."""
    paint = _Paint(color)
    parts = [*_head(analysis.overview, paint), ""]
    if not analysis.findings:
        parts.append("Nothing unusual was found.")
    for number, finding in enumerate(analysis.findings, 1):
        parts += [*_told(number, finding, analysis.overview, paint), ""]
    parts += [f"Note: {note}" for note in analysis.notes]
    return "\n".join(parts).rstrip() + "\n"


@dataclass(frozen=True)
class _Paint:
    color: bool
    codes: Mapping[str, str] = field(default_factory=lambda: {"bold": "1", "red": "31", "yellow": "33", "dim": "2"})

    def __call__(self, style: str, text: str) -> str:
        return f"\x1b[{self.codes[style]}m{text}\x1b[0m" if self.color else text


def _head(overview: Overview, paint: _Paint) -> Iterable[str]:
    if not overview.lines:
        return
    times = ""
    if overview.start and overview.end:
        length = format_duration(timedelta(seconds=max(1, round((overview.end - overview.start).total_seconds()))))
        times = f", {_time(overview.start)} to {_time(overview.end)} ({length})"
    yield paint("bold", f"{overview.lines:,} lines{times}")
    compared = f", compared by windows of {format_duration(overview.window)}" if overview.window else ""
    if overview.by_position:
        compared = ""
    yield f"{len(overview.services)} services, {overview.templates:,} kinds of lines{compared}"
    for service in overview.services[:8]:
        trouble = f"  {service.errors:,} errors, {service.warnings:,} warnings"
        name = printable(service.service, 40)
        yield f"  {name:<24} {service.lines:>10,} lines  {service.templates:>5} kinds{trouble}"
    if len(overview.services) > 8:
        yield f"  and {len(overview.services) - 8} more"


def _told(number: int, finding: Finding, overview: Overview, paint: _Paint) -> Iterable[str]:
    style = "red" if finding.severity >= Severity.ERROR else "yellow" if finding.severity >= Severity.WARN else "bold"
    title = f"{number}. {printable(finding.service, 60) or 'all services'}: {_KINDS[finding.kind]}"
    yield paint(style, title) + paint(
        "dim", f"  (score {finding.score:.2f}{', the detector agrees' if finding.confirmed else ''})"
    )
    yield f"   {printable(finding.text, 300)}"
    yield f"   {_when(finding, overview)}{_amounts(finding)}: {finding.reason}"
    for example in finding.examples:
        yield paint("dim", f"   {printable(example.place, 80)}  ") + printable(example.body, 240)
    for text in finding.also[:3]:
        yield f"   also: {printable(text, 200)}"
    if len(finding.also) > 3:
        yield f"   and {len(finding.also) - 3} more kinds of lines that move the same way"


_KINDS = {
    "new": "a kind of line that is new",
    "burst": "a kind of line comes in a burst",
    "volume": "an unusual amount of lines",
    "silence": "silence",
    "gap": "a gap",
    "errors": "failing requests",
    "failure": "a rare failure",
    "slow": "slower than usual",
    "session": "unusual sessions",
    "window": "an unusual stretch",
}


def _when(finding: Finding, overview: Overview) -> str:
    if overview.by_position or not (finding.since and finding.until):
        return ""
    if finding.until - finding.since < timedelta(seconds=1):
        return f"at {_time(finding.since)}, "
    same = finding.since.date() == finding.until.date()
    return f"{_time(finding.since)} to {finding.until.strftime('%H:%M:%S') if same else _time(finding.until)}, "


def _amounts(finding: Finding) -> str:
    if finding.unit == "seconds":
        return f"{_number(finding.observed)} s instead of {_number(finding.expected)} s"
    if finding.kind == "session":
        return f"{_number(finding.observed)} sessions"
    unit = "line" if finding.unit == "lines" and finding.observed == 1 else finding.unit
    return f"{_number(finding.observed)} {unit}, expected {_number(finding.expected)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def printable(text: str, limit: int) -> str:
    """One line without control characters (a log must not drive the terminal), cut to so many characters.

    >>> printable("a\\x1b[31mb\\nc", 80)
    'a�[31mb | c'
    """
    flat = " | ".join(part.strip() for part in text.splitlines() if part.strip())
    clean = "".join(character if character.isprintable() else "\ufffd" for character in flat)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
