"""How alike two failures are, on a fixed scale, by evidence that can be said: lines and kinds of fault in common."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Literal

from exporter.memory.signs import ROLES, Signs, role_of, text_words

Tier = Literal["same", "related"]

RELATED, SAME = 0.4, 0.6
"""From which evidence a past incident may be related, and is the same failure, if what it is of allows that.

Chosen on the half of `tests/recall` that is not reported."""

KINDS = {1.0: 0.5, 0.6: 0.45, 0.3: 0.4}
"""What it counts that the main kind of fault is the same, by its role."""

IN_PASSING = 0.3
"""Of that, where it is the main kind of one of the two only."""

WORDS, MEANING, SERVICE = 0.8, 0.6, 0.05

UNLIKE = 0.35
"""Cosine similarity of a small model that says nothing."""

LINE_IN_COMMON = 0.6
"""Likeness of the words of two lines from which they say the same."""

MOST_WORDS_IN_COMMON = 0.5
"""Likeness of all words without which a mere complaint of others is not the same failure."""

FEW_WORDS_IN_COMMON = 0.1

PRIOR = 50
"""Incidents that are thought of as remembered beside the real ones: else the first would make every word common."""

Weight = Callable[[frozenset[str]], float]
"""How telling words are together."""


@dataclass(frozen=True)
class Likeness:
    """How alike two incidents are, and why; of most it is not asked why, so that it is found when it is."""

    evidence: float
    """What speaks for it, from 0 up."""
    most: float
    """What would speak for the same incident, word by word."""
    tier: Tier | None
    new: Signs
    past: Signs
    rare: Weight = field(repr=False, compare=False)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of fault in common."""
        return _kinds(self.new, self.past)[1]

    @cached_property
    def common(self) -> tuple[str, ...]:
        """Lines of the new one that the past one has, too."""
        return tuple(line for line in self.new.lines if _has(self.past.lines, line, self.rare))

    @property
    def now(self) -> tuple[str, ...]:
        """Lines of the new one alone."""
        return tuple(line for line in self.new.lines if line not in self.common)

    @cached_property
    def then(self) -> tuple[str, ...]:
        """Lines of the past one alone."""
        return tuple(line for line in self.past.lines if not _has(self.new.lines, line, self.rare))

    @property
    def score(self) -> float:
        """The evidence on a scale that ends at 1, where nothing more could speak for it."""
        over = max(0.0, self.evidence - SAME) / max(self.most - SAME, 1e-9)
        return round(min(self.evidence, SAME) + (1 - SAME) * min(over, 1.0), 4)


def rarity(known: Sequence[Signs]) -> Weight:
    """How telling words are, by the number of incidents that have each."""
    counts = Counter(word for signs in known for word in signs.words)
    total = len(known) + PRIOR

    @cache
    def rare(count: int) -> float:
        return math.log(1 + (total - count + 0.5) / (count + 0.5))

    @cache
    def weight(words: frozenset[str]) -> float:
        # The same in any order, in which sets differ from run to run.
        return math.fsum(rare(counts[word]) for word in words)

    return weight


def likeness(new: Signs, past: Signs, rare: Weight, cosine: float | None = None) -> Likeness:
    """Compare two incidents. `cosine` is of their vectors, where a model made them."""
    words = _dice(new.words, past.words, rare)
    evidence = _evidence(new, past, words, cosine)
    if evidence < RELATED - 1e-9:
        return Likeness(evidence, evidence, None, new, past, rare)
    most = _evidence(new, new, 1.0 if new.words else 0.0, None if cosine is None else 1.0)
    return Likeness(evidence, most, _tier(evidence, new, past, words), new, past, rare)


def _evidence(new: Signs, past: Signs, words: float, cosine: float | None) -> float:
    meaning = MEANING * max(0.0, (cosine or 0.0) - UNLIKE)
    evidence = _kinds(new, past)[0] + WORDS * words + meaning + _fell(new, past)
    return evidence + SERVICE * (evidence > 0 and new.service == past.service)


def _tier(evidence: float, new: Signs, past: Signs, words: float) -> Tier:
    main = new.kinds[:1] == past.kinds[:1] and bool(new.kinds) and role_of(new.kinds[0]) >= ROLES["strain"]
    enough = words >= MOST_WORDS_IN_COMMON or (main and words >= FEW_WORDS_IN_COMMON) or _fell(new, past) >= SAME
    return "same" if evidence >= SAME - 1e-9 and enough else "related"


def _kinds(new: Signs, past: Signs) -> tuple[float, tuple[str, ...]]:
    """What the kinds in common count, and which they are."""
    shared = tuple(kind for kind in new.kinds if kind in past.kinds)
    best = 0.0
    for kind in shared:
        mains = (new.kinds[0] == kind) + (past.kinds[0] == kind)
        best = max(best, KINDS.get(role_of(kind), 0.0) * (0.0, IN_PASSING, 1.0)[mains])
    return best, shared


def _fell(new: Signs, past: Signs) -> float:
    """What it counts that the same services said less, where nothing alarming was said."""
    if new.lines or past.lines or not new.fell or not past.fell:
        return 0.0
    shared = set(new.fell) & set(past.fell)
    several = min(len(new.fell), len(past.fell)) > 1
    return max(len(shared) / len({*new.fell, *past.fell}) * SAME, RELATED if several else 0.0)


def _has(lines: Iterable[str], line: str, rare: Weight) -> bool:
    own = text_words(line)
    return any(_dice(own, text_words(other), rare) >= LINE_IN_COMMON for other in lines)


def _dice(a: frozenset[str], b: frozenset[str], rare: Weight) -> float:
    """Twice the weight of what both have, of the weight of both."""
    shared = a & b
    return 2 * rare(shared) / (rare(a) + rare(b)) if shared else 0.0
