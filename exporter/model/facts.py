"""What is known of an incident as values that code computed: what failed, how often, since when, and whom it hit.

Numbers are of the whole incident, from `since` up to the moment `until` of the facts, in event time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from exporter.model.faults import fault_named

UNKNOWN = -1.0
"""How much is usual of what somebody gives us."""

TELLING = 3.0
"""Score from which a service that others complain of is taken to say itself what is wrong."""


@dataclass(frozen=True)
class Failing:
    """Lines of one service that say the same of a failure.

    words: what they say in the words of a real line, without what its logger writes in front; `…` where they differ.
    kind: the id of the kind of fault, as `exporter.model.faults` has it; empty where it is of none.
    count, usual: lines from `since` on, and a minute in the hour before; UNKNOWN where nobody has looked at that.
    line: the id of the line of evidence that decides.
    about: another service, of which they complain.
    """

    service: str
    words: str
    kind: str
    level: int
    count: int
    usual: float
    since: datetime
    line: str = ""
    about: str = ""
    score: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What only numbers say.

    stopped: no line of a service, or none of `text`, for `observed` seconds; `expected` a minute are usual.
    fewer: `observed` requests a minute instead of `expected`.
    less: the same of all lines of a service: part of what it says is missing.
    slow: `text` takes `observed` seconds instead of `expected`.
    """

    kind: Literal["stopped", "fewer", "slow", "less"]
    service: str
    text: str
    since: datetime
    observed: float
    expected: float
    score: float = 0.0


@dataclass(frozen=True)
class Impact:
    """Requests that a service answered with 5xx, of all that it answered, from `since` on."""

    service: str
    failed: int
    of: int
    since: datetime


@dataclass(frozen=True)
class Start:
    """A service said that it starts, with its version where it says that, too."""

    service: str
    version: str
    at: datetime


SeriesKind = Literal["lines", "failed", "requests", "all"]


@dataclass(frozen=True)
class Series:
    """How much there was in each step of time, from the hour before on.

    kind: lines that say the decisive failure, requests that failed, requests, or all lines of `service`.
    step: seconds. counts: a number a step, None where nothing was read. usual: a step, before it began.
    """

    kind: SeriesKind
    service: str
    start: datetime
    step: int
    counts: tuple[int | None, ...]
    usual: float = 0.0


PlaceKind = Literal["host", "version", "instance"]
"""An instance is one of the processes of a service: a pod, a container."""


@dataclass(frozen=True)
class Spread:
    """Whence the lines come that decide, of `of` hosts, versions or instances of their service: nearly all from `name`,
    which by chance would hardly be, or with an empty `name` from each of them.

    lines, every: those from there, and all of which it is known, from the first line that decides on.
    """

    what: PlaceKind
    service: str
    name: str
    of: int
    lines: int
    every: int


@dataclass(frozen=True)
class Places:
    """Of which hosts, versions, or instances of their service the lines come that decide: the name of each, how many of
    these lines are its, and how many of all lines of the service meanwhile; the most lines first, `more` are not
    listed."""

    what: PlaceKind
    service: str
    counts: tuple[tuple[str, int, int], ...]
    more: int = 0


@dataclass(frozen=True)
class Same:
    """What was compared with the hour before `since`, and did not change from then on.

    requests, lines: `service` answers, or writes, `observed` a minute; `expected` in that hour.
    starts: no line of `service` speaks of a start or a stop from `since` on, the beginning of that hour.
    others: `names`, and `more` services, write as many lines as before.
    """

    kind: Literal["requests", "lines", "starts", "others"]
    service: str
    since: datetime
    observed: float = 0.0
    expected: float = 0.0
    names: tuple[str, ...] = ()
    more: int = 0


@dataclass(frozen=True)
class Facts:
    """What is known of an incident; what matters most first."""

    until: datetime
    failing: tuple[Failing, ...] = ()
    measured: tuple[Measured, ...] = ()
    impact: Impact | None = None
    starts: tuple[Start, ...] = ()
    series: tuple[Series, ...] = ()
    spread: tuple[Spread, ...] = ()
    places: tuple[Places, ...] = ()
    same: tuple[Same, ...] = ()

    @property
    def decisive(self) -> Failing | None:
        """The failing lines that are told first: those of whom others complain, where it says itself what is wrong; of
        lines of one kind those of the highest level."""
        if not self.failing:
            return None
        top = self.failing[0]
        if top.about:
            own = (one for one in self.failing if one.service == top.about and one.score > TELLING and not one.about)
            top = next(own, top)
        same = (top.service, top.kind, top.about)
        alike = [one for one in self.failing if top.kind and (one.service, one.kind, one.about) == same]
        return max(alike, key=lambda one: (one.level, one.score), default=top)

    @property
    def fails_first(self) -> bool:
        """Whether lines that fail are told before what only numbers say."""
        return bool(self.failing) and not (self.measured and self.measured[0].score > self.failing[0].score)

    @property
    def subject(self) -> str:
        """The service that is told first; empty where nothing is told."""
        top = self.decisive
        if top and self.fails_first:
            return top.about or top.service
        return self.measured[0].service if self.measured else ""

    @property
    def subject_since(self) -> datetime | None:
        """Since when what is told first is so."""
        return self.began if self.fails_first else self.measured[0].since if self.measured else None

    @property
    def broken(self) -> str:
        """The service that what is told first says to be broken, to run out of something, to be slow or silent; empty
        where that says only that something failed."""
        if self.measured and not self.fails_first:
            return "" if self.measured[0].kind == "fewer" else self.measured[0].service
        top = self.decisive
        fault = fault_named(top.kind) if top else None
        if top is None or fault is None or fault.role == "wrapper":
            return ""
        return top.about or (top.service if fault.role != "peer" else "")

    @property
    def alike(self) -> tuple[Failing, ...]:
        """The decisive lines, and others of their kind that are about the same service."""
        top = self.decisive
        if top is None:
            return ()
        about = top.about or top.service
        return tuple(
            one
            for one in self.failing
            if one is top or (top.kind and one.kind == top.kind and about in (one.about, one.service))
        )

    @property
    def began(self) -> datetime | None:
        """The first of these lines."""
        return min((one.since for one in self.alike), default=None)
