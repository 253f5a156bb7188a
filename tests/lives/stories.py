"""What happens on made platforms, and what is to be told of it: the cases, with their labels."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.lives.world import DAY, HOUR, MINUTE, Event, Service, World, platform

WARM = 2 * DAY
"""The first days of every story, in which nothing happens: they are learnt from."""


@dataclass(frozen=True)
class Case:
    """One thing that is judged. `events` belong to it; `kind` names its row."""

    kind: str
    events: tuple[Event, ...]

    @property
    def start(self) -> float:
        return self.events[0].start

    @property
    def end(self) -> float:
        return max(event.end for event in self.events)


@dataclass(frozen=True)
class Story:
    """A world, how long it is judged after `WARM`, in seconds, and what is to be told of it."""

    name: str
    seed: int
    world: World
    length: int
    cases: tuple[Case, ...]


def _inner(services: Sequence[Service], least: float = 4.0) -> list[str]:
    """The services behind the edge, that are not small."""
    return [one.name for one in services[1:] if one.rate >= least and not one.period]


def _story(name: str, seed: int, services: tuple[Service, ...], length: float, cases: Sequence[Case]) -> Story:
    events = tuple(event for case in cases for event in case.events)
    return Story(name, seed, World(seed, services, events), math.ceil(length / HOUR) * HOUR, tuple(cases))


def long(seed: int) -> Story:
    """Four failures of 24 to 48 hours, each again 12 hours after its end; six levels that change for good."""
    services, chance = platform(seed), random.Random(f"{seed}/long")
    names = _inner(services)
    chance.shuffle(names)
    cases: list[Case] = []
    at: float = WARM + chance.uniform(0.5, 1) * HOUR
    # The shares are such that a person would say without counting that it still fails.
    for number, (name, hours) in enumerate(zip(names[:4], (24, 30, 36, 40), strict=True)):
        kind, share = ("known", 0.3) if number == 1 else ("fails", chance.choice([0.15, 0.4, 0.7]))
        end = at + hours * HOUR
        again = end + 12 * HOUR
        first = Event(kind, name, at, end, share, chance.randrange(100))
        cases.append(Case("long", (first, Event(kind, name, again, again + 2 * HOUR, share, first.text))))
        at += chance.uniform(1, 1.5) * HOUR
    for name, factor in zip(names[4:10], (2, 3, 4, 3, 4, 2.5), strict=False):
        cases.append(Case("shift", (Event("shift", name, at, share=factor),)))
        at += chance.uniform(0.8, 1.2) * HOUR
    return _story("long", seed, services, max(case.events[-1].end for case in cases[:4]) - WARM + HOUR, cases)


GAPS = (0, 0, 1, 2, 3, 5, 8, 10, 12, 15, 18, 20)
"""Minutes between the beginnings of the two failures of a pair."""


def pairs(seed: int) -> Story:
    """Twelve pairs of failures in services that have nothing to do with each other; ten of which signs are seldom."""
    services, chance = platform(seed), random.Random(f"{seed}/pairs")
    names, calls = _inner(services), {one.name: set(one.calls) for one in services}
    cases: list[Case] = []
    at: float = WARM + HOUR
    for number, gap in enumerate(chance.sample(GAPS, len(GAPS))):
        while True:
            left, right = chance.sample(names, 2)
            if right not in calls[left] and left not in calls[right] and not calls[left] & calls[right]:
                break
        first, second = at, at + gap * MINUTE + chance.uniform(0, 40) * (gap > 0)
        texts = chance.sample(range(14), 2)
        one = Event("fails", left, first, first + chance.uniform(12, 30) * MINUTE, 0.4, texts[0] + 14 * number)
        other = Event("fails", right, second, second + chance.uniform(12, 30) * MINUTE, 0.4, texts[1] + 14 * number)
        cases.append(Case("pair", (one, other)))
        at = max(one.end, other.end) + chance.uniform(60, 80) * MINUTE
        if number < 10:
            name = chance.choice(names)
            moments = [at]
            while moments[-1] < at + chance.uniform(0.8, 1.2) * HOUR:
                moments.append(moments[-1] + chance.uniform(3, 12) * MINUTE)
            text = chance.randrange(14) + 14 * (number + 20)
            cases.append(Case("seldom", (Event("signs", name, at, moments[-1], 0.0, text, tuple(moments)),)))
            at = moments[-1] + chance.uniform(60, 80) * MINUTE
    return _story("pairs", seed, services, at - WARM, cases)


CHANGES = ("replaced", "renamed", "debug_on", "debug_off", "format")


def changes(seed: int) -> Story:
    """What changes for good and is no failure, of each kind twelve times on twenty-four services, in five days."""
    services, chance = platform(seed, many=28, debugged=12), random.Random(f"{seed}/changes")
    names = _inner(services)
    debugged = {one.name for one in services if one.debug}
    cases: list[Case] = []
    kinds = [kind for kind in CHANGES for _ in range(12)]
    free = {"debug_off": [n for n in names if n in debugged], "": [n for n in names if n not in debugged]}
    used: dict[str, list[str]] = {}
    for place, kind in enumerate(chance.sample(kinds, len(kinds))):
        pool = [n for n in free.get(kind, free[""]) if kind not in used.get(n, []) and "renamed" not in used.get(n, [])]
        name = min(pool, key=lambda n: (len(used.get(n, [])), chance.random())) if pool else ""
        if not name:
            continue
        used.setdefault(name, []).append(kind)
        at = WARM + HOUR + place * 100 * MINUTE + chance.uniform(0, 60) * MINUTE
        cases.append(Case(kind, (Event(kind, name, at, text=chance.randrange(100)),)))
    return _story("changes", seed, services, 62 * 100 * MINUTE, cases)


def silences(seed: int) -> Story:
    """Twelve services and two heartbeats fall silent for 40 minutes each, one of them again, and once the source."""
    services, chance = platform(seed), random.Random(f"{seed}/silences")
    names = [one.name for one in services if one.name not in ("reporter", "audit")]
    names = [*names[:12], *[one.name for one in services if one.period], "audit"]
    chance.shuffle(names)
    cases: list[Case] = []
    at: float = WARM + HOUR
    for name in [*names, chance.choice(names[:6])]:
        cases.append(Case("silent", (Event("silent", name, at, at + 40 * MINUTE),)))
        at += chance.uniform(75, 95) * MINUTE
    cases.append(Case("source", (Event("silent", "", at, at + 40 * MINUTE),)))
    return _story("silences", seed, services, at + 100 * MINUTE - WARM, cases)


def ends(seed: int) -> Story:
    """Fourteen failures of 10 to 60 minutes, of any share, one after the other."""
    services, chance = platform(seed), random.Random(f"{seed}/ends")
    names = _inner(services)
    cases: list[Case] = []
    at: float = WARM + HOUR
    for number in range(14):
        share = chance.choice([0.15, 0.3, 0.5, 0.9])
        end = at + chance.uniform(10, 60) * MINUTE
        cases.append(Case("end", (Event("fails", chance.choice(names), at, end, share, number),)))
        at = end + chance.uniform(50, 70) * MINUTE
    return _story("ends", seed, services, at - WARM, cases)


STORIES: Mapping[str, Callable[[int], Story]] = {
    "long": long, "pairs": pairs, "changes": changes, "silences": silences, "ends": ends,
}  # fmt: skip
TUNED, REPORTED = (1, 2), (11, 12)
"""Seeds that may be looked at while code is written, and those that figures are reported on."""
