"""What the layers are asked over HTTP and what they answer: the same values on both sides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from exporter.model.errors import PermanentError
from exporter.model.facts import Facts
from exporter.model.incidents import Evidence, Incident, Report
from exporter.model.memory import Earlier, IncidentDocument, SimilarIncident
from exporter.model.narration import Asked
from exporter.model.times import TimeRange

VERSION = 1
"""Of the interface, as paths begin with it: raised where an older side would read a newer one wrong. What is only added
raises nothing: either side leaves out what it does not know."""

MOST_DOCUMENTS = 500
"""In one request or answer."""

LayerName = Literal["memory", "report"]


@dataclass(frozen=True)
class About:
    """Who answers. `model` is that of the embedder, or the one that writes reports; empty where there is none."""

    layer: LayerName
    version: int
    release: str
    model: str = ""


# --- Memory -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecallRequest:
    """What past incidents are looked for by: an incident of ours, or facts and lines, or any text.

    installation: whose incident it is; then its own are told from those of others, which `others` leaves out.
    """

    incident: Incident | None = None
    facts: Facts | None = None
    evidence: tuple[Evidence, ...] = ()
    text: str = ""
    installation: str = ""
    others: bool = True


@dataclass(frozen=True)
class Recollection:
    """Past incidents like it, the most useful first: with tier, why, what fixed them and whether that held."""

    similar: tuple[SimilarIncident, ...]


@dataclass(frozen=True)
class Documents:
    """Incidents to be remembered; one without a vector is given one. With `again`, one of a revision that is there
    already is written again."""

    documents: tuple[IncidentDocument, ...]
    again: bool = False


@dataclass(frozen=True)
class Written:
    """How many were new, or newer than what was there."""

    written: int


@dataclass(frozen=True)
class PageRequest:
    """Where a page of all documents begins: after the one of this key; at the first where it is empty."""

    after: str = ""


@dataclass(frozen=True)
class Page:
    """Documents in the order of their keys, without vectors; `after` is what the next page is asked with, if any."""

    documents: tuple[IncidentDocument, ...]
    after: str = ""


@dataclass(frozen=True)
class SearchRequest:
    """Candidates, not compared yet: by `meaning` (vector and model), `words` (text) or `kind` (signature, kinds)."""

    by: Literal["meaning", "words", "kind"]
    past: Earlier
    k: int = 30
    vector: tuple[float, ...] = ()
    embedding_model: str = ""
    text: str = ""
    signature: str = ""
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hit:
    """A candidate, with the score of its search."""

    document: IncidentDocument
    score: float = 0.0


@dataclass(frozen=True)
class Hits:
    """Candidates, the best first."""

    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class Fix:
    """What fixed an incident that is over, and who says so; an empty `fix` takes back what was said. It stays, however
    often the incident is written again, until its installation says something newer. at: when that was said; now."""

    fix: str
    by: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class Rejection:
    """It was no failure: it is recalled no more. `rejected: false` takes that back. It stays as a fix does."""

    rejected: bool = True


# --- Report -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReportRequest:
    """What a report is written of: an incident of ours, or facts and lines; and what memory knows.

    report: the deterministic report, where it is written already. model: whether the model is to write its version,
    which takes as long as the model does.
    """

    incident: Incident | None = None
    facts: Facts | None = None
    evidence: tuple[Evidence, ...] = ()
    similar: tuple[SimilarIncident, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    gaps: tuple[tuple[str, TimeRange, str], ...] = ()
    unasked: str = ""
    report: Report | None = None
    model: bool = False


@dataclass(frozen=True)
class Failed:
    """Why there is no version of the model's. retry_after: seconds; answered: asked again, it would say the same;
    passing: the model's place failed, and not the question."""

    why: str
    retry_after: float | None = None
    answered: bool = False
    passing: bool = False


@dataclass(frozen=True)
class Reported:
    """The report: the model's, checked, or the deterministic one and why it is that. asked: what the model was asked
    and answered, by which who asks can tell it again with later numbers."""

    report: Report
    failed: Failed | None = None
    asked: Asked | None = None


# --- Routes -------------------------------------------------------------------------------------------


class UnknownError(PermanentError):
    """What was asked for is not there."""


class UnusableError(PermanentError):
    """Nothing can be made of what was sent."""


class ConflictingError(PermanentError):
    """It is there, and not as it has to be for that."""


@dataclass(frozen=True)
class Route:
    """One thing that a layer can be asked: how, what it takes and gives, and who does it.

    takes: what the body is, or of a GET the query; None: nothing. `work` is given that, and the parts of the path.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    summary: str
    takes: type | None
    gives: type
    work: Callable[[Any, Mapping[str, str]], Awaitable[Any]]


class LayerService(Protocol):
    """A layer as it is served."""

    name: LayerName

    @property
    def routes(self) -> Sequence[Route]: ...

    async def unready(self) -> Sequence[str]:
        """Why it is not to be asked now, each in a sentence; nothing when it is."""

    def metrics(self) -> str:
        """All metrics in Prometheus' text format."""
