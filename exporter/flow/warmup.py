"""Choose which windows of the past are learnt from before the first alarm, within a budget of time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from exporter.flow.settings import WarmupSettings
from exporter.ingest.reader import read_and_reduce
from exporter.ingest.settings import ReductionSettings
from exporter.model import EPOCH, Check, Source, TimeRange, floor, format_duration

JUDGE_SHARE = 1.5
"""Judging takes about half as long as reading; measured on the shop simulator and on HDFS."""

JUDGED_WINDOW = timedelta(milliseconds=20)
"""What judging a window costs besides, however few lines it has."""

EMPTY_WINDOW = timedelta(milliseconds=3)
"""What a window without lines costs."""

PASSED_WINDOW = timedelta(microseconds=300)
"""What a window costs that is not read: only the clock of the detector moves on."""

NEAREST = 0.5
"""Share of the budget for the stretch that ends now: what is usual lately, and sessions in one piece."""

SAME_HOUR = timedelta(hours=2)
"""How far around the time of day warm-up goes on earlier days; what is left then is better spent on other hours."""

STRETCH = timedelta(minutes=10)
"""The least that is read in one piece: sessions and sequences do not fit into single windows, and windows beside one
that was not read say nothing about absence."""

SAMPLE_LINES = 50_000
"""Lines that are read to learn how fast a source is: more than lie in one block of a file, which may be cached."""

MOST_PIECES = 50_000
"""Pieces of history that a plan looks at: single windows for a month of minutes, several windows each beyond that."""

COUNT_STEP = timedelta(days=1)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)

Seconds = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Plan:
    """What warm-up reads, and what there is: `lines` of `held`."""

    ranges: tuple[TimeRange, ...]
    lines: int
    held: int
    history: timedelta
    budget: timedelta
    lasts: timedelta

    def __str__(self) -> str:
        """In words.

        >>> from exporter.model import EPOCH
        >>> print(Plan((TimeRange(EPOCH, EPOCH + DAY),), 1500, 1500, DAY, DAY, timedelta(seconds=12)))
        1d of history hold 1,500 lines; all are read, in about 12s
        """
        if not self.held:
            return f"{format_duration(self.history)} of history hold no lines: nothing is known at first"
        what = f"{format_duration(self.history)} of history hold {_amount(self.held)} lines"
        takes = f"about {format_duration(_rounded(self.lasts))}"
        if self.lines == self.held:
            return f"{what}; all are read, in {takes}"
        budget = f"budget {format_duration(self.budget)} reads about {_amount(self.lines)} of them, in {takes}"
        return f"{what}; {budget}: {_worded(self.ranges)}"


async def predict(
    source: Source, reduction: ReductionSettings, until: datetime, settings: WarmupSettings, most: int | None = None
) -> Check:
    """What a first start that learns up to `until` would read of a source, and how long that takes."""
    chosen = await plan(source, reduction, until, settings, most)
    # A source that has no past yet is no mistake; one whose past cannot be learnt from is.
    ok = bool(chosen.ranges) or not chosen.held
    return Check("warm-up", ok, str(chosen), "" if ok else "Give `warmup.budget` more time.")


async def plan(
    source: Source, reduction: ReductionSettings, until: datetime, settings: WarmupSettings, most: int | None = None
) -> Plan:
    """What warm-up up to `until` takes, of each window `most` lines at most.

    The source is asked for its counts, and timed on its newest lines. A history of very many windows is looked at in
    pieces of several; what a piece costs is then an upper bound, for how its lines lie in its windows is not known.
    """
    windows = -(-settings.history // (MOST_PIECES * reduction.window)) or 1
    piece = windows * reduction.window
    start = floor(until - settings.history, piece)
    counts: dict[datetime, int] = {}
    for part in TimeRange(start, until).split(max(COUNT_STEP // piece, 1) * piece):
        counts.update({at: n for at, n in (await source.count(part, piece)).items() if n})
    if not counts:
        return Plan((), 0, 0, settings.history, settings.budget, timedelta(0))
    span = TimeRange(min(counts), until)
    lines = np.array([counts.get(window.start, 0) for window in span.windows(piece)], np.int64)
    rate = await _lines_per_second(source, reduction, lines, span, piece)
    read = lines if most is None else np.minimum(lines, windows * most)
    judged = np.minimum(lines, windows)
    costs = read / rate + judged * JUDGED_WINDOW.total_seconds() + (windows - judged) * EMPTY_WINDOW.total_seconds()
    passed = windows * PASSED_WINDOW.total_seconds()
    taken = choose(costs, piece, settings.budget, passed)
    first = int(taken.argmax())
    lasts = timedelta(seconds=_cost(costs[first:], taken[first:], passed))
    ranges = _ranges(taken, span, piece)
    return Plan(ranges, int(read[taken].sum()), int(lines.sum()), settings.history, settings.budget, lasts)


def choose(costs: Seconds, window: timedelta, budget: timedelta, passed: float = PASSED_WINDOW.total_seconds()) -> Mask:
    """Which windows up to now are read, by what each costs: all, or those nearest to now; then those around the
    same time of day on all earlier days alike; then, with what is left, pieces of the rest that are evenly apart.

    One that is not read costs `passed` seconds.
    """
    limit = budget.total_seconds()
    near = _nearest(costs, limit * NEAREST)
    if costs.sum() <= limit or not near.any() or _cost(costs, near, passed) > limit:
        return _nearest(costs, limit)
    return _sparse(costs, _same_hour(costs, near, window, limit, passed), window, limit, passed)


def _nearest(costs: Seconds, limit: float) -> Mask:
    """The stretch before now that can be had."""
    return costs[::-1].cumsum()[::-1] <= limit


def _same_hour(costs: Seconds, taken: Mask, window: timedelta, limit: float, passed: float) -> Mask:
    """As much as can be had around the time of day that it is now, on all earlier days alike."""
    age = np.arange(len(costs), 0, -1) * (window // MICROSECOND)
    step = -(-STRETCH // (2 * window)) * window
    for number in range(1, max(1, SAME_HOUR // step) + 1):
        reach = number * step
        place = (age + (reach - window) // MICROSECOND) % (DAY // MICROSECOND)
        wider = taken | (age > DAY // 2 // MICROSECOND) & (place < 2 * reach // MICROSECOND)
        if _cost(costs, wider, passed) > limit:
            break
        taken = wider
    return taken


def _sparse(costs: Seconds, taken: Mask, window: timedelta, limit: float, passed: float) -> Mask:
    """Besides, pieces of the rest at equal distances, as many as can be had."""
    size = -(-STRETCH // window)
    piece = np.arange(len(costs) - 1, -1, -1) // size
    extra = np.bincount(piece, np.where(taken, 0.0, costs - passed))
    left, a_day = limit - _cost(costs, taken, passed), DAY // (size * window)
    for stride in range(1, len(extra) + 1):
        # A distance that divides a day would come to the same hours again and again.
        if math.gcd(stride, a_day) == 1 and extra[::stride].sum() <= left:
            return np.asarray(taken | (piece % stride == 0), bool)
    return taken


def _cost(costs: Seconds, taken: Mask, passed: float) -> float:
    """Seconds for reading what is taken, and for passing over the rest."""
    return float(np.where(taken, costs, passed).sum())


def _ranges(taken: Mask, span: TimeRange, window: timedelta) -> tuple[TimeRange, ...]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], taken, [False]]).astype(np.int8))).tolist()
    return tuple(
        TimeRange(span.start + a * window, min(span.start + b * window, span.end))
        for a, b in zip(edges[::2], edges[1::2], strict=True)
    )


async def _lines_per_second(
    source: Source, reduction: ReductionSettings, lines: npt.NDArray[np.int64], span: TimeRange, piece: timedelta
) -> float:
    """How fast the newest lines are read and judged: `SAMPLE_LINES` of them at most, out of `STRETCH` or one piece."""
    newest = int(np.flatnonzero(lines)[-1])
    last = span.start + newest * piece
    end = min(last + piece, span.end)
    # Once for nothing: the first reading connects, imports and compiles.
    await read_and_reduce(source, TimeRange(last, end), reduction, SAMPLE_LINES)
    sums = lines[newest::-1].cumsum()[: max(1, STRETCH // piece)]
    size = min(int(np.searchsorted(sums, SAMPLE_LINES)) + 1, len(sums))
    began = time.monotonic()
    reduced = await read_and_reduce(source, TimeRange(last - (size - 1) * piece, end), reduction, SAMPLE_LINES)
    return max(reduced.lines.height, 1) / (max(time.monotonic() - began, 1e-3) * JUDGE_SHARE)


# --- In words ---------------------------------------------------------------------------------------------


def _worded(ranges: Sequence[TimeRange]) -> str:
    """Which part of the past the ranges are."""
    if not ranges:
        return "not one window"
    *earlier, last = ranges
    around = [r for r in earlier if (last.end - r.start) % DAY <= r.duration]
    between = [r for r in earlier if r not in around]
    parts = [f"the last {format_duration(last.duration)}"]
    if around:
        usual = sorted(r.duration for r in around)[len(around) // 2]
        parts.append(f"{format_duration(usual)} around {last.end:%H:%M} UTC of {len(around)} earlier days")
    if between:
        total = sum((r.duration for r in between), timedelta(0))
        parts.append(f"{format_duration(total)} in {len(between)} pieces between")
    return " and ".join(parts) if len(parts) < 3 else f"{parts[0]}, {parts[1]} and {parts[2]}"


def _amount(lines: int) -> str:
    return f"{lines / 1e6:.1f} M" if lines >= 1_000_000 else f"{lines:,}"


def _rounded(value: timedelta) -> timedelta:
    return max(floor(EPOCH + value, timedelta(seconds=1)) - EPOCH, timedelta(seconds=1))
