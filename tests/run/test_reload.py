"""The configuration is read again while the daemon runs: as a whole or not at all, and what did not change goes on."""

from __future__ import annotations

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from exporter.config import load
from exporter.model import ConfigError
from exporter.run.assembly import assemble
from exporter.run.daemon import Daemon
from exporter.state.contact import Contact, reachable
from exporter.telemetry import PrometheusTelemetry
from exporter.web import WebSettings
from exporter.web.app import serve
from tests.fakes.recording import Recorder
from tests.fakes.serving import serving
from tests.memory_source import START
from tests.run.test_daemon import HOUR, MINUTE, StepClock

PREFIX = "log_anomaly_exporter_"


class Installation:
    """A configuration in a file, and logs in others: one service that fails from the 65th minute on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "exporter.yml"
        self.values: dict[str, Any] = {
            "state": str(folder / "state.db"),
            "warmup": {"history": "1h"},
            "detection": {"min_windows": 30},
            "sources": [self.source("one"), self.source("two")],
        }
        for name in ("one", "two"):
            text = "".join(self.lines(name, minute) for minute in range(90))
            (folder / f"{name}.log").write_text(text)
        self.write()

    def source(self, name: str, **other: Any) -> dict[str, Any]:
        path = str(self.folder / f"{name}.log")
        own = {"type": "file", "name": name, "path": path, "query_offset": "0s", "late_window": "2m"}
        return {**own, **other}

    def lines(self, name: str, minute: int) -> str:
        lines = [(9 * number, f"INFO request {number} served in {number + 3} ms") for number in range(6)]
        if name == "one" and minute >= 65:
            lines += [(9 * number + 1, "ERROR connection pool exhausted: none within 30 s") for number in range(6)]
        stamped = (((START + minute * MINUTE).strftime("%Y-%m-%dT%H:%M:"), second, text) for second, text in lines)
        return "".join(f"{minute}{second:02d}Z {text}\n" for minute, second, text in stamped)

    def write(self, **changed: Any) -> None:
        self.values |= changed
        self.file.write_text(yaml.safe_dump(self.values))

    @asynccontextmanager
    async def running(self, clock: StepClock) -> AsyncIterator[Daemon]:
        telemetry = PrometheusTelemetry()
        assembly = assemble(load(self.file), clock, telemetry, wall=clock)
        daemon = Daemon(assembly, telemetry, load=lambda: load(self.file))
        try:
            yield daemon
        finally:
            await daemon.assembly.close()


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


async def test_a_new_sink_and_a_new_label_need_no_restart(place: Installation) -> None:
    clock = StepClock(START + HOUR)
    told = Recorder()
    async with place.running(clock) as daemon, serving(told.app()) as url:
        for _ in range(3):
            await daemon.once()
            clock.moment += 3 * MINUTE
        await daemon.once()
        assert [record.incident.status for record in await daemon.list_incidents(None, 10)] == ["firing"]
        pipelines = daemon.assembly.pipelines
        place.write(sinks=[{"type": "webhook", "name": "hook", "url": url}], external_labels={"cluster": "eu-1"})
        await daemon.reload()
        assert daemon.assembly.pipelines == pipelines, "sources that did not change were started anew"
        await daemon.once()
        assert told.requests, "the new place was not told of what is open"
        before = len(told.requests)
        await daemon.reload()
        await daemon.once()
        assert len(told.requests) == before, "what was told was told again"
        clock.moment += 3 * MINUTE
        await daemon.once()
        (record,) = await daemon.list_incidents(None, 10)
        assert record.incident.status == "firing"


async def test_a_changed_source_is_started_anew_alone(place: Installation) -> None:
    clock = StepClock(START + HOUR)
    async with place.running(clock) as daemon:
        await daemon.once()
        one, two = daemon.assembly.pipelines
        reached = await one.checkpoint()
        place.write(sources=[place.source("one"), place.source("two", window="2m"), place.source("three")])
        (place.folder / "three.log").write_text(place.lines("three", 1))
        await daemon.reload()
        now = daemon.assembly.pipelines
        assert (now[0] is one, now[1] is two, now[2].name) == (True, False, "three")
        assert await now[0].checkpoint() == reached
        assert await now[1].checkpoint() is None, "it goes on with what it learnt in windows of another length"
        await daemon.once()
        assert [(await polling.progress()).state for polling in daemon.pollings] == ["ready"] * 3


async def test_what_is_gone_is_measured_no_more(place: Installation) -> None:
    async with place.running(StepClock(START + HOUR)) as daemon:
        await daemon.once()
        assert 'source_lag_seconds{source="two"}' in daemon.metrics()
        place.write(sources=[place.source("one")])
        await daemon.reload()
        await daemon.once()
        assert 'source="two"' not in daemon.metrics()
        assert 'source_lag_seconds{source="one"}' in daemon.metrics()
        place.write(sources=[place.source("one"), place.source("two")])
        await daemon.reload()
        await daemon.once()
        assert 'source_lag_seconds{source="two"}' in daemon.metrics()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alarm_budget": "often"}, "alarm_budget"),
        ({"sources": []}, "sources: missing"),
        (
            {"sinks": [{"type": "slack", "name": "s", "token_file": "/nowhere/token", "channel": "C1"}]},
            "/nowhere/token",
        ),
        ({"web": {"token_file": "/nowhere/web"}}, "secret file /nowhere/web: No such file"),
    ],
)
async def test_a_wrong_configuration_is_refused_as_a_whole(
    place: Installation, wrong: dict[str, Any], message: str
) -> None:
    async with place.running(StepClock(START + HOUR)) as daemon:
        await daemon.once()
        before = daemon.assembly
        place.write(external_labels={"cluster": "eu-1"}, **wrong)
        with pytest.raises(ConfigError, match=message):
            await daemon.reload()
        assert daemon.assembly is before
        assert f"{PREFIX}config_last_reload_successful 0" in daemon.metrics()
        await daemon.once()
        assert all(polling.detail == "" for polling in daemon.pollings)
        place.write(sources=[place.source("one")], sinks=[], web={}, alarm_budget="2/day")
        await daemon.reload()
        assert f"{PREFIX}config_last_reload_successful 1" in daemon.metrics()


async def test_what_can_only_change_at_a_start_is_said_and_stays(
    place: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    async with place.running(StepClock(START + HOUR)) as daemon:
        state = daemon.assembly.config.state
        place.write(state=str(place.folder / "other.db"), web={"listen": "127.0.0.1:1"}, alarm_budget="3/day")
        with caplog.at_level(logging.INFO):
            await daemon.reload()
        assert "web.listen, state can only change at a start" in caplog.text
        assert "alarm_budget" in caplog.text
        assert (daemon.assembly.config.state, daemon.assembly.config.alarm_budget) == (state, 3.0)


async def test_jobs_go_on_after_a_reload_and_one_that_hangs_is_broken_off(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.run.daemon.STOP_WITHIN", MINUTE / 600)
    async with place.running(StepClock(START + HOUR)) as daemon:
        began, hangs = asyncio.Event(), asyncio.Event()
        hung = daemon.pollings[1]

        async def hang() -> None:
            began.set()
            await hangs.wait()

        monkeypatch.setattr(hung, "poll", hang)
        running = asyncio.create_task(daemon.run())
        await asyncio.wait_for(began.wait(), 60)
        place.write(sources=[place.source("one"), place.source("two", window="2m")])
        await asyncio.wait_for(daemon.reload(), 60)
        assert daemon.pollings[1] is not hung
        polled = asyncio.Event()
        daemon.assembly.pipelines[1].watch = lambda *_: polled.set()
        await asyncio.wait_for(polled.wait(), 60)
        daemon.stop()
        await asyncio.wait_for(running, 60)


async def test_the_command_that_the_page_prints_works_with_the_shortest_configuration(place: Installation) -> None:
    clock = StepClock(START + HOUR)
    async with place.running(clock) as daemon:
        for _ in range(3):
            await daemon.once()
            clock.moment += 3 * MINUTE
        (record,) = await daemon.list_incidents("firing", 10)
        settings = WebSettings(listen="127.0.0.1:0")
        async with serve(settings, daemon, daemon.telemetry, own_token="of this run") as url:
            with reachable(place.folder / "state.db", Contact(url, "of this run")):
                assert (place.folder / "state.db.daemon").stat().st_mode & 0o777 == 0o600
                command = "incidents", "resolve", record.incident.id, "--fix", "more connections", "-c", str(place.file)
                done = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "exporter.cli.main", *command, stdout=PIPE, stderr=PIPE
                )
                out, err = await done.communicate()
            assert (done.returncode, b"is resolved" in out) == (0, True), err
            assert not (place.folder / "state.db.daemon").exists()
            async with aiohttp.ClientSession() as client:
                path = f"{url}/api/incidents/{record.incident.id}/resolve"
                assert (await client.post(path)).status == 403, "no token is configured"
                assert (await client.post(path, headers={"Authorization": "Bearer other"})).status == 403
                alert = f"{url}/webhooks/alertmanager"
                assert (await client.post(alert, headers={"Authorization": "Bearer of this run"})).status == 403
        (now,) = await daemon.list_incidents(None, 10)
        assert (now.incident.status, now.incident.fix) == ("resolved", "more connections")
