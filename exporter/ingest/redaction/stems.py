"""Short texts one of which is in everything that a pattern matches: to look for them is cheaper than the pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

_SHORTEST = 2

_MOST_VARIANTS = 64

_MOST_SIGNS = 8
"""Of a class of characters that is written out."""

EDGE = "\x1f"
"""In a stem the edge of a word: what stands before it is no letter and no digit."""

_SIGNS = "_-./$"

Stems = frozenset[str]


def stands(stem: str, text: str) -> bool:
    """Whether a stem is in a text, at the edge of a word where it says so.

    >>> stands(EDGE + "pw", "db_pw=x"), stands(EDGE + "pw", "httpwatch")
    (True, False)
    """
    return any(True for _ in places(stem, text))


def places(stem: str, text: str) -> Iterator[int]:
    """Where a stem stands in a text."""
    plain = stem.lstrip(EDGE)
    at = text.find(plain)
    while at >= 0:
        if plain is stem or at == 0 or not (text[at - 1].isascii() and text[at - 1].isalnum()):
            yield at
        at = text.find(plain, at + len(plain))


@lru_cache(1024)
def stems(pattern: str) -> Stems | None:
    r"""Of a pattern, in its own case; None where nothing is known, so that the pattern itself has to be tried.

    >>> sorted(stems(r"(?:secret|password)\s*="))
    ['password', 'secret']
    >>> stems(r"\b(?:pw|pass)\s*=") == {EDGE + "pw", EDGE + "pass"}
    True
    """
    try:
        parts = list(vars(re)["_parser"].parse(pattern))
        beginnings = _beginnings(parts[1:]) if parts and _is_edge(*parts[0]) else None
        words = {text.lstrip(_SIGNS) for text in beginnings or ()}
        if words and all(map(_says_enough, words)):
            return _shortest(EDGE + word for word in words)
        found = _of_sequence(parts)
        return None if found is None else _shortest(found)
    except Exception:
        # How Python parses a pattern is its own affair: then nothing is known.
        return None


def _shortest(some: Iterable[str]) -> Stems:
    """Those that begin with no other one: where that is not, these are not."""
    kept: list[str] = []
    for stem in sorted(some):
        if not kept or not stem.startswith(kept[-1]):
            kept.append(stem)
    return frozenset(kept)


def _is_edge(kind: Any, value: Any) -> bool:
    """A look-behind against letters and digits, or the border of a word."""
    if str(kind) == "AT":
        return str(value) == "AT_BOUNDARY"
    return str(kind) == "ASSERT_NOT" and value[0] == -1 and [str(one) for one, _ in value[1]] == ["IN"]


def _says_enough(beginning: str) -> bool:
    return beginning[:1].isalnum() and (len(beginning) >= _SHORTEST or not beginning.isascii())


def _beginnings(parts: Any) -> Stems | None:
    """What texts may begin with that a pattern matches."""
    found = {""}
    for kind, value in parts:
        variants = _variants(str(kind), value)
        if variants is None:
            variants = [*more] if (more := _beginnings_of(str(kind), value)) else None
            return frozenset(one + other for one in found for other in variants) if variants else frozenset(found)
        if len(found) * len(variants) > _MOST_VARIANTS:
            break
        found = {one + other for one in found for other in variants}
    return frozenset(found)


def _beginnings_of(name: str, value: Any) -> Stems | None:
    if name == "SUBPATTERN":
        return _beginnings(value[3])
    if name == "BRANCH":
        each = [_beginnings(branch) for branch in value[1]]
        return frozenset().union(*(one or {""} for one in each))
    return None


def _of_sequence(parts: Any) -> Stems | None:
    found: list[Stems] = []
    runs = {""}
    for kind, value in parts:
        name = str(kind)
        variants = _variants(name, value)
        if variants is not None and len(runs) * len(variants) <= _MOST_VARIANTS:
            runs = {run + variant for run in runs for variant in variants}
            continue
        found += _of_runs(runs)
        runs = {""}
        inner = _of_part(name, value)
        if inner is not None:
            found.append(inner)
    found += _of_runs(runs)
    return max(found, key=_worth, default=None)


def _variants(name: str, value: Any) -> list[str] | None:
    """What a part that stands for few texts stands for."""
    if name == "LITERAL":
        return [chr(value)]
    if name == "IN" and all(str(kind) in ("LITERAL", "RANGE") for kind, _ in value):
        codes = [
            code for kind, one in value for code in (range(one[0], one[1] + 1) if str(kind) == "RANGE" else (one,))
        ]
        return [chr(code) for code in codes] if len(codes) <= _MOST_SIGNS else None
    if name == "SUBPATTERN":
        return _variants(*_only(value[3]))
    if name == "BRANCH" and len(value[1]) <= 12 and all(_is_literal(branch) for branch in value[1]):
        return ["".join(chr(code) for _, code in branch) for branch in value[1]]
    if name in ("MAX_REPEAT", "MIN_REPEAT") and value[:2] == (0, 1):
        inner = _variants(*_only(value[2]))
        return None if inner is None else ["", *inner]
    return None


def _is_literal(parts: Any) -> bool:
    return all(str(kind) == "LITERAL" for kind, _ in parts)


def _only(parts: Any) -> tuple[str, Any]:
    return (str(parts[0][0]), parts[0][1]) if len(parts) == 1 else ("", None)


def _worth(some: Stems) -> tuple[int, int]:
    """In how few texts they are: long ones, letters that few languages have, and few of them."""
    return min(len(stem) if stem.isascii() else len(stem) + 2 for stem in some), -len(some)


def _of_runs(runs: set[str]) -> list[Stems]:
    """A single letter or sign is in nearly every text."""
    return [frozenset(runs)] if all(len(run.strip()) >= _SHORTEST or not run.isascii() for run in runs) else []


def _of_part(name: str, value: Any) -> Stems | None:
    if name == "SUBPATTERN":
        return _of_sequence(value[3])
    if name == "ATOMIC_GROUP":
        return _of_sequence(value)
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and value[0] >= 1:
        return _of_sequence(value[2])
    if name == "BRANCH":
        branches = [_of_sequence(branch) for branch in value[1]]
        known = [branch for branch in branches if branch is not None]
        return frozenset().union(*known) if len(known) == len(branches) else None
    return None
