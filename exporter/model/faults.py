"""Kinds of fault, such as a full disk: what lines of several stacks and languages say of them, from `faults.yaml`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

MAX_CHARS = 2_000
"""Of a text that are looked at."""

Role = Literal["cause", "strain", "peer", "wrapper"]

LEAST_LITERAL = 3
"""Letters of a pattern from which they are looked for before it is."""


@dataclass(frozen=True)
class Fault:
    """One kind; what its role means stands in the data."""

    id: str
    say: str
    role: Role


def fault_in(text: str) -> Fault | None:
    """The kind of fault of which a text speaks, the narrowest where it speaks of several.

    >>> fault_in("OSError: [Errno 28] No space left on device").say
    'disk full'
    >>> fault_in("order stored") is None
    True
    """
    return _fault_in(text[:MAX_CHARS])


def fault_named(identity: str) -> Fault | None:
    """The kind of that id; None for one that this release does not know."""
    return next((fault for fault, _ in _table() if fault.id == identity), None)


def know_faults() -> None:
    """Read the table now: it takes a tenth of a second, for which the first report need not wait."""
    _table()


def entries() -> list[dict[str, Any]]:
    """The data as it is written."""
    import yaml

    # The loader in C reads it ten times as fast, where PyYAML was built with it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: list[dict[str, Any]] = yaml.load(
        Path(__file__).with_name("faults.yaml").read_text(encoding="utf-8"),
        loader,  # noqa: S506
    )
    return found


def literals(pattern: str) -> list[str]:
    """Of each alternative of a pattern the longest part that stands in every match, in small letters.

    >>> literals(r"no space left( on device)?|ENOSPC")
    ['no space left', 'enospc']
    """
    return [max(_parts(one), key=len).lower() for one in _alternatives(pattern)]


@lru_cache(maxsize=4_096)
def _fault_in(text: str) -> Fault | None:
    small = text.lower()
    for fault, patterns in _table():
        for literal, pattern in patterns:
            if literal in small and _compiled(pattern).search(text):
                return fault
    return None


@cache
def _table() -> tuple[tuple[Fault, tuple[tuple[str, str], ...]], ...]:
    return tuple((Fault(one["id"], one["say"], one["role"]), tuple(_looked_for(one["patterns"]))) for one in entries())


def _looked_for(patterns: list[str]) -> Iterator[tuple[str, str]]:
    """Each alternative with the part that is looked for before it is."""
    for pattern in patterns:
        for one, literal in zip(_alternatives(pattern), literals(pattern), strict=True):
            yield literal if len(literal) >= LEAST_LITERAL else "", one


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled when a text has its literal: most never are, and all together take a third of a second."""
    return re.compile(pattern, re.IGNORECASE)


_TOKEN = re.compile(r"\\.|\[(?:\\.|[^\]])*\]|\{[0-9,]+\}|.", re.DOTALL)


def _alternatives(pattern: str) -> list[str]:
    """A pattern at the bars that stand in no group."""
    found, depth = [""], 0
    for piece in _TOKEN.findall(pattern):
        depth += (piece == "(") - (piece == ")")
        if piece == "|" and not depth:
            found.append("")
        else:
            found[-1] += piece
    return found


def _parts(pattern: str) -> list[str]:
    """What stands in every match, cut where something else may stand."""
    found, depth = [""], 0
    for piece in _TOKEN.findall(pattern):
        depth += (piece == "(") - (piece == ")")
        plain = (len(piece) == 1 and piece not in ".()^$|?*+") or (len(piece) == 2 and not piece[1].isalnum())
        if piece in ("?", "*") or piece.startswith("{0"):
            found[-1] = found[-1][:-1]
            found.append("")
        elif depth or not plain:
            found.append("")
        else:
            found[-1] += piece[-1]
    return found
