"""Say whether failing lines say the same, and what they have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence

ALIKE = 0.6
"""Share of the words that lines have in common that say the same."""

MOST_WORDS = 60

VARIES = "…"
"""Stands where they differ."""

VALUE = re.compile(r"\d|=")


def tokens(said: str) -> list[str]:
    """The first words of what a line says."""
    return said.split()[:MOST_WORDS]


def are_alike(known: Sequence[str], said: Sequence[str]) -> bool:
    """Whether they say the same but for their values.

    >>> are_alike("took 5 ms in all".split(), "took 12 ms in all".split())
    True
    """
    if len(known) != len(said):
        return False
    pairs = [(a, b) for a, b in zip(known, said, strict=True) if not (VALUE.search(a) and VALUE.search(b))]
    return not pairs or sum(a in (b, VARIES) for a, b in pairs) >= ALIKE * len(pairs)


def common(known: Sequence[str], said: Sequence[str]) -> list[str]:
    """What they have in common.

    >>> common("took 5 ms".split(), "took 12 ms".split())
    ['took', '…', 'ms']
    """
    if len(known) != len(said):
        return list(known)
    return [one if one == other else VARIES for one, other in zip(known, said, strict=True)]
