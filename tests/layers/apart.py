"""Three processes, each in a room of its own, beside one process that is all three: `python -m tests.layers.apart`.

With KILLS each of the three is killed while the second failure goes on, and started again. Prints what differs as JSON.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from exporter.model import RULES
from tests.fakes.llm import FakeLLM, Request, says
from tests.fakes.recording import Recorder
from tests.layers.driver import play
from tests.layers.rooms import Room, can_part, rooms
from tests.layers.scenes import SCENES, Scene
from tests.servers.process import PATIENCE, free_port

NAMES = ("daemon", "memory", "report", "hub")
CABLES = (("daemon", "memory"), ("daemon", "report"), ("daemon", "hub"), ("report", "hub"))
"""Memory speaks to the daemon alone, report to that and to the model; logs are the daemon's, whatever the others do."""

PROGRAM = (sys.executable, "-m", "exporter.cli.main")
TOKEN = "a token of the layers"

UNSHARE = (
    "unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
)  # fmt: skip


@dataclass
class Outcome:
    """What differs from one process, what was told wrongly, what memory lacks; and how often something was repeated."""

    apart: bool
    incidents: int
    unlike: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    repeated: int = 0

    @property
    def json(self) -> str:
        return json.dumps(self.__dict__)


def answer(request: Request) -> web.StreamResponse:
    """A model that says of every incident the same, and what it is allowed to say."""
    schema = request.body["response_format"]["json_schema"]["schema"]
    parts = {name: list[Any]() for name in schema["properties"]}
    parts["what_happened"] = [{"text": "The pool of connections ran dry."}]
    reply: web.StreamResponse = says(parts)(request)
    return reply


@asynccontextmanager
async def hub(room: Room, everywhere: bool) -> AsyncIterator[Recorder]:
    """The model, and the place that is told, at the address of the hub."""
    model, told = FakeLLM([answer]), Recorder()
    app = told.app()
    outer = web.Application(client_max_size=16 * 2**20)
    outer.router.add_post("/v1/chat/completions", model.complete)
    outer.add_subapp("/told", app)
    runner = web.AppRunner(outer, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0" if everywhere else "127.0.0.1", room.port).start()
    try:
        yield told
    finally:
        await runner.cleanup()


def configure(room: Room, **settings: Any) -> None:
    (room.folder / "exporter.yml").write_text(yaml.safe_dump({"state": str(room.folder / "state.db"), **settings}))


def daemon_settings(scene: Scene, hub_url: str, **layers: Any) -> dict[str, Any]:
    return {
        **scene.more,
        "sources": [dict(scene.settings)],
        "sinks": [{"type": "webhook", "url": f"{hub_url}/told/"}],
        **layers,
    }


class Process:
    """A program in its room, which can be killed and started again."""

    def __init__(self, room: Room, *command: str) -> None:
        self.room, self._command = room, command
        self.log = room.folder.parent / f"{room.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, output: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as errors:
            self._process = self.room.start(self._command, output, errors)
        return self._process

    async def listens(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.log.read_text().count("listening on") < self._starts:  # noqa: ASYNC110  # a log has no event
                await asyncio.sleep(0.05)

    _starts = 1

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


async def one_process(scene: Scene, folder: Path) -> dict[str, Any]:
    """What one process finds and tells that is all three."""
    room = Room("one", folder / "one")
    room.folder.mkdir(parents=True)
    own_hub = Room("hub", folder)
    own_hub.port = free_port()
    async with hub(own_hub, everywhere=False):
        llm = {"type": "openai", "base_url": f"{own_hub.url('one')}/v1", "model": "fake", "api_key": "none"}
        configure(room, **daemon_settings(scene, own_hub.url("one"), llm=llm))
        found = await play(scene, room.folder)
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]  # as the others leave it


async def three_processes(name: str, scene: Scene, folder: Path, apart: bool, kills: bool) -> tuple[Outcome, Any]:
    """What three find and tell, and what of it is wrong by itself."""
    with ExitStack() as stack:
        made = stack.enter_context(rooms(folder / "apart", NAMES, CABLES, apart))
        daemon, memory, report, place = (made[one] for one in NAMES)
        listen = "" if apart else "127.0.0.1"
        guarded = {"token": TOKEN}
        configure(memory, serve={"memory": {"listen": f"{listen}:{memory.port}", **guarded}})
        llm = {"type": "openai", "base_url": f"{place.url('report')}/v1", "model": "fake", "api_key": "none"}
        configure(report, llm=llm, serve={"report": {"listen": f"{listen}:{report.port}", **guarded}})
        remote = {one.name: {"type": "remote", "url": one.url("daemon"), "token": TOKEN} for one in (memory, report)}
        configure(daemon, **daemon_settings(scene, place.url("daemon"), **remote))
        served = {
            one.name: Process(one, *PROGRAM, "serve", one.name, "-c", str(one.folder / "exporter.yml"))
            for one in (memory, report)
        }
        driver = Process(daemon, sys.executable, "-m", "tests.layers.driver", name, str(daemon.folder))
        async with hub(place, everywhere=apart) as told:
            for process in (*served.values(), driver):
                stack.callback(process.kill)
            for process in served.values():
                process.start()
            for process in served.values():
                await process.listens()
            plan = dict(zip(scene.in_the_second, ("memory", "report", "daemon"), strict=False)) if kills else {}
            killed = await watched(driver, served, plan, told)
        found = json.loads((daemon.folder / "result.json").read_text())
        unlike = [*wrongly_told(told, found), *forgotten(memory.folder / "state.db", found)]
        repeated = len(told.requests) - len({request.json()["event_id"] for request in told.requests})
        return Outcome(apart, len(found["incidents"]), unlike, killed, repeated), found


async def watched(driver: Process, served: Mapping[str, Process], plan: dict[int, str], told: Recorder) -> list[str]:
    """The daemon to its end; on the way each is killed in the step that the plan says, and started again."""
    killed: list[str] = []
    while True:
        process = driver.start(subprocess.PIPE)
        assert process.stdout is not None
        again = False
        while line := await asyncio.to_thread(process.stdout.readline):
            victim = plan.pop(int(line), None)
            if victim is None:
                continue
            killed.append(victim)
            if victim == "daemon":
                await something_told(told, process)
                driver.kill()
                again = True
                break
            served[victim].kill()
            served[victim].start()
        if not again:
            if await asyncio.to_thread(process.wait):
                raise RuntimeError(driver.log.read_text()[-3000:])
            return killed


async def something_told(told: Recorder, process: subprocess.Popen[bytes]) -> None:
    """Until the daemon tells something: what it has done of the step is not all on record then."""
    known = len(told.requests)
    async with asyncio.timeout(PATIENCE):
        while len(told.requests) == known and process.poll() is None:  # noqa: ASYNC110  # the recorder has no event
            await asyncio.sleep(0.01)


def wrongly_told(told: Recorder, found: Mapping[str, Any]) -> Iterator[str]:
    """What a receiver holds against it: two things under one id, or another end than there is."""
    events: dict[str, Any] = {}
    for request in told.requests:
        body = request.json()
        if events.setdefault(body["event_id"], body) != body:
            yield f"{body['event_id']} was told as two different things"
    last: dict[str, tuple[tuple[int, int], Any]] = {}
    for key, body in events.items():
        incident, revision, part = key.split(":")
        place = int(revision), int(part)
        if place >= last.get(incident, ((0, 0), None))[0]:
            last[incident] = place, body
    yield from (f"{one} was never told" for one in sorted(found["incidents"].keys() - last.keys()))
    for identity, (_, body) in sorted(last.items()):
        reports = found["reports"].get(identity, {})
        if body["incident"]["revision"] != found["incidents"].get(identity, {}).get("revision"):
            yield f"{identity} was told last as another revision than it is"
        elif body["report"] != reports.get(body["report"]["writer"]):
            yield f"{identity} was told last with another report than there is"


def forgotten(state: Path, found: Mapping[str, Any]) -> Iterator[str]:
    """Incidents that memory does not have as they are."""
    with closing(sqlite3.connect(f"{state.as_uri()}?mode=ro", uri=True)) as connection:
        bodies = [json.loads(body) for (body,) in connection.execute("SELECT body FROM documents")]
    kept = {one["id"]: (one["revision"], one["status"], one["fix"]) for one in bodies}
    for identity, one in found["incidents"].items():
        if kept.get(identity) != (one["revision"], one["status"], one["fix"]):
            yield f"memory has {identity} as {kept.get(identity)}"


COSTS = (".calls", ".tokens")


def differences(one: Mapping[str, Any], other: Mapping[str, Any], killed: bool) -> Iterator[str]:
    """Where what three processes left is not what one leaves.

    A model that could not be asked when one of them was killed, or was asked without what memory knows, is asked again
    of a later revision, which costs otherwise; of what it wrote then what both say of one revision is compared.
    """
    for kind in ("incidents", "reports"):
        for identity in sorted(one[kind].keys() | other[kind].keys()):
            mine, theirs = one[kind].get(identity, {}), other[kind].get(identity, {})
            parts = set(_parts(mine, theirs))
            if killed:
                later = {f"{writer}." for writer in mine if f"{writer}.revision" in parts and writer != RULES}
                parts = {part for part in parts if not part.startswith((*later,)) and not part.endswith(COSTS)}
            if parts:
                yield f"{kind[:-1]} {identity} differs in {', '.join(sorted(parts))}"


def _parts(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            if one.get(name) != other.get(name):
                yield from _parts(one.get(name), other.get(name), f"{path}.{name}" if path else name)
    elif path:
        yield path


async def compared(name: str, folder: Path, kills: bool) -> Outcome:
    """One scene, by one process and by three."""
    scene = SCENES[name]()
    apart = can_part()
    alone = await one_process(scene, folder)
    outcome, found = await three_processes(name, scene, folder, apart, kills)
    outcome.unlike += differences(alone, found, kills)
    if len(alone["incidents"]) < len(scene.failures):
        outcome.unlike.append(f"only {len(alone['incidents'])} incidents were found by one process")
    if not any(report["similar"] for reports in found["reports"].values() for report in reports.values()):
        outcome.unlike.append("nothing was recalled")
    if not any("fake" in reports for reports in found["reports"].values()):
        outcome.unlike.append("the model wrote nothing")
    return outcome


def in_rooms(name: str, kills: bool) -> Outcome:
    """`compared` in a namespace of this machine, if there can be one, whose rooms are inside."""
    command = [sys.executable, "-m", "tests.layers.apart", name, *(["kills"] if kills else [])]
    tried = [*UNSHARE, "true"]
    if shutil.which("unshare") and not subprocess.run(tried, capture_output=True, check=False).returncode:
        command = [*UNSHARE, *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    if shutil.which("ip"):
        subprocess.run(["ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    with tempfile.TemporaryDirectory(prefix="layers-") as folder:
        print(asyncio.run(compared(sys.argv[1], Path(folder), "kills" in sys.argv)).json)


if __name__ == "__main__":
    main()
