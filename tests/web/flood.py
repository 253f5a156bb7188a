"""A daemon whose port many connections hold that say nothing: whether it polls on, answers, and what it writes."""

from __future__ import annotations

import json
import resource
import selectors
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

FILES = 1_024
"""That the daemon may open: what most machines allow."""


@dataclass(frozen=True)
class Flooded:
    """What happened while it was held."""

    slowest_health: float
    """Seconds."""
    polls: int
    logged: int
    """Bytes."""
    code: int


def flooded(folder: Path, connections: int, seconds: float) -> Flooded:
    """Hold a daemon's port with so many connections for so long; those that are closed are made again."""
    port = _free_port()
    source = {"type": "simulator", "name": "shop", "services": 12, "window": "1s", "query_offset": "0s"}
    told = {"sources": [source], "warmup": {"history": "5m"}, "web": {"listen": f"127.0.0.1:{port}"}}
    configuration = folder / "exporter.yml"
    configuration.write_text(json.dumps({**told, "state": str(folder / "state.db")}))
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "exporter.cli.main", "run", "-c", str(configuration)]
        process = subprocess.Popen(command, stderr=log, preexec_fn=lambda: _limit_files(FILES))
        try:
            _until_it_answers(port)
            _limit_files(connections + 200)
            before, began, slowest = _polls(port), time.monotonic(), 0.0
            with _Silent(port, connections) as silent:
                while time.monotonic() - began < seconds:
                    silent.make_again()
                    slowest = max(slowest, _health(port))
                polls = _polls(port) - before
            process.terminate()
            code = process.wait(30)
        finally:
            process.kill()
    return Flooded(slowest, polls, (folder / "log").stat().st_size, code)


class _Silent:
    """Connections that say nothing."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._ready = selectors.DefaultSelector()

    def __enter__(self) -> _Silent:
        return self

    def make_again(self) -> None:
        """Close those that the other side has closed, and make as many as are lacking."""
        for key, _ in self._ready.select(0):
            self._ready.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
        for _ in range(self._count - len(self._ready.get_map())):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", self._port))
            self._ready.register(one, selectors.EVENT_READ)

    def __exit__(self, *_: object) -> None:
        for key in list(self._ready.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._ready.close()


def _limit_files(most: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, hard) if most < soft else min(max(most, soft), hard), hard))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _until_it_answers(port: int) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            _health(port)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the daemon does not answer")


def _health(port: int) -> float:
    began = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/healthy", timeout=60) as answer:
        answer.read()
    return time.monotonic() - began


def _polls(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if "source_polls_total{" in line)
