"""The image at work: what it says of itself, the demo, and the daemon with its pages reached from outside."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.image.engines import CONFIGURATION, USER, Engine
from tests.image.process import ROOT

PATIENCE = 120.0
"""Seconds until the daemon answers: a machine that is only busy is not that slow."""


def tried(image: Engine) -> list[str]:
    """What is wrong with it."""
    return [*version(image), *inside(image), *demo(image), *daemon(image)]


def version(image: Engine) -> Iterator[str]:
    done = subprocess.run(image.command("--version"), capture_output=True, text=True, check=False)
    print(f"--version: {done.stdout.strip()}", flush=True)
    if done.stdout.strip() != tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]:
        yield f"--version: {done.stderr[-2000:]}"


def inside(image: Engine) -> Iterator[str]:
    """Who it is, what it may write to, what it consists of."""
    program = (ROOT / "tests" / "image" / "inside.py").read_text()
    done = subprocess.run(image.command("-c", program, program="python"), capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"inside: {done.stderr[-2000:]}"
        return
    found = json.loads(done.stdout)
    print(f"size: {found['bytes'] / 1e6:,.0f} MB, of which {found['venv'] / 1e6:,.0f} MB are what we install:")
    for size, name in found["largest"]:
        print(f"  {size / 1e6:6.0f} MB  {name}", flush=True)
    if found["user"] != int(USER.partition(":")[0]):
        yield f"it runs as user {found['user']}"
    yield from (f"{place} can be written to" for place in found["writable"])
    yield from (f"holds what it does not need: {name}" for name in found["not needed"])
    yield from (f"lacks what it needs: {name}" for name in found["failed"])


def demo(image: Engine) -> Iterator[str]:
    began = time.monotonic()
    done = subprocess.run(image.command("demo"), capture_output=True, text=True, check=False)
    print(f"demo: {time.monotonic() - began:.0f} s, {len(done.stdout.splitlines())} lines", flush=True)
    if done.returncode or "payments" not in done.stdout:
        yield f"demo: {done.stdout[-1000:]}{done.stderr[-2000:]}"


def daemon(image: Engine) -> Iterator[str]:
    """It is healthy for whoever asks from outside, and ends when it is told to."""
    address, port = outside(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        configuration = Path(folder) / "exporter.yml"
        # Nothing is said of where to listen.
        configuration.write_text(json.dumps({"sources": [{"type": "simulator", "services": 4}]}))
        command = image.command("run", "-c", CONFIGURATION, configuration=configuration, port=port)
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            began = time.monotonic()
            try:
                healthy = answers(
                    f"http://{address if image.name == 'buildah' else '127.0.0.1'}:{port}/-/healthy", process
                )
                print(f"run: {healthy or 'no answer'} after {time.monotonic() - began:.1f} s", flush=True)
            finally:
                process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE)
    if '"healthy": true' not in healthy or process.returncode:
        yield f"run: answers {healthy!r}, ends with {process.returncode}: {said[-2000:]}"


def answers(url: str, process: subprocess.Popen[str]) -> str:
    """What it says at last; empty where it never answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with opener.open(url, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            time.sleep(0.1)
    return ""


def outside() -> str:
    """An address of this machine that is not its loopback; nothing is sent to learn it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
            return str(asking.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def free_port() -> int:
    with socket.create_server(("", 0)) as listener:
        return int(listener.getsockname()[1])
