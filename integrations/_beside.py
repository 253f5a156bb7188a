"""What documents of one form say beside their message, by the routes that lead to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from exporter.reading.beside import (
    CHOSEN_DURATIONS,
    CHOSEN_WORDS,
    CODES,
    DURATIONS,
    ERROR_STACKS,
    ERROR_TEXTS,
    ERROR_TYPES,
    code_of,
    seconds_of,
    with_error,
    word_of,
    words_as_text,
)
from integrations._forms import Route, at

BESIDE = "\2"
"""Begins the names in a plan of what is said beside a message."""

_CODE, _KIND, _TEXT, _STACK = f"{BESIDE}code", f"{BESIDE}kind", f"{BESIDE}text", f"{BESIDE}stack"
_TOOK, _WORD = f"{BESIDE}took ", f"{BESIDE}word "

_MOST_CHARS = 65_536

Plan = Mapping[str, tuple[Route, ...]]

Documents = Sequence[Mapping[str, Any]]


def paths_beside(chosen: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The places of each kind, also those that were chosen."""
    units = {path: unit for name, unit in CHOSEN_DURATIONS.items() for path in chosen.get(name, ())}
    took = {f"{_TOOK}{unit} {path}": (path,) for path, unit in {**DURATIONS, **units}.items()}
    words = {f"{_WORD}{path}": (path,) for path in chosen.get(CHOSEN_WORDS, ())}
    return {_CODE: CODES, _KIND: ERROR_TYPES, _TEXT: ERROR_TEXTS, _STACK: ERROR_STACKS, **took, **words}


def said_beside(documents: Documents, plan: Plan, bodies: Sequence[Any] | None) -> dict[str, list[Any]]:
    """The columns that are said beside a message, as far as these documents have any."""
    found: dict[str, list[Any]] = {}
    if _CODE in plan:
        found["code"] = _first(documents, plan[_CODE], code_of)
    for name, routes in plan.items():
        if name.startswith(_TOOK):
            unit, path = name.removeprefix(_TOOK).split(" ", 1)
            _take_duration(found, documents, routes, float(unit), path)
    words = {name.removeprefix(_WORD): routes for name, routes in plan.items() if name.startswith(_WORD)}
    if words:
        found["fields"] = _as_text(list(words), [_first(documents, routes, word_of) for routes in words.values()])
    if not {_KIND, _TEXT, _STACK}.isdisjoint(plan):
        found["body"] = _with_errors(documents, plan, bodies or [None] * len(documents))
    return found


def _as_text(paths: Sequence[str], each: Sequence[Sequence[str | None]]) -> list[str | None]:
    """The words of each document as one text; each combination is written once."""
    known: dict[tuple[str | None, ...], str | None] = {}
    found = []
    for said in zip(*each, strict=True):
        if said not in known:
            known[said] = words_as_text({path: word for path, word in zip(paths, said, strict=True) if word})
        found.append(known[said])
    return found


def _take_duration(
    found: dict[str, list[Any]], documents: Documents, routes: Sequence[Route], unit: float, path: str
) -> None:
    durations = found.setdefault("duration", [None] * len(documents))
    places = found.setdefault("place", [None] * len(documents))
    for number, seconds in enumerate(_first(documents, routes, lambda value: seconds_of(value, unit))):
        if durations[number] is None and seconds is not None:
            durations[number], places[number] = seconds, path


def _with_errors(documents: Documents, plan: Plan, bodies: Sequence[Any]) -> list[Any]:
    def text(value: Any) -> Any:
        return value if isinstance(value, (str, list)) and value else None

    kinds, texts, stacks = (_first(documents, plan.get(name, ()), text) for name in (_KIND, _TEXT, _STACK))
    return [
        with_error(body or "", kind, said, stack, _MOST_CHARS)
        if (kind or said or stack) and (body is None or isinstance(body, str))
        else body
        for body, kind, said, stack in zip(bodies, kinds, texts, stacks, strict=True)
    ]


def _first(documents: Documents, routes: Sequence[Route], read: Callable[[Any], Any]) -> list[Any]:
    """The first value of each document that can be read."""
    if not routes:
        return [None] * len(documents)
    values = [read(value) for value in at(documents, routes[0])]
    for route in routes[1:]:
        if None not in values:
            break
        more = at(documents, route)
        values = [read(other) if value is None else value for value, other in zip(values, more, strict=True)]
    return values
