"""Measure pages of the shop's kinds of failure in a browser: what is on the first screen, how large, how fast."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from exporter.demo.shop.failures import KINDS
from exporter.model.questions import IncidentRecord
from exporter.web import WebSettings, pages
from exporter.web.app import create_app, start
from tests.servers.browser import Browser, Chromium, find_chromium
from tests.web.backend import MemoryBackend
from tests.web.failing import told
from tests.web.screen import wrong

SEED = 5
HEALTHY = timedelta(hours=12)


@dataclass(frozen=True)
class Looked:
    """One kind: what is wrong on its first screen, and what its page costs, in processor time."""

    kind: str
    wrong: Sequence[str]
    size: int
    seconds: float


def looked() -> list[Looked]:
    """All kinds; of one that nothing was told of, that is what is wrong."""
    return asyncio.run(_looked(sorted(KINDS)))


async def _looked(kinds: Sequence[str]) -> list[Looked]:
    with tempfile.TemporaryDirectory() as folder:
        async with told(kinds, Path(folder), SEED, HEALTHY) as failed:
            named = await failed.incidents()
            records = {kind: await failed.operations.incident(identity) for kind, identity in named}
    known = {kind: record for kind, record in records.items() if record}
    settings = WebSettings(listen="127.0.0.1:0", token="only for this")  # type: ignore[arg-type]
    runner = await start(create_app(settings, MemoryBackend(*known.values())), settings)
    try:
        with tempfile.TemporaryDirectory() as profile, browsing(Path(profile)) as browser:
            base = f"http://127.0.0.1:{runner.addresses[0][1]}"
            found = [await asyncio.to_thread(_look, browser, base, kind, record) for kind, record in known.items()]
    finally:
        await runner.cleanup()
    return found + [Looked(kind, ["nothing was told"], 0, 0.0) for kind in kinds if kind not in known]


def _look(browser: Browser, base: str, kind: str, record: IncidentRecord) -> Looked:
    began = time.thread_time()
    size = len(pages.incident_page(record, "../").encode())
    seconds = time.thread_time() - began
    return Looked(kind, wrong(browser, f"{base}/incidents/{record.incident.id}"), size, seconds)


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    chromium = Chromium(find_chromium(), profile)
    try:
        with Browser(chromium) as browser:
            yield browser
    finally:
        chromium.close()
