"""Know how long a service is usually silent: time runs in the lines that it would have written meanwhile."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

PARTS = 16
"""Spells are kept in parts of a line, so that they add up exactly."""

EXACT = 32
STEPS = 8
"""Longer spells (in parts) are kept in steps, so many for each doubling."""

USUAL = 0.9
"""Share of spells that say nothing yet."""

FEWEST = 8
"""Spells from which it is asked how the longest alone fall off: a service that speaks in bursts has many short pauses
in them, which say nothing about those between them."""

CHANCE = 4.0
"""Standard errors by which the longest must fall off more slowly than all, to count for themselves."""

CUT, LEAST_CUT = 0.05, 2
"""Of those, the longest, this share and so many at least, count as the next: what came once may have been an outage."""

PRIOR = 3.0
"""Spells that are taken to have lasted a line longer than usual (less, where a window has less), before any did."""

RARE = 0.0001
"""False alarms of a service a day: once in 10,000 days. With ten times that one came in eight days of nine services,
two minutes sooner."""

MOST_SPELLS = 20_000
"""Where there are more, half of them are forgotten: two weeks of minutes."""


@dataclass(frozen=True)
class Spells:
    """The silences of a service. A spell is what it would have written between two windows with lines.

    counts: how many spells of each length, in parts of a line; those of no length are what is missing of all windows
    that it spoke in since `base`. spell: the one that goes on; `windows`: for so many.
    since: the start, in seconds, of the first window of a silence that was found too long; 0 where there is none.
    over: whether that was said to be over: it spoke in a window that is not settled, or is no longer missed.
    few: whether it was told that it writes far less than usual, and not that this is over.
    """

    counts: Mapping[int, int] = field(default_factory=dict)
    base: int = 0
    spell: int = 0
    windows: int = 0
    since: int = 0
    over: bool = False
    few: bool = False

    def silent(self, expected: float) -> Spells:
        """With one more window without a line, in which so many were to be expected."""
        return replace(self, spell=self.spell + round(expected * PARTS), windows=self.windows + 1)

    def spoken(self, spoke: int) -> Spells:
        """It speaks again, in the window that makes them `spoke`. What was too long is not learnt from."""
        if not self.windows:
            return self
        ended = replace(self, spell=0, windows=0, since=0, over=False)
        if self.since or not self.spell:
            return ended
        length = _step(self.spell)
        counts, base = {**self.counts, length: self.counts.get(length, 0) + 1}, self.base
        if sum(counts.values()) > MOST_SPELLS or spoke - base > MOST_SPELLS:
            counts = {one: count // 2 for one, count in counts.items() if count > 1}
            base = spoke - (spoke - base) // 2
        return replace(ended, counts=counts, base=base)

    def too_long(self, spoke: int, days: float, mean: float) -> bool:
        """Whether the silence that goes on is longer than chance allows a service that spoke in so many windows of so
        many days, with a mean of so many lines a window."""
        return self.spell > PARTS * self._limit(spoke - self.base, days, mean)

    def _limit(self, number: int, days: float, mean: float) -> float:
        """In lines: beyond what is usual, lengths fall off as they do by chance, or as those did that there were.

        Where the longest fall off more slowly than all, it is by these.
        """
        most = math.ceil(max(number, 1) * (1 - USUAL))
        usual, scale = self._tail(most, mean)
        limit = _once(usual, scale, most / days)
        many = FEWEST
        while many < most:
            usual, own = self._tail(many, mean)
            if own > scale * (1 + CHANCE / math.sqrt(many)):
                limit = max(limit, _once(usual, own, many / days))
            many *= 2
        return limit

    def _tail(self, number: int, mean: float) -> tuple[float, float]:
        """Of so many of the longest, in lines: what all are longer than, and by how much on average."""
        usual, *longest = self._longest(number + 1)
        cut = longest[-1 - min(max(LEAST_CUT, math.ceil(number * CUT)), number - 1)]
        excess = sum(min(one, cut) - usual for one in longest) / PARTS
        least = min(1.0, mean)
        return usual / PARTS, max((excess + PRIOR * least) / (number + PRIOR), least)

    def _longest(self, number: int) -> list[int]:
        """So many of the longest spells, the shortest of them first."""
        found: list[int] = []
        for length in sorted(self.counts, reverse=True):
            found += [length] * min(self.counts[length], number - len(found))
            if len(found) >= number:
                break
        return [0] * (number - len(found)) + found[::-1]

    def body(self) -> str:
        """As a row has it."""
        own = [self.base, self.spell, self.windows, self.since, int(self.over), int(self.few)]
        return json.dumps([sorted(self.counts.items()), own], separators=(",", ":"))

    @classmethod
    def of(cls, body: str) -> Spells:
        """As its row says."""
        counts, (base, spell, windows, since, over, few) = json.loads(body)
        return cls(dict(counts), base, spell, windows, since, bool(over), bool(few))


def _once(usual: float, scale: float, a_day: float) -> float:
    """The length, in lines, that spells of which there are so many a day pass as seldom as is RARE."""
    return usual + scale * math.log(max(a_day / RARE, 1.0))


def _step(length: int) -> int:
    """The length as it is kept."""
    if length <= EXACT:
        return length
    return round(2 ** (round(math.log2(length) * STEPS) / STEPS))
