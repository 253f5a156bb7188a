"""What a model answered: the JSON object in it, however it is wrapped or spoiled, or what to ask again."""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from exporter.model import PermanentError

MAX_ANSWER_CHARS = 200_000

MAX_SPOILED_CHARS = 20_000
"""Of an answer that is no JSON, and may be mended."""

_MAX_DEPTH = 3
"""Of what the object is wrapped in."""

_THOUGHT = r"think|thinking|thought|thoughts|reasoning|reflection|analysis"
_THOUGHTS = re.compile(rf"(?is)<({_THOUGHT})>.*?</\1>")
_END_OF_THOUGHTS = re.compile(rf"(?i)</(?:{_THOUGHT})>|\[/THINK\]|◁/think▷")
_FINAL = re.compile(r"(?i)<\|channel\|>\s*final\s*(?:<\|constrain\|>\s*\w+\s*)?<\|message\|>")
_CONTROL = re.compile(r"<\|[^<>|]{0,40}\|>")
_COMMENT = re.compile(r"(?m)(?<![:\"\w])//[^\n\"]*$")
_COMMA = re.compile(r",(\s*[}\]])")
_CURLY = str.maketrans(dict.fromkeys("“”„‟", '"') | dict.fromkeys("‘’", "'"))


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
    """The last JSON object of an answer that has any of the schema's required keys; thoughts and fences are left out.

    It may be wrapped, cut at its end, or written with the wrong quotation marks; a key may be in another case. Raises
    ValueError that says what is wrong.

    >>> parse('<think>{"a": 2}</think> Here: ```json\\n{"a": 1}\\n```', {"required": ["a"]})
    {'a': 1}
    >>> parse("{'Report': {'A': [1, 2", {"required": ["a"]})
    {'A': [1, 2]}
    """
    wanted = [_plain(key) for key in schema.get("required", ())]
    text = _spoken(content[:MAX_ANSWER_CHARS])
    problem = "there is no JSON object in it"
    for values in (_values(text), _mended(text)):
        whole = [value for value in values if isinstance(value, (dict, list, str))]
        for value in reversed(whole):
            if (found := _fitting(value, wanted)) is not None:
                return found
        if any(isinstance(value, dict) for value in whole):
            problem = f"the JSON object has no {', '.join(map(repr, schema.get('required', ())))}"
    raise ValueError(problem)


def _plain(key: object) -> str:
    return "".join(filter(str.isalnum, str(key).lower()))


def _spoken(content: str) -> str:
    """The answer without what the model thought before it."""
    final = list(_FINAL.finditer(content))
    text = content[final[-1].end() :] if final else content
    text = _THOUGHTS.sub(" ", text)
    if ends := list(_END_OF_THOUGHTS.finditer(text)):
        text = text[ends[-1].end() :]
    return _CONTROL.sub(" ", text)


def _fitting(value: Any, wanted: list[str], depth: int = 0) -> Mapping[str, Any] | None:
    """The object that has one of the keys, in the value or in what it holds."""
    if isinstance(value, dict):
        if not wanted or any(_plain(key) in wanted for key in value):
            return value
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    elif isinstance(value, str) and depth < _MAX_DEPTH:
        # An answer that was encoded twice.
        inner = list(_values(value)) if "{" in value else []
    else:
        return None
    if depth >= _MAX_DEPTH:
        return None
    return next((found for one in inner[-20:] if (found := _fitting(one, wanted, depth + 1)) is not None), None)


def _values(text: str) -> Iterator[Any]:
    """JSON objects and lists that stand in a text, none inside another; a text that is nothing but a JSON text, too."""
    if text.strip().startswith('"'):
        with contextlib.suppress(ValueError, RecursionError):
            yield json.loads(text)
    decoder = json.JSONDecoder()
    position = _opening(text, 0)
    for _ in range(100):
        if position < 0:
            return
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            yield value
        position = _opening(text, end)


def _opening(text: str, start: int) -> int:
    places = [place for place in (text.find("{", start), text.find("[", start)) if place >= 0]
    return min(places, default=-1)


def _mended(text: str) -> Iterator[Any]:
    """What an answer that is no JSON was meant to be."""
    start = _opening(text, 0)
    if start < 0:
        return
    spoiled = text[start : start + MAX_SPOILED_CHARS]
    tidy = _COMMA.sub(r"\1", _COMMENT.sub("", spoiled))
    curly = tidy.translate(_CURLY)
    for one in (tidy, curly, _closed(tidy), _closed(curly)):
        if found := [value for value in _values(one) if isinstance(value, (dict, list)) and value]:
            yield from found
    for one in (curly, _closed(curly, "'\"")):
        try:
            yield ast.literal_eval(re.sub(r"\bnull\b", "None", re.sub(r"\btrue\b", "True", one)).rstrip("`\n "))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue


def _closed(text: str, quotes: str = '"') -> str:
    """The text with what it leaves open closed, as an answer that was cut."""
    stack: list[str] = []
    quote, escaped = "", False
    for character in text:
        if quote:
            if escaped or character == "\\":
                escaped = not escaped
            elif character == quote:
                quote = ""
        elif character in quotes:
            quote = character
        elif character in "{[":
            stack.append("}" if character == "{" else "]")
        elif character in "}]" and stack:
            stack.pop()
            if not stack:
                return text
    return text.rstrip(" ,:\n") + quote + "".join(reversed(stack))
