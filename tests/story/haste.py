"""How long the first place waits for an incident after the commit that opened it, while the model never answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from exporter.config import parse
from exporter.incidents.tracker import Told
from exporter.model import Anomaly, Contribution
from exporter.run.assembly import assemble
from exporter.run.daemon import Daemon
from exporter.state.windows import anomaly_rows
from exporter.telemetry import PrometheusTelemetry
from tests.delivery.parts import StepClock
from tests.fakes.llm import Request, scripted
from tests.fakes.serving import serving
from tests.memory_source import START, MemorySource, page

MINUTE, APART = timedelta(minutes=1), timedelta(minutes=20)
OTHER = "other"
"""A source that is not asked: what is known of it stays as it is written."""
LONGEST = 20.0
"""Seconds after which it is given up."""


async def waits(count: int, folder: Path) -> list[float]:
    """Seconds from commit to request, of so many incidents of a daemon that runs, one after the other."""
    found: list[float] = []
    async with _telling(folder) as (daemon, clock, asked):
        for number in range(count):
            committed = asyncio.get_running_loop().create_future()
            _note(daemon, committed)
            found_then = list(_unusual(f"service-{number}", START + (number + 1) * APART))
            await daemon.assembly.state.write([anomaly_rows(OTHER, found_then, False)])
            clock.moment = found_then[-1].reached
            await daemon.pollings[0].poll()
            begun = await asyncio.wait_for(committed, LONGEST)
            found.append(await asyncio.wait_for(asked.get(), LONGEST) - begun)
    return found


def _unusual(service: str, at: datetime) -> Iterator[Anomaly]:
    for number in range(5):
        reason = Contribution("new_template", f"{service} lost its database", 9, 0, share=1.0)
        window = at + number * MINUTE
        yield Anomaly(OTHER, service, window, MINUTE, "window", 0.999999, 0.99, 17, (reason,), window + MINUTE)


def _note(daemon: Daemon, committed: asyncio.Future[float]) -> None:
    """When the next incidents are committed."""
    real = type(daemon.assembly.flow.grouper).group.__get__(daemon.assembly.flow.grouper)

    async def group(*given: Any) -> Sequence[Told]:
        told: Sequence[Told] = await real(*given)
        if any(item.change == "opened" for item in told) and not committed.done():
            committed.set_result(time.monotonic())
        return told

    daemon.assembly.flow.grouper.group = group  # type: ignore[method-assign, assignment]


@asynccontextmanager
async def _telling(folder: Path) -> AsyncIterator[tuple[Daemon, StepClock, asyncio.Queue[float]]]:
    """A daemon that runs, and when its place was asked of an incident that opened."""
    asked: asyncio.Queue[float] = asyncio.Queue()

    async def told(request: web.Request) -> web.Response:
        begun = time.monotonic()
        if (await request.json())["change"] == "opened":
            asked.put_nowait(begun)
        return web.Response()

    app = web.Application()
    app.router.add_post("/", told)
    clock = StepClock()
    clock.moment = START + MINUTE
    async with serving(app) as url, scripted(_never) as model:
        source = {"type": "elasticsearch", "name": "shop", "hosts": ["http://127.0.0.1:9"], "query_offset": "0s"}
        config = parse(
            {
                "state": str(folder / "state.db"),
                "sources": [source],
                "sinks": [{"type": "webhook", "url": url}],
                "llm": {"type": "openai", "base_url": model.url, "model": "slow"},
            }
        )
        telemetry = PrometheusTelemetry()
        assembly = assemble(config, clock, telemetry, sources=[MemorySource(page([]))])
        daemon = Daemon(assembly, telemetry)
        await daemon.pollings[0].poll()
        running = asyncio.create_task(daemon.run())
        try:
            yield daemon, clock, asked
        finally:
            daemon.stop()
            await running
            await assembly.close()


async def _never(request: Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response()
