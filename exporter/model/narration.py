"""What a model was asked about an incident and what it answered, as it is kept; and what that cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
