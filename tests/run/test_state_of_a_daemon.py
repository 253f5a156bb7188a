"""A daemon whose state file is full, odd, replaced or gone: it says so, loses nothing, and goes on by itself."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
import yaml

from exporter.cli import early
from exporter.model import StateError, Write
from exporter.model.questions import AlertTrigger
from exporter.run.daemon import Daemon
from exporter.state.incidents import incident_list
from exporter.state.triggers import waiting_count
from tests.memory_source import START, MemorySource
from tests.run.test_daemon import HOUR, MINUTE, StepClock, config, lines, running
from tests.servers.process import PATIENCE, free_port


async def run_jobs(daemon: Daemon) -> None:
    """Each job once, as the scheduler runs it."""
    for name, job, _ in daemon._jobs():
        await daemon._guarded(name, job)


def fill(daemon: Daemon, room: int | None) -> None:
    """Let the state file have so many more pages; SQLite says then what it says of a full disk."""
    with daemon.assembly.state._connection.use() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {2**30 if room is None else pages + room}")


def alert(number: int) -> AlertTrigger:
    # As long as an alert may be: it takes pages of its own.
    return AlertTrigger(f"f{number}", "firing", START + 62 * MINUTE, None, {"alertname": "x"}, {"text": "y" * 200_000})


async def test_a_full_disk_is_said_loses_nothing_and_is_over_when_there_is_room(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(80, failing=range(65, 70)))
    (tmp_path / "calm").mkdir()
    async with running(config(tmp_path / "calm", "shop"), StepClock(START + 80 * MINUTE), source) as daemon:
        daemon.assembly.clock.moment = START + HOUR  # type: ignore[attr-defined]
        await daemon.once()
        daemon.assembly.clock.moment = START + 80 * MINUTE  # type: ignore[attr-defined]
        await run_jobs(daemon)
        calm = await incident_list(daemon.assembly.state)
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        await daemon.once()
        fill(daemon, 0)
        clock.moment += 20 * MINUTE
        await run_jobs(daemon)
        readiness = await daemon.readiness()
        assert not readiness.ok
        assert any("the disk is full; free some space" in reason for reason in readiness.reasons)
        (source_now,) = readiness.sources
        assert source_now.lag is not None
        assert source_now.lag > 10 * MINUTE
        lag = daemon.telemetry.value("log_anomaly_exporter_source_lag_seconds", source="shop")
        assert lag == source_now.lag.total_seconds(), "the gauge goes on"
        assert daemon.telemetry.value("log_anomaly_exporter_ready") == 0
        assert daemon.telemetry.value("log_anomaly_exporter_state_errors_total")
        with pytest.raises(StateError):
            await daemon.take([alert(1)])
        assert await waiting_count(daemon.assembly.state) == 0, "what was not kept was not accepted"
        fill(daemon, None)
        for _ in range(2):
            await run_jobs(daemon)
        assert (await daemon.readiness()).ok
        assert await incident_list(daemon.assembly.state) == calm != []


async def test_junk_among_given_rows_fails_no_job_and_stands_above_the_list(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    async with running(config(tmp_path, "shop"), clock, MemorySource(lines(80))) as daemon:
        await daemon.once()
        state = daemon.assembly.state
        junk = "{not JSON"
        await state.write(
            [
                Write("incidents", INCIDENT, (("bad", "firing", 1, "orders", 0, 2**31, junk, junk),)),
                Write("news", NEWS, (("bad", 1, 0, "opened", 0, junk),)),
                Write("reports", ("incident", "writer", "revision", "body"), (("bad", "rules", 1, junk),)),
                Write("triggers", TRIGGER, (("bad", 0, "firing", 0, 0, junk),)),
                Write("near_misses", ("id", "ends_at", "ratio", "body"), (("bad", 0, 0.5, junk),)),
                Write("documents", ("key", "body", "vector"), (("bad", junk, b"odd"),)),
            ]
        )
        clock.moment += MINUTE
        await run_jobs(daemon)
        failed = [
            daemon.telemetry.value("log_anomaly_exporter_job_runs_total", task=task, outcome="failed")
            for task in ("group", "enrich", "deliver", "analyze", "housekeep", "measure")
        ]
        assert not any(failed)
        readiness = await daemon.readiness()
        assert {one.kind for one in readiness.set_aside} >= {"incidents", "news", "triggers"}
        assert all(one.key.startswith("bad") and one.remedy for one in readiness.set_aside)
        assert await daemon.list_incidents(None, 10) == []
        assert await daemon.incident("bad") is None


INCIDENT = ("id", "status", "revision", "service", "starts_at", "updated_at", "body", "cluster")
NEWS = ("incident", "revision", "part", "change", "at", "body")
TRIGGER = ("fingerprint", "starts_at", "status", "received_at", "done", "body")


async def test_a_state_file_that_is_gone_stops_the_daemon(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(config(tmp_path, "shop"), StepClock(START + HOUR), MemorySource(lines(60))) as daemon:
        await daemon.watch()
        assert not daemon.failed
        (tmp_path / "state.db").unlink()
        await daemon.watch()
        assert daemon.failed
        assert "was deleted or replaced" in caplog.text
        await daemon.wait()


# --- The process --------------------------------------------------------------------------------------


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """A daemon that reads an empty file."""
    (tmp_path / "empty.log").touch()
    path = tmp_path / "exporter.yml"
    path.write_text(
        yaml.safe_dump(
            {
                "state": str(tmp_path / "state.db"),
                "sources": [{"type": "file", "name": "empty", "path": str(tmp_path / "empty.log")}],
                "web": {"listen": f"127.0.0.1:{free_port()}"},
            }
        )
    )
    return path


def started(path: Path) -> subprocess.Popen[str]:
    program = "import sys; sys.argv = sys.argv[1:]; from exporter.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "log-anomaly-exporter", "run", "-c", str(path)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def sqlite_is_there(path: Path) -> None:
    """Wait until the daemon has made its state file."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with closing(sqlite3.connect(f"{(path.parent / 'state.db').as_uri()}?mode=ro", uri=True)) as connection:
                if connection.execute("SELECT COUNT(*) FROM checkpoints").fetchone()[0]:
                    return
        except sqlite3.Error:
            os.sched_yield()
    raise AssertionError("the daemon made no state file in time")


def test_neither_sighup_nor_sigusr1_ends_a_daemon_and_sigterm_does_cleanly(configured: Path) -> None:
    process = started(configured)
    try:
        sqlite_is_there(configured)
        for number in (signal.SIGHUP, signal.SIGUSR1):
            process.send_signal(number)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()


def test_a_daemon_whose_state_file_is_replaced_ends_with_a_message(configured: Path) -> None:
    process = started(configured)
    try:
        sqlite_is_there(configured)
        state = configured.parent / "state.db"
        state.rename(state.with_name("moved.db"))
        state.touch()
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert "was deleted or replaced" in said
    finally:
        process.kill()


def test_a_stop_that_comes_before_anything_is_loaded_is_remembered() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        early.heed()
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        assert (early.asked(), early.asked()) == (True, False)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


JUNK = ("'no JSON'", "x'ff00ff'")


@pytest.mark.parametrize("junk", JUNK)
async def test_junk_in_what_was_learnt_is_learnt_anew_and_incidents_stay(tmp_path: Path, junk: str) -> None:
    source = MemorySource(lines(150, failing=range(65, 70)))
    clock = StepClock(START + HOUR)
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        await daemon.once()
        clock.moment = START + 80 * MINUTE
        await daemon.once()
        before = await incident_list(daemon.assembly.state)
        derived = await spoilt(daemon, junk)
    assert before
    assert derived, "something was spoilt"
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        clock.moment += 30 * MINUTE
        for _ in range(3):
            await run_jobs(daemon)
        readiness = await daemon.readiness()
        assert readiness.ok, readiness.reasons
        assert await incident_list(daemon.assembly.state) == before
        assert daemon.assembly.state.aside.counts()


async def spoilt(daemon: Daemon, junk: str) -> int:
    """Put something odd into every body of what was learnt; how many columns took it."""
    spoilt = 0
    with daemon.assembly.state._connection.use() as connection:
        query = (
            "SELECT t.value, c.name FROM json_each((SELECT value FROM meta WHERE key = 'derived')) t "
            "JOIN pragma_table_info(t.value) c WHERE c.name IN ('body', 'counts', 'template')"
        )
        for table, column in connection.execute(query).fetchall():
            # A table may be strict on what a column holds.
            with suppress(sqlite3.IntegrityError):
                connection.execute(f"UPDATE {table} SET {column} = {junk}")
                spoilt += 1
    return spoilt


async def test_anomalies_that_cannot_be_read_fail_no_job(tmp_path: Path) -> None:
    source = MemorySource(lines(150, failing=range(65, 70)))
    clock = StepClock(START + HOUR)
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        await daemon.once()
        state = daemon.assembly.state
        names = ("source", "reached", "id", "quiet", "body")
        reached = int((START + HOUR + MINUTE).timestamp())
        junk = tuple(("shop", reached, f"bad{n}", 0, body) for n, body in enumerate(("no JSON", "[]", "{}")))
        await state.write([Write("anomalies", names, junk)])
        for _ in range(3):
            clock.moment += 5 * MINUTE
            await run_jobs(daemon)
        task = {"task": "group", "outcome": "failed"}
        assert not daemon.telemetry.value("log_anomaly_exporter_job_runs_total", **task)
        assert await incident_list(state)
