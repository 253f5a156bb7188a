"""What Loki answers: entries of streams, their order, and what of them says who wrote them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

LINE = "line"
"""The key of the line itself among its labels."""

STREAM = "__stream__"


MAX_STREAM_CHARS = 512

WRITERS = ("k8s_pod_uid", "k8s_pod_name", "pod", "container_id", "service_instance_id")
"""Structured metadata that tells apart the writers that share one stream."""


class Entry(NamedTuple):
    """A line as Loki keeps it."""

    timestamp: int
    stream: str
    id: str
    document: Mapping[str, Any]


def entries_of(result: Iterable[Mapping[str, Any]]) -> tuple[list[Entry], int]:
    """The lines of all streams of an answer in order of time, and how many the server sent."""
    found: dict[str, Entry] = {}
    sent = 0
    for stream in result:
        labels = stream["stream"]
        name = canonical(labels)
        for at, line, *rest in stream["values"]:
            metadata, parsed = _categories(rest[0]) if rest else ({}, {})
            sent += 1
            key = blake2b("\0".join((name, at, line, canonical(metadata))).encode("utf-8", "replace"), digest_size=12)
            document = {**labels, **metadata, **parsed, LINE: line, STREAM: _writer(name, metadata)}
            if str(document.get("service_name", "")).startswith("unknown_service"):
                # Loki's word for a stream whose labels name no service: the line may.
                del document["service_name"]
            entry = Entry(int(at), name, key.hexdigest(), document)
            found.setdefault(entry.id, entry)
    return sorted(found.values(), key=order_of), sent


def order_of(entry: Entry) -> tuple[int, str, str]:
    return entry.timestamp, entry.stream, entry.id


def _categories(value: Any) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Structured metadata and what the query's own parsers found; a flat object is metadata."""
    if not isinstance(value, Mapping):
        return {}, {}
    if value.keys() <= {"structuredMetadata", "parsed"}:
        return value.get("structuredMetadata") or {}, value.get("parsed") or {}
    return value, {}


def _writer(stream: str, metadata: Mapping[str, str]) -> str:
    return next((f"{stream}{metadata[name]}" for name in WRITERS if name in metadata), stream)


def canonical(labels: Mapping[str, str]) -> str:
    """One text for a set of labels, whatever their order; cut short with a digest when it is very long."""
    if not labels:
        return ""
    text = json.dumps(labels, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    if len(text) <= MAX_STREAM_CHARS:
        return text
    return f"{text[:MAX_STREAM_CHARS]}#{blake2b(text.encode('utf-8', 'replace'), digest_size=8).hexdigest()}"


def most_telling(streams: Sequence[Mapping[str, str]]) -> tuple[str, list[str]]:
    """The label with the most values, and its values; "" stands for streams without it."""
    names = sorted({name for stream in streams for name in stream})
    values = {name: sorted({stream.get(name, "") for stream in streams}) for name in names}
    name = max(names, key=lambda name: len(values[name]), default="")
    return name, values.get(name, [])
