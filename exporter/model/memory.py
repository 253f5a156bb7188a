"""Past incidents: as memory keeps them, what may be recalled of one, and what is told of those that are alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal


@dataclass(frozen=True)
class SimilarIncident:
    """A past incident, how alike it is, and what is known of its end. `fix` was confirmed by a person."""

    id: str
    headline: str
    similarity: float
    services: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime | None = None
    fix: str | None = None
    same_fingerprint: bool = False
    matched: tuple[str, ...] = ()
    """How it was found: "meaning" (vectors), "words", "kind" (of fault, or signature)."""
    tier: Literal["same", "related"] = "related"
    """The same failure, by evidence; or one that may be related."""
    times: int = 0
    """The new one is the failure's occurrence of that number, as far as memory goes; 0 where that cannot be said."""
    kinds: tuple[str, ...] = ()
    """Kinds of fault in common, in words."""
    common: tuple[str, ...] = ()
    """Alarming lines that both have; `now` are those that only the new one has, `then` those of the past one alone."""
    now: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    """Ids of others that fit equally, and are another story."""
    came_back: timedelta | None = None
    """How long after its end the same failure came again: what its fix is worth."""
    fixed_by: str = ""
    fixed_at: datetime | None = None


@dataclass(frozen=True)
class IncidentDocument:
    """An incident as memory keeps it. `text` is what is embedded and searched; it is redacted."""

    id: str
    revision: int
    fingerprint: str
    headline: str
    text: str
    services: tuple[str, ...]
    severity: str
    status: str
    starts_at: datetime
    ends_at: datetime | None
    fix: str | None
    embedding_model: str
    embedding: tuple[float, ...]
    form: int = 1
    """2 where what follows was written; a release that did not know of it left it empty."""
    service: str = ""
    lines: tuple[str, ...] = ()
    """Alarming texts, the most telling first; `text` is made of them."""
    kinds: tuple[str, ...] = ()
    """Ids of kinds of fault, the main one first."""
    fell: tuple[str, ...] = ()
    """Services that said less than usual."""
    signature: str = ""
    """Equal where the same failure comes again."""
    verdict: str = ""
    """How a person closed it: what was rejected is no failure."""
    fixed_by: str = ""
    fixed_at: datetime | None = None

    def __post_init__(self) -> None:
        if any(moment is not None and moment.tzinfo is None for moment in (self.starts_at, self.ends_at)):
            raise ValueError("a time without its zone")


@dataclass(frozen=True)
class Earlier:
    """What may be recalled of an incident: others that are over, began before it, and were not rejected by a person."""

    exclude: str
    before: datetime

    def has(self, document: IncidentDocument) -> bool:
        """Whether a document is among them."""
        over = document.status == "resolved" and document.verdict != "rejected"
        return over and document.id != self.exclude and document.starts_at < self.before
