"""Run one part of a replay with the code of the checkout that it is started in, and write down all that comes out.

It is started once for each checkout, so it may use only what both have: the configuration, the commands, the state
file, and a few parts whose place it looks for. `python -P driver.py PART FOLDER [DATA]`, with the addresses of the
servers in the environment; FOLDER has the logs of the repository, and is given `found.json`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)

PLACES: Mapping[str, tuple[str, ...]] = {
    "Daemon": ("exporter.run.daemon", "exporter.daemon"),
    "assemble": ("exporter.run.assembly", "exporter.assembly"),
    "fingerprint": ("exporter.run.learning", "exporter.run.assembly", "exporter.assembly"),
    "MiningSettings": ("exporter.mining.settings", "exporter.mining"),
    "fingerprint of mining": ("exporter.mining.settings", "exporter.mining"),
    "main": ("exporter.cli.main", "exporter.cli"),
    "AlertTrigger": ("exporter.model.questions", "exporter.model", "exporter.web.backend"),
    "WebSettings": ("exporter.web.settings", "exporter.web"),
    "create_app": ("exporter.web.app",),
    "start": ("exporter.web.app",),
    "parse": ("exporter.config",),
    "effective": ("exporter.config",),
    "PrometheusTelemetry": ("exporter.telemetry",),
    "SystemClock": ("exporter.model",),
    "RECALL_AT_ONCE": ("exporter.delivery.enrich", "exporter.delivery"),
}
"""Where things are or were, the newest place first; a move adds its place here."""


# The environment has this checkout installed, and would lend an older one the modules that it does not have.
sys.meta_path[:] = [one for one in sys.meta_path if not getattr(one, "__module__", "").startswith("__editable__")]


def find(name: str) -> Any:
    """What a checkout has under this name, wherever it has it."""
    for module in PLACES[name]:
        with contextlib.suppress(ModuleNotFoundError, AttributeError):
            return getattr(import_module(module), name.partition(" ")[0])
    raise SystemExit(f"{name} is in none of {', '.join(PLACES[name])}: say in {__file__} where it is now")


def wait_for_memory() -> None:
    """On a busy machine memory misses the first report: what is told then depends on the machine."""
    for module in PLACES["RECALL_AT_ONCE"]:
        with contextlib.suppress(ModuleNotFoundError):
            if hasattr(found := import_module(module), "RECALL_AT_ONCE"):
                vars(found)["RECALL_AT_ONCE"] = timedelta(minutes=1)


@dataclass
class Clock:
    """Event time and wall time in one; it moves when the replay says so."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment


@dataclass(frozen=True)
class Surroundings:
    """What a part is given: a folder of its own with the logs of the repository, and, where there are, real logs."""

    folder: Path
    data: Path | None


# --- Replays ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replay:
    """A daemon with every sink over recorded time: `start` is its first moment, `acts` are by time after it."""

    settings: Mapping[str, Any]
    start: datetime
    lasts: timedelta
    step: timedelta
    acts: Mapping[timedelta, str] = field(default_factory=dict)

    @property
    def end(self) -> datetime:
        return self.start + self.lasts


def shop() -> Replay:
    """A day of the simulated shop in which everything fails once, after eight hours to learn from."""
    source = {"type": "simulator", "name": "shop", "seed": 0, "rate": 4, "duration": "32h", "healthy": "8h"}
    return Replay(
        {"sources": [source], "warmup": {"history": "8h", "budget": "1d"}, "alarm_budget": "1/hour"},
        datetime(2025, 3, 3, 8, tzinfo=UTC),
        24 * HOUR,
        5 * MINUTE,
        {
            1 * HOUR: "a deployment is told",
            5 * HOUR: "somebody else's alert comes",
            8 * HOUR: "a person says what fixed it",
            11 * HOUR: "the daemon is started again",
            12 * HOUR: "the daemon is down",
            14 * HOUR: "the daemon is started again",
        },
    )


def hdfs(data: Path) -> Replay:
    """Twelve hours of HDFS: one service, each block a session."""
    source = {
        "type": "file",
        "name": "hdfs",
        "path": str(data / "hdfs" / "events.parquet"),
        "service": "hdfs",
        "fields": {"body": "m_message", "timestamp": "m_timestamp", "severity": "level"},
        "sessions": {"field": "seq_id"},
        "window": "5m",
    }
    return Replay(
        {"sources": [source], "warmup": {"history": "4h", "budget": "1d"}, "alarm_budget": "1/hour"},
        datetime(2008, 11, 10, 0, 30, tzinfo=UTC),
        12 * HOUR,
        HOUR / 2,
        {3 * HOUR: "the daemon is started again"},
    )


def trainticket(data: Path) -> Replay:
    """The TrainTicket day: 27 services with traces and hosts, a fault every ten minutes."""
    source = {
        "type": "file",
        "name": "train-ticket",
        "path": str(data / "trainticket" / "faults_2023-01-29.parquet"),
        "fields": {
            "body": "message",
            "timestamp": "TimeUnixNano",
            "service": "PodName",
            "trace": "TraceID",
            "host": "Node",
        },
    }
    return Replay(
        {"sources": [source], "warmup": {"history": "15m", "budget": "1d"}, "alarm_budget": "20/hour"},
        datetime(2023, 1, 29, 8, 56, tzinfo=UTC),
        7 * HOUR,
        4 * MINUTE,
        {1 * HOUR: "the daemon is started again", 2 * HOUR: "a person says what fixed it"},
    )


def configured(replay: Replay, folder: Path) -> dict[str, Any]:
    """The replay's settings with every sink and a model; `max_catch_up` is short enough for an outage to be a gap."""
    names = ("alertmanager", "grafana", "slack", "slackhook", "webhook", "otlp")
    url = {name: os.environ[f"{name.upper()}_URL"] for name in names}
    secret_path = "services/T000/B000/secretpart"
    return {
        "state": str(folder / "state.db"),
        "external_url": "https://anomalies.example.org",
        "external_labels": {"cluster": "eu-1"},
        "max_catch_up": "1h",
        **replay.settings,
        "llm": {"type": "openai", "base_url": os.environ["LLM_URL"], "model": "qwen3-8b"},
        "sinks": [
            {"type": "alertmanager", "urls": [url["alertmanager"]], "samples": 2},
            {"type": "grafana", "url": url["grafana"], "token": "glsa_fake"},
            {"type": "slack", "api_url": f"{url['slack']}/api", "token": "xoxb-fake", "channel": "C0123"},
            {"type": "slack", "name": "slackhook", "webhook_url": f"{url['slackhook']}/{secret_path}"},
            {"type": "webhook", "url": f"{url['webhook']}/hook", "secret": "a secret"},
            {"type": "otlp", "protocol": "http", "endpoint": url["otlp"], "service_instance_id": "pod-7"},
            {"type": "console", "color": False, "width": 100},
        ],
    }


async def replayed(replay: Replay, folder: Path) -> dict[str, Any]:
    """Everything but the requests, which the servers have."""
    settings = configured(replay, folder)
    clock = Clock(replay.start)
    answers: dict[str, Any] = {}
    console = StringIO()
    with contextlib.redirect_stdout(console):
        while clock.moment < replay.end:
            async with running(settings, clock) as daemon:
                await live(daemon, clock, replay)
                answers = {"metrics": metrics(daemon.metrics()), "pages": await pages(daemon, clock)}
    return {"console": console.getvalue().splitlines(), "rows": rows(folder / "state.db"), **answers}


@contextlib.asynccontextmanager
async def running(settings: Mapping[str, Any], clock: Clock) -> AsyncIterator[Any]:
    telemetry = find("PrometheusTelemetry")()
    assembly = find("assemble")(find("parse")(settings), clock, telemetry, wall=clock)
    try:
        yield find("Daemon")(assembly, telemetry)
    finally:
        await assembly.close()
        telemetry.close()


async def live(daemon: Any, clock: Clock, replay: Replay) -> None:
    """Step the clock until the end, or until the daemon is to be started again."""
    while clock.moment < replay.end:
        await daemon.once()
        clock.moment += replay.step
        act = replay.acts.get(clock.moment - replay.start)
        if act == "the daemon is down":
            clock.moment += 2 * HOUR - replay.step
            return
        if act == "the daemon is started again":
            return
        if act:
            await ACTS[act](daemon, clock)


async def deployed(daemon: Any, clock: Clock) -> None:
    await daemon.change("orders", "2.4.1", clock.moment)


async def alerted(daemon: Any, clock: Clock) -> None:
    labels = {"alertname": "HighErrorRate", "service": "orders"}
    alert = find("AlertTrigger")("f1", "firing", clock.moment - 10 * MINUTE, None, labels, {"summary": "errors"})
    await (daemon.take([alert]) if hasattr(daemon, "take") else daemon.analyze(alert))


async def fixed(daemon: Any, clock: Clock) -> None:
    found = await daemon.list_incidents(None, 1)
    if found:
        await daemon.resolve(found[0].incident.id, "raised the pool from 20 to 60 connections")


ACTS: Mapping[str, Callable[[Any, Clock], Any]] = {
    "a deployment is told": deployed,
    "somebody else's alert comes": alerted,
    "a person says what fixed it": fixed,
}


def metrics(exposition: str) -> dict[str, str]:
    """Samples of our own metrics, without those that measure this machine."""
    samples = (line.rpartition(" ") for line in exposition.splitlines() if line.startswith("log_anomaly_exporter_"))
    return {name: value for name, _, value in sorted(samples) if "seconds" not in name and "bytes" not in name}


async def pages(daemon: Any, clock: Clock) -> dict[str, list[str]]:
    """The web side: the list and each incident's page and document."""
    settings = find("WebSettings")(listen="127.0.0.1:0")
    runner = await find("start")(find("create_app")(settings, daemon, None, clock), settings)
    paths = ["/", "/api/incidents"]
    for record in await daemon.list_incidents(None, 1000):
        paths += [f"/incidents/{record.incident.id}", f"/api/incidents/{record.incident.id}"]
    found = {}
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
            for path in paths:
                async with session.get(path) as answer:
                    text = await answer.text()
                    found[path] = json.loads(text) if path.startswith("/api") else text.splitlines()
    finally:
        await runner.cleanup()
    return found


def rows(path: Path) -> dict[str, Any]:
    """All rows, by table and key."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return {"version": version, **{name: dict(table(connection, name)) for (name,) in names}}


def table(connection: sqlite3.Connection, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
    labels, keys = [column[1] for column in columns], [number for number, column in enumerate(columns) if column[5]]
    for number, row in enumerate(connection.execute(f"SELECT * FROM {name}")):
        key = "/".join(str(row[place]) for place in keys) or str(number)
        yield key, {label: shown(value) for label, value in zip(labels, row, strict=True)}


def shown(value: Any) -> Any:
    """A value of a row such that a difference in it can be pointed at."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes, {sha256(value).hexdigest()[:16]}"
    if isinstance(value, str) and value[:1] in ("{", "["):
        # A line that was cut may begin as JSON does.
        with contextlib.suppress(ValueError):
            read = json.loads(value)
            # A body that says no version of its form has the first.
            return {"version": 1, **read} if isinstance(read, dict) else read
    return value


# --- Parts --------------------------------------------------------------------------------------------


def command(*arguments: str) -> dict[str, Any]:
    """A command's exit code and what it prints."""
    printed = StringIO()
    with contextlib.redirect_stdout(printed):
        code = find("main")(arguments)
    text = printed.getvalue()
    return {"code": code, "printed": json.loads(text) if "json" in arguments else text.splitlines()}


def replay_part(make: Callable[[Path], Replay]) -> Callable[[Surroundings], dict[str, Any]]:
    def run(given: Surroundings) -> dict[str, Any]:
        assert given.data is not None
        return both_ways(make(given.data), given)

    return run


def both_ways(replay: Replay, given: Surroundings) -> dict[str, Any]:
    """Once as a daemon, once as a backtest of the last third."""
    found = asyncio.run(replayed(replay, given.folder))
    path = given.folder / "exporter.yml"
    path.write_text(json.dumps(configured(replay, given.folder)))
    start = (replay.end - replay.lasts / 3).isoformat()
    span = ("--start", start, "--end", replay.end.isoformat(), "--sessions", "--format", "json")
    return {**found, "backtest": command("backtest", "-c", str(path), *span)}


def fingerprints(given: Surroundings) -> dict[str, Any]:
    """What marks derived rows: were one to change, every installation would learn anew."""
    source = {"type": "elasticsearch", "name": "shop", "hosts": ["http://127.0.0.1:9"]}
    configurations: dict[str, dict[str, Any]] = {
        "shortest": {"sources": [source]},
        "settled": {
            "sources": [
                {**source, "window": "2m", "sessions": {"pattern": r"order=(\w+)"}, "group_by": ["host.name"]},
                {"type": "loki", "name": "l", "url": "http://127.0.0.1:9", "query": '{app="x"}', "late_window": "1h"},
                {"type": "file", "name": "f", "path": "/var/log/*.log"},
            ],
            "detection": {"min_windows": 30},
        },
    }
    parse, fingerprint, effective = find("parse"), find("fingerprint"), find("effective")
    return {
        "mining": find("fingerprint of mining")(find("MiningSettings")()),
        "configurations": {name: fingerprint(parse(raw)) for name, raw in configurations.items()},
        "effective": {name: effective(parse(raw)).splitlines() for name, raw in configurations.items()},
    }


def analyze(given: Surroundings) -> dict[str, Any]:
    """The command without a configuration, over the logs of the repository and over real ones."""
    files: dict[str, Sequence[str]] = {"shop": [str(given.folder / "shop.ndjson.zst")]}
    if given.data:
        events = str(given.data / "hdfs" / "events.parquet")
        files["hdfs"] = [events, "--body", "m_message", "--session-field", "seq_id"]
        files["trainticket"] = [str(given.data / "trainticket" / "faults_2023-01-29.parquet")]
    return {
        name: {form: command("analyze", *given_files, "--format", form) for form in ("json", "text")}
        for name, given_files in files.items()
    }


def demo(given: Surroundings) -> dict[str, Any]:
    """What the demo prints and leaves behind."""
    told = command("demo", "--directory", str(given.folder / "demo"))
    files = {path.name: shown(path.read_text()) for path in sorted((given.folder / "demo").glob("*.[jy]*"))}
    return {**told, "files": files, "rows": rows(given.folder / "demo" / "state.db")}


PARTS: Mapping[str, Callable[[Surroundings], dict[str, Any]]] = {
    "fingerprints": fingerprints,
    "analyze": analyze,
    "demo": demo,
    "shop": lambda given: both_ways(shop(), given),
    "hdfs": replay_part(hdfs),
    "trainticket": replay_part(trainticket),
}
"""What can be asked for, the quick ones first."""

NEED_DATA = ("hdfs", "trainticket")


def main(part: str, folder: str, data: str | None = None) -> None:
    import exporter

    if Path(exporter.__file__ or "").parent.parent != Path.cwd():
        raise SystemExit(f"{exporter.__file__} is not of the checkout {Path.cwd()}")
    draw_no_lots()
    stop_the_clock()
    wait_for_memory()
    found = PARTS[part](Surroundings(Path(folder), Path(data) if data else None))
    (Path(folder) / "found.json").write_text(json.dumps(found, ensure_ascii=False))


def draw_no_lots() -> None:
    """The key of redaction, seeds and the marks around what a model is shown are the same in every run."""
    secrets.token_bytes = lambda nbytes=None: b"\xab" * (nbytes or 32)
    secrets.token_hex = lambda nbytes=None: secrets.token_bytes(nbytes).hex()
    secrets.randbits = lambda k: (1 << k) - 1


def stop_the_clock() -> None:
    """What asks the machine for the time, as commands do, is told the same in every run."""
    find("SystemClock").now = lambda self: datetime(2025, 3, 10, tzinfo=UTC)


if __name__ == "__main__":
    main(*sys.argv[1:])
