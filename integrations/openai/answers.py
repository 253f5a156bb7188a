"""What a model answered: the JSON object in it, or what to ask again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from exporter.model import PermanentError

MAX_ANSWER_CHARS = 200_000


class InvalidAnswer(PermanentError):
    """The model answered, but not what was asked for."""


def repair(content: str, problem: ValueError) -> list[dict[str, str]]:
    return [
        {"role": "assistant", "content": content[:4_000]},
        {
            "role": "user",
            "content": f"That is not what was asked for: {problem}. Answer again with the JSON object alone.",
        },
    ]


def parse(content: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first JSON object in an answer that has the schema's required keys; fences and thoughts are left out.

    Raises ValueError that says what is wrong.

    >>> parse('<think>{"a": 2}</think> Here: ```json\\n{"a": 1}\\n```', {"required": ["a"]})
    {'a': 1}
    """
    required = list(schema.get("required", ()))
    text = content.rpartition("</think>")[2]
    problem = "there is no JSON object in it"
    for value in _objects(text):
        missing = [key for key in required if key not in value]
        if not missing:
            return value
        problem = f"the JSON object has no {', '.join(map(repr, missing))}"
    raise ValueError(problem)


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """JSON objects that stand in a text, none inside another."""
    decoder = json.JSONDecoder()
    position = text.find("{")
    for _ in range(100):
        if position < 0:
            return
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            yield value
        position = text.find("{", end)
