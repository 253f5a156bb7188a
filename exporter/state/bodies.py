"""The JSON bodies of given rows: each carries the version of its form, so that any release knows what it reads."""

from __future__ import annotations

import json
from typing import Any

from exporter.model import StateError, from_json, to_json

VERSION = 1
"""Raised together with a migration step that rewrites older bodies. A body without one is of version 1."""


def pack(value: Any) -> str:
    """A value of the model as the body of a row."""
    return json.dumps({"version": VERSION, **to_json(value)}, ensure_ascii=False, separators=(",", ":"))


def unpack(kind: Any, body: str) -> Any:
    """The value of `kind` that a body holds.

    Raises StateError for one of a newer release, ValueError for what is no JSON object or does not fit.
    """
    data = json.loads(body)
    if not isinstance(data, dict):
        raise ValueError("is no JSON object")
    version = data.pop("version", 1)
    if version > VERSION:
        raise StateError(
            f"a row holds a {kind.__name__} of form {version}, this program knows up to {VERSION}: "
            "it was written by a newer release; run that release"
        )
    return from_json(kind, data)
