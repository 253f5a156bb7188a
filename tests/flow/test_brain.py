"""The brain of a source: what it knows is what its rows say, also when a job is broken off between the two."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from exporter.flow.settings import Pace
from exporter.flow.source import SourcePipeline
from exporter.model import NoTelemetry
from exporter.run.assembly import make_brain, reduction_settings
from exporter.run.learning import open_state
from exporter.state.file import State
from tests.memory_source import START, MemorySource
from tests.run.test_daemon import config
from tests.run.test_daemon import lines as minutes_of_lines

MINUTE = timedelta(minutes=1)


class Judged(NoTelemetry):
    """Tells when a window has been judged."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def observe(self, name: str, value: float, **labels: str) -> None:
        if name == "judge_seconds":
            self.event.set()


def pipeline_of(folder: Path, state: State, telemetry: NoTelemetry, lock: asyncio.Lock) -> SourcePipeline:
    settings = config(folder, "shop")
    (shop,) = settings.sources
    return SourcePipeline(
        MemorySource(minutes_of_lines(30)),
        lambda: make_brain(settings, shop),
        state,
        reduction_settings(settings, shop, b""),
        Pace(),
        telemetry=telemetry,
        lock=lock,
    )


async def taken(folder: Path, broken_off: bool) -> dict[str, list[tuple[Any, ...]]]:
    state = open_state(config(folder, "shop"), folder / f"{broken_off}.db")
    lock, judged = asyncio.Lock(), Judged()
    pipeline = pipeline_of(folder, state, judged, lock)
    try:
        await pipeline.start(START, START)
        if broken_off:
            async with lock:
                job = asyncio.create_task(pipeline.advance(START + 20 * MINUTE))
                await judged.event.wait()
                job.cancel()
                with suppress(asyncio.CancelledError):
                    await job
        await pipeline.advance(START + 20 * MINUTE)
        return await state.derived_rows("shop")
    finally:
        state.close()


async def test_what_was_judged_and_not_committed_is_judged_again_as_if_it_had_not_been(tmp_path: Path) -> None:
    assert await taken(tmp_path, broken_off=True) == await taken(tmp_path, broken_off=False)
