"""Write the state file, the logs and what to expect of them with the code of commit 82d5d22; see README.md.

    cd CHECKOUT_OF_82d5d22 && PYTHONPATH=. python REPOSITORY/tests/data/82d5d22/make.py

A daemon with every sink runs over five services for an hour and a half, with a clock that is stepped and servers that
fail. Nothing is written into its state file by hand. The file is copied where the daemon is stopped; then it is started
again, and what it does is what every later version must do with the copy.
"""

# mypy: ignore-errors
# It imports modules where they were at that commit.

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import socket
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, redirect_stdout
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import zstandard
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from exporter.assembly import assemble
from exporter.cli import main
from exporter.config import load
from exporter.daemon import Daemon
from exporter.demo import _config
from exporter.model import to_json
from exporter.pipeline import incident_list
from exporter.simulator import demo_shop
from exporter.telemetry import PrometheusTelemetry
from exporter.web.backend import AlertTrigger
from tests.fakes.grafana import GrafanaFake
from tests.fakes.llm import FakeLLM, Request, failure, says, scripted
from tests.fakes.serving import serving
from tests.fakes.slack import SlackFake

HERE = Path(__file__).parent
START = datetime(2025, 6, 2, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

WARM = 60
STOPPED, STARTED_AGAIN = 124, 154
"""Longer than `max_catch_up`: what lies between is a gap."""
LAST = 172
END = 200


# --- The logs -----------------------------------------------------------------------------------------


def logs() -> Iterator[str]:
    """Five services for 200 minutes, as a shipper writes them; orders, payments, search and mailer fail in turn."""
    chance = random.Random(0)
    for minute in range(END):
        lines = [*usual(minute, chance), *failing(minute)]
        for second, service, level, message, order in sorted(lines):
            fields: dict[str, Any] = {
                "@timestamp": (START + minute * MINUTE + timedelta(seconds=second)).isoformat(),
                "log.level": level,
                "service.name": service,
                "host.name": f"{service}-1",
                "message": message,
            }
            yield json.dumps(fields | ({"order.id": order} if order else {}))


Line = tuple[float, str, str, str, str]


def usual(minute: int, chance: random.Random) -> Iterator[Line]:
    for turn in range(4):
        order, at = f"o-{minute * 4 + turn}", 12 * turn + chance.randrange(4)
        yield at, "orders", "info", f"order accepted with {turn + 1} items", order
        yield at + 1, "payments", "info", f"charge of {chance.randrange(5, 90)} EUR captured", order
        yield at + 2, "orders", "info", f"order stored in {chance.randrange(3, 9)} ms", order
        yield at + 5, "mailer", "info", "receipt sent", order
    for turn in range(5):
        path = ("cart", "orders", "search")[turn % 3]
        yield 11 * turn + 0.5, "gateway", "info", f"GET /api/{path} 200 in {chance.randrange(4, 40)} ms", ""
        yield 11 * turn + 0.7, "search", "info", f"query answered with {chance.randrange(30)} hits", ""


FAILURES = (
    ("orders", range(70, 74), "error", 6, "connection pool exhausted: no connection within 30 s"),
    ("payments", range(100, 106), "error", 6, "provider answers 502 to the charge of anna@example.org"),
    ("orders", range(103, 106), "error", 6, "payment of an order failed: payments answered 502"),
    ("gateway", range(103, 106), "error", 6, "POST /api/orders 502 after 10000 ms"),
    ("payments", range(118, 122), "error", 6, "ledger is read-only, the charge of anna@example.org is not booked"),
    ("orders", range(160, 174), "error", 40, "connection pool exhausted: no connection within 30 s"),
    ("search", range(162, 174), "error", 6, "replica set of the index lost its primary"),
    ("orders", range(170, 174), "fatal", 1, "out of connections, giving up"),
    ("mailer", range(171, 176), "error", 6, "relay refuses the receipt: 451 greylisted"),
    ("gateway", range(186, 190), "error", 6, "certificate of the upstream has expired, anna@example.org is logged out"),
)
"""Service, minutes, level, lines a minute, message."""


def failing(minute: int) -> Iterator[Line]:
    for service, minutes, level, amount, message in FAILURES:
        if minute in minutes:
            for turn in range(amount):
                yield turn * 60 / amount + 0.9, service, level, message, ""


# --- The servers --------------------------------------------------------------------------------------


class Receiver:
    """Takes every request and keeps its body; while it is down it answers 503."""

    def __init__(self) -> None:
        self.down = False
        self.bodies: list[bytes] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.down:
            return web.Response(status=503)
        self.bodies.append(body)
        kind = "application/json" if "json" in request.content_type else "application/x-protobuf"
        return web.Response(body=b"{}" if "json" in kind else b"", content_type=kind)


class Places:
    """Every server that the configuration names, and what each has been told."""

    def __init__(self) -> None:
        self.receivers = {name: Receiver() for name in ("alertmanager", "webhook", "otlp")}
        self.grafana = GrafanaFake()
        self.slack = SlackFake()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            llm: FakeLLM = await stack.enter_async_context(scripted(write_report))
            os.environ["LLM_URL"] = llm.url
            apps = {name: receiver.app() for name, receiver in self.receivers.items()}
            apps |= {"grafana": self.grafana.app(), "slack": self.slack.app()}
            for name, app in apps.items():
                os.environ[f"{name.upper()}_URL"] = await stack.enter_async_context(serving(app))
            yield

    def told(self) -> dict[str, Any]:
        """What each has, in the essentials that may never change."""
        posts = [alert for body in self.receivers["alertmanager"].bodies for alert in json.loads(body)]
        hooks = [json.loads(body) for body in self.receivers["webhook"].bodies]
        events = [
            {pair.key: pair.value.string_value for pair in record.attributes}
            for body in self.receivers["otlp"].bodies
            for resource in ExportLogsServiceRequest.FromString(body).resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]
        return {
            "alertmanager": [
                {"labels": labels, "starts": starts, "ends": ends} for labels, starts, ends in alerts(posts)
            ],
            "webhook": [{key: hook[key] for key in ("event_id", "change")} for hook in hooks],
            "otlp": [{"event_id": e["event.id"], "change": e["log_anomaly.change"]} for e in events],
            "grafana": [asdict(annotation) for annotation in self.grafana.annotations.values()],
            "slack": [
                {"ts": m.ts, "text": m.text, "thread_ts": m.thread_ts, "metadata": m.metadata, "edits": m.edits}
                for m in self.slack.messages
            ],
        }


def alerts(posts: list[dict[str, Any]]) -> Iterator[tuple[dict[str, str], list[str], list[str]]]:
    """Each label set that was ever posted, with the starts that it was given, and the first and last end."""
    for key in dict.fromkeys(json.dumps(post["labels"], sort_keys=True) for post in posts):
        labels = json.loads(key)
        own = [post for post in posts if post["labels"] == labels]
        ends = [post["endsAt"] for post in own]
        yield labels, sorted({post["startsAt"] for post in own}), [ends[0], ends[-1]]


def write_report(request: Request) -> web.Response:
    """A model's answer: one claim that holds, one that cites what does not exist, a guess and a step."""
    rows = [json.loads(line) for line in request.user.splitlines() if line.startswith("{")]
    line = next((row for row in rows if row["what"] == "line"), None)
    if line is None:
        return failure(503, "overloaded")
    answer = {
        "what_happened": [
            {"text": f"{line['service']} logs errors that it did not log before.", "evidence": [line["id"]]},
            {"text": "The moon is full.", "evidence": ["L0000000000"]},
        ],
        "causes": [{"text": "Something that it needs may not answer.", "evidence": []}],
        "steps": [{"text": f"Look at what {line['service']} waits for.", "evidence": ["C1"]}],
    }
    return says(answer)(request)


# --- The daemon ---------------------------------------------------------------------------------------


class Clock:
    """Event time and wall time in one: minutes after the start, when this script says so."""

    def __init__(self, minute: float) -> None:
        self.minute = minute

    def now(self) -> datetime:
        return START + self.minute * MINUTE


@asynccontextmanager
async def running(folder: Path, clock: Clock) -> AsyncIterator[Daemon]:
    os.environ["FOLDER"] = str(folder)
    telemetry = PrometheusTelemetry()
    assembly = assemble(load(HERE / "exporter.yml"), clock, telemetry, wall=clock)
    try:
        yield Daemon(assembly, telemetry)
    finally:
        await assembly.close()


async def until(daemon: Daemon, clock: Clock, minute: int) -> None:
    while clock.minute < minute:
        clock.minute += 1
        await daemon.once()


async def first_life(folder: Path) -> None:
    """An incident that resolves, a deployment, an alert of somebody else, an escalation, a reopening."""
    clock = Clock(WARM)
    async with running(folder, clock) as daemon:
        await daemon.once()
        await until(daemon, clock, 66)
        await daemon.change("orders", "2.4.1", clock.now())
        await until(daemon, clock, 73)
        await daemon.analyze(alert("HighErrorRate", "orders", clock.now() - 2 * MINUTE))
        await until(daemon, clock, 84)
        (resolved,) = await incident_list(daemon.assembly.state)
        await daemon.resolve(resolved.id, "raised the pool of orders from 20 to 60 connections")
        await until(daemon, clock, 90)
        await daemon.analyze(alert("HighLatency", "search", clock.now()))
        await until(daemon, clock, STOPPED)


async def second_life(folder: Path, places: Places) -> dict[str, Any]:
    """It was down for half an hour; now places fail one after the other, until it is killed amid its work."""
    clock = Clock(STARTED_AGAIN)
    async with running(folder, clock) as daemon:
        await daemon.once()
        await until(daemon, clock, 158)
        places.receivers["webhook"].down = places.receivers["otlp"].down = True
        places.grafana.mishaps = ["500"] * 1000
        await until(daemon, clock, 163)
        places.slack.mishaps = ["500"] * 1000
        await until(daemon, clock, LAST - 2)
        await daemon.analyze(alert("QueueGrows", "mailer", START + LAST * MINUTE))
        # What is found now is reported, and told to nobody.
        clock.minute += 1
        await daemon.poll(daemon.pollings[0])
        await daemon.group()
        # What is found last has not even its report.
        clock.minute += 1
        await daemon.poll(daemon.pollings[0])
        await daemon.assembly.grouper.group(clock.now())
        clock.minute += 0.5
        return {
            "at": to_json(clock.now()),
            "fingerprint": await daemon.assembly.state.meta("fingerprint"),
            "ready": (await daemon.readiness()).ok,
            "incidents": await incidents(daemon),
            "due": {d.sink.name: [_due(row) for row in await d._due()] for d in daemon.assembly.deliverers},
            # Nothing of this has been reported on yet: it is due once it is.
            "unreported": await daemon.assembly.state.read(
                "SELECT incident, revision, change FROM news WHERE report IS NULL ORDER BY at, incident"
            ),
            "told": places.told(),
        }


def _due(row: dict[str, Any]) -> dict[str, Any]:
    return {"event_id": f"{row['incident']}:{row['revision']}:{row['part']}", "change": row["change"]}


def alert(name: str, service: str, at: datetime) -> AlertTrigger:
    labels = {"alertname": name, "service": service}
    return AlertTrigger(f"f-{name}", "firing", at, None, labels, {"summary": f"{name} of {service}"})


KEPT = (
    "status",
    "revision",
    "severity",
    "fingerprint",
    "service",
    "services",
    "starts_at",
    "ends_at",
    "labels",
    "retired_labels",
    "reopened",
    "fix",
    "trigger",
)


async def incidents(daemon: Daemon) -> dict[str, Any]:
    """What must be known of each incident ever after."""
    found = {}
    for record in await daemon.list_incidents(None, 100):
        told = {name: to_json(getattr(record.incident, name)) for name in KEPT}
        told["evidence"] = {line.id: line.body for line in record.incident.evidence}
        told["timeline"] = [entry.text for entry in record.incident.timeline]
        told["reports"] = {r.writer: {"revision": r.revision, "headline": r.headline} for r in record.reports}
        found[record.incident.id] = told
    return found


async def third_life(folder: Path, places: Places) -> dict[str, Any]:
    """What this commit's own code does next: it tells what is due, then goes on to the end of the logs."""
    for receiver in places.receivers.values():
        receiver.down = False
        receiver.bodies.clear()
    places.grafana.mishaps = places.slack.mishaps = []
    clock = Clock(LAST + 0.5)
    async with running(folder, clock) as daemon:
        for _ in range(ROUNDS):
            await daemon.once()
            clock.minute += 0.1
        told = places.told()
        clock.minute = LAST + 1
        await daemon.once()
        await until(daemon, clock, END)
        return {"told": told, "incidents": await incidents(daemon), "told_at_the_end": places.told()}


ROUNDS = 4
"""Of jobs within one window: Slack takes one message a second."""


# --- The configurations -------------------------------------------------------------------------------


SERVERS = ("LLM", "ALERTMANAGER", "GRAFANA", "SLACK", "WEBHOOK", "OTLP")


def configurations(folder: Path) -> Iterator[tuple[str, str]]:
    """Every exporter.yml that this commit shows to people, by a name."""
    readme = Path("README.md").read_text()
    yield "readme", readme.partition("```yaml\n")[2].partition("```")[0]
    yield "example", Path("deploy/exporter.example.yml").read_text()
    yield "compose", Path("deploy/compose/exporter.yml").read_text()
    _config(folder, demo_shop())
    yield "demo", (folder / "exporter.yml").read_text().replace(str(folder.resolve()), "/tmp/demo")


def start(text: str, folder: Path) -> dict[str, Any]:
    """What `run --once` makes of a configuration none of whose servers can be found."""
    folder.mkdir(parents=True)
    path = folder / "exporter.yml"
    path.write_text(located(text, folder / "state.db"))
    code = main(["run", "--once", "-c", str(path)])
    with sqlite3.connect(folder / "state.db") as state:
        (fingerprint,) = state.execute("SELECT value FROM meta WHERE key = 'fingerprint'").fetchone()
        (begun,) = state.execute("SELECT COUNT(*) FROM checkpoints").fetchone()
    state.close()
    return {"code": code, "fingerprint": fingerprint, "begun": bool(begun)}


def effective(folder: Path) -> dict[str, Any]:
    """What every option of every configuration here is, as `check-config` prints it; of `exporter.yml` too."""
    os.environ["FOLDER"] = "/folder"
    os.environ |= {f"{name}_URL": "http://127.0.0.1:9" for name in SERVERS}
    files = [HERE / "exporter.yml", *sorted(folder.glob("*.yml"))]
    return {file.stem: load(file).model_dump(mode="json", by_alias=True) for file in files}


def located(text: str, state: Path) -> str:
    """The configuration with its state file elsewhere."""
    return f"state: {state}\n" + re.sub(r"^state:.*\n", "", text, flags=re.MULTILINE)


def found_nowhere(host: Any, *arguments: Any, **options: Any) -> Any:
    """No name resolves, as where there is no such server."""
    if host in ("127.0.0.1", "localhost"):
        return look_up(host, *arguments, **options)
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


look_up = socket.getaddrinfo


# --- The files ----------------------------------------------------------------------------------------


def pack(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=22).compress(content)


def whole(path: Path) -> bytes:
    """A state file as one file, with nothing left in its log."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.read_bytes()


async def make(folder: Path) -> dict[str, Any]:
    logs_file = pack("".join(f"{line}\n" for line in logs()).encode())
    (folder / "shop.ndjson.zst").write_bytes(logs_file)
    places = Places()
    async with places.open():
        await first_life(folder)
        expected = await second_life(folder, places)
        state = whole(folder / "state.db")
        expected["next"] = await third_life(folder, places)
    (HERE / "shop.ndjson.zst").write_bytes(logs_file)
    (HERE / "state.db.zst").write_bytes(pack(state))
    return expected


def make_all(folder: Path) -> None:
    expected = asyncio.run(make(folder))
    os.environ |= {"ES_API_KEY": "a key", "GRAFANA_PASSWORD": "a password"}
    socket.getaddrinfo = found_nowhere
    expected["configurations"] = {}
    (HERE / "configurations").mkdir(exist_ok=True)
    for name, text in configurations(folder / "demo"):
        (HERE / "configurations" / f"{name}.yml").write_text(text)
        expected["configurations"][name] = start(text, folder / name / "start")
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")
    values = effective(HERE / "configurations")
    (HERE / "effective.json").write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, redirect_stdout(StringIO()):
        make_all(Path(name))
