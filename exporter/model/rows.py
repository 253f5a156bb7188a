"""Rows of the state file, and values as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

SqlValue = str | int | float | bytes | None


@dataclass(frozen=True)
class Write:
    """Rows that a stage wants in the state file: how every stage returns what it changed.

    With `delete`, rows that match the given columns are removed; else rows are inserted or replaced by primary key.
    With a `step` what they replace is kept, so that the step can be taken back: of the source in their first column,
    the window in seconds.
    """

    table: str
    columns: tuple[str, ...]
    rows: tuple[tuple[SqlValue, ...], ...]
    delete: bool = False
    step: int | None = None


def to_json(value: Any) -> Any:
    """A dataclass (or container of them) as JSON-compatible values; times as RFC 3339, durations in seconds."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: to_json(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(item) for item in value]
    return value


def dumps(value: Any) -> str:
    """Compact JSON of a value, keys in the order of definition."""
    return json.dumps(to_json(value), ensure_ascii=False, separators=(",", ":"))


def from_json(kind: Any, data: Any) -> Any:
    """The value of `kind` that `to_json` made `data` of. Raises pydantic.ValidationError on what does not fit."""
    return _adapter(kind).validate_python(data)


def loads(kind: Any, text: str | bytes) -> Any:
    """`from_json` of a JSON text."""
    return from_json(kind, json.loads(text))


_adapters: dict[Any, Any] = {}


def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]
