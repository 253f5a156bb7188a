"""Receipts of sinks, as the delivery table keeps them: JSON objects."""

from __future__ import annotations

import json
from typing import Any


def pack(receipt: dict[str, Any]) -> str:
    """A receipt as the delivery table keeps it."""
    return json.dumps(receipt, separators=(",", ":"), sort_keys=True)


def unpack(receipt: str | None) -> dict[str, Any]:
    """The receipt that `pack` wrote; empty when there is none or another version wrote it."""
    try:
        value = json.loads(receipt or "")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
