"""Say of the windows of a failure, each by itself, whether they still show it: they are compared with what was before.

Windows are held against two accounts of what a service writes: its lines before, and those of the first windows of the
failure. What is added up is the logarithm of how much likelier a window is if a third of the failure is left of it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

Lines = Mapping[int, float]
"""Lines of each template."""

TAUGHT = 10
"""Windows with lines, from the first on, that say what the failure is like."""

SIGN = 3.0
"""Deviations from which a template is a sign of it."""

SELDOM = 0.05
"""Lines of a template before, in as many lines as that has, up to which one that speaks of a failure is a sign."""

LEFT = 1 / 3
"""Of what it was at first, what is left of a failure is the failure still."""

SEVERE = 1 / 3
"""Share of what came which speaks of a failure, from which that is what it is known by; else it is a new level."""

CALM = 3
EVIDENCE = 3.0
"""Windows in a row, and powers of e, that speak for before: one in twenty, paid for again with every TAUGHT windows
that it lasts. Of 144 made failures of up to six hours none was so thought to be over before it was."""

STEADY = 3
"""Windows in a row that show it, after which its end is no pause."""

LATELY = 10
"""Windows of which most (two in three) showed it, after which its end is no pause either: of a service of few lines not
every window has one that fails."""


@dataclass(frozen=True)
class Signs:
    """What tells the failure from before: the share of its templates in all lines, before and in the failure.

    known: templates that were there before or in the failure: lines of others say nothing of either.
    changed: all templates that differ from before: beside those that fail a release may have come.
    """

    templates: frozenset[int]
    before: float
    during: float
    known: frozenset[int]
    changed: frozenset[int] = frozenset()

    def ratio(self, now: Lines) -> float:
        """How much likelier a window is with LEFT of the failure than with nothing of it, as a power of e.

        >>> signs = Signs(frozenset({2}), before=0.01, during=0.4, known=frozenset({1, 2}))
        >>> signs.ratio({1: 6, 2: 4}) > 0 > signs.ratio({1: 10})
        True
        """
        count = sum(now.get(template, 0) for template in sorted(self.templates))
        lines = sum(number for template, number in sorted(now.items()) if template in self.known)
        some = self.before + (self.during - self.before) * LEFT
        return round(
            count * math.log(some / self.before) + (lines - count) * math.log((1 - some) / (1 - self.before)), 9
        )


def signs_of(
    before: Lines, windows: Sequence[Lines], news: Collection[int] = (), failing: Collection[int] = ()
) -> Signs | None:
    """What in these windows is not as before; None where no template tells the two apart.

    failing: templates that speak of a failure. Where they are SEVERE of what came, it lasts as long as they do: beside
    them a release may have come.
    news: those of them that nobody had seen, of which one line is enough, as it is of what came hardly ever (SELDOM).
    """
    during: dict[int, float] = {}
    for window in windows:
        for template, count in window.items():
            during[template] = during.get(template, 0) + count
    total_before, total_during = sum(before.values()) + 1.0, sum(during.values()) + 1.0
    up, down = [], []
    for template in sorted({*before, *during}):
        share, count = (before.get(template, 0.0) + 0.5) / total_before, during.get(template, 0)
        z = 2 * (math.sqrt(count + 0.375) - math.sqrt(share * total_during + 0.375))
        speaks = template in news or template in failing
        if z >= SIGN or (speaks and count and before.get(template, 0.0) <= SELDOM):
            up.append(template)
        elif z <= -SIGN:
            down.append(template)
    # What falls short was pushed aside by what came, where something came.
    changed = up or down
    severe = [template for template in up if template in failing]
    if sum(during[one] for one in severe) < SEVERE * sum(during[one] for one in up):
        severe = []
    for chosen in (severe, up, down):
        old = sum((before.get(template, 0.0) + 0.5) / total_before for template in chosen)
        new = sum((during.get(template, 0) + 0.5) / total_during for template in chosen)
        old, new = min(old, 0.999), min(new, 0.999)
        if chosen and (new < old if chosen is down else new > old):
            return Signs(frozenset(chosen), old, new, frozenset({*before, *during}), frozenset(changed))
    return None


@dataclass(frozen=True)
class Course:
    """How a failure went on, window by window. Moments are the starts of windows, in seconds.

    shown: the last window that shows it, where all is taken together: what comes after is as before.
    sign: the last that shows it by itself; `run`: so many in a row do; `gap`: the longest between two.
    marks: which of the last LATELY do, a bit each, the last the lowest.
    steady: whether `shown` was the last of STEADY in a row, or most of LATELY did.
    """

    shown: int
    sign: int
    seen: int = 0
    evidence: float = 0.0
    below: int = 0
    run: int = 0
    steady: bool = False
    gap: int = 0
    marks: int = 0

    def after(self, window: int, ratio: float) -> Course:
        """With one more window that has lines, and what it says (`Signs.ratio`)."""
        evidence = round(min(0.0, self.evidence + ratio), 9)
        shows, run = ratio > 0, self.run + 1 if ratio > 0 else 0
        course = replace(self, seen=self.seen + 1, evidence=evidence, below=self.below + 1 if evidence < 0 else 0)
        course = replace(course, run=run, marks=(self.marks << 1 | shows) & ((1 << LATELY) - 1))
        if shows:
            course = replace(course, sign=window, gap=max(self.gap, window - self.sign))
        return course if evidence < 0 else replace(course, shown=window, steady=course.is_dense)

    @property
    def is_dense(self) -> bool:
        """Whether the last windows show it all, or most of some more."""
        return self.run >= STEADY or (self.seen >= LATELY and 3 * self.marks.bit_count() >= 2 * LATELY)

    @property
    def over(self) -> bool:
        """Whether the last windows are as before, beyond chance in all the windows that it lasted."""
        needed = EVIDENCE + math.log(max(1.0, self.seen / TAUGHT))
        return self.below >= CALM and self.evidence <= -needed


def taught(
    before: Lines, first: Sequence[tuple[int, Lines]], news: Collection[int] = (), failing: Collection[int] = ()
) -> tuple[Signs | None, Course]:
    """What the first windows (start, lines) of a failure show: its signs (`signs_of`), and how it went on in them.

    Where it ended among them, those that followed say nothing of what it was like.
    """
    course = Course(first[0][0], first[0][0])
    signs = signs_of(before, [lines for _, lines in first], news, failing)
    for _ in range(2):
        if signs is None:
            break
        course = _through(signs, first)
        signs = signs_of(before, [lines for start, lines in first if start <= course.shown], news, failing) or signs
    return signs, course if signs is None else _through(signs, first)


def _through(signs: Signs, windows: Sequence[tuple[int, Lines]]) -> Course:
    course = Course(windows[0][0], windows[0][0])
    for start, lines in windows:
        course = course.after(start, signs.ratio(lines))
    return course
