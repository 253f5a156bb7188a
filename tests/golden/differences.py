"""Compare what two checkouts made of the same inputs, and say where they differ."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT = object()
CHARACTERS = 160
"""Of a value that are shown: those around the place where it differs."""


@dataclass(frozen=True)
class Difference:
    """One place, and what each checkout has there; ABSENT where it has nothing."""

    place: str
    old: Any
    new: Any

    def __str__(self) -> str:
        old, new = excerpts(text_of(self.old), text_of(self.new))
        return f"{self.place}\n    old: {old}\n    new: {new}"


def differences(old: Any, new: Any, place: str = "") -> Iterator[Difference]:
    """Every place where two JSON values differ.

    >>> [str(d.place) for d in differences({"a": [1, 2], "b": 1}, {"a": [1, 3], "c": 1})]
    ['a.1', 'b', 'c']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from differences(old.get(key, ABSENT), new.get(key, ABSENT), joined(place, key))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _of_lists(old, new, place)
    elif old is ABSENT or new is ABSENT or old != new or type(old) is not type(new):
        yield Difference(place, old, new)


def _of_lists(old: Sequence[Any], new: Sequence[Any], place: str) -> Iterator[Difference]:
    """What is alike stands side by side; then what is left in between, and what has no counterpart."""
    if old == new:
        return
    olds, news = ([json.dumps(item, sort_keys=True) for item in items] for items in (old, new))
    for tag, a, b, c, d in difflib.SequenceMatcher(None, olds, news, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        both = min(b - a, d - c)
        for number in range(both):
            yield from differences(old[a + number], new[c + number], joined(place, c + number))
        for number in range(a + both, b):
            yield Difference(joined(place, number), old[number], ABSENT)
        for number in range(c + both, d):
            yield Difference(joined(place, number), ABSENT, new[number])


def joined(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)


def text_of(value: Any) -> str:
    """A value as a person reads it."""
    return "nothing" if value is ABSENT else json.dumps(value, ensure_ascii=False)


def excerpts(old: str, new: str) -> tuple[str, str]:
    """Both texts, cut to what stands around the first character that differs.

    >>> excerpts("x" * 500 + "a", "x" * 500 + "b")[1][-3:]
    'xxb'
    """
    pairs = enumerate(zip(old, new, strict=False))
    first = next((number for number, (a, b) in pairs if a != b), min(len(old), len(new)))
    start = max(0, first - CHARACTERS // 2)
    return _cut(old, start), _cut(new, start)


def _cut(text: str, start: int) -> str:
    end = start + CHARACTERS
    return ("…" if start else "") + text[start:end] + ("…" if len(text) > end else "")


# --- What is of the machine ---------------------------------------------------------------------------


def normalised(value: Any, replacements: Sequence[tuple[str, str]]) -> Any:
    """The value with each pattern in every text of it replaced."""
    compiled = [(re.compile(pattern), by) for pattern, by in replacements]

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            for pattern, by in compiled:
                value = pattern.sub(by, value)
            return value
        if isinstance(value, Mapping):
            return {walk(key): walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item) for item in value]
        return value

    return walk(value)


MACHINE = (
    (r"(127\.0\.0\.1|localhost):\d+", r"\1:PORT"),
    (r"all are read, in about [\dhms]+", "all are read, in about SOME TIME"),
    (r"the demo took \d+ s", "the demo took SOME TIME"),
)
"""What two runs of the same code may differ in: ports and how long it took."""


# --- In words -----------------------------------------------------------------------------------------


def told(part: str, found: Sequence[Difference], expected: int = 0, most: int = 5) -> Iterator[str]:
    """What differs in a part, by section, the first few of each; `expected` is how many more were meant to."""
    if expected:
        yield f"{part}: {expected} differences as expected"
    if not found:
        yield f"{part}: nothing {'else ' if expected else ''}differs"
        return
    sections: dict[str, list[Difference]] = {}
    for difference in found:
        sections.setdefault(section_of(difference.place), []).append(difference)
    for section, items in sections.items():
        yield f"{part}: {section}: {len(items)} difference{'s' if len(items) > 1 else ''}"
        yield from (f"  {item}" for item in items[:most])
        if len(items) > most:
            yield f"  … and {len(items) - most} more"


def section_of(place: str) -> str:
    """What a place belongs to: of rows the table, of what was sent the receiver.

    >>> section_of("rows.news.a/1/0.body"), section_of("console.12")
    ('rows.news', 'console')
    """
    first, *others = place.split(".")
    return f"{first}.{others[0]}" if first in ("rows", "sent") and others else first
