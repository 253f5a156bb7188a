"""A daemon that may open no more files: it says so wherever somebody looks, loses nothing, and goes on by itself."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from exporter.flow.brain import Brain
from exporter.model import NO_MORE_FILES
from tests.fakes.recording import Recorder
from tests.fakes.serving import serving
from tests.memory_source import START, MemorySource
from tests.run.test_daemon import HOUR, MINUTE, StepClock, config, lines, running
from tests.servers.process import PATIENCE, free_port

TOKEN = "a-token-of-the-test"
WINDOW = timedelta(seconds=1)
NONE_LEFT = 3
"""Every process has more open than that."""


class Running:
    """A daemon over a directory of logs, that is asked over one connection which it has accepted before."""

    def __init__(self, folder: Path, hook: str, session: aiohttp.ClientSession) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.state = folder / "state.db"
        self.port = free_port()
        self._log = folder / "log.txt"
        self._session = session
        path = folder / "exporter.yml"
        source = {"type": "file", "name": "shop", "path": str(self.logs), "window": "1s", "query_offset": "0s"}
        path.write_text(
            json.dumps(
                {
                    "state": str(self.state),
                    "web": {"listen": f"127.0.0.1:{self.port}", "token": TOKEN},
                    "stall_after": "2s",
                    "warmup": {"history": "5m"},
                    "sources": [{**source, "late_window": "10m"}],
                    "sinks": [{"type": "webhook", "url": hook}],
                }
            )
        )
        self.write(*range(-120, 0))
        program = "import sys; from exporter.cli.main import main; sys.exit(main(sys.argv[1:]))"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-c", program, "run", "-c", str(path)], stderr=log)

    def write(self, *seconds: int) -> None:
        """Log something so many seconds from now."""
        now = datetime.now(UTC)
        with (self.logs / "orders.log").open("a") as file:
            file.writelines(f"{(now + timedelta(seconds=s)).isoformat()} INFO order {-s} is stored\n" for s in seconds)

    def limit(self, files: int) -> None:
        _, most = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (files, most))

    @property
    def log(self) -> str:
        return self._log.read_text()

    async def get(self, path: str) -> str:
        async with self._session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            return await answer.text()

    async def alert(self) -> int:
        """The status of the answer to an alert."""
        now = datetime.now(UTC).isoformat()
        alert = {"labels": {"alertname": "Slow", "service": "orders"}, "annotations": {}, "fingerprint": "f1"}
        body = {"version": "4", "alerts": [{**alert, "status": "firing", "startsAt": now}]}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"http://127.0.0.1:{self.port}/webhooks/alertmanager"
        async with self._session.post(url, json=body, headers=headers) as answer:
            return answer.status

    async def until(self, check: Callable[[], Coroutine[Any, Any, bool]], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if await check():
                    return
            except aiohttp.ClientError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{what}: not so:\n{self.log[-3000:]}")
            await asyncio.sleep(0.05)

    async def is_ready(self, value: int = 1) -> bool:
        await self.get("/-/ready")
        return f"\nlog_anomaly_exporter_ready {value}.0\n" in await self.get("/metrics")

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(f"{self.state.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def told() -> Recorder:
    return Recorder()


@pytest.fixture
async def daemon(tmp_path: Path, told: Recorder) -> AsyncIterator[Running]:
    connections = aiohttp.TCPConnector(limit=1, keepalive_timeout=PATIENCE)
    async with serving(told.app()) as url, aiohttp.ClientSession(connector=connections) as session:
        daemon = Running(tmp_path, url, session)
        try:
            await daemon.until(daemon.is_ready, "it is ready")
            yield daemon
        finally:
            daemon.process.kill()
            daemon.process.wait()


async def test_it_is_said_nothing_is_lost_and_it_goes_on_when_there_are_handles(
    daemon: Running, told: Recorder
) -> None:
    before, _ = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    daemon.limit(NONE_LEFT)
    daemon.write(0)
    assert await daemon.alert() == 202

    async def said() -> bool:
        return NO_MORE_FILES in await daemon.get("/") and await daemon.is_ready(0)

    await daemon.until(said, "page and metric say it")
    with socket.create_connection(("127.0.0.1", daemon.port)):

        async def tried() -> bool:
            return all(f"{place}{NO_MORE_FILES}" in daemon.log for place in (f"{daemon.logs}: ", "let in: "))

        await daemon.until(tried, "the log says it of the source and of whoever wants in")
    daemon.write(0)
    daemon.limit(before)
    daemon.write(0)

    async def caught_up() -> bool:
        done = daemon.rows("SELECT 1 FROM triggers WHERE done = 1")
        return bool(done and told.requests and await daemon.is_ready() and not missing(daemon))

    await daemon.until(caught_up, "every line is read, the alert is analysed and told")
    assert daemon.log.count("nobody can be let in") == 1
    assert "Traceback" not in daemon.log
    assert "is skipped" not in daemon.log, "no row is to blame"
    assert {request.json()["incident"]["service"] for request in told.requests} == {"orders"}
    assert daemon.rows("SELECT kind FROM decisions WHERE kind NOT IN ('warmup', 'stalled')") == []


def missing(daemon: Running) -> Counter[int]:
    """Lines that were logged and are in no window."""
    logged = Counter(
        int(datetime.fromisoformat(line.split()[0]).timestamp())
        for line in (daemon.logs / "orders.log").read_text().splitlines()
    )
    return logged - Counter(dict(daemon.rows("SELECT window, lines FROM windows")))


def test_one_that_cannot_start_for_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "exporter.yml"
    path.write_text(json.dumps({"state": str(tmp_path / "state.db"), "sources": [{"type": "simulator"}]}))
    program = (
        "import resource, sys; from exporter.cli.main import main; import exporter.run.assembly;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)); sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "run", "--once", "-c", str(path)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, NO_MORE_FILES in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


async def test_what_was_learnt_is_kept_while_the_machine_fails(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    async with running(config(tmp_path, "shop"), clock, MemorySource(lines(80))) as daemon:
        await daemon.once()
        state, keeper = daemon.assembly.state, daemon.assembly.pipelines[0]._keeper
        learnt, make = await state.derived_rows("shop"), keeper._make_brain
        keeper._brain, keeper._make_brain = None, lambda: cast(Brain, Unreadable())
        clock.moment += MINUTE
        with pytest.raises(OSError, match="Too many open files"):
            await daemon.pollings[0].poll()
        assert await state.derived_rows("shop") == learnt
        keeper._make_brain = make
        await daemon.pollings[0].poll()
        assert len(await state.derived_rows("shop")) == len(learnt)
        assert not state.aside.counts()


class Unreadable:
    """A brain for which no file can be opened any more: part of it is imported when it is loaded."""

    def load(self, rows: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
