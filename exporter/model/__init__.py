"""The values that flow through the product, and the protocols of the parts that can be replaced."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, SecretStr, SerializeAsAny

if TYPE_CHECKING:
    import polars as pl

OWN_NAME = "log-anomaly-exporter"
"""Our service name: sources leave out lines of it, and alerts carry it as the label `source`."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# --- Errors ---------------------------------------------------------------------------------------


class ExporterError(Exception):
    """Base of every error that a person may have to read: it names the place and the remedy."""


class ConfigError(ExporterError):
    """What the operator wrote cannot work; the message says where, why, and what would."""


class TransientError(ExporterError):
    """Trying again later may succeed: a time-out, 429, 5xx, a partial answer."""

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(ExporterError):
    """Trying again would fail the same way: 401, 404, a payload that is refused."""


class StateError(ExporterError):
    """The state file cannot be used: locked, read-only, full, or of a newer version."""


# --- Time -----------------------------------------------------------------------------------------


class Clock(Protocol):
    """Where `now` comes from; tests step their own."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, order=True)
class TimeRange:
    """A half-open stretch of event time, `start <= t < end`; both aware and in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("a TimeRange needs aware datetimes")
        if self.end < self.start:
            raise ValueError(f"a TimeRange ends before it starts: {self.start} .. {self.end}")

    @property
    def duration(self) -> timedelta:
        return self.end - self.start

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def windows(self, window: timedelta) -> Iterator[datetime]:
        """The starts of the windows of the epoch-aligned grid that lie in the range."""
        start = floor(self.start, window)
        while start < self.end:
            yield start
            start += window

    def split(self, step: timedelta) -> Iterator[TimeRange]:
        """Consecutive pieces of at most `step`."""
        start = self.start
        while start < self.end:
            end = min(start + step, self.end)
            yield TimeRange(start, end)
            start = end


def floor(moment: datetime, step: timedelta) -> datetime:
    """The last point of the epoch-aligned grid of `step` that is not after `moment`."""
    return EPOCH + (moment - EPOCH) // step * step


def nanoseconds(moment: datetime) -> int:
    """Nanoseconds since the epoch, exact (no float on the way)."""
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def from_nanoseconds(value: int) -> datetime:
    """The moment, cut to microseconds."""
    return EPOCH + timedelta(microseconds=value // 1000)


_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w)")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def parse_duration(text: object) -> timedelta:
    """Read a duration as Prometheus writes it.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    if isinstance(text, timedelta):
        return text
    if isinstance(text, str) and text and _DURATION.sub("", text) == "":
        return sum((int(n) * _UNITS[unit] for n, unit in _DURATION.findall(text)), timedelta())
    raise ValueError(f"{text!r} is not a duration: write a number and a unit, such as 30s, 5m, 1h30m or 7d")


def format_duration(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads back.

    >>> format_duration(timedelta(seconds=5400))
    '1h30m'
    """
    rest, out = value, ""
    for unit in ("w", "d", "h", "m", "s", "ms"):
        n, rest = divmod(rest, _UNITS[unit])
        if n and not (unit == "w" and rest):
            out += f"{n}{unit}"
        elif n:
            rest += n * _UNITS[unit]
    return out or "0s"


# --- Configuration --------------------------------------------------------------------------------

Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
"""A field that is written like `5m` and is a timedelta in code."""


class Settings(BaseModel):
    """Base of every piece of exporter.yml: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def read_secret(value: SecretStr | None, file: Path | None) -> str | None:
    """The secret given inline or in a file; files are read at each use, for orchestrators rotate them.

    Raises ConfigError when the file cannot be read.
    """
    if file is None:
        return value.get_secret_value() if value else None
    try:
        return file.read_text().strip()
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise ConfigError(f"secret file {file}: {reason}; make it readable by this process") from error


@dataclass(frozen=True)
class Check:
    """One thing that `check-config --connect` tried."""

    subject: str
    ok: bool
    detail: str
    remedy: str = ""


class Telemetry(Protocol):
    """Counts and measures; the names are those of the table in exporter/telemetry.py."""

    def count(self, name: str, amount: int = 1, **labels: str) -> None: ...

    def gauge(self, name: str, value: float, **labels: str) -> None: ...

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record into a histogram; durations are in seconds."""


class NoTelemetry:
    """Counts nothing: for one-shot commands and tests that do not look."""

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        pass

    def gauge(self, name: str, value: float, **labels: str) -> None:
        pass

    def observe(self, name: str, value: float, **labels: str) -> None:
        pass


class Documents(Protocol):
    """The few operations that the local incident store needs from the state file."""

    async def put_document(self, key: str, document: Mapping[str, Any], vector: bytes | None) -> None: ...

    async def all_documents(self) -> Sequence[tuple[str, Mapping[str, Any], bytes | None]]: ...

    async def delete_documents(self, keys: Sequence[str]) -> None: ...


@dataclass(frozen=True)
class Context:
    """What an integration may be given when it is built."""

    clock: Clock = field(default_factory=SystemClock)
    telemetry: Telemetry = field(default_factory=NoTelemetry)
    documents: Documents | None = None


# --- Logs -----------------------------------------------------------------------------------------


class Severity(IntEnum):
    """The first number of each range of OpenTelemetry's SeverityNumber; 0 is unspecified."""

    UNSPECIFIED = 0
    TRACE = 1
    DEBUG = 5
    INFO = 9
    WARN = 13
    ERROR = 17
    FATAL = 21


PAGE_COLUMNS: Mapping[str, str] = {
    "id": "String",  # unique in its source: index and _id, file and offset, stream and nanosecond
    "timestamp": "Int64",  # nanoseconds since the epoch; null when absent or impossible
    "sequence": "Int64",  # order of the lines of one stream that share a timestamp
    "stream": "String",  # one writer: a file, a container, a Loki stream
    "service": "String",  # or the values of `group_by`, joined by "/"
    "severity": "Int8",  # OpenTelemetry's SeverityNumber; 0 when the source does not say
    "body": "String",
    "trace": "String",
    "span": "String",
    "session": "String",
    "host": "String",
    "ingested_at": "Int64",  # nanoseconds since the epoch, where documents carry it
    "template": "String",  # a template mined upstream (attribute log.record.template)
}
"""Columns of a page, always all present; nullable, except id, sequence, severity and body."""

LINE_COLUMNS: Mapping[str, str] = {
    "timestamp": "Int64",
    "sequence": "Int64",
    "service": "UInt64",
    "host": "UInt64",
    "stream": "UInt64",
    "session": "UInt64",
    "trace": "UInt64",
    "severity": "Int8",
    "shape": "UInt64",
    "code": "Int16",  # HTTP status or exit code found in the line; null when none
    "duration": "Float32",  # seconds; null when the line names none
    "continuation": "Boolean",  # part of the record before it in its stream: not counted, not mined
}
"""Columns of Reduced.lines. Texts stand as `stable_key`s; a missing text is 0."""


def page_schema() -> dict[str, pl.DataType]:
    """The polars schema of a page."""
    return _schema(PAGE_COLUMNS)


def line_schema() -> dict[str, pl.DataType]:
    """The polars schema of Reduced.lines."""
    return _schema(LINE_COLUMNS)


def _schema(columns: Mapping[str, str]) -> dict[str, pl.DataType]:
    import polars as pl

    return {name: getattr(pl, kind)() for name, kind in columns.items()}


def stable_key(text: str) -> int:
    """A 64-bit key of a text that is the same in every process and version; 0 stands for no text."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Reduced:
    """What is left of pages after reduction: numbers per line, and each distinct text once.

    Parts merge in any order (`exporter.reduction.merge`). The form is versioned, for parts may come
    from other processes.

    lines: LINE_COLUMNS, one row a line with a usable timestamp.
    shapes: `shape` UInt64, `text` String, `given` Boolean (a template mined upstream: take it as it is).
    names: `key` UInt64, `text` String: services, hosts, streams and sessions.
    exemplars: `window` Int64 (seconds since the epoch), `service` String, `shape` UInt64, `timestamp`, `sequence`,
        `id`, `severity`, `trace`, `host`, `stream` as in a page, `body` String: redacted, cut, with its continuation
        lines; the first few of each (window, service, shape).
    exact: lines that the source counts, of windows where that is known to differ from what was read (by window start
        in seconds since the epoch): it is what the sweep compares with.
    dropped: lines that are in no range, by reason.
    lateness: lines by window and upper bound of their lateness (`exporter.ingest.lateness`), of those that carry both
        times.
    sampled: the share of the lines that was read, of windows of which only a sample was (`exporter.ingest.sampling`).
    """

    lines: pl.DataFrame
    shapes: pl.DataFrame
    names: pl.DataFrame
    exemplars: pl.DataFrame
    exact: Mapping[int, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    version: int = 1
    lateness: Mapping[tuple[int, float], int] = field(default_factory=dict)
    sampled: Mapping[int, float] = field(default_factory=dict)


# --- Anomalies ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evidence:
    """A redacted log line that a report may cite; `id` is short and derived from the source's id."""

    id: str
    source: str
    service: str
    timestamp: datetime
    body: str
    severity: int = 0
    template: str = ""
    host: str = ""
    trace: str = ""


def evidence_id(source: str, line_id: str) -> str:
    """The short id of a line, the same whenever the line is read."""
    return f"L{stable_key(f'{source}/{line_id}'):016x}"[:11]


ContributionKind = Literal[
    "new_template", "template", "transition", "gap", "errors", "volume", "silence", "new_service", "session"
]


@dataclass(frozen=True)
class Contribution:
    """One reason for a score, in numbers: what was seen against what was expected.

    `share` is the part of the score that it explains, in [0, 1]. Texts are templates, not only ids, for
    incidents outlive the miner's state.
    """

    kind: ContributionKind
    text: str
    observed: float
    expected: float
    unit: str = "lines"
    share: float = 0.0
    since: datetime | None = None
    templates: tuple[int, ...] = ()
    evidence: tuple[str, ...] = ()
    service: str = ""
    """Set in an incident, which has several."""


AnomalyKind = Literal["window", "session", "absence", "gap"]


@dataclass(frozen=True)
class Anomaly:
    """An entity that behaved unlike its past in one window.

    `score` and `threshold` are calibrated to [0, 1] and mean the same for every service. `reached` is the
    event time at which it became known: the end of its window, later for absence and for late lines.
    """

    source: str
    service: str
    window: datetime
    duration: timedelta
    kind: AnomalyKind
    score: float
    threshold: float
    severity: int
    contributions: tuple[Contribution, ...]
    reached: datetime
    evidence: tuple[Evidence, ...] = ()
    detectors: tuple[str, ...] = ()
    session: str | None = None
    late: bool = False
    hosts: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    sampled: float = 1.0

    @property
    def id(self) -> str:
        """The same for the same finding, whenever it is made."""
        key = f"{self.source}/{self.service}/{self.window.isoformat()}/{self.kind}/{self.session or ''}"
        return f"{stable_key(key):016x}"

    @property
    def ends_at(self) -> datetime:
        return self.window + self.duration


# --- Incidents ------------------------------------------------------------------------------------

IncidentStatus = Literal["firing", "resolved"]
IncidentSeverity = Literal["info", "warning", "critical"]


@dataclass(frozen=True)
class Suspect:
    """How likely a service is the cause of an incident, and why, in words. Weights of an incident sum to 1."""

    service: str
    weight: float
    reason: str
    first_seen: datetime | None = None


@dataclass(frozen=True)
class TimelineEntry:
    """One thing that happened during an incident."""

    at: datetime
    text: str
    service: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Incident:
    """Anomalies that belong together, from the moment they open it to its end.

    `id` never changes and is in URLs, deliveries and documents; `fingerprint` says what kind of failure it is and
    serves recurrence only; `labels` are frozen when it opens, an escalation moves them to `retired_labels`.
    `revision` grows with each change that a reader should see.
    """

    id: str
    fingerprint: str
    revision: int
    status: IncidentStatus
    severity: IncidentSeverity
    score: float
    service: str
    services: tuple[str, ...]
    sources: tuple[str, ...]
    starts_at: datetime
    updated_at: datetime
    ends_at: datetime | None
    labels: Mapping[str, str]
    contributions: tuple[Contribution, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()
    retired_labels: tuple[Mapping[str, str], ...] = ()
    reopened: int = 0
    merged_into: str | None = None
    fix: str | None = None
    anomalies: int = 0
    trigger: str = "detector"
    sampled: float = 1.0

    @property
    def last_seen(self) -> datetime:
        return self.ends_at or self.updated_at


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
    """How it was found: "meaning" (vectors), "words"."""


@dataclass(frozen=True)
class Claim:
    """A sentence and the evidence that it cites; `verified` when code has checked that the citations hold."""

    text: str
    evidence: tuple[str, ...] = ()
    verified: bool = True


@dataclass(frozen=True)
class Report:
    """What happened, the likely cause and what to do, each sentence with its citations.

    `writer` is "rules" for the deterministic writer, else the model's name. `revision` is the incident's that it
    describes.
    """

    incident: str
    revision: int
    writer: str
    headline: str
    what_happened: tuple[Claim, ...]
    causes: tuple[Claim, ...] = ()
    steps: tuple[Claim, ...] = ()
    similar: tuple[SimilarIncident, ...] = ()
    dropped_claims: int = 0
    notes: tuple[str, ...] = ()


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


# --- Delivery -------------------------------------------------------------------------------------

Change = Literal["opened", "updated", "resolved", "reopened", "reported"]


@dataclass(frozen=True)
class Notification:
    """What one sink is told: the incident as it stands and the report on it.

    `event_id` is the same at every repetition of the same news. `receipt` is what the sink returned for this
    incident before: how it finds its own annotation or message again. `at` is event time; `now` is wall time.
    """

    event_id: str
    change: Change
    incident: Incident
    report: Report
    now: datetime
    url: str | None = None
    source_links: tuple[tuple[str, str], ...] = ()
    receipt: str | None = None


# --- Protocols ------------------------------------------------------------------------------------


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


@runtime_checkable
class Sink(Protocol):
    """A place where incidents are told.

    `wants` is "latest" when only the newest state matters (an alert, an annotation), "every" when each
    change is an event of its own. `resend` is how often the latest state must be repeated to be kept alive
    (Alertmanager), or None.
    """

    name: str
    wants: Literal["latest", "every"]
    resend: timedelta | None

    async def deliver(self, notification: Notification) -> str | None:
        """Tell it once where the place can be asked what it has, else at least once with the same event id.

        Returns the receipt to be handed back next time, or None to keep the last. Raises TransientError or
        PermanentError.
        """

    async def check(self) -> Sequence[Check]: ...

    async def close(self) -> None: ...


@runtime_checkable
class IncidentStore(Protocol):
    """Where incident documents are kept and searched; ranks are fused by exporter/memory.py."""

    async def put(self, document: IncidentDocument) -> None:
        """Write or replace the document of this id; an older revision never replaces a newer one."""

    async def nearest(
        self, vector: Sequence[float], embedding_model: str, k: int, exclude: str
    ) -> Sequence[tuple[IncidentDocument, float]]:
        """The k nearest documents of the same model, with cosine similarity in [-1, 1], best first."""

    async def matching(self, text: str, k: int, exclude: str) -> Sequence[tuple[IncidentDocument, float]]:
        """The k documents that share the most telling words, with the store's own score, best first."""

    async def check(self) -> Sequence[Check]: ...

    async def close(self) -> None: ...


@runtime_checkable
class Embedder(Protocol):
    """Texts to unit vectors. `embed` blocks; the caller runs it off the event loop."""

    model: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]: ...


@runtime_checkable
class LLM(Protocol):
    """A language model that answers with a JSON object of a given schema."""

    model: str

    async def complete(self, system: str, user: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises TransientError or PermanentError; what comes back is parsed, but not to be trusted."""

    async def check(self) -> Sequence[Check]: ...

    async def close(self) -> None: ...


class EmbedderSettings(Settings):
    """Base of the settings of an embedder: what stands under `memory.embedder`."""

    type: str

    def build(self) -> Embedder:
        raise NotImplementedError


class MemorySettings(Settings):
    """What every incident store is configured with, beside its own settings."""

    embedder: SerializeAsAny[EmbedderSettings] | None = None
    """Turns incidents into vectors, so that they are found by meaning. Default: `hashing`, which needs no model."""
    min_similarity: float | None = Field(default=None, ge=-1, le=1)
    """Cosine similarity from which a past incident is worth showing. Default: what suits the embedder."""


# --- Rows -----------------------------------------------------------------------------------------

SqlValue = str | int | float | bytes | None


@dataclass(frozen=True)
class Write:
    """Rows that a stage wants in the state file: how every stage returns what it changed.

    With `delete`, rows that match the given columns are removed; else rows are inserted or replaced by primary key.
    """

    table: str
    columns: tuple[str, ...]
    rows: tuple[tuple[SqlValue, ...], ...]
    delete: bool = False


def to_json(value: Any) -> Any:
    """A dataclass (or container of them) as JSON-compatible values; times as RFC 3339, durations in seconds."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: to_json(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(item) for item in value]
    return value


def dumps(value: Any) -> str:
    """Compact JSON of a value, keys in the order of definition."""
    return json.dumps(to_json(value), ensure_ascii=False, separators=(",", ":"))


def from_json(kind: Any, data: Any) -> Any:
    """The value of `kind` that `to_json` made `data` of. Raises pydantic.ValidationError on what does not fit."""
    return _adapter(kind).validate_python(data)


def loads(kind: Any, text: str | bytes) -> Any:
    """`from_json` of a JSON text."""
    return from_json(kind, json.loads(text))


_adapters: dict[Any, Any] = {}


def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]
