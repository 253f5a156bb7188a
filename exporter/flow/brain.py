"""What is known of one source: mine, observe, detect, and learn what has settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from exporter.detection import Detection, Detector
from exporter.detection.observation import observe
from exporter.facts.observed import forgotten_rows, observed_rows
from exporter.mining.miner import Miner
from exporter.model import Anomaly, Reduced, SqlValue, TransientError, Write
from exporter.model.times import Window, rounded_up, seconds
from exporter.state.file import State
from exporter.state.learnt import unlearnt
from exporter.state.notices import lasting_rows, notice_rows


@dataclass(frozen=True)
class Judgement:
    """What judging a window changed, as values."""

    writes: tuple[Write, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    detections: tuple[Detection, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    new_templates: int = 0


class Brain:
    """What is known of one source; what is in memory is what is in the rows."""

    def __init__(
        self, source: str, miner: Miner, detector: Detector, window: timedelta, late_window: timedelta
    ) -> None:
        self.source = source
        self.miner = miner
        self.detector = detector
        self.settling = rounded_up(late_window, window)
        """After so long a window is settled."""

    def judge(self, window: Window, reduced: Reduced) -> Judgement:
        """Mine, observe, detect; then learn from the window that is settled now."""
        mined = self.miner.mine(window.key, reduced)
        observation = observe(self.source, window.key, window.length, reduced, mined)
        detection = self.detector.judge(observation, mined, reduced.exemplars)
        noticed = notice_rows(self.source, window, detection.notices)
        said = observed_rows(self.source, observation, reduced, mined)
        writes, new = (*mined.writes, *detection.writes, *noticed, *said), len(mined.new)
        own = Judgement(writes, detection.anomalies, (detection,), mined.dropped, new)
        return _together(own, self.settle(window))

    def settle(self, window: Window) -> Judgement:
        """What follows from event time alone when `window` has passed, with or without lines."""
        detection = self.detector.settle(seconds(window.start - self.settling))
        forgotten = forgotten_rows(self.source, window.key)
        noticed = lasting_rows(self.source, window, detection.notices)
        writes = (*detection.writes, *noticed, *self.miner.retire(window.key), *forgotten)
        return Judgement(writes, detection.anomalies, (detection,))

    def load(self, rows: Mapping[str, Sequence[tuple[SqlValue, ...]]]) -> None:
        """Learn again, exactly, what the rows hold."""
        self.miner.load(rows)
        self.detector.load(rows, self.miner.texts())

    def preview(self, window: Window, reduced: Reduced) -> Judgement:
        """Judge without learning: nothing changes, a shape without a template is simply new."""
        mined = self.miner.mine(window.key, reduced, learn=False)
        observation = observe(self.source, window.key, window.length, reduced, mined)
        detection = self.detector.judge(observation, mined, reduced.exemplars, learn=False)
        return Judgement((), detection.anomalies, (detection,), mined.dropped)


def _together(first: Judgement, second: Judgement) -> Judgement:
    return Judgement(
        first.writes + second.writes,
        first.anomalies + second.anomalies,
        first.detections + second.detections,
        first.dropped,
        first.new_templates,
    )


class BrainKeeper:
    """The brain of a source as its rows say it is: made when first needed, and again after a failure."""

    def __init__(self, source: str, make_brain: Callable[[], Brain], state: State) -> None:
        self._source = source
        self._make_brain = make_brain
        self._state = state
        self._brain: Brain | None = None
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Brain]:
        """For one job at a time, from judging to the commit: it is not made for two threads, and nobody may load it
        while its rows are not there yet. When the job fails, memory may differ from the rows, and it is dropped."""
        async with self._lock:
            brain = await self.brain()
            try:
                yield brain
            except BaseException:
                self._brain = None
                raise

    @asynccontextmanager
    async def taken_back(self) -> AsyncIterator[None]:
        """While its rows are taken away, or made what they were before: it is loaded when it is needed next."""
        async with self._lock:
            self._brain = None
            yield

    async def brain(self) -> Brain:
        if self._brain is None:
            brain = self._make_brain()
            rows = await self._state.derived_rows(self._source)
            try:
                await asyncio.to_thread(brain.load, rows)
            except (OSError, MemoryError):
                # The machine fails, no row: what was learnt stays.
                raise
            except Exception as error:
                # Whatever is wrong with a row: what was learnt can be learnt again.
                await self._state.write(unlearnt(self._state, self._source))
                self._state.aside.note("learnt", self._source, error, "nothing is to be done: it is learnt anew")
                raise TransientError(f"{self._source}: what was learnt cannot be read, and is learnt anew") from error
            self._brain = brain
        return self._brain

    @property
    def learning(self) -> str:
        """What is still missing before a window may be called anomalous, in words."""
        return self._brain.detector.learning if self._brain else ""
