"""Child processes that listen on the loopback and cannot outlive the test run."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds after which something hangs, or never comes: a machine that is only busy is not that slow."""

# A subshell waits for the end of standard input, which comes when the parent closes it or dies (of SIGKILL too),
# and then ends the whole process group. `exec` keeps the process id of the server itself.
GUARD = 'exec 3<&0; (read -r _ <&3; kill -s KILL -- -$$) & exec "$@" 3<&- </dev/null'

# Loopback only: a proxy in the environment must not see it.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Unavailable(Exception):
    """A server cannot be had on this machine; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Answer:
    """A status and a body; an error status is an answer too."""

    status: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


def request(
    url: str, body: object = None, *, method: str | None = None, content_type: str = "application/json"
) -> Answer:
    """Ask a server on the loopback; raises OSError while nothing listens there."""
    data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": content_type}, method=method)
    try:
        with _opener.open(asked, timeout=PATIENCE) as response:
            return Answer(response.status, response.read().decode())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode())


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until(check: Callable[[], T | None], what: str) -> T:
    """Ask `check` until it gives something; it may raise OSError, which means not yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError):
            if (found := check()) is not None:
                return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {PATIENCE:g} s")
        time.sleep(0.05)


def listening(port: int) -> bool | None:
    with socket.create_connection(("127.0.0.1", port)):
        return True


def answers(url: str) -> bool | None:
    return request(url).status == 200 or None


class Server:
    """A process with an address; it can be stopped or killed, and started again on the same port."""

    def __init__(
        self,
        url: str,
        command: Sequence[str],
        log: Path,
        ready: Callable[[], bool | None],
        *,
        ends_with_stdin: bool = False,
    ) -> None:
        self.url = url
        self.log = log
        self._command = tuple(command)
        self._ready = ready
        self._ends_with_stdin = ends_with_stdin  # by itself, with no guard
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        if self.running:
            return self
        command = self._command if self._ends_with_stdin else ("sh", "-c", GUARD, "sh", *self._command)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            wait_until(self._up, f"the start of {self._command[0]}")
        except TimeoutError as error:
            self.kill()
            raise RuntimeError(f"{error}; the end of its log:\n{self.tail()}") from error
        return self

    def stop(self) -> None:
        """Ask it to end, as a service manager would."""
        if self._process is None:
            return
        if self._ends_with_stdin and self._process.stdin is not None:
            self._process.stdin.close()
        else:
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        self.kill()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def tail(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _up(self) -> bool | None:
        if not self.running:
            raise RuntimeError(f"{self._command[0]} ended by itself; the end of its log:\n{self.tail()}")
        return self._ready()
