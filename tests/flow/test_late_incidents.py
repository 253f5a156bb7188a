"""Late lines reach what was said: whole anomalies and incidents are those of a calm run, whatever was read when."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.incidents.clusters import Cluster
from exporter.incidents.standing import NOTHING_LEFT, renamed
from exporter.model import Incident, NoTelemetry, to_json
from exporter.run.assembly import Assembly, assemble
from exporter.run.learning import open_state
from exporter.state.incidents import clusters_of, incident_list
from tests.flow.test_invariant import CASES, LINES, WARM, Table, config, rows, same
from tests.flow.test_late_arrivals import ArrivingSource, Crash, crashing
from tests.memory_source import START
from tests.run.test_daemon import StepClock

MINUTE = timedelta(minutes=1)
LATE_WINDOW = 3 * MINUTE
END = 40
"""Minutes after which nothing changes any more: windows have settled, and incidents have ended."""


def delayed(seed: int, lines: pl.DataFrame = LINES) -> pl.DataFrame:
    """The lines of the invariant, some of them late by up to `late_window`; those of warm-up are old when it begins."""
    chance = random.Random(seed)
    share = chance.choice([0.02, 0.2, 0.6])
    warm = int((START + WARM * MINUTE).timestamp()) * 10**9
    most = LATE_WINDOW // timedelta(seconds=1)
    delays = [
        chance.randint(1, most) * 10**9 if at >= warm and chance.random() < share else 0 for at in lines["timestamp"]
    ]
    return lines.with_columns(ingested_at=pl.col("timestamp") + pl.Series(delays, dtype=pl.Int64))


class World:
    """One source whose lines arrive over time, taken to incidents at moments that the test chooses."""

    def __init__(self, folder: Path, late: int, crashes: int | None) -> None:
        self.clock = StepClock(START)
        self.source = ArrivingSource(delayed(late), self.clock, page_size=1000)
        self._config = config(folder)
        self._chance = None if crashes is None else random.Random(crashes)
        self.assembly = self._open()

    def _open(self) -> Assembly:
        state = open_state(self._config)
        if self._chance:
            crashing(state, self._chance)
        return assemble(self._config, self.clock, NoTelemetry(), state, sources=[self.source], sinks=[])

    async def poll(self, minute: int) -> None:
        """What the daemon does at a moment; what dies is started again until it is done."""
        self.clock.moment = START + minute * MINUTE
        while True:
            try:
                await self._work(minute)
                return
            except Crash:
                await self.assembly.close()
                self.assembly = self._open()

    async def _work(self, minute: int) -> None:
        pipeline, grouper = self.assembly.pipelines[0], self.assembly.grouper
        await pipeline.start(START, START + WARM * MINUTE)
        await pipeline.sweep(self.clock.moment)
        await pipeline.advance(self.clock.moment)
        if minute >= WARM:
            await grouper.set_threshold(1.0)
            await grouper.group(self.clock.moment)


class Left:
    """What a run left behind."""

    def __init__(self, tables: Table, incidents: Sequence[Incident], clusters: Sequence[Cluster]) -> None:
        self.tables = tables
        self.incidents = incidents
        self.clusters = clusters


async def run(late: int, polls: Sequence[int], crashes: int | None = None, end: int = END) -> Left:
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name), late, crashes)
        try:
            for minute in sorted({minute for minute in polls if WARM < minute < end} | {WARM, end}):
                await world.poll(minute)
            state = world.assembly.state
            clusters = sorted(
                await clusters_of(state, Cluster), key=lambda cluster: (cluster.starts_at, cluster.services)
            )
            return Left(await rows(world.assembly), await incident_list(state), clusters)
        finally:
            await world.assembly.close()


@cache
def calm(late: int, end: int = END) -> Left:
    """Without kills, each window as soon as it is over."""
    return asyncio.run(run(late, range(END), end=end))


TOLD = ("news", "incidents", "sqlite_sequence")
"""What also depends on what was known when: a revision that was told stays."""


def learnt(left: Left) -> Table:
    """All that was learnt and found; not how often a window had to be read for it, and when it was compared last."""
    tables = {name: found for name, found in left.tables.items() if name not in TOLD}
    del tables["windows"]
    return tables


STAYS = ("id", "fingerprint", "revision", "severity", "service", "labels", "retired_labels", "retired_at", "reopened")
"""Of an incident that was told."""


def said(incident: Incident) -> Mapping[str, Any]:
    """What an incident says of its windows."""
    return {name: value for name, value in to_json(incident).items() if name not in STAYS}


def found(left: Left) -> list[Mapping[str, Any]]:
    """All incidents, but for those of which late lines left nothing."""
    return [
        said(incident)
        for incident in left.incidents
        if not any(entry.text == NOTHING_LEFT for entry in incident.timeline)
    ]


def named(cluster: Cluster, name: str) -> Cluster:
    """A cluster by another name, and all else of it as it is."""
    own = renamed(cluster, name)
    incident = own.incident
    if incident is None:
        return own
    return replace(own, incident=replace(incident, labels={**incident.labels, "incident_id": name}))


seeds = st.integers(0, 5)
polls_ = st.lists(st.integers(WARM + 1, END - 1), max_size=20)
check = settings(max_examples=CASES // 2, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(seeds, st.integers(0, 10_000))
@check
def test_kills_leave_the_rows_of_a_calm_run_to_the_last_number_and_revision(late: int, crashes: int) -> None:
    killed = asyncio.run(run(late, range(END), crashes))
    same({**killed.tables, "windows": []}, {**calm(late).tables, "windows": []})


@given(seeds, polls_, st.integers(0, 10_000) | st.none())
@check
def test_whenever_windows_are_read_whole_anomalies_and_incidents_are_those_of_a_calm_run(
    late: int, polls: list[int], crashes: int | None
) -> None:
    other, wanted = asyncio.run(run(late, polls, crashes)), calm(late)
    same(learnt(other), learnt(wanted))
    assert found(other) == found(wanted)
    assert len(other.clusters) == len(wanted.clusters)
    # By the name that it was told by first: late lines may leave nothing of the window that it is the name of.
    names = [one.id for one in wanted.clusters]
    assert [named(one, name) for one, name in zip(other.clusters, names, strict=True)] == wanted.clusters
