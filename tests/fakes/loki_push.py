"""What Loki makes of a push: what it refuses, in which words, and what it adds to a line by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Labels = Mapping[str, str]

SECOND = 10**9
LATEST = 10 * 60 * SECOND
"""Nanoseconds that a line may be in the future (creation_grace_period)."""
OLDEST = 7 * 86_400 * SECOND
"""Nanoseconds that a line may be old (reject_old_samples_max_age)."""
BEHIND = 3600 * SECOND
"""Nanoseconds that a line may be behind the newest of its stream (half of max_chunk_age)."""

MAX_LABELS = 15
"""Of a stream, besides `service_name`."""
MAX_NAME, MAX_VALUE = 1024, 2048
"""Bytes of a label."""
MAX_LINE = 256 * 1024
"""Bytes of a line."""
MAX_METADATA, MAX_METADATA_BYTES = 128, 64 * 1024
"""Structured metadata of one line."""
BURST = 6 * 1024 * 1024
"""Bytes of lines that may come at once (ingestion_burst_size_mb)."""

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

INTERNAL = ("__pattern__", "__aggregated_metric__")
"""Labels of streams that Loki writes about other streams."""

SERVICES = (
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
)
"""Labels from which `service_name` is taken: the first that is there (discover_service_name)."""

LEVEL_NAMES = ("level", "severity", "lvl", "severity_text", "log_level", "loglevel")
LEVELS = {
    "trace": "trace",
    "debug": "debug",
    "info": "info",
    "information": "info",
    "warn": "warn",
    "warning": "warn",
    "error": "error",
    "err": "error",
    "critical": "critical",
    "fatal": "fatal",
}
FIELD = re.compile(rf'\b(?:{"|".join(LEVEL_NAMES)})"?\s*[=:]\s*"?({"|".join(LEVELS)})\b', re.IGNORECASE)
WORD = re.compile(rf"\b({'|'.join(LEVELS)})\b", re.IGNORECASE)


class Entry(NamedTuple):
    """A line, and the structured metadata of it alone."""

    timestamp: int
    text: str
    metadata: Labels


class Refused(Exception):
    """Why a push, or a part of one, is not taken."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def decode(body: bytes, content_type: str) -> list[tuple[Labels, list[Entry]]]:
    """Streams with their lines. Raises Refused when anything in it is malformed."""
    if content_type != "application/json":
        raise Refused(400, "snappy: corrupt input")
    try:
        streams = json.loads(body).get("streams") or []
        found = [(_texts(stream["stream"]), entries(stream["values"])) for stream in streams]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refused(400, f"loghttp.PushRequest.Streams: {error!r}") from error
    if not found:
        raise Refused(422, "error at least one valid stream is required for ingestion")
    return found


def entries(values: Iterable[Sequence[Any]]) -> list[Entry]:
    """Lines of the form `[nanoseconds, line]` or `[nanoseconds, line, metadata]`. Raises ValueError or TypeError."""
    return [_entry(*value) for value in values]


def _entry(timestamp: object, text: object, metadata: object = None) -> Entry:
    if not (isinstance(timestamp, str) and timestamp.isdecimal() and isinstance(text, str)):
        raise TypeError("a timestamp is a string of digits, and a line is a string")
    return Entry(int(timestamp), text, _texts({} if metadata is None else metadata))


def _texts(value: object) -> Labels:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise TypeError("labels and structured metadata are objects of strings")
    return value


# --- What is refused ----------------------------------------------------------------------------------


def check_size(streams: Iterable[tuple[Labels, Sequence[Entry]]], tenant: str) -> None:
    """Raises Refused for more than may come at once."""
    lines = [entry.text for _, entries in streams for entry in entries]
    if (size := sum(len(line.encode()) for line in lines)) > BURST:
        limit = f"ingestion rate limit exceeded for user {tenant} (limit: {BURST} bytes/sec)"
        raise Refused(429, f"{limit} while attempting to ingest {len(lines)} lines totaling {size} bytes")


def check_labels(labels: Labels) -> None:
    """Raises Refused for a stream that cannot be."""
    if not labels:
        raise Refused(400, "error at least one label pair is required per stream")
    if invalid := [name for name in labels if not NAME.fullmatch(name)]:
        raise Refused(400, f"error parsing labels '{named(labels)}' with error: unexpected {invalid[0]!r} in label set")
    if (n := len(labels.keys() - {"service_name"})) > MAX_LABELS:
        raise Refused(400, f"entry for stream '{named(labels)}' has {n} label names; limit {MAX_LABELS}")
    for name, value in labels.items():
        if len(name) > MAX_NAME:
            raise Refused(400, f"stream '{named(labels)}' has label name too long: '{name}'")
        if len(value.encode()) > MAX_VALUE:
            raise Refused(400, f"stream '{named(labels)}' has label value too long: '{value}'")


def check_entry(labels: Labels, entry: Entry, now: int, newest: int) -> None:
    """Raises Refused for a line that is too old, too new, too far behind its stream, or too large."""
    at = entry.timestamp
    if at < now - OLDEST:
        allowed = f"oldest acceptable timestamp is: {now - OLDEST}"
        raise Refused(400, f"entry for stream '{named(labels)}' has timestamp too old: {at}, {allowed}")
    if at > now + LATEST:
        raise Refused(400, f"entry for stream '{named(labels)}' has timestamp too new: {at}")
    if at < newest - BEHIND:
        allowed = f"oldest acceptable timestamp is: {newest - BEHIND}"
        raise Refused(400, f"entry too far behind, entry timestamp is: {at}, {allowed}, for stream: {named(labels)}")
    if (size := len(entry.text.encode())) > MAX_LINE:
        adding = f"while adding an entry with length '{size}' bytes"
        raise Refused(400, f"max entry size '{MAX_LINE}' bytes exceeded for stream '{named(labels)}' {adding}")
    if (n := len(entry.metadata)) > MAX_METADATA:
        many = f"has too many structured metadata labels: '{n}', limit: '{MAX_METADATA}'"
        raise Refused(400, f"stream '{named(labels)}' {many}")
    if (size := sum(len((name + value).encode()) for name, value in entry.metadata.items())) > MAX_METADATA_BYTES:
        large = f"has structured metadata too large: '{size}' bytes, limit: '{MAX_METADATA_BYTES}' bytes"
        raise Refused(400, f"stream '{named(labels)}' {large}")


def named(labels: Labels) -> str:
    """A stream as Loki writes it."""
    return "{" + ", ".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels.items())) + "}"


# --- What is added ------------------------------------------------------------------------------------


def with_service(labels: Labels) -> dict[str, str]:
    """The labels, and `service_name`."""
    if "service_name" in labels or any(name in labels for name in INTERNAL):
        return dict(labels)
    found = (labels[name] for name in SERVICES if name in labels)
    return {**labels, "service_name": next(found, "unknown_service")}


def with_level(labels: Labels, entry: Entry) -> dict[str, str]:
    """The structured metadata, and `detected_level`."""
    return {"detected_level": _level(labels, entry), **entry.metadata}


def _level(labels: Labels, entry: Entry) -> str:
    """What a label says, else the line's own metadata, else a field in the line, else a word in it."""
    for given in (labels, entry.metadata):
        for name, value in given.items():
            if name.lower() in LEVEL_NAMES:
                return LEVELS.get(value.lower(), value.lower())
    found = FIELD.search(entry.text) or WORD.search(entry.text)
    return LEVELS[found[1].lower()] if found else "unknown"
