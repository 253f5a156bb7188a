"""What a memory of ten thousand incidents costs: `python -m tests.recall.size` prints it as JSON.

Kinds of failure, words of their lines and services are drawn, so that the documents are not one repeated.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from exporter.memory.documents import document
from exporter.memory.embedding import HashingEmbedder
from exporter.memory.moving import exported, imported
from exporter.memory.recall import Memory
from exporter.model import Context, IncidentDocument
from exporter.model.faults import entries
from exporter.report import rules as reports
from exporter.state.file import State
from integrations.local_incidents import LocalIncidents, LocalIncidentsSettings
from tests.recall import driver
from tests.recall.cases import START, incident

DOCUMENTS = 10_000
QUERIES = 200
SERVICES = 60
WORDS = 3_000


def told(count: int, chance: random.Random) -> Iterator[Mapping[str, Any]]:
    """So many incidents, each of a few lines that name a kind of fault and say what was done."""
    hits = [hit for entry in entries() for hit in entry["hits"]]
    words = [f"{chance.choice('bdfgklmnprstvz')}{chance.choice('aeiou')}{number:x}xq" for number in range(WORDS)]
    for number in range(count):
        lines = [
            f"{chance.choice(hits)} while {chance.choice(words)} {chance.choice(words)} for {chance.choice(words)}"
            for _ in range(chance.randint(1, 6))
        ]
        start = START - timedelta(minutes=30 * (count - number))
        yield incident(f"{number:016x}", f"service-{chance.randrange(SERVICES)}", lines, start)


def documents(count: int, chance: random.Random) -> list[IncidentDocument]:
    made = (driver.incident(one, over=True) for one in told(count, chance))
    return [replace(document(one, reports.write(one)), installation="there") for one in made]


async def measured(folder: Path) -> dict[str, float]:
    """Seconds of processor time, of all threads of this process, and bytes."""
    chance = random.Random(0)
    queries = [driver.incident({**one, "starts_at": START.isoformat()}, over=False) for one in told(QUERIES, chance)]
    lines = [line async for line in exported(await _holding(documents(DOCUMENTS, chance)), "there", ())]
    state = State(folder / "state.db")
    memory = _memory(state)
    began = time.process_time()
    moved = await imported(lines, memory, memory.store, str)
    took = time.process_time() - began
    await memory.close()
    del lines
    before = _resident()
    memory = _memory(state)
    first = await _cost(memory, queries[:1])
    costs = sorted(await _cost(memory, queries))
    grown = _resident() - before
    await memory.close()
    state.close()
    return {
        "documents": moved.new,
        "import_seconds": took,
        "first_seconds": first[0],
        "p95_seconds": costs[int(0.95 * len(costs))],
        "bytes": grown,
    }


async def _cost(memory: Memory, queries: list[Any]) -> list[float]:
    found = []
    for one in queries:
        began = time.process_time()
        await memory.recall(one)
        found.append(time.process_time() - began)
    return found


async def _holding(found: list[IncidentDocument]) -> LocalIncidents:
    from tests.contracts.test_stores import KeptDocuments

    store = LocalIncidents(KeptDocuments())
    await store.put_all(found)
    return store


def _memory(state: State) -> Memory:
    store = LocalIncidentsSettings().build(Context(documents=state))
    patience = driver.PATIENCE
    return Memory(store, HashingEmbedder(), installation="here", store_timeout=patience, embed_timeout=patience)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def size() -> dict[str, float]:
    """`measured` in a process of its own, whose memory is nobody else's."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.recall.size"], capture_output=True, text=True, check=True, env={**os.environ}
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    with TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measured(Path(folder)))))


if __name__ == "__main__":
    main()
