"""What a memory that is served costs, and how fast it answers: 10,000 documents, five daemons that ask at once.

`python -m tests.layers.load` prints it as JSON; what each layer needs alone is measured beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from exporter.model import Earlier, Incident, TransientError
from exporter.model.layers import MOST_DOCUMENTS
from integrations.remote_memory import RemoteMemory, RemoteMemorySettings
from tests.layers.apart import PROGRAM, TOKEN
from tests.recall import driver
from tests.recall.cases import START
from tests.recall.size import DOCUMENTS, documents, told
from tests.servers.process import PATIENCE, free_port

DAEMONS = 5
A_SECOND = 20
"""Recalls of all daemons together."""

SECONDS = 15
TICKS = os.sysconf("SC_CLK_TCK")


class Served:
    """A layer in a process of its own, and what it needs."""

    def __init__(self, folder: Path, name: str) -> None:
        self.port, self.folder = free_port(), folder / name
        self.folder.mkdir()
        settings = {
            "state": str(self.folder / "state.db"),
            "serve": {name: {"listen": f"127.0.0.1:{self.port}", "token": TOKEN}},
        }
        (self.folder / "exporter.yml").write_text(yaml.safe_dump(settings))
        self._log = (self.folder / "log").open("wb")
        command = [*PROGRAM, "serve", name, "-c", str(self.folder / "exporter.yml")]
        self._process = subprocess.Popen(command, stderr=self._log)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def listens(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while b"listening on" not in (self.folder / "log").read_bytes():  # noqa: ASYNC110  # a log has no event
                await asyncio.sleep(0.05)

    def cpu(self) -> float:
        """Seconds of the processor until now."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self) -> int:
        """Bytes of memory."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def disk(self) -> int:
        return sum(file.stat().st_size for file in self.folder.glob("state.db*"))

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


def asking(served: Served) -> RemoteMemory:
    given = {"type": "remote", "url": served.url, "token": TOKEN, "timeout": f"{PATIENCE:g}s"}
    return RemoteMemory(RemoteMemorySettings.model_validate(given))


async def fill(served: Served) -> int:
    """Put the documents that a memory of that size is measured with; their vectors are made there."""
    store, found = asking(served), documents(DOCUMENTS, random.Random(0))
    written = 0
    try:
        for start in range(0, len(found), MOST_DOCUMENTS):
            written += await store.put_all(found[start : start + MOST_DOCUMENTS])
    finally:
        await store.close()
    return written


async def recalls(served: Served) -> tuple[list[float], int]:
    """Seconds that each recall took, of so many daemons that ask evenly; and how many found no room and came in vain:
    a daemon asks again for those."""
    memories = [asking(served) for _ in range(DAEMONS)]
    asked = queries(A_SECOND * SECONDS)
    took: list[float] = []
    past = Earlier("none", START, "there")

    async def one(number: int, incident: Incident) -> None:
        await asyncio.sleep(number / A_SECOND)
        began = time.monotonic()
        with suppress(TransientError):
            await memories[number % DAEMONS].recall(incident, past)
            took.append(time.monotonic() - began)

    try:
        # The first reads all of them.
        await memories[0].recall(asked[0], past)
        await asyncio.gather(*(one(number, incident) for number, incident in enumerate(asked)))
    finally:
        for memory in memories:
            await memory.close()
    return sorted(took), len(asked) - len(took)


def queries(count: int) -> list[Incident]:
    asked = told(count, random.Random(1))
    return [driver.incident({**one, "starts_at": START.isoformat()}, over=False) for one in asked]


async def measured(folder: Path) -> dict[str, Any]:
    memory, report = Served(folder, "memory"), Served(folder, "report")
    try:
        await memory.listens()
        await report.listens()
        bare = memory.resident()
        written = await fill(memory)
        before = memory.cpu()
        took, refused = await recalls(memory)
        spent = memory.cpu() - before
        return {
            "documents": written,
            "recalls": len(took),
            "refused": refused,
            "p50_seconds": took[len(took) // 2],
            "p95_seconds": took[int(0.95 * len(took))],
            "cpu_seconds_a_recall": spent / len(took),
            "memory_bytes": memory.resident(),
            "memory_bytes_empty": bare,
            "memory_disk_bytes": memory.disk(),
            "report_bytes": report.resident(),
        }
    finally:
        memory.end()
        report.end()


def load() -> dict[str, Any]:
    """`measured` in a process of its own."""
    command = [sys.executable, "-m", "tests.layers.load"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measured(Path(folder)))))


if __name__ == "__main__":
    main()
