"""Documents through a real Elasticsearch and lines through the fake Loki, read by the sources."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.fakes.loki import LokiFake
from tests.fakes.serving import serving
from tests.servers.process import Server
from tests.servers.running import elasticsearch

Read = Callable[[dict[str, Any]], dict[str, Any]]


def in_elasticsearch(documents: Sequence[Mapping[str, Any]], home: Path, read: Read) -> dict[str, Any]:
    """The lines of documents, each known by its number."""
    server: Server = elasticsearch(home)
    server.start()
    try:
        # One index each: what one shipper maps as text is an object for another.
        for number, document in enumerate(documents, 1):
            _put(f"{server.url}/field-{number}/_doc/{number}?refresh=true", document)
        answer = read({"type": "elasticsearch", "name": "field", "hosts": [server.url], "index": "field-*"})
    finally:
        server.stop()
    return {
        "lines": [{**line, "key": int(line["id"].rpartition("/")[2].partition("#")[0])} for line in answer["lines"]]
    }


def _put(url: str, document: Mapping[str, Any]) -> None:
    request = urllib.request.Request(
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}, method="PUT"
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


async def in_loki(documents: Sequence[Mapping[str, Any]], read: Read) -> dict[str, Any]:
    """The lines of entries with labels (`stream`), `line` and `metadata`; known by their order in time."""
    fake, newest = LokiFake(), time.time_ns()
    for number, entry in enumerate(documents, 1):
        labels = entry.get("stream") or entry.get("labels") or {"job": "field"}
        metadata = entry.get("metadata") or entry.get("structuredMetadata") or {}
        fake.push(labels, [[str(newest - 10**9 * (len(documents) - number)), entry["line"], metadata]])
    async with serving(fake.app()) as url:
        source = {"type": "loki", "name": "field", "url": url, "query": '{service_name=~".+"}'}
        answer = await asyncio.to_thread(read, source)
    ordered = sorted(answer["lines"], key=lambda line: line["time"])
    return {"lines": [{**line, "key": number} for number, line in enumerate(ordered, 1)]}
