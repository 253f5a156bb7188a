"""A shop of services that logs: requests, jobs, releases, oddities and failures as a pure function of time.

One file, from top to bottom in the order in which lines come to be: shop, cell, block, line.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from exporter.demo.shop.catalogue import (
    DIGEST,
    FLOWS,
    GO,
    JVM,
    NEWS,
    NODE,
    ODDITIES,
    ON_DEMAND,
    PLATFORMS,
    REPLICAS,
    Call,
    Flow,
    Seen,
    Statement,
    statement,
)
from exporter.demo.shop.failures import KINDS, Effect, Failure, effect_of, say
from exporter.demo.shop.values import Lines, Numbers, Printer, hexadecimal, mix
from exporter.model import EPOCH, TimeRange, from_nanoseconds, nanoseconds, page_schema

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BLOCK = 1800
"""Seconds that are generated at a time. A request and all that it queues must be over within one more block."""

CACHED_BLOCKS = 12
DAY = 86400
LINES_PER_SECOND = 10 / 12
"""Of a service, on average, when nothing else is asked for."""
BACKGROUND_SHARE = 0.25
RELEASE_PERIOD = 4 * DAY
FAILING = 0.0004
"""Share of calls that fail at any time, for no reason that matters."""
GLITCHES_PER_DAY = 2.0
"""Stretches of some seconds in which one service fails a little, and recovers by itself."""
STATEMENT = 0.0002
"""Seconds from one statement to the next."""
TIMEOUT = 5.0
SLOW = 1.0
ROLLING = 40.0
"""Seconds between two instances when a release replaces them."""
OUT_OF_MEMORY = "F Killed: out of memory, {mb} MB in use"
SEEN: tuple[Seen, ...] = ("error", "timeout", "refused", "reset", "tls", "dns")
PLATFORM_NAME = {id(JVM): "JVM", id(GO): "GO", id(NODE): "NODE"}
UNEXPECTED = {
    name: tuple(statement(name, text) for text in platform.unexpected) for name, platform in PLATFORMS.items()
}


@dataclass(frozen=True)
class Release:
    """A new version of a service; what a pipeline would announce."""

    at: datetime
    service: str
    version: str


@dataclass(frozen=True)
class _Trouble:
    """A failure of a service inside one block, in seconds from the block's start."""

    effect: Effect
    start: float
    end: float

    def strength(self, at: Floats) -> Floats:
        """From 0 to 1, at each moment."""
        inside = (at >= self.start) & (at < self.end)
        if not self.effect.growing:
            return inside.astype(np.float64)
        return np.where(inside, (at - self.start) / (self.end - self.start), 0.0)


@dataclass(frozen=True)
class Events:
    """What the requests and the background of one block log, as numbers; a row a line, in order of time."""

    time: Ints
    statement: NDArray[np.int32]
    request: Numbers
    line: Numbers
    traced: Bools
    milliseconds: NDArray[np.float32]
    instance: Ints

    def rows(self, at: Ints | slice) -> Events:
        return Events(*(column[at] for column in self.columns()))

    def columns(self) -> tuple[NDArray[Any], ...]:
        return (
            self.time,
            self.statement,
            self.request,
            self.line,
            self.traced,
            self.milliseconds,
            self.instance,
        )


class Shop:
    """Services that log from `start` to `end`: the same lines at every reading, however the time is divided.

    `services` is a multiple of twelve or any other number: beyond twelve there are further shops of the same kind,
    their services with a number behind the name. `rate` is the average of lines a second of all of them together.
    Failures happen only if they are given (`all_failures`, `Failure`).
    """

    def __init__(
        self,
        services: int = 12,
        seed: int = 0,
        start: datetime = datetime(2025, 3, 3, tzinfo=UTC),
        days: float = 14.0,
        rate: float | None = None,
        failures: Sequence[Failure] = (),
        releases: bool = True,
    ) -> None:
        if services < 1:
            raise ValueError(f"a shop has at least 1 service, not {services}")
        self.start = start
        self.end = start + timedelta(days=days)
        self.rate = rate if rate is not None else LINES_PER_SECOND * services
        self.seed = seed
        names = list(PLATFORMS)
        cells = -(-services // len(names))
        self.services = tuple(_named(name, cell) for cell in range(cells) for name in names)[:services]
        self.failures = tuple(sorted(failures, key=lambda failure: (failure.start, failure.service)))
        for failure in self.failures:
            if failure.service not in self.services:
                raise ValueError(f"{failure.kind}: the shop has no service {failure.service!r}")
        self._with_releases = releases
        self._cells = [_Cell(self, cell) for cell in range(cells)]
        self._lock = threading.RLock()
        self._blocks: OrderedDict[int, Events] = OrderedDict()
        self._counts: dict[int, Ints] = {}
        self._statements: dict[tuple[str, Statement], int] = {}
        self._instances: dict[int, str] = {}
        self._printer: Printer | None = None

    @property
    def time_range(self) -> TimeRange:
        return TimeRange(self.start, self.end)

    def labels(self) -> pl.DataFrame:
        """The failures in the form that `backtest --labels` reads: start, end, service, kind."""
        rows = [(f.start.isoformat(), f.end.isoformat(), f.service, f.kind) for f in self.failures]
        return pl.DataFrame(rows, schema=["start", "end", "service", "kind"], orient="row")

    def changes(self) -> tuple[Release, ...]:
        """The releases of the shop's time, in order."""
        found = [
            Release(at, service, version(number))
            for service in self.services
            for number, at in self.releases_of(service)
            if at in self.time_range
        ]
        return tuple(sorted(found, key=lambda release: (release.at, release.service)))

    def statements(self) -> tuple[tuple[str, str], ...]:
        """Service and text of every logging statement that was reached so far: the true templates."""
        return tuple((service, known.text) for service, known in self._statements)

    # --- Reading ------------------------------------------------------------------------------------------

    def page(self, time_range: TimeRange) -> pl.DataFrame:
        """All lines of a range, in order of time, in the form of a page."""
        events, ids = self._select(time_range)
        return self._render(events, ids)

    def count(self, time_range: TimeRange, window: timedelta) -> dict[datetime, int]:
        """How many lines each window of the epoch-aligned grid has inside the range."""
        clipped = self._clip(time_range)
        if clipped is None:
            return {}
        step = nanoseconds(EPOCH + window)
        if window % timedelta(minutes=1) or _whole(clipped, timedelta(minutes=1)) != clipped:
            times = self._select(clipped)[0].time
            starts, amounts = np.unique(times // step, return_counts=True)
        else:
            minutes, lines = self._per_minute(clipped)
            starts, inverse = np.unique(minutes * 60_000_000_000 // step, return_inverse=True)
            amounts = np.bincount(inverse, weights=lines, minlength=len(starts)).astype(np.int64)
        pairs = zip(starts.tolist(), amounts.tolist(), strict=True)
        return {from_nanoseconds(start * step): amount for start, amount in pairs if amount}

    def _per_minute(self, clipped: TimeRange) -> tuple[Ints, Ints]:
        blocks = range(_seconds(clipped.start) // BLOCK, -(-_seconds(clipped.end) // BLOCK))
        for block in blocks:
            if block not in self._counts:
                self._counts[block] = self._count_block(block)
        first = blocks.start * BLOCK // 60
        lines = np.concatenate([self._counts[block] for block in blocks])
        minutes = np.arange(first, first + lines.size)
        inside = (minutes >= _seconds(clipped.start) // 60) & (minutes < -(-_seconds(clipped.end) // 60))
        return minutes[inside], lines[inside]

    def _count_block(self, block: int) -> Ints:
        per_minute = np.zeros(BLOCK // 60, np.int64)
        for part in (block - 1, block):
            minute = (self._block(part).time - block * BLOCK * 1_000_000_000) // 60_000_000_000
            inside = minute[(minute >= 0) & (minute < per_minute.size)]
            per_minute += np.bincount(inside, minlength=per_minute.size)
        return per_minute

    def _clip(self, time_range: TimeRange) -> TimeRange | None:
        start, end = max(time_range.start, self.start), min(time_range.end, self.end)
        return TimeRange(start, end) if start < end else None

    def _select(self, time_range: TimeRange) -> tuple[Events, Ints]:
        clipped = self._clip(time_range)
        if clipped is None:
            return _EMPTY, np.empty((0, 2), np.int64)
        low, high = nanoseconds(clipped.start), nanoseconds(clipped.end)
        parts, ids = [_EMPTY], [np.empty((0, 2), np.int64)]
        for block in range(_seconds(clipped.start) // BLOCK - 1, -(-_seconds(clipped.end) // BLOCK)):
            events = self._block(block)
            first, last = np.searchsorted(events.time, (low, high))
            parts.append(events.rows(slice(first, last)))
            rows = np.arange(first, last)
            ids.append(np.column_stack((np.full(rows.size, block), rows)))
        joined = _join(parts)
        order = np.argsort(joined.time, kind="stable")
        return joined.rows(order), np.concatenate(ids)[order]

    def _block(self, block: int) -> Events:
        with self._lock:
            if block in self._blocks:
                self._blocks.move_to_end(block)
                return self._blocks[block]
            events = _join([cell.generate(block) for cell in self._cells])
            order = np.argsort(events.time, kind="stable")
            self._blocks[block] = events.rows(order)
            while len(self._blocks) > CACHED_BLOCKS:
                self._blocks.popitem(last=False)
            return self._blocks[block]

    # --- Printing -----------------------------------------------------------------------------------------

    def index(self, service: str, written: Statement) -> int:
        """The number of a statement; numbers are handed out as statements are first reached."""
        key = (service, written)
        number = self._statements.get(key)
        if number is None:
            number = self._statements[key] = len(self._statements)
            self._printer = None
        return number

    def instance(self, service: str, release: int, slot: int, replicas: int) -> int:
        """The number of the first instance of a release; those of its replicas follow it."""
        first = (slot << 40) | (max(release, 0) << 8)
        for code in range(first, first + replicas):
            if code not in self._instances:
                letters = int(mix(self.seed * 1000 + slot, code))
                tail = "".join("bcdfghjklmnpqrstvwxz"[(letters >> 5 * i) % 20] for i in range(5))
                self._instances[code] = f"{service}-{int(mix(slot, release)) & 0xFFFFFFFF:08x}-{tail}"
        return first

    def _render(self, events: Events, ids: Ints) -> pl.DataFrame:
        with self._lock:
            statements = list(self._statements)
            if self._printer is None:
                self._printer = Printer([_with_service(known.text, name) for name, known in statements])
            printer, instances = self._printer, dict(self._instances)
        codes, which = np.unique(events.instance, return_inverse=True)
        pods = pl.Series([instances[code] for code in codes.tolist()], dtype=pl.String)
        versions = pl.Series([version((code >> 8) & 0xFFFFFFFF) for code in codes.tolist()], dtype=pl.String)
        nodes = pl.Series([f"node-{int(mix(code, 9)) % 6 + 1}" for code in codes.tolist()], dtype=pl.String)

        def given(kind: str, at: Ints) -> pl.Series:
            if kind == "ms":
                return pl.Series(np.maximum(1, np.rint(events.milliseconds[at])).astype(np.int64)).cast(pl.String)
            if kind == "date":
                return pl.Series(events.time[at]).cast(pl.Datetime("ns")).dt.strftime("%Y-%m-%d")
            return (pods if kind == "pod" else versions).gather(pl.Series(which[at]))

        body = printer.print(Lines(events.statement, events.request, events.line, given))
        owner = pl.Series([name for name, _ in statements], dtype=pl.String)
        severity = pl.Series([known.severity for _, known in statements], dtype=pl.Int8)
        statement_index = pl.Series(events.statement.astype(np.uint32))
        pod_index = pl.Series(which)
        absent = ~events.traced
        frame = pl.DataFrame(
            {
                "id": pl.select(pl.format("{}-{}", pl.Series(ids[:, 0]), pl.Series(ids[:, 1]))).to_series(),
                "timestamp": events.time,
                "sequence": ids[:, 1],
                "stream": pods.gather(pod_index),
                "service": owner.gather(statement_index),
                "severity": severity.gather(statement_index),
                "body": body,
                "trace": _join_text(hexadecimal(mix(events.request, 21), 16), hexadecimal(mix(events.request, 22), 16)),
                "host": nodes.gather(pod_index),
                "instance": pods.gather(pod_index),
                "ingested_at": events.time + 1_000_000 * (400 + (events.line % np.uint64(1500)).astype(np.int64)),
            }
        )
        trace = pl.when(pl.Series(absent)).then(None).otherwise(pl.col("trace"))
        given_columns: dict[str, pl.Expr] = {name: pl.lit(None) for name in page_schema()}
        given_columns |= {name: pl.col(name) for name in frame.columns}
        given_columns["trace"] = trace
        return frame.select(**given_columns).cast(page_schema())  # type: ignore[arg-type]

    # --- Releases -----------------------------------------------------------------------------------------

    @cached_property
    def _releases(self) -> Mapping[str, list[tuple[int, datetime]]]:
        first = _seconds(self.start) // RELEASE_PERIOD - 3
        last = _seconds(self.end) // RELEASE_PERIOD + 1
        bad = {
            failure.service: [other for other in self.failures if other.service == failure.service]
            for failure in self.failures
            if effect_of(failure.kind, base_name(failure.service)).released
        }
        found: dict[str, list[tuple[int, datetime]]] = {}
        for slot, service in enumerate(self.services):
            times: list[tuple[int, datetime]] = [(100 * first, EPOCH + timedelta(seconds=first * RELEASE_PERIOD))]
            if self._with_releases:
                times += [(100 * period, self._release(slot, period)) for period in range(first, last + 1)]
            for failure in bad.get(service, []):
                if effect_of(failure.kind, base_name(service)).released:
                    before = max(number for number, at in times if at <= failure.start)
                    times += [(before + 1, failure.start), (before, failure.end)]
            found[service] = sorted(times, key=lambda item: item[1])
        return found

    def releases_of(self, service: str) -> Sequence[tuple[int, datetime]]:
        """Number and time of a service's releases, in order of time; a number comes back when it is rolled back."""
        return self._releases[service]

    def _release(self, slot: int, period: int) -> datetime:
        """People release on working hours: between 9 and 17 o'clock of some day of the period."""
        chance = np.random.default_rng([self.seed, 3, slot, period])
        day, second = int(chance.integers(RELEASE_PERIOD // DAY)), int(chance.integers(9 * 3600, 17 * 3600))
        return EPOCH + timedelta(seconds=period * RELEASE_PERIOD + day * DAY + second)


class _Cell:
    """One shop of at most twelve services: generates what it logs in a block."""

    def __init__(self, shop: Shop, number: int) -> None:
        self.shop = shop
        self.number = number
        self.names = {name: _named(name, number) for name in PLATFORMS}
        self.slots = {name: number * len(PLATFORMS) + i for i, name in enumerate(PLATFORMS)}
        self.present = {name for name, named in self.names.items() if named in shop.services}
        # Shops are of different size; the sizes of all of them together make up the rate.
        sizes = [float(np.random.default_rng([shop.seed, 4, k]).lognormal(0, 0.5)) for k in range(_cell_count(shop))]
        share = sizes[number] / sum(sizes)
        self.requests = shop.rate * (1 - BACKGROUND_SHARE) * share / _lines_per_weight()
        self.pause = LINES_PER_SECOND * len(shop.services) / shop.rate
        self.effects = [
            (failure, base_name(failure.service), effect_of(failure.kind, base_name(failure.service)))
            for failure in shop.failures
            if failure.service in self.names.values()
        ]

    def generate(self, block: int) -> Events:
        return _BlockOfCell(self, block).run()


@dataclass
class _Batch:
    """The requests of one flow in one block, and what they have logged so far."""

    raw: Numbers
    traced: bool
    parts: list[tuple[int, Floats, Numbers, Floats, Ints]] = field(default_factory=list)


class _BlockOfCell:
    """Half an hour of one shop.

    One class: requests, jobs, releases and failures of a block share its draws of chance, and so their order.
    """

    def __init__(self, cell: _Cell, block: int) -> None:
        self.cell = cell
        self.shop = cell.shop
        self.block = block
        self.start = block * BLOCK
        self.chance = np.random.default_rng([self.shop.seed, 1, cell.number, block])
        self.troubles: dict[str, list[_Trouble]] = {}
        self.parts: list[tuple[_Batch, tuple[int, Floats, Numbers, Floats, Ints]]] = []
        self.lives: dict[str, tuple[Floats, Ints]] = {}
        for failure, name, effect in cell.effects:
            start, end = _seconds(failure.start) - self.start, _seconds(failure.end) - self.start
            # A request of this block may still run in the next one.
            if start < 2 * BLOCK and end > 0:
                self.troubles.setdefault(name, []).append(_Trouble(effect, start, end))
        for name, trouble in self._glitches():
            self.troubles.setdefault(name, []).append(trouble)
        self.traffic = [trouble for troubles in self.troubles.values() for trouble in troubles]
        self.up = self._is_up(block)

    def run(self) -> Events:
        for flow in FLOWS:
            self._flow(flow)
        self._digests()
        for name in PLATFORMS:
            if name in self.cell.present:
                self._background(name)
                self._life(name)
        return self._finish()

    # --- Requests -----------------------------------------------------------------------------------------

    def _flow(self, flow: Flow) -> None:
        starts = self._clockwork(flow) if flow.every else self._arrivals(flow)
        if not starts.size:
            return
        batch = _Batch(self.chance.integers(0, 2**63, starts.size).astype(np.uint64), traced=True)
        self._serve(batch, flow.root, np.arange(starts.size), starts)
        self._take(batch)

    def _arrivals(self, flow: Flow) -> Floats:
        offsets = 60 * np.arange(BLOCK // 60, dtype=np.float64)
        at = offsets + float(self.start)
        expected = 60 * self.cell.requests * flow.weight * rhythm(at) * self._mood(at)
        for trouble in self.traffic:
            active = trouble.strength(offsets + 30.0) > 0
            expected = np.where(
                active, expected * trouble.effect.traffic * trouble.effect.rush.get(flow.name, 1), expected
            )
        amounts = self.chance.poisson(expected)
        return np.asarray(np.sort(np.repeat(offsets, amounts) + 60 * self.chance.random(amounts.sum())))

    def _mood(self, at: Floats) -> Floats:
        """Traffic is never quite what the hour says: it wanders over hours, and jumps from minute to minute."""
        hours = np.arange(int(at[0]) // 3600, int(at[-1]) // 3600 + 2)
        keys = (self.shop.seed, 5, self.cell.number)
        levels = [float(np.random.default_rng([*keys, int(hour)]).normal(0, 0.08)) for hour in hours]
        wander = np.interp(at / 3600, hours, levels)
        jump = np.random.default_rng([*keys, 6, self.block]).normal(0, 0.06, at.size)
        return np.asarray(np.exp(wander + jump))

    def _clockwork(self, flow: Flow) -> Floats:
        every, offset = int(flow.every.total_seconds()) if flow.every else 1, int(flow.offset.total_seconds())
        first = -(-(self.start - offset) // every) * every + offset
        starts = np.arange(first, self.start + BLOCK, every, dtype=np.float64) - self.start
        starts += 0.02 + 0.3 * self.chance.random(starts.size)
        for trouble in self.troubles.get(flow.root.service, []):
            if trouble.effect.no_jobs:
                starts = starts[trouble.strength(starts) == 0]
        return starts

    def _serve(self, batch: _Batch, call: Call, who: Ints, start: Floats) -> tuple[Floats, Bools, Ints]:
        """One call for each of `who`: when it ends, whether it fails, and how the caller sees that."""
        replica = self._replica(call.service, batch.raw[who])
        cursor, broken, seen, loud, own, outgoing = self._suffer(call, start, replica)
        work = call.work.total_seconds() * self.chance.lognormal(0, 0.45, who.size)

        place = count(1)

        def log(written: Statement, at: Ints, ms: Floats | None = None) -> None:
            # One statement after the other, as a thread reaches them.
            self._log(batch, call.service, written, at, who, cursor + STATEMENT * next(place), replica, ms)

        talking = np.flatnonzero(loud)
        for written in call.before:
            log(written, talking)
        cursor = cursor + 0.5 * work
        for child in call.calls:
            cursor, broken = self._ask(batch, call, child, who, cursor, broken, loud, outgoing, replica)
        cursor = cursor + 0.5 * work
        took = 1000 * (cursor - start)
        fine = np.flatnonzero(loud & ~broken)
        for written in (*call.after, *self._news(call.service, start)):
            log(written, fine, took)
        for errors, hit in own:
            for written in errors:
                log(written, np.flatnonzero(hit), took)
        for written in call.failing:
            log(written, np.flatnonzero(loud & broken), took)
        # A caller does not wait for ever.
        end = np.where(broken & (seen == SEEN.index("timeout")), np.minimum(cursor, start + TIMEOUT), cursor)
        return end + STATEMENT * (next(place) + 1), broken, seen

    def _suffer(
        self, call: Call, start: Floats, replica: Ints
    ) -> tuple[Floats, Bools, Ints, Bools, list[tuple[Sequence[Statement], Bools]], list[tuple[Bools, int]]]:
        """What befalls calls at the service: their start, which break, how that looks, and which leave a trace."""
        cursor = start + 0.0004 + 0.001 * self.chance.random(start.size)
        broken = self.chance.random(start.size) < FAILING
        seen = np.where(broken & (self.chance.random(start.size) < 0.3), SEEN.index("timeout"), 0)
        cursor = np.where(seen > 0, cursor + TIMEOUT, cursor)
        loud = np.full(start.size, call.service in self.cell.present)
        own: list[tuple[Sequence[Statement], Bools]] = [(UNEXPECTED[call.service], broken.copy())]
        outgoing: list[tuple[Bools, int]] = []
        for trouble in self.troubles.get(call.service, []):
            effect, strength = trouble.effect, trouble.strength(start)
            if not strength.any():
                continue
            if effect.instances is not None:
                strength = np.where(replica < effect.instances, strength, 0.0)
            hit = self.chance.random(start.size) < effect.fails * strength
            late = self.chance.random(start.size) < effect.delayed * strength
            cursor = cursor + np.where(late, effect.delay.total_seconds() * (0.5 + self.chance.random(start.size)), 0)
            if call.queued:
                cursor = cursor + strength * effect.backlog.total_seconds()
            if effect.outgoing:
                outgoing.append((hit, SEEN.index(effect.seen)))
                continue
            cursor = np.where(hit, cursor + effect.hold.total_seconds(), cursor)
            seen = np.where(hit, SEEN.index(effect.seen), seen)
            loud = loud & ~(hit & effect.muted)
            broken = broken | hit
            if effect.errors:
                own.append((effect.errors, hit))
        return cursor, broken, seen, loud, own, outgoing

    def _ask(
        self,
        batch: _Batch,
        call: Call,
        child: Call,
        who: Ints,
        cursor: Floats,
        broken: Bools,
        loud: Bools,
        outgoing: list[tuple[Bools, int]],
        replica: Ints,
    ) -> tuple[Floats, Bools]:
        """Let those that are still whole make a call; returns how far in time they are, and which broke over it."""
        chance, repeats = child.chance, np.zeros(who.size, np.int64)
        wanted = np.full(who.size, chance)
        for trouble in self.troubles.get(call.service, []):
            strength = trouble.strength(cursor)
            if trouble.effect.misses:
                wanted = np.where(strength > 0, 1.0, wanted)
            repeats = np.maximum(repeats, (trouble.effect.repeats * strength).astype(np.int64))
        if child.service == ON_DEMAND and not self.up:
            return cursor, broken
        asking = np.flatnonzero(~broken & loud & (self.chance.random(who.size) < wanted))
        if not asking.size:
            return cursor, broken
        cursor, broken = cursor.copy(), broken.copy()
        if child.queued:
            wait = child.queued.total_seconds() * self.chance.lognormal(0, 0.5, asking.size)
            self._serve(batch, child, who[asking], cursor[asking] + wait)
            return cursor, broken
        peer = self.cell.names[child.service]
        failed = PLATFORMS[call.service].failed
        for unreachable, how in outgoing:
            lost = asking[unreachable[asking]]
            written = _with_peer(call.service, failed[SEEN[how]], peer)
            self._log(batch, call.service, written, lost, who, cursor + 0.2, replica, None)
            broken[lost] |= not child.optional
            asking = asking[~unreachable[asking]]
        for turn in range(int(repeats.max(initial=0)) + 1):
            again = asking[repeats[asking] >= turn]
            end, bad, seen = self._serve(batch, child, who[again], cursor[again])
            took = np.zeros(who.size)
            took[again] = 1000 * (end - cursor[again])
            cursor[again] = end
            for how in np.unique(seen[bad]).tolist():
                written = _with_peer(call.service, failed[SEEN[how]], peer)
                at = again[bad & (seen == how)]
                self._log(batch, call.service, written, at, who, cursor, replica, took)
            slow = again[~bad & (took[again] > 1000 * SLOW + 2000 * child.work.total_seconds())]
            written = _with_peer(call.service, PLATFORMS[call.service].slow, peer)
            self._log(batch, call.service, written, slow, who, cursor, replica, took)
            broken[again[bad]] |= not child.optional
        return cursor, broken

    def _news(self, service: str, start: Floats) -> tuple[Statement, ...]:
        """Statements that the last releases have brought."""
        if not start.size:
            return ()
        releases = self.shop.releases_of(self.cell.names[service]) if service in self.cell.present else ()
        at = EPOCH + timedelta(seconds=self.start + float(start[0]))
        current = bisect_right([moment for _, moment in releases], at) - 1
        if current < 1:
            return ()
        texts = NEWS[PLATFORM_NAME.get(id(PLATFORMS[service]), "NGINX")]
        period = releases[current][0] // 100
        first = releases[0][0] // 100
        return tuple(
            Statement(service, known.severity, known.text, 0.25 * known.chance)
            for number in range(max(first + 1, period - 1), period + 1)
            for known in [statement(service, texts[number % len(texts)])]
        )

    # --- Beside requests ----------------------------------------------------------------------------------

    def _digests(self) -> None:
        if self.up and ON_DEMAND in self.cell.present:
            amount = int(self.chance.poisson(60 / self.cell.pause))
            starts = np.sort(60 + (BLOCK - 120) * self.chance.random(amount))
            batch = _Batch(self.chance.integers(0, 2**63, amount).astype(np.uint64), traced=False)
            if amount:
                self._serve(batch, DIGEST, np.arange(amount), starts)
                self._take(batch)

    def _background(self, name: str) -> None:
        """Statements that come by the clock, oddities, and what a failure says beside requests."""
        if name == ON_DEMAND and not self.up:
            return
        platform = PLATFORMS[name]
        for replica in range(_replicas(name)):
            for number, (written, pause) in enumerate(platform.every.items()):
                pause = max(2.0, pause * self.cell.pause)
                phase = pause * float(mix(self.cell.slots[name] * 64 + replica, number) >> np.uint64(11)) / 2**53
                times = np.arange(np.ceil((self.start - phase) / pause), (self.start + BLOCK - phase) / pause)
                times = times * pause + phase - self.start
                jitter = 0.2 * self.chance.random(times.size)
                self._say(name, statement(name, written), np.minimum(times + jitter, BLOCK - 1e-6), replica)
        for written, often in platform.now_and_then.items():
            self._now_and_then(name, statement(name, written), often)
        for written in ODDITIES:
            self._now_and_then(name, say(name)(written), 0.02)
        for trouble in self.troubles.get(name, []):
            for known, often in trouble.effect.lines.items():
                amount = int(self.chance.poisson(2 * often * BLOCK / 60))
                times = np.sort(BLOCK * self.chance.random(amount))
                keep = self.chance.random(amount) < 0.5 * trouble.strength(times)
                self._say(name, known, times[keep], 0, always=True)

    def _now_and_then(self, name: str, written: Statement, often: float) -> None:
        amount = int(self.chance.poisson(often * BLOCK / DAY))
        self._say(name, written, BLOCK * self.chance.random(amount), 0)

    def _say(self, name: str, written: Statement, times: Floats, replica: int, always: bool = False) -> None:
        if not times.size:
            return
        for trouble in self.troubles.get(name, []):
            if trouble.effect.silent and not always and replica < (trouble.effect.instances or 99):
                times = times[trouble.strength(times) == 0]
        times = times[(times >= 0) & (times < BLOCK)]
        if not times.size:
            return
        batch = _Batch(self.chance.integers(0, 2**63, times.size).astype(np.uint64), traced=False)
        who = np.arange(times.size)
        replicas = np.full(times.size, replica)
        self._log(batch, name, written, who, who, times, replicas, None)
        self._take(batch)

    def _life(self, name: str) -> None:
        """Starts and stops: releases, crashes, and a service that is scaled to zero."""
        service, platform = self.cell.names[name], PLATFORMS[name]
        for _, moment in self.shop.releases_of(service)[1:]:
            for replica in range(_replicas(name)):
                at = _seconds(moment) - self.start + ROLLING * replica
                self._lines_of_life(name, platform.stop, at - 6, replica)
                self._lines_of_life(name, platform.start, at + 0.5, replica)
        for trouble in self.troubles.get(name, []):
            if trouble.effect.killed:
                for replica in range(_replicas(name)):
                    for share in (0.7, 0.98):
                        at = trouble.start + share * (trouble.end - trouble.start) + 15 * replica
                        self._say(name, say(name)(OUT_OF_MEMORY), np.array([at]), replica, always=True)
                        self._lines_of_life(name, platform.start, at + 4, replica)
            if trouble.effect.restarted:
                for replica in range(_replicas(name)):
                    self._lines_of_life(name, platform.start, trouble.end + 5 * replica, replica)
        if name == ON_DEMAND and self.up:
            if not self._is_up(self.block - 1):
                self._lines_of_life(name, platform.start, 1.0, 0)
            if not self._is_up(self.block + 1):
                self._lines_of_life(name, platform.stop, BLOCK - 8.0, 0)

    def _lines_of_life(self, name: str, written: Sequence[str], at: float, replica: int) -> None:
        if not -BLOCK < at < BLOCK:
            return
        for line in written:
            self._say(name, statement(name, line), np.array([at]), replica, always=True)
            at += 0.7

    def _is_up(self, block: int) -> bool:
        raw = mix(self.shop.seed * 1009 + self.cell.number, block & 0xFFFFFFFF)
        return float(raw >> np.uint64(11)) / 2**53 < 0.6 * float(rhythm(np.array([block * BLOCK + BLOCK / 2]))[0])

    def _glitches(self) -> list[tuple[str, _Trouble]]:
        """Some seconds in which calls fail more than usual."""
        chance = np.random.default_rng([self.shop.seed, 2, self.cell.number, self.start // DAY])
        found = []
        for _ in range(int(chance.poisson(GLITCHES_PER_DAY))):
            at, name = float(chance.integers(DAY)), list(PLATFORMS)[int(chance.integers(len(PLATFORMS)))]
            length, fails = float(chance.uniform(8, 20)), float(chance.uniform(0.05, 0.2))
            start = at - self.start % DAY
            if -BLOCK < start < 2 * BLOCK:
                effect = Effect(
                    fails=fails,
                    errors=UNEXPECTED[name] if fails > 0.1 else (),
                    seen="error" if fails > 0.1 else "timeout",
                    hold=timedelta(seconds=0.05 if fails > 0.1 else TIMEOUT),
                )
                found.append((name, _Trouble(effect, start, start + length)))
        return found

    # --- Lines --------------------------------------------------------------------------------------------

    def _log(
        self,
        batch: _Batch,
        name: str,
        written: Statement,
        at: Ints,
        who: Ints,
        cursor: Floats,
        replica: Ints,
        ms: Floats | None,
    ) -> None:
        """Note that those at `at` reach a statement."""
        if not at.size or name not in self.cell.present:
            return
        if written.chance < 1:
            at = at[self.chance.random(at.size) < written.chance]
            if not at.size:
                return
        times = cursor[at] + 0.5 * STATEMENT * self.chance.random(at.size)
        index = self.shop.index(self.cell.names[name], written)
        took = ms[at] if ms is not None else 20.0 + 1000 * self.chance.lognormal(0, 0.6, at.size)
        instance = self._instances(name, times, replica[at])
        for trouble in self.troubles.get(name, []):
            if trouble.effect.skew:
                skewed = (trouble.strength(times) > 0) & (replica[at] < (trouble.effect.instances or 99))
                times = np.where(skewed, times + trouble.effect.skew.total_seconds(), times)
        batch.parts.append((index, times, batch.raw[who[at]], np.asarray(took), instance))

    def _replica(self, name: str, raw: Numbers) -> Ints:
        spread = mix(raw, self.cell.slots[name] + 31) % np.uint64(_replicas(name))
        return np.asarray(spread.astype(np.int64))

    def _instances(self, name: str, times: Floats, replica: Ints) -> Ints:
        """The instance that logs: each release replaces them, one after the other."""
        if name not in self.lives:
            self.lives[name] = self._life_of(name)
        moments, codes = self.lives[name]
        if moments.size == 1:
            return np.asarray(codes[0] + replica)
        return np.asarray(codes[np.searchsorted(moments, times - ROLLING * replica, side="right") - 1] + replica)

    def _life_of(self, name: str) -> tuple[Floats, Ints]:
        """From when, in this block, which release of a service runs."""
        service, slot = self.cell.names[name], self.cell.slots[name]
        releases = [(_seconds(at) - self.start, number) for number, at in self.shop.releases_of(service)]
        before = [number for at, number in releases if at <= -600]
        soon = [(float(at), number) for at, number in releases if -600 < at < 3 * BLOCK]
        lives = [(-np.inf, before[-1] if before else releases[0][1]), *soon]
        codes = [self.shop.instance(service, number, slot, _replicas(name)) for _, number in lives]
        return np.array([at for at, _ in lives]), np.array(codes, np.int64)

    def _take(self, batch: _Batch) -> None:
        self.parts += [(batch, part) for part in batch.parts]

    def _finish(self) -> Events:
        if not self.parts:
            return _EMPTY
        parts = [part for _, part in self.parts]
        sizes = [part[1].size for part in parts]
        times = np.concatenate([part[1] for part in parts])
        request = np.concatenate([part[2] for part in parts])
        key = np.uint64((self.block * 131 + self.cell.number) & 0xFFFFFFFF)
        return Events(
            self.start * 1_000_000_000 + np.rint(times * 1e6).astype(np.int64) * 1000,
            np.repeat(np.array([part[0] for part in parts], np.int32), sizes),
            request,
            mix(request, np.arange(request.size).astype(np.uint64) + key),
            np.repeat(np.array([batch.traced for batch, _ in self.parts], np.bool_), sizes),
            np.concatenate([part[3] for part in parts]).astype(np.float32),
            np.concatenate([part[4] for part in parts]),
        )


# --- Helpers ------------------------------------------------------------------------------------------------


def rhythm(at: Floats) -> Floats:
    """Traffic of the hour, against an average of about 1: people sleep, have lunch, and buy in the evening.

    >>> [round(float(rhythm(np.array([hour * 3600.0]))[0]), 1) for hour in (4, 12, 20)]
    [0.4, 1.3, 1.6]
    """
    hour = at % DAY / 3600
    evening = np.exp(-(((hour - 20) / 3.2) ** 2))
    noon = np.exp(-(((hour - 12.5) / 2.6) ** 2))
    weekend = np.where((at // DAY + 3) % 7 >= 5, 0.88, 1.0)
    return np.asarray(weekend * (0.35 + 1.15 * evening + 0.9 * noon + 0.3 * np.exp(-(((hour - 16) / 3) ** 2))))


def version(number: int) -> str:
    """The version of a release."""
    return f"{2 + number // 100 % 3}.{number // 100 % 97}.{number % 100}"


def base_name(service: str) -> str:
    """The name of a service without the number of its shop.

    >>> base_name("postgres-proxy-3"), base_name("postgres-proxy")
    ('postgres-proxy', 'postgres-proxy')
    """
    name, _, number = service.rpartition("-")
    return name if number.isdigit() else service


def all_failures(shop: Shop, after: timedelta = timedelta(days=3), seed: int = 0) -> tuple[Failure, ...]:
    """One failure of each kind, spread over the time of a shop but for its first days, which are to learn from."""
    chance = np.random.default_rng([seed, 7])
    kinds = [str(kind) for kind in chance.permutation(list(KINDS))]
    first = _seconds(shop.start + after)
    pause = (_seconds(shop.end) - first) // len(kinds)
    failures = []
    for number, kind in enumerate(kinds):
        _, candidates, duration = KINDS[kind]
        fitting = [service for service in shop.services if base_name(service) in candidates]
        room = max(0, pause - int(duration.total_seconds()))
        start = first + number * pause + int(chance.integers(0, max(1, room * 4 // 5)))
        if fitting:
            service = fitting[int(chance.integers(len(fitting)))]
            failures.append(Failure(kind, service, EPOCH + timedelta(seconds=start), duration))
    return tuple(failures)


DEMO_FIX = (
    "payments leaked a connection with every refund that was repeated: fixed the leak in RefundJob, raised the pool "
    "from 20 to 60 connections, and restarted payments one instance at a time"
)
"""What ended the first failure of the demo."""


def demo_shop(start: datetime = datetime(2025, 3, 3, tzinfo=UTC), rate: float = 5.0) -> Shop:
    """Two and a half days of a shop: a failure on the second day, and on the third the same failure again.

    The cause is in `payments`, whose connection pool runs dry; `orders` and `gateway` show it.
    """
    lasts = timedelta(minutes=25)
    failures = [
        Failure("pool_exhausted", "payments", start + timedelta(days=1, hours=10, minutes=40), lasts),
        Failure("pool_exhausted", "payments", start + timedelta(days=2, hours=11, minutes=20), lasts),
    ]
    days = (failures[-1].end + timedelta(minutes=30) - start) / timedelta(days=1)
    return Shop(seed=1, start=start, days=days, rate=rate, failures=failures, releases=False)


def live_shop(now: datetime, history: timedelta, seed: int = 0, rate: float | None = None) -> Shop:
    """A shop of the present: its past of `history`, and a month to come, in which something fails every three hours.

    What it logs at a moment depends on the moment and the seed only, so that a generator that is started again
    goes on with the same shop.
    """
    start = EPOCH + (now - history - EPOCH) // LIVE_PAUSE * LIVE_PAUSE
    kinds = list(KINDS)
    failures = []
    for turn in range((start - EPOCH) // LIVE_PAUSE, (now + LIVE_DURATION - EPOCH) // LIVE_PAUSE):
        kind = kinds[int(mix(seed, turn)) % len(kinds)]
        _, candidates, duration = KINDS[kind]
        service = candidates[int(mix(seed + 1, turn)) % len(candidates)]
        failures.append(Failure(kind, service, EPOCH + turn * LIVE_PAUSE + timedelta(minutes=30), duration))
    days = (now + LIVE_DURATION - start) / timedelta(days=1)
    return Shop(seed=seed, start=start, days=days, rate=rate, failures=failures)


LIVE_PAUSE = timedelta(hours=3)
LIVE_DURATION = timedelta(days=30)


def _named(name: str, cell: int) -> str:
    return f"{name}-{cell + 1}" if cell else name


def _seconds(moment: datetime) -> int:
    return int((moment - EPOCH).total_seconds())


def _whole(time_range: TimeRange, step: timedelta) -> TimeRange:
    start = EPOCH + (time_range.start - EPOCH) // step * step
    return TimeRange(start, start + time_range.duration // step * step)


def _replicas(name: str) -> int:
    return REPLICAS.get(name, 2)


def _cell_count(shop: Shop) -> int:
    return -(-len(shop.services) // len(PLATFORMS))


def _expected_lines(call: Call) -> float:
    own = sum(known.chance for known in (*call.before, *call.after)) + 0.5
    return call.chance * (own + sum(_expected_lines(child) for child in call.calls))


def _lines_per_weight() -> float:
    return sum(flow.weight * _expected_lines(flow.root) for flow in FLOWS)


def _with_peer(service: str, written: str, peer: str) -> Statement:
    return statement(service, written.replace("{peer}", peer))


def _with_service(text: str, service: str) -> str:
    return text.replace("{service}", service)


def _join_text(left: pl.Series, right: pl.Series) -> pl.Series:
    return pl.select(pl.concat_str(pl.lit(left.alias("a")), pl.lit(right.alias("b")))).to_series()


def _join(parts: Sequence[Events]) -> Events:
    return Events(*(np.concatenate(columns) for columns in zip(*(part.columns() for part in parts), strict=True)))


_EMPTY = Events(
    np.empty(0, np.int64),
    np.empty(0, np.int32),
    np.empty(0, np.uint64),
    np.empty(0, np.uint64),
    np.empty(0, np.bool_),
    np.empty(0, np.float32),
    np.empty(0, np.int64),
)
