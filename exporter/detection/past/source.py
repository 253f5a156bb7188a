"""What has been of one source, as all of its views share it: windows that may still change, and what has settled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from exporter.detection.observation import Observation, empty
from exporter.detection.past import index as base
from exporter.detection.past.history import RECENT, History
from exporter.detection.past.index import Number, Placed, Seen
from exporter.detection.past.services import Services
from exporter.detection.rows import BLOCKS, OBSERVATIONS, PROGRESS, RENAMES, SERVICES, Rows, binary, integer
from exporter.detection.settings import DetectionSettings
from exporter.model import Write
from exporter.model.times import moment, rounded_up

LATELY = timedelta(hours=6)
"""How far back it is asked what has been usual lately, and what is new."""

Numbers = Mapping[str, int]
"""The few numbers of the views that are kept in the row of progress."""


@dataclass(frozen=True)
class Settled:
    """A window that will not change any more, before anyone has learnt from it.

    window: its start in seconds; `end`: its end in nanoseconds.
    observation, placed: what it held; None where it was never read.
    seasoned: whether enough had been learnt to call anything anomalous.
    failing: services that fail in it: of what tells the failure each template is learnt from one window.
    """

    window: int
    end: int
    observation: Observation | None
    placed: Placed | None
    seasoned: bool
    failing: frozenset[str] = frozenset()


class Past:
    """What has been of one source. Views read it; only the detector lets it grow."""

    def __init__(
        self,
        source: str,
        settings: DetectionSettings,
        window: timedelta,
        late_window: timedelta,
        idle: timedelta,
        max_age: timedelta,
    ) -> None:
        self.source = source
        self.settings = settings
        self.duration = window
        self.step = window // timedelta(seconds=1)
        """Seconds of a window."""
        self.late_window = late_window
        self.idle, self.max_age = idle, max_age
        """After how long a session is judged, and after how long it cannot come back."""
        self.texts: dict[int, str] = {}
        """The texts of templates."""
        self.pending: dict[int, Observation] = {}
        """Windows that are not settled."""
        self.settled = -1
        """The last window that has settled."""
        self.learnt = 0
        """Settled windows that had lines."""
        self.history = History(source, self.step, settings.history, min(settings.adopt_after, LATELY))
        self.services = Services(source, settings, self.step)
        self.counting: tuple[Callable[[Observation], Iterable[Number]], ...] = ()
        """What views count of a window, beside what is counted of every one."""
        self._renames: dict[int, int] = {}
        self._placed: dict[int, Placed] = {}
        """Numbers of windows that are not settled: the same as are made of their observations again."""

    def load(self, rows: Rows, texts: Mapping[int, str]) -> Numbers:
        """Learn again what the rows hold, exactly. Returns the numbers that the views keep among them."""
        numbers: Numbers = {}
        self.texts = dict(texts)
        self._renames = {integer(old): integer(new) for _, old, new in rows.get(RENAMES.name, ())}
        for _, settled, learnt, body in rows.get(PROGRESS.name, ()):
            self.settled, self.learnt = integer(settled), integer(learnt)
            numbers = json.loads(str(body))
        self.services.load(rows.get(SERVICES.name, ()))
        running: dict[int, Seen] = {}
        for _, window, body in rows.get(OBSERVATIONS.name, ()):
            one = self._observation(integer(window), binary(body))
            if one.window > self.settled:
                self.pending[one.window] = one
            elif not one.services.is_empty():
                running[one.window] = self._seen(one)
        self.history.load(rows.get(BLOCKS.name, ()), running, self._renames)
        return numbers

    def _observation(self, window: int, body: bytes) -> Observation:
        return Observation.from_bytes(self.source, body) if body else empty(self.source, window, self.duration)

    def placed(self, observation: Observation) -> Placed:
        """The numbers of a window by their places in the index."""
        return self.history.placed(self._seen(observation))

    def _seen(self, observation: Observation) -> Seen:
        return base.seen(observation, (number for count in self.counting for number in count(observation)))

    def before(self, window: int) -> list[Placed]:
        """The RECENT windows that end with this one, without it."""
        first = window - (RECENT - 1) * self.step
        pending = [start for start in sorted(self.pending) if first <= start < window]
        return [*self.history.before(window), *(self._numbers(start) for start in pending)]

    def _numbers(self, window: int) -> Placed:
        """Of a window that is not settled."""
        if window not in self._placed:
            self._placed[window] = self.placed(self.pending[window])
        return self._placed[window]

    def spoke_before(self, service: str, window: int) -> bool:
        """Whether a service has lines in an earlier window that is not settled."""
        return any(start < window and service in one.services["service"] for start, one in self.pending.items())

    def take(self, observation: Observation, placed: Placed, texts: dict[int, str]) -> tuple[Write, ...]:
        """Keep a window that may still change, in place of what it held before; of a settled one only its texts."""
        self.texts = texts
        if observation.window <= self.settled:
            return ()
        self.pending[observation.window] = observation
        self._placed[observation.window] = placed
        return self._observation_row(observation)

    def settle(self, window: int, seasoned: bool) -> Settled | None:
        """Let a window change no more; None where it has settled before, or before there was any."""
        observation = self.pending.pop(window, None)
        if window <= self.settled or (observation is None and self.settled < 0):
            return None
        self.settled = window
        end = (window + self.step) * 10**9
        if observation is None:
            return Settled(window, end, None, None, seasoned)
        placed = self._placed.pop(window, None) or self.placed(observation)
        return Settled(window, end, observation, placed, seasoned)

    def following(self, window: int) -> list[Observation]:
        """The RECENT windows that begin with this one, without it, as far as they were read."""
        last = window + (RECENT - 1) * self.step
        return [one for start, one in sorted(self.pending.items()) if window < start <= last]

    def rewritten(self, settled: Settled, observation: Observation) -> tuple[Settled, tuple[Write, ...]]:
        """The window with other numbers, and its row, which is read again as long as it is needed."""
        changed = replace(settled, observation=observation, placed=self.placed(observation))
        return changed, self._observation_row(observation)

    def learn(self, settled: Settled) -> None:
        """From a window of which every view has said what it has to say."""
        if settled.observation is None or settled.placed is None or settled.observation.services.is_empty():
            return
        self.learnt += 1
        self.services.learn(settled.observation)
        self.history.learn(settled.window, settled.placed)

    def close(self, window: int, numbers: Numbers) -> tuple[Write, ...]:
        """What follows once a window was learnt from: its hour is summed up, and what is old is forgotten."""
        rolled = self.history.roll(window)
        index = self.history.index
        pruned = self.history.prune(window)
        if self.history.index is not index:
            self._placed = {}
        progress = PROGRESS.put(self.source, [(self.settled, self.learnt, json.dumps(dict(numbers)))])
        return (*rolled, *self.services.writes(), *pruned, *progress)

    def dropped(self) -> dict[str, int]:
        """What limits left out since this was asked last, by reason."""
        dropped, self.services.dropped = self.services.dropped, 0
        return {"services": dropped}

    def rename(self, moves: Mapping[int, int]) -> tuple[Write, ...]:
        """Counts of merged templates move to the survivors."""
        for old, new in self._renames.items():
            self._renames[old] = moves.get(new, new)
        self._renames.update(moves)
        self.history.rename(moves, self._renames)
        self._placed = {}
        writes: list[Write] = []
        for window, one in self.pending.items():
            self.pending[window] = one.rename(moves.items())
            if self.pending[window] is not one:
                writes += self._observation_row(self.pending[window])
        return (*writes, *RENAMES.put(self.source, sorted(self._renames.items())))

    def settles_at(self, window: int) -> datetime:
        """When a window is settled, in event time."""
        return moment(window) + self.duration + rounded_up(self.late_window, self.duration)

    def _observation_row(self, observation: Observation) -> tuple[Write, ...]:
        body = b"" if observation.services.is_empty() else observation.to_bytes()
        return OBSERVATIONS.put(self.source, [(observation.window, body)])
