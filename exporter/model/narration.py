"""What a model was asked about an incident and what it answered, as it is kept; and what that cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

MOST_KEPT = 500
"""Answers that are kept where nothing outlives the process."""


@dataclass
class Meter:
    """Counts what a question to a model costs while it is asked, also where it fails: requests, tokens each way."""

    calls: int = 0
    sent: int = 0
    received: int = 0

    @property
    def tokens(self) -> int:
        return self.sent + self.received


@dataclass(frozen=True)
class Asked:
    """A question to a model and its answer, word for word as they left and came, both redacted.

    `evidence` is the same while the facts that it was asked about are, whatever their numbers; `ids` are the keys of
    what the prompt's ids stood for. `at` is wall time, in seconds since the epoch.
    """

    incident: str
    model: str
    revision: int
    at: int
    evidence: str
    system: str
    user: str
    answer: Any
    ids: Mapping[str, str] = field(default_factory=dict)
    calls: int = 0
    tokens: int = 0


class Ledger(Protocol):
    """What is kept of questions to models. A `writer` is named as whoever writes reports is."""

    async def asked(self, incident: str, writer: str) -> Asked | None:
        """The newest question on an incident that was answered."""

    async def keep(self, asked: Asked, writer: str) -> None: ...

    async def spent(self, model: str, since: int) -> Mapping[int, tuple[int, int]]:
        """Requests and tokens by hour, from a moment on, both in seconds since the epoch."""

    async def spend(self, model: str, spent: Mapping[int, tuple[int, int]]) -> None:
        """Write what is spent in these hours."""


class InMemory:
    """The `Ledger` of a process that keeps nothing."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str], Asked] = {}

    async def asked(self, incident: str, writer: str) -> Asked | None:
        return self._asked.get((incident, writer))

    async def keep(self, asked: Asked, writer: str) -> None:
        self._asked[asked.incident, writer] = asked
        while len(self._asked) > MOST_KEPT:
            del self._asked[next(iter(self._asked))]

    async def spent(self, model: str, since: int) -> Mapping[int, tuple[int, int]]:
        return {}

    async def spend(self, model: str, spent: Mapping[int, tuple[int, int]]) -> None:
        """The writer knows it as long as the process lives."""
