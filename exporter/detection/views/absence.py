"""Know which services are regularly there, and say when one of them is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from exporter.detection.observation import Observation
from exporter.detection.past.history import Volume
from exporter.detection.settings import DetectionSettings
from exporter.model import SqlValue, Write

COLUMNS = ("source", "service", "first", "last", "windows", "lines", "silent", "longest", "low")

MIN_SHARE = 0.95
"""Share of the windows since its first in which a service must have spoken, to be missed: cron jobs do not."""

MIN_RUN = 3
"""Windows in a row that say nothing before it means anything."""

MIN_EXPECTED = 20.0
"""Lines that must be missing, in all, before silence is no accident."""

COLLAPSE = 0.1
"""What is left of the usual lines when a volume has collapsed."""


@dataclass(frozen=True)
class Known:
    """How regularly a service speaks. `longest` is its longest silence so far, `low` its run of collapsed windows."""

    first: int
    last: int
    windows: int
    lines: int
    silent: int = 0
    longest: int = 0
    low: int = 0
    """Windows in a row in which it said nothing, or next to nothing."""
    alive: int = 0
    """Windows since its first in which its source said anything."""


@dataclass
class Presences:
    """All services of a source."""

    source: str
    settings: DetectionSettings
    step: int
    known: dict[str, Known] = field(default_factory=dict)
    dropped: int = 0
    _changed: set[str] = field(default_factory=set)

    def windows(self, service: str) -> int:
        """Settled windows in which the service spoke."""
        found = self.known.get(service)
        return found.windows if found else 0

    def pending(self, service: str, window: int, pending: Mapping[int, Observation]) -> bool:
        """Whether it spoke before, in a window that is not settled."""
        return any(start < window and service in one.services["service"] for start, one in pending.items())

    def learn(self, observation: Observation) -> None:
        """One settled window in which the source spoke."""
        spoke = dict(observation.services.select("service", "lines").iter_rows())
        for service in sorted(spoke.keys() - self.known.keys()):
            if len(self.known) >= self.settings.max_entities:
                self.dropped += 1
                continue
            self.known[service] = Known(observation.window, observation.window, 0, 0)
        gone = []
        for service, one in self.known.items():
            lines = spoke.get(service)
            if lines:
                self.known[service] = replace(
                    one,
                    last=observation.window,
                    windows=one.windows + 1,
                    lines=one.lines + lines,
                    longest=max(one.longest, one.silent if one.silent < self._adopted() else 0),
                    silent=0,
                    alive=one.alive + 1,
                )
            else:
                self.known[service] = replace(one, silent=one.silent + 1, alive=one.alive + 1)
                if one.silent + 1 > 2 * self._adopted():
                    gone.append(service)
            self._changed.add(service)
        for service in gone:
            del self.known[service]

    def _adopted(self) -> int:
        """Windows of silence after which nobody is missed any more."""
        return max(1, int(self.settings.adopt_after.total_seconds()) // self.step)

    def missing(self, observation: Observation, volumes: Mapping[str, Volume]) -> list[tuple[str, float, float, int]]:
        """Services that are regularly there and are missing or nearly so: name, lines, expected lines, windows so far.

        `volumes` says of each service what its past has at this hour.
        """
        spoke = dict(observation.services.select("service", "lines").iter_rows())
        out = []
        for service, one in sorted(self.known.items()):
            volume = volumes.get(service, Volume(0.0, 0.0, False))
            usual, share = volume.usual, volume.share
            lines = spoke.get(service, 0)
            low = lines < COLLAPSE * usual or volume.short
            run = one.low + 1 if low else 0
            if run != one.low:
                self.known[service] = replace(one, low=run)
                self._changed.add(service)
            needed = max(MIN_RUN, 2 * one.longest + 1)
            regular = self._regular(one) and share >= MIN_SHARE
            if regular and needed <= run <= self._adopted() and run * usual >= MIN_EXPECTED:
                out.append((service, float(lines), usual, run))
        return out

    def _regular(self, one: Known) -> bool:
        spoken_until = one.alive - one.silent
        return one.windows >= self.settings.min_present_windows and one.windows >= MIN_SHARE * spoken_until

    def score(self, run: int) -> float:
        """The longer it is missing, the surer: half a power of ten for each window, up to one in a million."""
        return float(round(1.0 - 10.0 ** -min(6.0, 1.0 + 0.5 * run), 9))

    def writes(self) -> Iterator[Write]:
        """Rows of the services that changed since the last call."""
        names = sorted(self._changed)
        self._changed = set()
        kept: list[tuple[SqlValue, ...]] = [
            (self.source, name, *_row(self.known[name])) for name in names if name in self.known
        ]
        if kept:
            yield Write("detection_services", (*COLUMNS, "alive"), tuple(kept))
        gone = [(self.source, name) for name in names if name not in self.known]
        if gone:
            yield Write("detection_services", ("source", "service"), tuple(gone), delete=True)

    def load(self, rows: Sequence[tuple[SqlValue, ...]]) -> None:
        for _, service, *numbers in rows:
            self.known[str(service)] = Known(*(int(number or 0) for number in numbers))


def _row(one: Known) -> tuple[int, ...]:
    return (one.first, one.last, one.windows, one.lines, one.silent, one.longest, one.low, one.alive)
