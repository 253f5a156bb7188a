"""The form of a model's answer: as a JSON schema with the ids of one prompt, and as a sentence in that prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SECTIONS = ("what_happened", "cause", "steps", "not_known")

MOST = 6
"""Sentences of a section."""

FORM = (
    '{"what_happened": [S, ...], "cause": [S, ...], "steps": [S, ...], "not_known": [S, ...]} where S is either '
    '{"fact": ID} or {"text": "one sentence"}'
)
"""No id stands in it: a weak model would copy it."""


def schema(ids: Iterable[str]) -> Mapping[str, Any]:
    """The schema of an answer, in which only these ids can be chosen."""
    chosen = _object("fact", {"type": "string", "enum": list(ids)})
    said = _object(
        "text", {"type": "string", "description": "One sentence of your own, with slots for what facts say."}
    )
    section = {"type": "array", "maxItems": MOST, "items": {"anyOf": [chosen, said]}}
    return {
        "type": "object",
        "properties": dict.fromkeys(SECTIONS, section),
        "required": list(SECTIONS),
        "additionalProperties": False,
    }


def _object(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}
