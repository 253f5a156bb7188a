"""Know the services of a source, and how regularly each of them speaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from exporter.detection.observation import Observation
from exporter.detection.rows import SERVICES, integer
from exporter.detection.settings import DetectionSettings
from exporter.model import SqlValue, Write


@dataclass(frozen=True)
class Known:
    """How regularly a service speaks, in windows that have settled; `first` and `last` are the starts of windows."""

    first: int
    last: int
    windows: int
    lines: int
    silent: int = 0
    """Windows in a row, up to now, in which it said nothing."""
    longest: int = 0
    """Its longest silence so far."""
    low: int = 0
    """Windows in a row in which it said nothing, or next to nothing."""
    alive: int = 0
    """Windows since its first in which its source said anything."""


class Services:
    """All services of a source."""

    def __init__(self, source: str, settings: DetectionSettings, step: int) -> None:
        self.source = source
        self.known: dict[str, Known] = {}
        self.dropped = 0
        self.adopted = max(1, int(settings.adopt_after.total_seconds()) // step)
        """Windows of silence after which nobody is missed any more."""
        self._most = settings.max_entities
        self._changed: set[str] = set()

    def windows(self, service: str) -> int:
        """Settled windows in which the service spoke."""
        found = self.known.get(service)
        return found.windows if found else 0

    def is_known(self, service: str, length: timedelta) -> bool:
        """Whether it has spoken for so long, from the first window to the last, in windows that have settled."""
        found = self.known.get(service)
        return found is not None and found.last - found.first >= length // timedelta(seconds=1)

    def learn(self, observation: Observation) -> None:
        """One settled window in which the source spoke."""
        spoke = dict(observation.services.select("service", "lines").iter_rows())
        for service in sorted(spoke.keys() - self.known.keys()):
            if len(self.known) >= self._most:
                self.dropped += 1
                continue
            self.known[service] = Known(observation.window, observation.window, 0, 0)
        self._changed.update(self.known)
        for service, one in list(self.known.items()):
            self.known[service] = self._after(one, observation.window, spoke.get(service, 0))
            if self.known[service].silent > 2 * self.adopted:
                del self.known[service]

    def _after(self, one: Known, window: int, lines: int) -> Known:
        """A service after one more window."""
        if not lines:
            return replace(one, silent=one.silent + 1, alive=one.alive + 1)
        return replace(
            one,
            last=window,
            windows=one.windows + 1,
            lines=one.lines + lines,
            longest=max(one.longest, one.silent if one.silent < self.adopted else 0),
            silent=0,
            alive=one.alive + 1,
        )

    def mark_low(self, service: str, run: int) -> None:
        """Remember for how many windows in a row it has said nothing, or next to nothing."""
        if run != self.known[service].low:
            self.known[service] = replace(self.known[service], low=run)
            self._changed.add(service)

    def writes(self) -> Iterator[Write]:
        """Rows of the services that changed since the last call."""
        names = sorted(self._changed)
        self._changed = set()
        yield from SERVICES.put(self.source, ((name, *_row(self.known[name])) for name in names if name in self.known))
        yield from SERVICES.delete(self.source, ((name,) for name in names if name not in self.known))

    def load(self, rows: Sequence[tuple[SqlValue, ...]]) -> None:
        """Rows as `writes` wrote them."""
        for _, service, *numbers in rows:
            self.known[str(service)] = Known(*map(integer, numbers))


def _row(one: Known) -> tuple[int, ...]:
    return (one.first, one.last, one.windows, one.lines, one.silent, one.longest, one.low, one.alive)
