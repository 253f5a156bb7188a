"""Write logs into a real Elasticsearch as Filebeat would, in bulk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from elasticsearch import Elasticsearch
from elasticsearch.helpers import parallel_bulk

from exporter.model import nanoseconds

MAPPINGS: Mapping[str, Any] = {
    "properties": {
        "@timestamp": {"type": "date_nanos"},
        "message": {"type": "text"},
        "trace": {"properties": {"id": {"type": "keyword"}}},
        "fields": {"properties": {"block": {"type": "keyword"}}},
    }
}


def load(url: str, index: str, documents: Iterable[Mapping[str, Any]]) -> int:
    """Index all documents and make them searchable. Returns how many."""
    with Elasticsearch(url, request_timeout=120) as client:
        client.indices.create(index=index, mappings=MAPPINGS, settings={"number_of_replicas": 0})
        actions = ({"_index": index, "_source": document} for document in documents)
        done = sum(1 for ok, _ in parallel_bulk(client, actions, thread_count=2, chunk_size=5000) if ok)
        client.indices.refresh(index=index)
    return done


def first_blocks(path: Path, blocks: int | None) -> list[str]:
    """Ids of the first so many blocks, or of all."""
    ids: list[str] = pl.read_parquet(path / "hdfs" / "events.parquet")["seq_id"].unique(maintain_order=True).to_list()
    return ids[:blocks]


def hdfs(path: Path, blocks: int | None = None) -> Iterator[dict[str, Any]]:
    """HDFS events as a JSON-decoding Filebeat ships them; with `blocks`, only those of the first so many blocks."""
    events = pl.read_parquet(path / "hdfs" / "events.parquet").with_row_index("line")
    if blocks is not None:
        events = events.filter(pl.col("seq_id").is_in(first_blocks(path, blocks)))
    for row in events.iter_rows(named=True):
        yield {
            "@timestamp": row["m_timestamp"].replace(tzinfo=UTC).isoformat(),
            "message": row["m_message"],
            "log": {"level": row["level"].lower(), "offset": row["line"], "file": {"path": "/var/log/hdfs.log"}},
            "service": {"name": "hdfs"},
            "fields": {"block": row["seq_id"]},
            "agent": {"type": "filebeat"},
        }


def train_ticket(path: Path, end: datetime) -> Iterator[dict[str, Any]]:
    """Container lines of TrainTicket as Filebeat's Kubernetes metadata describes them; the absurd years included."""
    lines = pl.read_parquet(path / "trainticket" / "faults_2023-01-29.parquet")
    for row in lines.filter(pl.col("TimeUnixNano") < nanoseconds(end)).iter_rows(named=True):
        service = row["PodName"].rsplit("-", 2)[0]
        yield {
            "@timestamp": _instant(row["TimeUnixNano"]),
            "message": row["message"],
            "kubernetes": {
                "labels": {"app": service},
                "pod": {"name": row["PodName"]},
                "container": {"name": row["Container"]},
                "node": {"name": row["Node"]},
            },
            "trace": {"id": row["TraceID"]},
            "agent": {"type": "filebeat"},
        }


def _instant(nanoseconds: int) -> str:
    if nanoseconds < 0:
        # What a broken clock wrote; the earliest that a server's `date_nanos` takes.
        return "1970-01-01T00:00:00Z"
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
