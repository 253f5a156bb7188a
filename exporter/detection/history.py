"""Keep the sums of settled windows: the running hour window by window, earlier ones as one block an hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import polars as pl

from exporter.detection import baseline as base
from exporter.model import SqlValue, Write
from exporter.observation import Observation, pack, unpack

HOUR = 3600
DAY = 24 * HOUR

MIN_DAYS = 2
"""Earlier days that must have had this hour before it counts as its own kind of time."""

MIN_PAST_WINDOWS = 30
"""Windows of a service in a past before that past may excuse anything."""


class History:
    """What the past of a source looked like: all of it, this hour of earlier days, and lately."""

    def __init__(self, source: str, step: int, keep: timedelta, adopt_after: timedelta) -> None:
        self.source = source
        self.total = base.empty()
        self._step = step
        self._keep = keep // timedelta(seconds=1)
        self._adopt = adopt_after // timedelta(seconds=1)
        self._running: dict[int, pl.DataFrame] = {}
        self._blocks: dict[int, tuple[int, bytes]] = {}
        self._renames: Mapping[int, int] = {}
        self._cached: dict[tuple[str, int], pl.DataFrame] = {}

    # --- Learning ----------------------------------------------------------------------------------

    def learn(self, window: int, seen: pl.DataFrame) -> None:
        """Add one settled window, as `baseline.features` has it."""
        fresh = base.sums(seen)
        self._running[window] = fresh
        self.total = base.add([self.total, fresh])

    def roll(self, window: int) -> list[Write]:
        """When an hour is settled, its windows become one block and their observations go."""
        closed = (window + self._step) // HOUR * HOUR
        hours: dict[int, list[int]] = {}
        for start in sorted(self._running):
            if start < closed:
                hours.setdefault(start // HOUR * HOUR, []).append(start)
        writes = []
        for hour, starts in sorted(hours.items()):
            block = base.add([self._running.pop(start) for start in starts]).sort(base.KEYS)
            self._blocks[hour] = (len(starts), pack(block))
            row = (self.source, hour, *self._blocks[hour])
            writes.append(Write("detection_blocks", ("source", "hour", "windows", "body"), (row,)))
            keys = tuple((self.source, start) for start in starts)
            writes.append(Write("detection_observations", ("source", "window"), keys, delete=True))
        if hours:
            self._cached = {}
        return writes

    def prune(self, window: int) -> list[Write]:
        """Forget what is older than `history`."""
        gone = sorted(hour for hour in self._blocks if hour + HOUR <= window - self._keep)
        for hour in gone:
            self.total = base.subtract(self.total, self._block(hour))
            del self._blocks[hour]
        if not gone:
            return []
        self._cached = {}
        keys = tuple((self.source, hour) for hour in gone)
        return [Write("detection_blocks", ("source", "hour"), keys, delete=True)]

    def rename(self, moves: Mapping[int, int], all_moves: Mapping[int, int]) -> None:
        """Sums of merged templates move; blocks are moved whenever they are read."""
        self._renames = all_moves
        self.total = base.rename(self.total, moves)
        self._running = {window: base.rename(sums, moves) for window, sums in self._running.items()}
        self._cached = {}

    def load(
        self, blocks: Sequence[tuple[SqlValue, ...]], running: Sequence[Observation], renames: Mapping[int, int]
    ) -> None:
        """From rows as they were written, and the settled observations of the running hour."""
        self._renames = renames
        for _, hour, count, body in blocks:
            self._blocks[int(hour or 0)] = (int(count or 0), body if isinstance(body, bytes) else b"")
        self._running = {one.window: self._renamed(base.sums(base.features(one))) for one in running}
        self.total = base.add([*map(self._block, sorted(self._blocks)), *self._running.values()])

    def _block(self, hour: int) -> pl.DataFrame:
        return self._renamed(unpack(self._blocks[hour][1]))

    def _renamed(self, sums: pl.DataFrame) -> pl.DataFrame:
        return base.rename(sums, self._renames) if self._renames else sums

    def holds(self, window: int) -> bool:
        """Whether the window's observation is still needed."""
        return window in self._running

    # --- Looking back ------------------------------------------------------------------------------

    def pasts(self, window: int) -> list[pl.DataFrame]:
        """What a window is compared with: everything; and, where there is enough, this hour of the day, and lately."""
        return [self.total, *(past for past in (self.same_hour(window), self.lately()) if past is not None)]

    def same_hour(self, window: int) -> pl.DataFrame | None:
        """Sums of this hour of earlier days, of the services that were there often enough."""
        place = window % DAY // HOUR
        hours = [hour for hour in self._blocks if hour % DAY // HOUR == place]
        return self._past("hour", place, hours) if len(hours) >= MIN_DAYS else None

    def lately(self) -> pl.DataFrame | None:
        """Sums of the last `adopt_after`, once at least half of it was seen: what is usual here is the new normal."""
        newest = max(self._blocks, default=0) + HOUR
        hours = [hour for hour in self._blocks if hour >= newest - self._adopt]
        seen = sum(self._blocks[hour][0] for hour in hours)
        return self._past("lately", newest, hours) if 2 * seen * self._step >= self._adopt else None

    def _past(self, name: str, place: int, hours: Sequence[int]) -> pl.DataFrame:
        key = (name, place)
        if key not in self._cached:
            whole = base.add([self._block(hour) for hour in sorted(hours)])
            often = whole.filter((pl.col("kind") == base.EXPOSURE) & (pl.col("windows") >= MIN_PAST_WINDOWS))
            self._cached[key] = whole.filter(pl.col("service").is_in(often["service"].implode()))
        return self._cached[key]

    def windows_at(self, window: int) -> int:
        """Windows with lines at this hour of earlier days."""
        place = window % DAY // HOUR
        return sum(count for hour, (count, _) in self._blocks.items() if hour % DAY // HOUR == place)

    def expected_lines(self, window: int) -> dict[str, tuple[float, float]]:
        """Of each service at this hour: the least that any past expects of it, and how regularly it is there."""
        out: dict[str, tuple[float, float]] = {}
        hour = self.same_hour(window)
        for past, total in ((hour, self.windows_at(window)), (self.lately(), 0), (self.total, 0)):
            if past is None:
                continue
            volumes = past.filter(pl.col("kind") == base.VOLUME).select("service", "windows", "sum")
            for service, count, lines in volumes.iter_rows():
                known = out.get(service, (float("inf"), 1.0))
                share = min(known[1], count / total) if total else known[1]
                out[service] = (min(known[0], lines / count), share)
        if hour is not None:
            present = set(hour["service"].unique())
            out = {name: (lines, share if name in present else 0.0) for name, (lines, share) in out.items()}
        return out
