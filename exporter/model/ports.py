"""The protocols of the parts that can be replaced, and what they are built with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import polars as pl
from exporter.model.aside import Aside
from exporter.model.digests import Digest
from exporter.model.incidents import Incident, NoticeTold, Notification, Report
from exporter.model.memory import Earlier, IncidentDocument, SimilarIncident
from exporter.model.narration import Asked, InMemory, Ledger, Meter
from exporter.model.times import Clock, SystemClock, TimeRange


@dataclass(frozen=True)
class Check:
    """One thing that `check-config --connect` tried."""

    subject: str
    ok: bool
    detail: str
    remedy: str = ""


Note = Callable[[Mapping[str, str | int]], None]
"""Adds attributes to a span."""


def nothing_noted(attributes: Mapping[str, str | int]) -> None:
    """Where nothing is traced."""


class Telemetry(Protocol):
    """Counts and measures; the names are those of the table in exporter/telemetry/table.py."""

    def count(self, name: str, amount: int = 1, **labels: str) -> None: ...

    def gauge(self, name: str, value: float, **labels: str) -> None: ...

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record into a histogram; durations are in seconds."""

    def span(self, name: str, outgoing: bool = False, **attributes: str | int) -> AbstractContextManager[Note]:
        """Trace a piece of work; what is given takes attributes that are known only at its end."""


class NoTelemetry:
    """Counts nothing: for one-shot commands and tests that do not look."""

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        pass

    def gauge(self, name: str, value: float, **labels: str) -> None:
        pass

    def observe(self, name: str, value: float, **labels: str) -> None:
        pass

    def span(self, name: str, outgoing: bool = False, **attributes: str | int) -> AbstractContextManager[Note]:
        return nullcontext(nothing_noted)


class Words(Protocol):
    """An index of the words of texts, in this process's memory; threads may use it, one at a time."""

    def put(self, texts: Iterable[tuple[str, str, float, str | None]]) -> None:
        """Write or replace: key, text, moment in seconds, and whose it is; None hides it from what is found."""

    def delete(self, keys: Iterable[str]) -> None: ...

    def best(
        self, text: str, k: int, before: float, exclude: str, among: Sequence[str] = ()
    ) -> Sequence[tuple[str, float]]:
        """The k keys whose texts share the most telling words, of those from before a moment, with their scores.

        `among` says whose they may be: anybody's where it is empty.
        """

    def close(self) -> None: ...


class Documents(Protocol):
    """The few operations that the local incident store needs from the state file."""

    async def put_documents(self, rows: Sequence[tuple[str, Mapping[str, Any], bytes | None]]) -> None:
        """Write or replace documents with their vectors under their keys, all or none."""

    async def documents_after(
        self, key: str, limit: int
    ) -> Sequence[tuple[str, Mapping[str, Any] | None, bytes | None]]:
        """The next documents in the order of their keys, with their vectors; None for one that cannot be read."""

    async def delete_documents(self, keys: Sequence[str]) -> None: ...

    def word_index(self) -> Words:
        """An empty index."""


TellAgain = Callable[[Report, Incident, Asked], Report | None]
"""What a model answered before, told with the numbers of now: of the deterministic report and the incident; None where
the facts are others, or nothing of it is left."""


@dataclass(frozen=True)
class Context:
    """What an integration may be given when it is built."""

    clock: Clock = field(default_factory=SystemClock)
    telemetry: Telemetry = field(default_factory=NoTelemetry)
    documents: Documents | None = None
    aside: Aside = field(default_factory=Aside)
    installation: str = ""
    """Which installation this is; the state file knows."""
    origin: tuple[str, ...] = ()
    """The external labels, such as `cluster=eu-1`."""
    ledger: Ledger = field(default_factory=InMemory)
    """Where questions to a model are kept; by default they are not over a restart."""
    tell_again: TellAgain | None = None
    """For a writer that has a model's answer from elsewhere."""


@runtime_checkable
class Source(Protocol):
    """Logs as a range query. It holds no cursor, and a partial answer is a TransientError, never a page."""

    name: str

    def query(self, time_range: TimeRange) -> AsyncIterator[pl.DataFrame]:
        """Pages (PAGE_COLUMNS) of all lines with `start <= timestamp < end`, in any order, each line once."""

    async def count(self, time_range: TimeRange, window: timedelta) -> Mapping[datetime, int]:
        """How many lines each window of the epoch-aligned grid has; windows without lines may be absent."""

    async def unusable(self) -> Mapping[str, int]:
        """Lines that are in no range, by reason: without a timestamp, or with an impossible one."""

    async def check(self) -> Sequence[Check]:
        """Try what the source needs, with the rights that it needs, and say how to grant what is missing."""

    async def close(self) -> None: ...


Choice = Mapping[str, tuple[str, ...]]
"""Paths by column that were chosen by looking at records, beside those that are known."""


@runtime_checkable
class Choosing(Protocol):
    """A source whose records have fields of anybody: where they keep what is chosen once, and given to every reader."""

    def open_columns(self) -> Mapping[str, Sequence[str]]:
        """The known paths of the columns for which may be chosen."""

    async def sample(self, time_range: TimeRange, most: int) -> Sequence[Mapping[str, Any]]:
        """The first records of a range, in order of time and id."""

    def read_by(self, choices: Sequence[tuple[datetime, Choice]]) -> None:
        """What was chosen, in order, each for what is read from that moment on."""


@runtime_checkable
class Sink(Protocol):
    """A place where incidents are told.

    `wants` is "latest" when only the newest state matters (an alert, an annotation), "every" when each
    change is an event of its own. `resend` is how often the latest state must be repeated to be kept alive
    (Alertmanager), or None. `peer` says which one it is where a sink has several instances that are each told for
    themselves, else it is empty. `concurrency` is how many incidents it can be told of at the same time.
    """

    name: str

    @property
    def peer(self) -> str: ...

    @property
    def concurrency(self) -> int: ...

    @property
    def wants(self) -> Literal["latest", "every"]: ...

    @property
    def resend(self) -> timedelta | None: ...

    async def deliver(self, notification: Notification) -> str | None:
        """Tell it once where the place can be asked what it has, else at least once with the same event id.

        Returns the receipt to be handed back next time, or None to keep the last. Raises TransientError or
        PermanentError.
        """

    async def check(self) -> Sequence[Check]: ...

    async def close(self) -> None: ...


@runtime_checkable
class DigestSink(Sink, Protocol):
    """A sink that people read: more incidents than anybody can read one by one are told as one.

    `digest_every` is how long what changes in a digest is gathered before that is told.
    """

    @property
    def digest_every(self) -> timedelta: ...

    async def deliver_digest(self, digest: Digest) -> str | None:
        """As `deliver`; the receipt is that of the digest."""


@runtime_checkable
class NoticeSink(Sink, Protocol):
    """A sink that can also be told what is worth knowing and pages nobody."""

    async def deliver_notice(self, told: NoticeTold) -> None:
        """As `deliver`, at least once; a notice does not change, so that there is no receipt."""


@runtime_checkable
class IncidentStore(Protocol):
    """Where incident documents are kept and searched: ranks gather candidates, exporter/memory/ compares them.

    Whatever is found is of the `past`: what is not takes no place from what is.
    """

    async def put(self, document: IncidentDocument) -> None:
        """Write or replace the document of this key; an older revision never replaces a newer one."""

    async def put_all(self, documents: Sequence[IncidentDocument]) -> int:
        """Write many. Returns how many are new, or of a newer revision than what was there; others are left."""

    def everything(self) -> AsyncIterator[IncidentDocument]:
        """All documents in the order of their ids, without vectors."""

    async def nearest(
        self, vector: Sequence[float], embedding_model: str, k: int, past: Earlier
    ) -> Sequence[tuple[IncidentDocument, float]]:
        """The k nearest documents of the same model, with cosine similarity in [-1, 1], best first."""

    async def matching(self, text: str, k: int, past: Earlier) -> Sequence[tuple[IncidentDocument, float]]:
        """The k documents that share the most telling words, with the store's own score, best first."""

    async def sharing(self, signature: str, kinds: Sequence[str], k: int, past: Earlier) -> Sequence[IncidentDocument]:
        """The k newest documents of that signature, then those that share a kind of fault."""

    async def document(self, key: str) -> IncidentDocument | None:
        """The document of a key, without its vector; None where there is none."""

    async def delete(self, key: str) -> bool:
        """Forget the document of a key; False where there is none."""

    async def prune(self, now: datetime, whose: Collection[str]) -> None:
        """Drop what is kept no longer, and count it; what is much may take several times. Of a store that several
        installations write to only what these wrote goes."""

    async def check(self) -> Sequence[Check]: ...

    async def close(self) -> None: ...


@runtime_checkable
class ComparingStore(IncidentStore, Protocol):
    """A store that makes vectors and compares by itself: what is put has none, and one question brings what is told."""

    async def recall(self, incident: Incident, past: Earlier) -> Sequence[SimilarIncident]:
        """Past incidents like this one, the most useful first; of whom it is asked stands in `past`."""


@runtime_checkable
class Embedder(Protocol):
    """Texts to unit vectors. `embed` blocks; the caller runs it off the event loop."""

    model: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]: ...


@runtime_checkable
class ReportWriter(Protocol):
    """Whoever writes another version of a report. `name` is what questions that failed are kept under."""

    name: str

    async def write(self, report: Report, incident: Incident) -> Report:
        """The report that this writer makes of the deterministic one, checked, with the facts and evidence of the
        incident and what memory knew. Raises WriterFailedError when there is none."""

    async def check(self) -> Sequence[Check]: ...

    async def close(self) -> None: ...


@runtime_checkable
class RetellingWriter(ReportWriter, Protocol):
    """A writer that can say again what it said, with the numbers of now, and asks nobody for that."""

    async def asked(self, incident: str) -> Asked | None:
        """What a model was asked last on an incident, and answered."""

    async def retell(self, report: Report, incident: Incident) -> Report | None:
        """None where somebody would have to be asked."""


@runtime_checkable
class LLM(Protocol):
    """A language model that answers with a JSON object of a given schema."""

    model: str

    async def complete(
        self, system: str, user: str, schema: Mapping[str, Any], meter: Meter | None = None
    ) -> Mapping[str, Any]:
        """What comes back is parsed, but not to be trusted: it may lack what the schema requires.

        `meter` counts what it costs. Raises TransientError, PermanentError, or TooLongError for a prompt that does not
        fit.
        """

    async def check(self) -> Sequence[Check]: ...

    async def close(self) -> None: ...
