"""Past incidents: as memory keeps them, what may be recalled of one, and what is told of those that are alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

MOST_COUNTED = 30
"""Occurrences of one failure that are counted; of more it is said that they are at least so many."""


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
    elsewhere: str = ""
    """What is known of the other installation that wrote it; empty where this one did."""


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
    verdict_at: datetime | None = None
    """When that was said, or taken back."""
    fixed_by: str = ""
    fixed_at: datetime | None = None
    """When `fix` was said, or taken back."""
    told: tuple[str, ...] = ()
    """Which of `fix` and `verdict` people said to memory itself: the incident's installation knows nothing of it."""
    installation: str = ""
    """Which installation wrote it; empty where an older release did, that is the only one that it knew of."""
    origin: tuple[str, ...] = ()
    """The external labels of that installation, such as `cluster=eu-1`."""

    @property
    def key(self) -> str:
        """Under which it is kept: two installations may have incidents of one id."""
        return key_of(self.installation, self.id)

    def __post_init__(self) -> None:
        if any(moment is not None and moment.tzinfo is None for moment in (self.starts_at, self.ends_at)):
            raise ValueError("a time without its zone")


WORDS: Mapping[str, Sequence[str]] = {"fix": ("fix", "fixed_by", "fixed_at"), "verdict": ("verdict", "verdict_at")}
"""What people say of the end of an incident: the fields of each, the last of which says when."""


def in_place_of(old: IncidentDocument, new: IncidentDocument) -> IncidentDocument:
    """What is written over a document of the same incident: what people said to memory itself stays, until somebody
    says something newer."""
    told = [word for word in WORDS if word in new.told or _stays(old, new, word)]
    stays = {name: getattr(old, name) for word in told if word not in new.told for name in WORDS[word]}
    return replace(new, told=tuple(told), **stays)


def _stays(old: IncidentDocument, new: IncidentDocument, word: str) -> bool:
    said, again = getattr(old, WORDS[word][-1]), getattr(new, WORDS[word][-1])
    return word in old.told and (said is None or again is None or said >= again)


def key_of(installation: str, identity: str) -> str:
    """Under which the incident of an installation is kept in a memory."""
    return f"{installation}:{identity}" if installation else identity


@dataclass(frozen=True)
class Earlier:
    """What may be recalled of an incident: others that are over, began before it, and were not rejected by a person.

    `exclude` is its own id, `installation` its own; without `others` only what that wrote is recalled.
    """

    exclude: str
    before: datetime
    installation: str = ""
    others: bool = True

    @property
    def itself(self) -> frozenset[str]:
        """Keys of documents of the incident itself, also as an older release wrote it."""
        return frozenset({self.exclude, key_of(self.installation, self.exclude)})

    def has(self, document: IncidentDocument) -> bool:
        """Whether a document is among them."""
        over = document.status == "resolved" and document.verdict != "rejected"
        ours = document.installation in ("", self.installation)
        itself = ours and document.id == self.exclude
        return over and (ours or self.others) and not itself and document.starts_at < self.before
