"""From a local Elasticsearch and from a file to judged windows, against the same client paging and discarding.

With the address of an index as arguments it reads that in a process of its own and prints its peak memory.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from exporter.config import Config, parse
from exporter.demo.shop import Shop, documents
from exporter.detection.observation import observe
from exporter.detection.scoring.ensemble import detector_class
from exporter.detection.settings import DetectionSettings
from exporter.ingest import reduction
from exporter.ingest.reader import read_and_reduce
from exporter.mining.miner import Miner
from exporter.model import Context, NoTelemetry, SystemClock, TimeRange
from exporter.run.assembly import assemble, reduction_settings
from exporter.run.learning import open_state
from tests import filebeat
from tests.servers.running import elasticsearch

MINUTES = 30
RATE = 560.0
"""Lines a second: a million in all."""

ROUNDS = 3
"""Speeds are compared in turns, and their medians told: other work on the machine then slows both."""


def run() -> None:
    """Print the figures."""
    print("pipeline: lines a second, one process")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shop = Shop(days=1, rate=RATE)
        span = TimeRange(shop.start + timedelta(hours=12), shop.start + timedelta(hours=12, minutes=MINUTES))
        lines = _write(shop, span, folder / "shop.ndjson")
        file = _config(folder, {"type": "file", "path": str(folder / "shop.ndjson")})
        print(
            f"  file: to judged and committed windows                  {lines / asyncio.run(_judge(file, span)):10,.0f}"
        )
        server = elasticsearch(folder / "es")
        server.start()
        try:
            _from_elasticsearch(folder, server.url, span, lines)
        finally:
            server.stop()
    print(f"  import of the command line: {_import_seconds():.2f} s")


def _write(shop: Shop, span: TimeRange, path: Path) -> int:
    """The documents of a span, as a shipper sends them, minute by minute."""
    lines = 0
    with path.open("w") as file:
        for part in span.split(timedelta(minutes=1)):
            texts = documents(shop.page(part)).to_list()
            file.writelines(f"{text}\n" for text in texts)
            lines += len(texts)
    return lines


def _from_elasticsearch(folder: Path, url: str, span: TimeRange, lines: int) -> None:
    import orjson

    with (folder / "shop.ndjson").open() as file:
        filebeat.load(url, "bench", map(orjson.loads, file))
    config = _config(folder, {"type": "elasticsearch", "hosts": [url], "index": "bench"})
    rounds = [(asyncio.run(_observe(config, span)), asyncio.run(_discard(url))) for _ in range(ROUNDS)]
    observed, discarded = (lines / statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    print(f"  elasticsearch: to observations (read, reduce, mine, observe) {observed:10,.0f}")
    print(f"  elasticsearch: same client, paging and discarding      {discarded:10,.0f}")
    print(f"  elasticsearch: observations against discarding         {observed / discarded:10.0%}")
    seconds = asyncio.run(_judge(config, span))
    print(f"  elasticsearch: to judged and committed windows         {lines / seconds:10,.0f}")
    print(f"  elasticsearch: ms for a window of {lines / MINUTES:,.0f} lines       {seconds / MINUTES * 1000:10,.0f}")
    own = [sys.executable, "-m", "tests.bench.pipeline", url, span.start.isoformat(), span.end.isoformat()]
    print(subprocess.run(own, check=True, capture_output=True, text=True).stdout, end="")


def _config(folder: Path, source: dict[str, Any]) -> Config:
    return parse({"state": str(folder / f"{time.monotonic_ns()}.db"), "sources": [{"name": "bench", **source}]})


async def _observe(config: Config, span: TimeRange) -> float:
    """Seconds from the source to the observations of every window."""
    source = config.sources[0].build(Context())
    settings = reduction_settings(config, config.sources[0], b"bench" * 4)
    miner = Miner("bench", config.mining)
    began = time.perf_counter()
    by_window = reduction.windows(await read_and_reduce(source, span, settings), settings.window)
    for window, reduced in sorted(by_window.items()):
        observe("bench", window, settings.window, reduced, miner.mine(window, reduced))
    seconds = time.perf_counter() - began
    await source.close()
    return seconds


async def _judge(config: Config, span: TimeRange) -> float:
    """Seconds from the source to judged and committed windows, as the daemon takes them."""
    assembly = assemble(config, SystemClock(), NoTelemetry(), open_state(config), sinks=[])
    pipeline = assembly.pipelines[0]
    began = time.perf_counter()
    await pipeline.start(span.start, span.start)
    await pipeline.advance(span.end)
    seconds = time.perf_counter() - began
    await assembly.close()
    return seconds


async def _discard(url: str) -> float:
    """Seconds of the bare client over the same documents, in pages of a size that suits it."""
    from elasticsearch import AsyncElasticsearch, OrjsonSerializer

    client = AsyncElasticsearch(url, serializer=OrjsonSerializer())
    began = time.perf_counter()
    pit = (await client.open_point_in_time(index="bench", keep_alive="1m"))["id"]
    after: dict[str, Any] = {}
    while True:
        sort: list[dict[str, Any]] = [
            {"@timestamp": {"order": "asc", "format": "strict_date_optional_time_nanos"}},
            {"_shard_doc": "asc"},
        ]
        found = await client.search(
            pit={"id": pit, "keep_alive": "1m"}, sort=sort, size=5000, track_total_hits=False, **after
        )
        hits = found["hits"]["hits"]
        if not hits:
            break
        after = {"search_after": hits[-1]["sort"]}
    await client.close()
    return time.perf_counter() - began


def _import_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "exporter.cli.main", "--version"], check=True, capture_output=True)
    return time.perf_counter() - began


def memory(url: str, start: str, end: str) -> None:
    """Print the peak memory of this process after the daemon's pipeline has taken the range in."""
    # What a daemon that has learnt enough to score holds too.
    for detector in DetectionSettings().windows:
        detector_class(detector.type)
    span = TimeRange(datetime.fromisoformat(start), datetime.fromisoformat(end))
    with tempfile.TemporaryDirectory() as name:
        config = _config(Path(name), {"type": "elasticsearch", "hosts": [url], "index": "bench"})
        asyncio.run(_judge(config, span))
    print(f"  peak memory of a process that takes them all in        {_peak() / 1024:10,.0f} MB")


def _peak() -> int:
    """The most that this process held, KB; `ru_maxrss` begins with what the parent had."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    memory(*sys.argv[1:])
