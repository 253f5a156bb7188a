"""Say what was told of each case of a story: how often, how soon, for how long, and by which name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.lives.play import Played
from tests.lives.stories import Case
from tests.lives.world import MINUTE, Event

AFTER = 30 * MINUTE
"""So long after its end what is told of the services of a case is told of it."""

SOON = 15 * MINUTE
"""Within so long a failure is to be found, and from then on open."""


ADOPTED = 30 * 60 * MINUTE
"""Within so long what changed for good is usual, and that was noticed."""


@dataclass(frozen=True)
class Verdict:
    """What was told of a case. `right` says whether that is what its row asks for; times are in minutes."""

    case: Case
    pages: int
    incidents: int
    right: bool
    notices: int = 0
    told_after: float | None = None
    ended_after: float | None = None
    resolved_after: float | None = None


@dataclass(frozen=True)
class Span:
    """From when to when an incident was told to be open, and who was in it."""

    incident: str
    start: float
    end: float
    services: frozenset[str]
    named: tuple[str, ...]


def spans(told: Sequence[Mapping[str, Any]]) -> list[Span]:
    """All stretches in which incidents were open, as they were told last in each."""
    begun: dict[str, float] = {}
    last: dict[str, Mapping[str, Any]] = {}
    out = []
    for item in told:
        if item["change"] in ("opened", "reopened") and item["id"] not in begun:
            begun[item["id"]] = item["at"]
        if item["id"] in begun:
            last[item["id"]] = item
        if item["change"] == "resolved" and item["id"] in begun:
            out.append(_span(item, begun.pop(item["id"]), item["at"]))
    return [*out, *(_span(last[key], at, math.inf) for key, at in begun.items())]


def _span(item: Mapping[str, Any], start: float, end: float) -> Span:
    named = tuple(dict.fromkeys([*item["suspects"][:2], *([] if item["suspects"] else [item["service"]])]))
    return Span(item["id"], start, end, frozenset(item["services"]), named)


def paged(told: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What woke somebody: openings, reopenings and escalations."""
    severity: dict[str, str] = {}
    ranks = ("info", "warning", "critical")
    out = []
    for item in told:
        before = severity.get(item["id"])
        risen = before is not None and ranks.index(item["severity"]) > ranks.index(before)
        severity[item["id"]] = item["severity"]
        if item["change"] in ("opened", "reopened") or risen:
            out.append(item)
    return out


class Judge:
    """What was told of the cases of a story that was played."""

    def __init__(self, played: Played) -> None:
        self.played = played
        self.world = played.story.world
        self.spans = spans(played.told)
        self.pages = paged(played.told)

    def verdicts(self) -> list[Verdict]:
        """One for each case, in their order."""
        return [getattr(self, f"_{_HOW[case.kind]}")(case) for case in self.played.story.cases]

    @property
    def elsewhere(self) -> int:
        """Pages that belong to no case."""
        own = {id(page) for case in self.played.story.cases for event in case.events for page in self._pages([event])}
        return sum(1 for page in self.pages if id(page) not in own)

    def _names(self, event: Event) -> frozenset[str]:
        names = {event.service, f"{event.service}-v2"} if event.kind == "renamed" else {event.service}
        if event.kind in ("fails", "known"):
            names |= set(self.world.callers(event.service))
        return frozenset(names)

    def _pages(self, events: Iterable[Event], until: float = math.inf) -> list[Mapping[str, Any]]:
        """Pages that name a service of the events while they last or soon after."""
        events = list(events)
        return [
            page
            for page in self.pages
            if page["at"] <= until
            and any(
                (not event.service or self._names(event) & set(page["services"]))
                and event.start <= page["at"] <= min(event.end, event.start + 26 * 60 * MINUTE * 2) + AFTER
                for event in events
            )
        ]

    def _open(self, event: Event) -> list[Span]:
        """Stretches in which an incident that has the service of an event was open during it."""
        return [s for s in self.spans if event.service in s.services and s.start <= event.end and s.end >= event.start]

    def _open_share(self, event: Event, since: float) -> float:
        """How much of the time from `since` to its end such an incident was open."""
        parts = sorted((max(s.start, since), min(s.end, event.end)) for s in self._open(event))
        covered, at = 0.0, since
        for start, end in parts:
            covered += max(0.0, end - max(start, at))
            at = max(at, end)
        return covered / (event.end - since)

    def _ended(self, case: Case) -> tuple[float | None, float | None]:
        """Minutes from the end of its last event to the end that was told, and to when that was."""
        event = max(case.events, key=lambda one: one.end)
        for item in self.played.told:
            if item["change"] == "resolved" and item["at"] >= event.end and event.service in item["services"]:
                if item["starts_at"] > event.end or item["at"] > event.end + 3 * AFTER:
                    continue
                return (item["ends_at"] - event.end) / MINUTE, (item["at"] - event.end) / MINUTE
        return None, None

    def _told(self, event: Event) -> float | None:
        starts = [s.start for s in self._open(event) if s.start >= event.start]
        return (min(starts) - event.start) / MINUTE if starts else None

    def _made(self, case: Case, right: bool) -> Verdict:
        pages = self._pages(case.events)
        ended, resolved = self._ended(case)
        return Verdict(
            case, len(pages), len({page["id"] for page in pages}), right, 0, self._told(case.events[0]), ended, resolved
        )

    # --- The rows ----------------------------------------------------------------------------------

    def _long(self, case: Case) -> Verdict:
        """Open while it lasts, its return found, and two pages."""
        return self._made(case, self.stays_open(case) and self.found_again(case))

    def found_again(self, case: Case) -> bool:
        """Whether its second event opened or reopened an incident soon."""
        again = case.events[1]
        return any(again.start <= s.start <= again.start + SOON for s in self._open(again))

    def stays_open(self, case: Case) -> bool:
        """Whether it was open while its first event lasted."""
        return self._open_share(case.events[0], case.events[0].start + SOON) >= 0.95

    def _shift(self, case: Case) -> Verdict:
        """At most one page, and open no more 26 hours after its beginning, nor ever after."""
        (event,) = case.events
        late = event.start + 26 * 60 * MINUTE
        quiet = not any(s.end > late and event.service == s.named[0] for s in self.spans if s.named)
        return self._made(case, quiet and len(self._pages(case.events)) <= 1)

    def _pair(self, case: Case) -> Verdict:
        """Two incidents, each with its cause among the first two."""
        one, other = case.events
        first = {s.incident for s in self._open(one) if one.service in s.named and s.start >= one.start}
        second = {s.incident for s in self._open(other) if other.service in s.named and s.start >= other.start}
        return self._made(case, any(a != b for a in first for b in second))

    def _once(self, case: Case) -> Verdict:
        """One incident, one page."""
        pages = self._pages(case.events)
        return self._made(case, len(pages) == 1)

    def _quiet(self, case: Case) -> Verdict:
        """No page, and at most one notice."""
        (event,) = case.events
        pages = self._pages([Event(event.kind, event.service, event.start, event.start + 6 * 60 * MINUTE)])
        names, until = self._names(event), event.start + ADOPTED
        noticed = [one for at, one, _ in self.played.notices if one in names and event.start <= at <= until]
        return Verdict(case, len(pages), len({page["id"] for page in pages}), not pages, len(noticed))

    def _silent(self, case: Case) -> Verdict:
        """Told while it lasts, open until it ends, and by its name."""
        (event,) = case.events
        found = [
            s
            for s in self.spans
            if event.start < s.start <= event.end
            and s.end >= event.end
            and (not event.service or (s.named and s.named[0] == event.service))
        ]
        pages = self._pages(case.events)
        after = (found[0].start - event.start) / MINUTE if found else None
        ended, resolved = self._ended(case)
        return Verdict(case, len(pages), len({p["id"] for p in pages}), bool(found), 0, after, ended, resolved)

    def _end(self, case: Case) -> Verdict:
        """One page."""
        return self._once(case)


_HOW = {
    "long": "long", "shift": "shift", "pair": "pair", "seldom": "once", "end": "end", "silent": "silent",
    "source": "silent", "replaced": "quiet", "renamed": "quiet", "debug_on": "quiet", "debug_off": "quiet",
    "format": "quiet",
}  # fmt: skip
