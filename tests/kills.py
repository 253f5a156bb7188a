"""A daemon that is killed again and again while lines come late: what it leaves, and what it told, beside a calm one.

It is the daemon with all its jobs, in a process of its own, over lines that arrive as the time of a story goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence, Set
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import polars as pl

from exporter.incidents.build import visible
from exporter.incidents.clusters import Cluster
from exporter.model import Clock, Incident, from_json
from exporter.model.times import seconds
from exporter.run.assembly import assemble
from exporter.run.daemon import Daemon
from exporter.state.incidents import clusters_of, incident_list
from exporter.telemetry import PrometheusTelemetry
from tests.fakes.recording import Recorder
from tests.fakes.serving import serving
from tests.flow.test_invariant import WARM, config, cut_lines, quiet_lines, rows
from tests.flow.test_late_arrivals import ArrivingSource
from tests.flow.test_late_incidents import Left, delayed, found, learnt
from tests.memory_source import START, at, page
from tests.run.test_daemon import MINUTE, StepClock
from tests.servers.process import PATIENCE

PACE = timedelta(seconds=0.05)
"""Between two runs of a job: the time of a story goes faster than that of a daemon, and its jobs with it."""

LOOKS_EVERY = 0.02
"""Seconds between two looks at how far the daemon is."""

LAGS = 3
"""Minutes that it may be behind before time goes on: what it reads at once is one window, or several."""

KILLED_WITHIN = 0.3
"""Seconds in which it is at work on what is new."""

AS_IT_TELLS = 0.5
"""Share of the kills that wait for it to tell something."""

FIRST_FAILURE, BETWEEN_FAILURES = 14, 12
"""Minutes: the next comes when what the last one made has just ended, or just not."""

FAILS_FOR = 3
"""Minutes."""

SERVICES = ("payments", "orders", "gateway")
FAILURES = (
    "connection pool exhausted: attempts", "no leader among brokers, epoch", "certificate expired, days ago:",
    "out of disk on volume", "deadlock while writing ledger", "upstream refused handshake number",
    "cannot decode message at offset", "quota exceeded, units missing:",
)  # fmt: skip

AFTERWARDS = 12
"""Minutes after the last line, in which windows settle and incidents end."""


@dataclass(frozen=True)
class Story:
    """What is logged for how long, which lines of it are late, and how often the daemon is killed."""

    seed: int
    minutes: int
    kills: int

    @property
    def end(self) -> int:
        """The minute at which nothing changes any more."""
        return self.minutes + AFTERWARDS

    @property
    def lines(self) -> pl.DataFrame:
        said = quiet_lines(self.minutes) + cut_lines()
        for minute in range(FIRST_FAILURE, self.minutes - FAILS_FOR, BETWEEN_FAILURES):
            said += failure(minute)
        return delayed(self.seed, page(said))


def failure(minute: int) -> list[dict[str, Any]]:
    """A service, another one each time, that fails as none has before."""
    what = FAILURES[(minute - FIRST_FAILURE) // BETWEEN_FAILURES % len(FAILURES)]
    service = SERVICES[minute % len(SERVICES)]
    return [
        {"timestamp": at(60 * minute + second), "service": service, "severity": 17, "body": f"{what} {second}"}
        for second in range(0, 60 * FAILS_FOR, 5)
    ]


@dataclass(frozen=True)
class Ended:
    """What a killed run left and told beside what a calm one left, and how often it was told something again."""

    unlike: tuple[str, ...]
    """Tables and incidents that are not those of the calm run."""
    wrongly_told: tuple[str, ...]
    incidents: int
    read_again: int
    """Windows that late lines changed after they were judged."""
    told: int
    repeated: int
    """Times that something was told again with the same event id, for a kill came between telling and noting it."""

    @property
    def bad(self) -> tuple[str, ...]:
        return (*self.unlike, *self.wrongly_told)


class StoryClock:
    """The time of a story, the same for all processes: whoever plays it says how late it is."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "minute"

    def set(self, minute: int) -> None:
        new = self._path.with_name("next")
        new.write_text(str(minute))
        new.replace(self._path)

    def now(self) -> datetime:
        return START + int(self._path.read_text()) * MINUTE


class Hurried(Daemon):
    """A daemon whose jobs run as fast as its time passes."""

    def _jobs(self) -> list[tuple[str, Callable[[], Awaitable[object]], timedelta]]:
        return [(name, job, PACE) for name, job, _ in super()._jobs()]


@asynccontextmanager
async def daemon(folder: Path, story: Story, clock: Clock, sinks: Sequence[Mapping[str, Any]]) -> AsyncIterator[Daemon]:
    """A daemon over the state file of a folder; those whom it tells go by the same clock."""
    short = {"keep_firing_for": "3m", "reopen_within": "2m"}
    settings = config(folder, warmup={"history": f"{WARM}m"}, incidents=short, sinks=sinks)
    source = ArrivingSource(story.lines, clock, page_size=1000)
    telemetry = PrometheusTelemetry()
    assembly = assemble(settings, clock, telemetry, sources=[source], wall=clock)
    try:
        yield Hurried(assembly, telemetry)
    finally:
        await assembly.close()


async def left(daemon: Daemon) -> Left:
    state = daemon.assembly.state
    clusters = sorted(await clusters_of(state, Cluster), key=lambda cluster: cluster.id)
    return Left(await rows(daemon.assembly), await incident_list(state, limit=1000), clusters)


async def calm(story: Story) -> Left:
    """What a daemon leaves that is never killed, and looks each minute."""
    with tempfile.TemporaryDirectory() as folder:
        clock = StepClock(START)
        async with daemon(Path(folder), story, clock, ()) as running:
            for minute in range(WARM, story.end + 1):
                clock.moment = START + minute * MINUTE
                await running.once()
            return await left(running)


# --- The daemon as a process ------------------------------------------------------------------------------


def work(folder: Path, story: Story, sinks: Sequence[Mapping[str, Any]]) -> None:
    """What the process does that is killed."""
    logging.basicConfig(filename=folder / "log.txt", format="%(levelname)s %(message)s")

    async def run() -> None:
        if parent := multiprocessing.parent_process():
            # It outlives nobody who could end it.
            asyncio.get_running_loop().add_reader(parent.sentinel, os._exit, 1)
        async with daemon(folder, story, StoryClock(folder), sinks) as running:
            await running.run()

    asyncio.run(run())


class Killable:
    """That process, started as often as it is killed."""

    def __init__(self, folder: Path, story: Story, sinks: Sequence[Mapping[str, Any]]) -> None:
        self._folder = folder
        self._given = (folder, story, sinks)
        # Loading takes longer than a daemon lives here: it is done once, and each is a copy of who has loaded.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.kills", "exporter.detection.scoring.inductive"])
        self._process = self._context.Process()

    def start(self) -> None:
        self._process = self._context.Process(target=work, args=self._given, daemon=True)
        self._process.start()

    def kill(self) -> None:
        """At once, as a power cut would."""
        self._process.kill()
        self._process.join()

    async def reaches(self, query: str, *values: object) -> None:
        """Wait until a query of its state file finds something."""
        deadline = time.monotonic() + PATIENCE
        while not self.read(query, *values):
            if not self._process.is_alive() or time.monotonic() > deadline:
                log = self._folder / "log.txt"
                raise RuntimeError(f"{query} finds nothing:\n{log.read_text()[-3000:] if log.exists() else ''}")
            await asyncio.sleep(LOOKS_EVERY)

    def read(self, query: str, *values: object) -> list[Any]:
        """Rows of its state file; none before it has made it."""
        try:
            with closing(sqlite3.connect(f"{(self._folder / 'state.db').as_uri()}?mode=ro", uri=True)) as connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.OperationalError:
            return []


NEWS = "SELECT incident, revision, part FROM news"
READ_AGAIN = "SELECT window FROM windows WHERE reads > 1"
GROUPED = "SELECT 1 FROM meta WHERE key = 'grouped_through' AND CAST(value AS INTEGER) >= ?"

ALL_TOLD = """
    SELECT 1 WHERE NOT EXISTS (
        SELECT 1 FROM news LEFT JOIN deliveries ON deliveries.incident = news.incident AND deliveries.sink = 'webhook'
        WHERE deliveries.revision IS NULL OR (deliveries.revision, deliveries.part) < (news.revision, news.part)
    )
"""


async def killed(story: Story, folder: Path) -> Ended:
    """Play a story to a daemon that is killed all along, and say what is unlike a calm run of it."""
    told = Recorder()
    calm_one = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(calm(story))))
    async with serving(told.app()) as url:
        process = Killable(folder, story, [{"type": "webhook", "url": url}])
        try:
            read_again = await play(story, process, StoryClock(folder), told, Random(story.seed))
        finally:
            process.kill()
    async with daemon(folder, story, StepClock(START + story.end * MINUTE), ()) as after:
        what = await left(after)
        news = {f"{incident}:{revision}:{part}" for incident, revision, part in process.read(NEWS)}
    posts = [request.json() for request in told.requests]
    events = {post["event_id"] for post in posts}
    return Ended(
        unlike=tuple(unlike(what, await calm_one)),
        wrongly_told=tuple(wrongly_told(posts, what, news)),
        incidents=len(found(what)),
        read_again=read_again,
        told=len(events),
        repeated=len(posts) - len(events),
    )


async def play(story: Story, process: Killable, clock: StoryClock, told: Recorder, chance: Random) -> int:
    """From the first minute to the last. Returns how many windows it was seen to have judged again."""
    kills = set(chance.sample(range(WARM + 1, story.minutes + 4), story.kills))
    read_again = set[int]()
    clock.set(WARM)
    process.start()
    for minute in range(WARM, story.end + 1):
        clock.set(minute)
        if minute in kills:
            await in_its_midst(told, chance)
            process.kill()
            read_again |= {window for (window,) in process.read(READ_AGAIN)}
            process.start()
        behind = chance.randint(0, LAGS) if WARM < minute < story.end else 0
        await process.reaches(GROUPED, seconds(START + (minute - behind) * MINUTE))
        read_again |= {window for (window,) in process.read(READ_AGAIN)}
    await process.reaches(ALL_TOLD)
    return len(read_again)


async def in_its_midst(told: Recorder, chance: Random) -> None:
    """Wait for a moment to kill it: any, or when something is told that is not noted yet."""
    known = len(told.requests)
    if chance.random() < AS_IT_TELLS:
        # What is posted is here before it is answered.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * KILLED_WITHIN):
                while len(told.requests) == known:  # noqa: ASYNC110  # the recorder has no event
                    await asyncio.sleep(0)
    else:
        await asyncio.sleep(chance.uniform(0, KILLED_WITHIN))


def unlike(one: Left, other: Left) -> Iterator[str]:
    """Where what a run left is not what a calm one leaves."""
    mine, calms = learnt(one), learnt(other)
    yield from (f"rows of {table}" for table in mine if mine[table] != calms[table])
    if found(one) != found(other):
        yield f"incidents: {len(found(one))} beside {len(found(other))}"
    if one.clusters != other.clusters:
        yield "clusters"


def wrongly_told(posts: Sequence[Mapping[str, Any]], left: Left, news: Set[str]) -> Iterator[str]:
    """What a receiver that knows event ids holds against it: all news once and in order, and their last as it is."""
    first: dict[str, Mapping[str, Any]] = {}
    for post in posts:
        known = first.setdefault(post["event_id"], post)
        if known != post:
            yield f"{post['event_id']} was told as two different things"
    yield from (f"{one} was not told" for one in sorted(news - first.keys()))
    yield from (f"{one} was told and is no news" for one in sorted(first.keys() - news))
    last: dict[str, Mapping[str, Any]] = {}
    for post in first.values():
        incident = post["incident"]
        before = last.get(incident["id"])
        if incident["revision"] - (before["revision"] if before else 0) not in (0, 1):
            yield f"{post['event_id']} was told out of its order"
        last[incident["id"]] = incident
    for one in left.incidents:
        told = from_json(Incident, last[one.id]) if one.id in last else None
        if told is None or (told.revision, visible(told)) != (one.revision, visible(one)):
            yield f"{one.id} was told last as what it is not"
