"""From a local Elasticsearch and from a file to judged windows, against the same client paging and discarding."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from exporter.assembly import assemble, open_state
from exporter.config import Config, parse
from exporter.model import NoTelemetry, SystemClock, TimeRange
from exporter.pipeline import read_and_reduce
from exporter.simulator import Shop, documents
from tests import filebeat
from tests.servers.running import elasticsearch

MINUTES = 30
RATE = 200.0


def run() -> None:
    """Print the figures."""
    print("pipeline: lines a second, one process")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shop = Shop(days=1, rate=RATE)
        span = TimeRange(shop.start + timedelta(hours=12), shop.start + timedelta(hours=12, minutes=MINUTES))
        texts = documents(shop.page(span)).to_list()
        (folder / "shop.ndjson").write_text("\n".join(texts) + "\n")
        _report("file", folder, {"type": "file", "path": str(folder / "shop.ndjson")}, span, len(texts))
        server = elasticsearch(folder / "es")
        server.start()
        try:
            import orjson

            filebeat.load(server.url, "bench", (orjson.loads(text) for text in texts))
            source = {"type": "elasticsearch", "hosts": [server.url], "index": "bench"}
            _report("elasticsearch", folder, source, span, len(texts))
            rate = asyncio.run(_discard(server.url, texts))
            print(f"  elasticsearch: same client, paging and discarding      {rate:10,.0f}")
        finally:
            server.stop()
    print(f"  peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
    print(f"  import of the command line: {_import_seconds():.2f} s")


def _report(name: str, folder: Path, source: dict[str, Any], span: TimeRange, lines: int) -> None:
    config = parse({"state": str(folder / f"{name}.db"), "sources": [{"name": name, **source}]})
    reduced, whole, windows = asyncio.run(_measure(config, span))
    print(f"  {name}: to observations (read and reduce)               {lines / reduced:10,.0f}")
    print(f"  {name}: to judged and committed windows                 {lines / whole:10,.0f}")
    print(
        f"  {name}: time a window of {lines / windows:,.0f} lines                    {whole / windows * 1000:10,.1f} ms"
    )


async def _measure(config: Config, span: TimeRange) -> tuple[float, float, int]:
    assembly = assemble(config, SystemClock(), NoTelemetry(), open_state(config), sinks=[])
    pipeline = assembly.pipelines[0]
    began = time.perf_counter()
    reduced = await read_and_reduce(pipeline.source, span, pipeline.settings)
    first = time.perf_counter() - began
    assert reduced.lines.height
    await pipeline.start(span.start, span.start)
    began = time.perf_counter()
    await pipeline.advance(span.end)
    second = time.perf_counter() - began
    await assembly.close()
    return first, second, span.duration // pipeline.window


async def _discard(url: str, texts: list[str]) -> float:
    """Lines a second of the bare client over the same point in time, in the same pages."""
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
    return len(texts) / (time.perf_counter() - began)


def _import_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "exporter.cli", "--version"], check=True, capture_output=True)
    return time.perf_counter() - began
