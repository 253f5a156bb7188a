"""What is known of an incident as values that code computed: what failed, how often, since when, and whom it hit.

Numbers are of the whole incident, from `since` up to the moment `until` of the facts, in event time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True)
class Failing:
    """Lines of one service that say the same of a failure.

    words: what they say in the words of a real line, without what its logger writes in front; `…` where they differ.
    kind: the id of the kind of fault, as `exporter.model.faults` has it; empty where it is of none.
    count, usual: lines from `since` on, and a minute in the hour before.
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
    slow: `text` takes `observed` seconds instead of `expected`.
    """

    kind: Literal["stopped", "fewer", "slow"]
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


@dataclass(frozen=True)
class Facts:
    """What is known of an incident; what matters most first."""

    until: datetime
    failing: tuple[Failing, ...] = ()
    measured: tuple[Measured, ...] = ()
    impact: Impact | None = None
    starts: tuple[Start, ...] = ()
