"""What was told of an incident stays, when its windows turn out to have held something else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.flow.group import Grouper
from exporter.flow.steps import Step, rows_of
from exporter.incidents.alerts import resolved_by_hand
from exporter.incidents.clusters import Cluster
from exporter.incidents.settings import IncidentSettings
from exporter.incidents.standing import NOTHING_LEFT
from exporter.incidents.tracker import Told
from exporter.model import Anomaly, Incident
from exporter.model.times import Window
from exporter.state.checkpoints import Checkpoint
from exporter.state.file import State
from exporter.state.incidents import cluster_of, clusters_of, incident_list, incident_row, near_misses
from exporter.state.news import news_row
from exporter.telemetry import PrometheusTelemetry
from tests.incidents.test_incidents import MINUTE, START, anomaly

SETTLING = 5 * MINUTE
Found = list[Anomaly]


class World:
    """Anomalies of windows as they were last read, over a real state file."""

    def __init__(self, path: Path) -> None:
        self.state = State(path)
        self.telemetry = PrometheusTelemetry()
        self.grouper = Grouper(
            self.state, IncidentSettings(), {}, {"shop": MINUTE}, {"shop": SETTLING}, telemetry=self.telemetry
        )

    async def read(self, minute: int, *found: Anomaly) -> None:
        """The window of a minute was read, for the first time or again."""
        end = self.at(minute + 1)
        checkpoint = Checkpoint(end, end - SETTLING, START - MINUTE, START - MINUTE)
        steps = [Step(Window(self.at(minute), MINUTE), found, ())]
        await self.state.write(await rows_of(self.state, "shop", steps, checkpoint))

    async def group(self, minute: int) -> list[str]:
        """Group up to the end of a minute; what is told, by its change."""
        self.told: Sequence[Told] = await self.grouper.group(self.at(minute + 1))
        return [item.change for item in self.told]

    async def minutes(self, *windows: Sequence[Anomaly]) -> None:
        """Windows from the first minute on, each grouped when it was read."""
        for minute, found in enumerate(windows):
            await self.read(minute, *found)
            await self.group(minute)

    async def incidents(self) -> list[Incident]:
        return sorted(await incident_list(self.state), key=lambda incident: incident.starts_at)

    def at(self, minute: int) -> datetime:
        return START + minute * MINUTE


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "state.db")
    yield world
    world.state.close()


def fuller(found: Anomaly) -> Anomaly:
    """The same window with more lines of what was found in it."""
    return replace(found, contributions=tuple(replace(one, observed=50.0) for one in found.contributions))


async def test_numbers_that_changed_are_told_once_with_the_next_window(world: World) -> None:
    await world.minutes([anomaly(0)], [anomaly(1)], [])
    await world.read(0, fuller(anomaly(0)))
    await world.read(1, fuller(anomaly(1)))
    assert await world.group(2) == [], "there is no next window yet"
    await world.read(3)
    assert await world.group(3) == ["updated"]
    (incident,) = await world.incidents()
    assert incident.contributions[0].observed == 50.0
    assert incident.revision == 2
    await world.read(0, fuller(anomaly(0)))
    await world.read(4)
    assert await world.group(4) == [], "it holds what it held"


async def test_an_incident_of_which_nothing_is_left_is_resolved_and_says_so(world: World) -> None:
    await world.minutes([anomaly(0)], [anomaly(1)], [])
    await world.read(0)
    await world.read(1)
    await world.read(3)
    assert await world.group(3) == ["resolved"]
    (incident,) = await world.incidents()
    assert (incident.status, incident.revision) == ("resolved", 2)
    assert incident.timeline[-1].text == NOTHING_LEFT
    await world.read(2, anomaly(2, "db", score=0.5))
    await world.read(4)
    assert await world.group(4) == [], "it is not told again"
    assert await world.incidents() == [incident]


async def test_an_incident_that_was_taken_back_and_is_so_after_all_is_told_as_the_next_revision(world: World) -> None:
    await world.minutes([anomaly(0)], [anomaly(1)], [])
    (before,) = await world.incidents()
    await world.read(0)
    await world.read(1)
    await world.read(3)
    assert await world.group(3) == ["resolved"]
    await world.read(0, anomaly(0))
    await world.read(4)
    assert await world.group(4) == ["reopened"]
    (incident,) = await world.incidents()
    assert (incident.id, incident.revision, incident.status) == (before.id, 3, "firing")


async def test_an_incident_that_has_too_little_left_is_resolved_and_opens_again_when_more_comes(world: World) -> None:
    await world.minutes([anomaly(0)], [])
    weak = anomaly(0, score=0.9)
    await world.read(0, weak)
    await world.read(2)
    assert await world.group(2) == ["resolved"]
    await world.read(3, anomaly(3), anomaly(3, "db"))
    assert await world.group(3) == ["reopened"]
    (incident,) = await world.incidents()
    assert (incident.revision, incident.reopened, incident.status) == (3, 1, "firing")
    assert incident.services == ("orders", "db")


async def test_an_incident_that_began_earlier_than_was_known_stays_the_same(world: World) -> None:
    await world.minutes([], [], [anomaly(2)], [])
    (before,) = await world.incidents()
    await world.read(1, anomaly(1))
    await world.read(4)
    assert await world.group(4) == ["updated"]
    (incident,) = await world.incidents()
    assert (incident.id, incident.labels, incident.revision) == (before.id, before.labels, 2)
    assert incident.starts_at == world.at(1)
    (cluster,) = await clusters_of(world.state, Cluster)
    assert cluster.id == before.id


async def test_an_incident_that_began_later_than_was_thought_stays_the_same(world: World) -> None:
    await world.minutes([anomaly(0)], [anomaly(1)], [])
    (before,) = await world.incidents()
    await world.read(0)
    await world.read(3)
    assert await world.group(3) == ["updated"]
    (incident,) = await world.incidents()
    assert (incident.id, incident.starts_at) == (before.id, world.at(1))


async def test_an_incident_that_late_lines_open_is_told_as_it_would_have_been(world: World) -> None:
    await world.minutes([], [], [])
    await world.read(0, anomaly(0))
    await world.read(1, anomaly(1))
    await world.read(3)
    assert await world.group(3) == ["opened"]
    (incident,) = await world.incidents()
    assert (incident.starts_at, incident.revision) == (world.at(0), 1)


async def test_what_a_person_said_stays(world: World) -> None:
    await world.minutes([anomaly(0)], [anomaly(1)])
    (incident,) = await world.incidents()
    cluster = await cluster_of(world.state, incident.id, Cluster)
    assert cluster is not None
    told = resolved_by_hand(incident, "restarted", world.at(2)).incident
    kept = replace(cluster, status=told.status, incident=told, ends_at=told.ends_at, timeline=told.timeline)
    row = incident_row(told, told.updated_at, kept)
    await world.state.write([row, news_row(told, "resolved", world.at(2))])
    await world.read(0, fuller(anomaly(0)))
    await world.read(2)
    assert await world.group(2) == ["updated"]
    (after,) = await world.incidents()
    assert (after.status, after.fix, after.ends_at) == ("resolved", "restarted", told.ends_at)
    assert after.contributions[0].observed == 50.0
    assert "resolved by hand" in [entry.text for entry in after.timeline]


async def test_a_near_miss_that_is_none_any_more_is_forgotten(tmp_path: Path) -> None:
    world = World(tmp_path / "near.db")
    world.grouper._settings = IncidentSettings(keep_firing_for=2 * MINUTE)
    await world.minutes([anomaly(0, score=0.9)], [], [], [])
    assert len(await near_misses(world.state, 10)) == 1
    await world.read(0)
    await world.read(4)
    assert await world.group(4) == []
    assert await near_misses(world.state, 10) == []
    world.state.close()


async def test_what_settled_long_ago_is_taken_in_with_the_next_window(world: World) -> None:
    await world.minutes(*[[]] * 12)
    await world.read(0, anomaly(0))
    await world.read(12)
    assert await world.group(12) == ["opened", "resolved"]
    await world.read(0, fuller(anomaly(0)))
    rows = await world.state.read("SELECT json_extract(body, '$.late') FROM anomalies")
    assert rows == [(1,)], "and only once"


windows = st.lists(
    st.lists(
        st.builds(
            anomaly, st.just(0), st.sampled_from(["orders", "payments", "db"]), st.sampled_from([0.9, 0.99, 0.999])
        ),
        max_size=3,
        unique_by=lambda found: found.service,
    ),
    min_size=10,
    max_size=10,
)


@given(windows, windows, st.lists(st.integers(0, 9), max_size=8))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_clusters_are_those_of_the_last_reading(
    tmp_path_factory: pytest.TempPathFactory, first: list[Found], last: list[Found], stops: list[int]
) -> None:
    """Each window is read twice, five minutes apart, and differently."""

    def of(minute: int, found: Found) -> Found:
        return [replace(one, window=START + minute * MINUTE) for one in found]

    again, once = (World(tmp_path_factory.mktemp("worlds") / "state.db") for _ in range(2))
    try:
        for minute in range(14):
            if minute >= 4:
                await again.read(minute - 4, *of(minute - 4, last[minute - 4]))
            await again.read(minute, *of(minute, first[minute] if minute < 10 else []))
            if minute in stops or minute == 13:
                await again.group(minute)
            await once.read(minute, *of(minute, last[minute] if minute < 10 else []))
        await again.read(14)
        await again.group(14)
        await once.read(14)
        await once.group(14)
        assert await clusters(again) == await clusters(once)
        assert await near_misses(again.state, 100) == await near_misses(once.state, 100)
    finally:
        again.state.close()
        once.state.close()


async def clusters(world: World) -> dict[datetime, tuple[object, ...]]:
    """What clusters say of their windows; their names were given by what was known first."""
    return {
        one.starts_at: (one.members, one.contributions, one.evidence, one.peak, one.held, one.opening, one.status)
        for one in await clusters_of(world.state, Cluster)
    }
