"""Keep the sums of settled windows: the running hour window by window, earlier ones as one block an hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from exporter.detection.packing import pack, unpack
from exporter.detection.past import index as base
from exporter.detection.past.index import Bools, Index, Ints, Placed, Seen
from exporter.detection.rows import BLOCKS, OBSERVATIONS
from exporter.model import SqlValue, Write

Floats = npt.NDArray[np.float64]

HOUR = 3600
DAY = 24 * HOUR

MIN_DAYS = 2
"""Earlier days that must have had this hour before it counts as its own kind of time."""

MIN_PAST_WINDOWS = 30
"""Windows of a service in a past before that past may excuse anything."""

SHORT, SHORT_Z = 0.5, 4.0
"""A service falls short with less than this share of its usual lines, and so many deviations below them."""

RECENT = 10
"""Windows that are also judged together, so that what is too little for one window adds up."""


class History:
    """What the past of a source looked like: all of it, this hour of earlier days, and lately."""

    def __init__(self, source: str, step: int, keep: timedelta, lately: timedelta) -> None:
        self.source = source
        self.index = Index()
        self._step = step
        self._keep = keep // timedelta(seconds=1)
        self._lately = lately // timedelta(seconds=1)
        self._total = _no_sums()
        self._running: dict[int, Placed] = {}
        """Settled windows of the hours that are not blocks yet."""
        self._recent: dict[int, Placed] = {}
        """The last settled windows."""
        self._blocks: dict[int, tuple[int, bytes]] = {}
        self._renames: Mapping[int, int] = {}
        self._cached: dict[tuple[str, int], Ints] = {}
        self._shares: dict[tuple[int, ...], Floats] = {}

    # --- Learning ----------------------------------------------------------------------------------

    def placed(self, seen: Seen) -> Placed:
        """The numbers of a window by their places."""
        keys = [base.moved(key, self._renames) for key in seen.keys] if self._renames else seen.keys
        return Placed(self.index.places(keys), seen.count, seen.exposure)

    def learn(self, window: int, fresh: Placed) -> None:
        """Add one settled window."""
        self._running[window] = self._recent[window] = fresh
        self._total = base.widened(self._total, len(self.index))
        fresh.add_to(self._total)

    def roll(self, window: int) -> list[Write]:
        """When an hour is settled, its windows become one block; observations that nobody needs any more go."""
        closed = (window + self._step) // HOUR * HOUR
        hours: dict[int, list[int]] = {}
        for start in sorted(self._running):
            if start < closed:
                hours.setdefault(start // HOUR * HOUR, []).append(start)
        writes: list[Write] = []
        for hour, starts in sorted(hours.items()):
            sums = np.zeros((len(self.index), 4), np.int64)
            for start in starts:
                self._running.pop(start).add_to(sums)
            self._blocks[hour] = (len(starts), pack(base.frame(self.index, sums)))
            writes += BLOCKS.put(self.source, [(hour, *self._blocks[hour])])
        if hours:
            self._cached, self._shares = {}, {}
        oldest = window - RECENT * self._step
        self._recent = {start: one for start, one in self._recent.items() if start > oldest}
        closing = [start for starts in hours.values() for start in starts]
        spent = [start for start in (*closing, oldest, window) if not self.holds(start)]
        return [*writes, *OBSERVATIONS.delete(self.source, ((start,) for start in sorted(set(spent))))]

    def prune(self, window: int) -> list[Write]:
        """Forget what is older than `history`."""
        gone = sorted(hour for hour in self._blocks if hour + HOUR <= window - self._keep)
        for hour in gone:
            self._total = base.widened(self._total, len(self.index))
            self._total[: len(self.index)] -= self._sums([hour])
            del self._blocks[hour]
        if gone:
            self._cached, self._shares = {}, {}
            self._compact()
        return [*BLOCKS.delete(self.source, ((hour,) for hour in gone))]

    def _compact(self) -> None:
        """Places of what is in no window any more are given up once they are half of all."""
        live = np.count_nonzero(self._total[: len(self.index), base.WINDOWS])
        if len(self.index) <= 2 * live + 1000:
            return
        old, used = self.index, self.total()[:, base.WINDOWS] > 0
        for one in (*self._recent.values(), *self._running.values()):
            used[one.places] = True
        kept = np.flatnonzero(used)
        self.index = Index()
        target = np.zeros(len(old), np.int64)
        target[kept] = self.index.places([old.keys[place] for place in kept.tolist()])
        self._total = self._total[kept]
        self._replace(target)
        self._cached, self._shares = {}, {}

    def rename(self, moves: Mapping[int, int], all_moves: Mapping[int, int]) -> None:
        """Sums of merged templates move; blocks are moved whenever they are read."""
        self._renames = all_moves
        source = self.index.counting(moves)
        keys = [base.moved(self.index.keys[place], moves) for place in source.tolist()]
        target = np.arange(len(self.index))
        target[source] = self.index.places(keys)
        self._total = _moved(base.widened(self._total, len(self.index)), source, target[source])
        self._shares = {}
        self._cached = {
            name: _moved(base.widened(sums, len(self.index)), source, target[source])
            for name, sums in self._cached.items()
        }
        self._replace(target)

    def _replace(self, target: Ints) -> None:
        """Give the numbers of the windows that are held their new places."""
        fresh = {
            start: Placed(target[one.places], one.count, one.exposure)
            for start, one in {**self._recent, **self._running}.items()
        }
        self._running = {start: fresh[start] for start in self._running}
        self._recent = {start: fresh[start] for start in self._recent}

    def load(
        self, blocks: Sequence[tuple[SqlValue, ...]], settled: Mapping[int, Seen], renames: Mapping[int, int]
    ) -> None:
        """From rows as they were written, and the numbers of the settled windows that are still kept."""
        self._renames = renames
        for _, hour, count, body in blocks:
            self._blocks[int(hour or 0)] = (int(count or 0), body if isinstance(body, bytes) else b"")
        newest = max(settled, default=0)
        self._total = self._sums(self._blocks)
        for window, seen in settled.items():
            fresh = self.placed(seen)
            if window > newest - RECENT * self._step:
                self._recent[window] = fresh
            if window // HOUR * HOUR not in self._blocks:
                self._running[window] = fresh
                self._total = base.widened(self._total, len(self.index))
                fresh.add_to(self._total)

    def _sums(self, hours: Sequence[int] | Mapping[int, object]) -> Ints:
        """Sums over the blocks of these hours, by place."""
        parts = []
        for hour in sorted(hours):
            rows = unpack(self._blocks[hour][1])
            parts.append((self.index.places(base.keys_of(rows, self._renames)), base.sums_of(rows)))
        sums = np.zeros((len(self.index), 4), np.int64)
        for places, values in parts:
            np.add.at(sums, places, values)
        return sums

    def holds(self, window: int) -> bool:
        """Whether the window's observation is still needed."""
        return window in self._running or window in self._recent

    # --- Looking back ------------------------------------------------------------------------------

    def before(self, window: int) -> list[Placed]:
        """The settled ones of the RECENT windows that end before this one begins."""
        first = window - (RECENT - 1) * self._step
        return [self._recent[start] for start in range(first, window, self._step) if start in self._recent]

    def total(self) -> Ints:
        """Sums over all that is remembered, by place."""
        self._total = base.widened(self._total, len(self.index))
        return self._total[: len(self.index)]

    def pasts(self, window: int) -> list[Ints]:
        """What a window is compared with: everything; and, where there is enough, this hour of the day, and lately."""
        return [self.total(), *(past for past in (self.same_hour(window), self.lately()) if past is not None)]

    def same_hour(self, window: int) -> Ints | None:
        """Sums of this hour of earlier days, of the services that were there often enough."""
        place = window % DAY // HOUR
        hours = self.hours_like(window)
        return self._past("hour", place, hours) if len(hours) >= MIN_DAYS else None

    def lately(self) -> Ints | None:
        """Sums of the last hours, once at least half of it was seen: what is usual here is the new normal."""
        hours = self._hours_lately()
        seen = sum(self._blocks[hour][0] for hour in hours)
        return (
            self._past("lately", max(hours) + HOUR, hours) if hours and 2 * seen * self._step >= self._lately else None
        )

    def _hours_lately(self) -> list[int]:
        newest = max(self._blocks, default=0) + HOUR
        return [hour for hour in self._blocks if hour >= newest - self._lately]

    def vanished(self) -> Bools | None:
        """By place, what a service that goes on has not written lately, though at these hours of earlier
        days it did: it is gone for good, and no longer missed. What comes once a day is missed at its own hour."""
        lately = self.lately()
        if lately is None:
            return None
        own = self._hours_lately()
        like = {hour % DAY // HOUR for hour in own}
        before = [hour for hour in self._blocks if hour < min(own) and hour % DAY // HOUR in like]
        then = self._past("earlier", max(own), before) if before else self.total()
        went = lately[self.index.against, base.SUM] > 0
        return np.asarray(went & (lately[:, base.SUM] == 0) & (then[:, base.SUM] > 0))

    def lines_at(self, window: int) -> tuple[Ints, int] | None:
        """By place, the counts of this hour of earlier days, and the windows of it; None where it had too few days."""
        hours = self.hours_like(window)
        if len(hours) < MIN_DAYS:
            return None
        sums = self._past("every", window % DAY // HOUR, hours, often=False)
        return sums[:, base.SUM], sum(self._blocks[hour][0] for hour in hours)

    def _past(self, name: str, place: int, hours: Sequence[int], often: bool = True) -> Ints:
        """often: of services that were there often enough alone."""
        key = (name, place)
        if key not in self._cached:
            sums = self._sums(hours)
            if often:
                sums[~_often_there(self.index, sums)] = 0
            self._cached[key] = sums
        self._cached[key] = base.widened(self._cached[key], len(self.index))
        return self._cached[key][: len(self.index)]

    def level(self, hours: Sequence[int], least: int) -> Floats:
        """By place, the median over hours of the share that a value had, also in windows that are left out of the past;
        0 where fewer than `least` of them had lines."""
        key = (least, *sorted(hours))
        if key not in self._shares:
            sums = [self._sums([hour])[:, base.SUM] for hour in key[1:]] if len(hours) >= least else []
            self._shares[key] = _median_shares(self.index, sums, least)
        return self._shares[key]

    def last_hours(self, number: int) -> list[int]:
        """The newest of the hours that are closed."""
        return sorted(self._blocks)[-number:]

    def hours_like(self, window: int) -> list[int]:
        """This hour of earlier days."""
        return [hour for hour in self._blocks if hour % DAY // HOUR == window % DAY // HOUR]

    def young(self, places: Ints) -> Ints:
        """Those of these places whose templates came within the last hours, to services that are older."""
        newest = max(self._blocks, default=0) + HOUR
        old = self._windows_before(newest - self._lately)
        templates: Ints = places[self.index.kind[places] == base.TEMPLATE]
        young: Bools = (old[templates] == 0) & (old[self.index.against[templates]] > 0)
        return templates[young]

    def _windows_before(self, moment: int) -> Ints:
        """By place, in how many windows each number was, of the blocks that begin before a moment."""
        key = ("before", moment)
        if key not in self._cached:
            recent = self._sums([hour for hour in self._blocks if hour >= moment])
            windows = self.total()[:, base.WINDOWS].copy()
            windows[: len(recent)] -= recent[:, base.WINDOWS]
            for one in self._running.values():
                np.subtract.at(windows, one.places, 1)
            self._cached[key] = windows
        self._cached[key] = base.widened(self._cached[key], len(self.index))
        return self._cached[key][: len(self.index)]

    def windows_at(self, window: int) -> int:
        """Windows with lines at this hour of earlier days."""
        place = window % DAY // HOUR
        return sum(count for hour, (count, _) in self._blocks.items() if hour % DAY // HOUR == place)

    def volumes(self, window: int, placed: Placed) -> dict[str, Volume]:
        """What the past expects of each service at this hour, and whether a settled window falls short of it.

        Of this hour of earlier days and the last hours the one that expects less counts; all of the past only where
        there is neither. What is beyond chance is told from the first of them that knows the service: the last hours
        have the evening too, and all of the past the nights.
        """
        index = self.index
        places: Ints = np.flatnonzero(index.kind == base.VOLUME)
        hour = self.same_hour(window)
        recent = [*self.before(window), placed]
        # A gap of the source among the last windows says nothing about its services.
        spans = [[placed], recent] if len(recent) == RECENT else [[placed]]
        lines = [(len(span), self._lines(span)[places]) for span in spans]
        pasts = [(past, False) for past in (hour, self.lately()) if past is not None]
        usual, short = _shortfall([*pasts, (self.total(), True)], places, lines)
        share = np.ones(len(places)) if hour is None else hour[places, base.WINDOWS] / max(self.windows_at(window), 1)
        names = [index.services[number] for number in index.service[places].tolist()]
        rows = zip(names, usual.tolist(), share.tolist(), short.tolist(), strict=True)
        return {name: Volume(mean, often, low) for name, mean, often, low in rows if mean != np.inf}

    def _lines(self, span: Sequence[Placed]) -> Ints:
        """By place, the counts of these windows."""
        sums = np.zeros(len(self.index), np.int64)
        for one in span:
            np.add.at(sums, one.places, one.count)
        return sums


@dataclass(frozen=True)
class Volume:
    """Lines that a service usually has in a window, how regularly it is there, and whether it falls short now."""

    usual: float
    share: float
    short: bool


def _moved(sums: Ints, source: Ints, target: Ints) -> Ints:
    """The sums of some places are added to those of others."""
    values = sums[source]
    sums[source] = 0
    np.add.at(sums, target, values)
    return sums


def _often_there(index: Index, sums: Ints) -> Bools:
    """By place, whether its service was there in enough windows."""
    often = np.zeros(len(index.services), np.bool_)
    exposed = (index.kind == base.EXPOSURE) & (sums[:, base.WINDOWS] >= MIN_PAST_WINDOWS)
    often[index.service[exposed]] = True
    return np.asarray(often[index.service])


def _shortfall(
    pasts: Sequence[tuple[Ints, bool]], places: Ints, lines: Sequence[tuple[int, Ints]]
) -> tuple[Floats, Bools]:
    """Lines that services usually have, and whether they fall short of them. A past of all that is remembered (True)
    counts only where the others do not know a service."""
    usual = np.full(len(places), np.inf)
    far = np.zeros((len(lines), len(places)), np.bool_)
    for past, everything in pasts:
        new = (past[places, base.WINDOWS] > 0) & (usual == np.inf)
        there = new if everything else past[places, base.WINDOWS] > 0
        mean, found = _far_below(past[places], lines)
        far[:, new] = found[:, new]
        usual[there] = np.minimum(usual[there], mean[there])
    few = np.array([seen < SHORT * number * usual for number, seen in lines])
    short: Bools = np.any(few & far, axis=0)
    return usual, short


def _far_below(past: Ints, lines: Sequence[tuple[int, Ints]]) -> tuple[Floats, Bools]:
    """Mean lines a window, and whether these numbers of windows have less than that beyond chance, a row for each."""
    windows, sums, squares = (past[:, column].astype(float) for column in (base.WINDOWS, base.SUM, base.SQUARES))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums / windows
        extra = np.clip(np.nan_to_num((squares / windows - mean**2 - mean) / mean**2, posinf=0.0), 0.0, 1e6)
        rows = []
        for number, seen in lines:
            expected = number * mean
            z = 2 * (np.sqrt(seen + 0.375) - np.sqrt(expected + 0.375)) / np.sqrt(1 + extra * expected)
            rows.append(z <= -SHORT_Z)
    return mean, np.array(rows)


def _no_sums() -> Ints:
    return np.zeros((0, 4), np.int64)


def _median_shares(index: Index, sums: Sequence[Ints], least: int) -> Floats:
    """By place, the median over hours of the share that a value had; 0 where fewer than `least` had lines.

    sums: by place, the counts of each hour; those of windows that are left out of the past count as the others.
    """
    length = len(index)
    shares, out = np.full((len(sums), length), np.nan), np.zeros(length)
    for row, one in zip(shares, sums, strict=True):
        counts: Floats = np.bincount(index.learnt[: len(one)], one, length).astype(float)
        lines = counts[index.against]
        row[lines > 0] = (counts[lines > 0] + 0.5) / (lines[lines > 0] + 1)
    known = (~np.isnan(shares)).sum(axis=0) >= least
    if len(sums):
        out[known] = np.nanmedian(shares[:, known], axis=0)
    return out
