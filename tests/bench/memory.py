"""What a process holds at most: one window of more lines than fit, and the logs around one alert at the same pace.

With what to measure and a file as arguments it does that in a process of its own and prints its peak memory.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from exporter.config import parse
from exporter.demo.shop import Shop, documents
from exporter.detection.scoring.ensemble import detector_class
from exporter.detection.settings import DetectionSettings
from exporter.model import EPOCH, NoTelemetry, TimeRange, nanoseconds
from exporter.model.questions import AlertTrigger
from exporter.run.assembly import Assembly, assemble
from exporter.run.learning import open_state
from exporter.run.operations import Operations
from tests.samples import SteppedClock

MINUTE = timedelta(minutes=1)
START = EPOCH + timedelta(days=20_500)
WINDOW_LINES = 1_360_000
ALERT_LINES = 1_800_000
ALERT_MINUTES = 15
BOUND = 400
"""MB, without an embedder, with what is configured by default."""


def run() -> None:
    """Print the figures."""
    print(f"memory: peak of a process that has learnt to score; at most {BOUND} MB by default")
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "shop.ndjson"
        for what, lines, minutes in (("window", WINDOW_LINES, 1), ("alert", ALERT_LINES, ALERT_MINUTES)):
            write(file, lines, TimeRange(START, START + minutes * MINUTE))
            own = [sys.executable, "-m", "tests.bench.memory", what, str(file), str(minutes)]
            peak = int(subprocess.run(own, check=True, capture_output=True, text=True).stdout)
            print(f"  {f'{lines:,} lines, {what}':<54} {peak:10,.0f} MB{'' if peak <= BOUND else '  MISSED'}")


def write(path: Path, lines: int, span: TimeRange) -> None:
    """So many documents of the shop, evenly over a span."""
    import numpy as np
    import polars as pl

    shop = Shop(days=1, rate=560.0)
    minute = TimeRange(shop.start, shop.start + MINUTE)
    step = span.duration / timedelta(microseconds=1) * 1000 / lines
    written = 0
    with path.open("w") as file:
        while written < lines:
            page = shop.page(minute).head(lines - written)
            times = nanoseconds(span.start) + (np.arange(written, written + page.height) * step).astype(np.int64)
            texts = documents(page.with_columns(pl.Series("timestamp", times)))
            file.writelines(f"{text}\n" for text in texts)
            written += page.height
            minute = TimeRange(minute.end, minute.end + MINUTE)


async def take(what: str, assembly: Assembly, span: TimeRange) -> None:
    """As the daemon does it."""
    pipeline = assembly.pipelines[0]
    if what == "window":
        await pipeline.start(span.start, span.start)
        await pipeline.advance(span.end)
        return
    await pipeline.start(span.end, span.end)
    at = span.start + 10 * MINUTE
    operations = Operations(assembly)
    await operations.take([AlertTrigger("a1", "firing", at, None, {"alertname": "HighLatency"})])
    if await operations.analyze_waiting() != 1:
        raise AssertionError("the alert was not analysed")


def measure(what: str, path: str, minutes: str) -> None:
    """Print the peak memory of this process."""
    for detector in DetectionSettings().windows:
        detector_class(detector.type)
    with tempfile.TemporaryDirectory() as name:
        source = {"name": "bench", "type": "file", "path": path}
        config = parse({"state": str(Path(name) / "state.db"), "sources": [source]})
        span = TimeRange(START, START + int(minutes) * MINUTE)
        assembly = assemble(config, SteppedClock(span.end), NoTelemetry(), open_state(config), sinks=[])
        asyncio.run(take(what, assembly, span))
        asyncio.run(assembly.close())
    print(peak() // 1024)


def peak() -> int:
    """The most that this process held, KB; `ru_maxrss` begins with what the parent had."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    measure(*sys.argv[1:])
