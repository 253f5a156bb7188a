"""Judge lines as they come through a pipe: windows in order, findings as soon as they are known, and no incidents."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import polars as pl

from exporter.config import Config
from exporter.detection.observation import observe
from exporter.facts import story
from exporter.facts.observed import Observed, observed
from exporter.facts.story import Told
from exporter.flow.brain import Brain, Judgement
from exporter.incidents.given import MOST_CHARS, MOST_LINES
from exporter.ingest import reduction
from exporter.mining.miner import Miner
from exporter.model import (
    Anomaly,
    Clock,
    Evidence,
    Reduced,
    evidence_id,
    failure_in,
    from_nanoseconds,
    nanoseconds,
)
from exporter.model.facts import UNKNOWN
from exporter.model.times import Window, moment, nanoseconds_in, seconds
from exporter.run.assembly import make_brain, reduction_settings
from exporter.run.learning import open_state
from exporter.state.checkpoints import Checkpoint, checkpoint, checkpoint_row
from exporter.state.file import State

AHEAD = timedelta(days=1)
"""How far ahead of the clock the time of a line may be: one of the year 2099 would end all windows before it."""

MOST_EMPTY = 1_440
"""Windows without lines that are judged in a row; over a longer hole nothing is said."""


class Stream:
    """Lines in, findings out. A window is judged once a line is `wait` younger than its end, and never again.

    left_out: lines that were not judged, by reason. learning: what is missing before anything may be found.
    """

    def __init__(self, config: Config, clock: Clock, wait: timedelta, state: State | None = None) -> None:
        source = config.sources[0]
        self.left_out: Counter[str] = Counter()
        self.judged = 0
        self._name = source.name
        self._window = source.window
        self._wait = nanoseconds_in(wait)
        self._clock = clock
        self._state = state
        self._brain: Brain = make_brain(config, source)
        key = state.redaction_key() if state else b""
        self._settings = reduction_settings(config, source, key)
        self._held: dict[int, list[Reduced]] = {}
        """Windows that may still get lines, by their starts in seconds."""
        self._next: int | None = None
        """The start of the window that is judged next."""
        self._newest = 0

    @property
    def learning(self) -> str:
        return self._brain.detector.learning

    async def load(self) -> None:
        """Begin with what was learnt before."""
        if self._state is None:
            return
        known = await checkpoint(self._state, self._name)
        if known is not None:
            rows = await self._state.derived_rows(self._name)
            await asyncio.to_thread(self._brain.load, rows)
            self._next = seconds(known.read_through)

    async def findings(self, pages: AsyncIterator[pl.DataFrame]) -> AsyncIterator[Anomaly]:
        """What is unusual in the lines of all pages, in order."""
        async for page in pages:
            await asyncio.to_thread(self._take, page)
            for window in self._complete(self._newest - self._wait):
                for found in await self._judge(window):
                    yield found
        for window in self._complete(None):
            for found in await self._judge(window):
                yield found
        if self._state is None:
            for found in self._brain.detector.finish().anomalies:
                yield found

    def _take(self, page: pl.DataFrame) -> None:
        latest = nanoseconds(self._clock.now() + AHEAD)
        ahead = int((page["timestamp"] > latest).sum() or 0)
        self.left_out["time_ahead"] += ahead
        kept = page.filter(pl.col("timestamp").is_null() | (pl.col("timestamp") <= latest)) if ahead else page
        reduced = reduction.reduce(kept, self._settings)
        self.left_out.update(reduced.dropped)
        if reduced.lines.height:
            self._newest = max(self._newest, int(reduced.lines["timestamp"].max()))  # type: ignore[arg-type]
        for start, part in reduction.windows(replace(reduced, dropped={}), self._window).items():
            if self._next is not None and start < self._next:
                self.left_out["late"] += part.lines.height
            else:
                self._held.setdefault(start, []).append(part)

    def _complete(self, until: int | None) -> Iterator[Window]:
        """The windows that get no more lines, in order: those that end by `until` (nanoseconds), or all there are."""
        step = int(self._window.total_seconds())
        while self._held:
            first = min(self._held)
            start = first if self._next is None or (first - self._next) // step > MOST_EMPTY else self._next
            if until is not None and (start + step) * 1_000_000_000 > until:
                return
            self._next = start + step
            yield Window(moment(start), self._window)

    async def _judge(self, window: Window) -> Sequence[Anomaly]:
        reduced = reduction.merge(self._held.pop(window.key, []))
        judgement = await asyncio.to_thread(self._brain.judge, window, reduced)
        self.judged += 1
        self.left_out.update(judgement.dropped)
        if self._state is not None:
            await self._keep(self._state, window, judgement)
        return judgement.anomalies

    async def _keep(self, state: State, window: Window, judgement: Judgement) -> None:
        """What was learnt of a window: it is there when the next pipe begins."""
        before = await checkpoint(state, self._name)
        began = before.started_at if before else window.start
        settled = max(window.end - self._brain.settling, before.settled_through if before else began)
        reached = Checkpoint(window.end, min(settled, window.end), started_at=began, warm_until=began)
        await state.write([*judgement.writes, checkpoint_row(self._name, reached)])


def stream_of(config: Config, clock: Clock, wait: timedelta, keeps: bool) -> tuple[Stream, State | None]:
    """A stream by the first source of a configuration; with `keeps`, what is learnt stands in its state file.

    Raises StateError where somebody else holds that.
    """
    state = open_state(config) if keeps else None
    return Stream(config, clock, wait, state), state


# --- Lines that somebody else found telling -----------------------------------------------------------


MOST_TOLD = 200_000
"""Lines that are looked at."""


async def told_of(
    pages: AsyncIterator[pl.DataFrame], config: Config, redact: Callable[[str], str], file: str = ""
) -> Told | None:
    """What lines say of a failure, counted, and the lines themselves; None where none has a time.

    `file` is where they are kept meanwhile: it is no part of what they are called.
    """
    read, rows = list[Reduced](), 0
    lines: dict[str, Evidence] = {}
    settings = reduction_settings(config, config.sources[0], b"")
    async for page in pages:
        kept = page.head(max(0, MOST_TOLD - rows)).with_columns(pl.col("id").str.strip_prefix(file))
        rows += kept.height
        read.append(await asyncio.to_thread(reduction.reduce, kept, settings))
        lines |= {line.id: line for line in _lines(kept, config.sources[0].name, redact)}
    whole = reduction.merge(read)
    if whole.lines.is_empty():
        return None
    told = await asyncio.to_thread(_told, whole, config)
    failing = tuple(replace(one, usual=UNKNOWN) for one in told.facts.failing)
    return Told(
        replace(told.facts, failing=failing), tuple({**{line.id: line for line in told.lines}, **lines}.values())
    )


def _told(reduced: Reduced, config: Config) -> Told:
    source = config.sources[0]
    miner, found = Miner(source.name, config.mining), list[tuple[str, int, Observed]]()
    for start, part in sorted(reduction.windows(reduced, source.window).items()):
        mined = miner.mine(start, part)
        seen = observe(source.name, start, source.window, part, mined)
        found.append((source.name, start, observed(source.name, seen, part, mined)))
    first = from_nanoseconds(int(reduced.lines["timestamp"].min()))  # type: ignore[arg-type]
    until = moment(found[-1][1]) + source.window
    return story.told(found, source.window, first, until, {})


def _lines(page: pl.DataFrame, source: str, redact: Callable[[str], str]) -> Iterator[Evidence]:
    """Lines as they are cited, the first of them; their words say how bad they are where nothing else does."""
    names = ("id", "timestamp", "service", "severity", "body", "host", "trace")
    for key, at, service, severity, body, host, trace in page.select(names).head(MOST_LINES).rows():
        if at is not None:
            said = redact(body)[:MOST_CHARS]
            level = severity or failure_in(said)
            line = evidence_id(source, key), source, service or "", from_nanoseconds(at), said, level
            yield Evidence(*line, host=host or "", trace=trace or "")
