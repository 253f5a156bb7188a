"""What all settings have in common, and what every source, sink, memory, embedder and model can be told.

The core reads what these classes name, and nothing else: what one integration alone knows is its own.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    SerializeAsAny,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from exporter.model import known
from exporter.model.errors import ConfigError
from exporter.model.incidents import Notification
from exporter.model.logs import OWN_NAME
from exporter.model.ports import LLM, Context, Embedder, IncidentStore, ReportWriter, Sink, Source
from exporter.model.times import Duration
from exporter.model.wanted import Wanted

OneOrMore = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(min_length=1),
    WithJsonSchema(
        {
            "title": "text or list of text",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
        }
    ),
]
"""Paths of fields or files, or addresses; one may stand without a list."""


class Settings(BaseModel):
    """Base of every piece of exporter.yml: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True)
class Unit:
    """What a number of exporter.yml counts, for those who read of it: `Annotated[int, Unit("lines")]`."""

    name: str

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "x-unit": self.name}


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


class ClientSettings(Settings):
    """What every client of a server can be told."""

    trust_env: bool | None = None
    """Whether the usual variables of the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`) say by which proxy the
    server is reached. Default: what `trust_env` says of all clients."""


# --- Sources ------------------------------------------------------------------------------------------


MAX_DOTS = 12
"""Of a path: any of them may be part of a key, so that each doubles the places where a value can stand."""


def _not_too_deep(paths: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if deep := [path for path in paths or () if path.count(".") > MAX_DOTS]:
        raise ValueError(f"{deep[0][:80]!r} has more than {MAX_DOTS} dots")
    return paths


class SessionSettings(Settings):
    """Which lines belong together as one session (a request, an order, a block), and when it is over."""

    pattern: str | None = None
    """A regular expression over the message; its first group is the key."""
    field: OneOrMore | None = None
    """Or the field that holds the key."""
    idle: Duration = timedelta(minutes=10)
    """A session is judged when nothing has come for this long."""
    max_age: Duration = timedelta(hours=24)
    """When its key comes back within this time, it is the same session, judged again."""

    @field_validator("field")
    @classmethod
    def _short(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return _not_too_deep(value)

    @model_validator(mode="after")
    def _one(self) -> SessionSettings:
        if (self.pattern is None) == (self.field is None):
            raise ValueError("give either pattern or field")
        return self


class SourceSettings(Settings):
    """What can be said of every source."""

    MAY_CHANGE: ClassVar[frozenset[str]] = frozenset({"name", "query_offset", "link", "max_lines_per_window"})
    """Settings that what was learnt does not depend on: how the source is reached, when and how fast it is read.
    Estimates from a sample mean the same as counts."""

    type: str
    """Which kind of source it is."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
    """Stands in metrics and incidents; letters, digits, `_`, `.` and `-`."""
    group_by: OneOrMore = ("service",)
    """What a window belongs to: `service`, or paths of fields whose values are joined."""
    sessions: SessionSettings | None = None
    """Judge all lines that share a key together, beside the windows."""
    window: Duration = timedelta(seconds=60)
    """How much time is judged at once: whole seconds that divide a day."""
    query_offset: Duration = timedelta(seconds=30)
    """How long lines may take to arrive before their window is read."""
    late_window: Duration = timedelta(minutes=15)
    """How long a window is compared with the source, and read again when lines came late. Up to four times as late
    they are only counted."""
    link: str | None = None
    """Where people read these logs: a URL with {start}, {end} and {service}."""
    max_lines_per_window: Annotated[int, Unit("lines")] | None = Field(default=200_000, ge=1)
    """Of a window that has more lines, whole seconds are read that together have at most so many: its lines are still
    counted exactly and new messages found, but order, sessions and absence are not judged. It bounds how much
    memory and time one window takes. Null: everything is read."""

    @field_validator("group_by")
    @classmethod
    def _short(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return _not_too_deep(value)

    @field_validator("window")
    @classmethod
    def _whole_seconds(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=1) or value % timedelta(seconds=1) or timedelta(days=1) % value:
            raise ValueError("a window is whole seconds and divides a day, such as 10s, 60s or 5m")
        return value

    @field_validator("link")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                value.format(start="", end="", service="")
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError("knows {start}, {end} and {service}; write other braces twice") from error
        return value

    def learnt_with(self) -> dict[str, Any]:
        """What was learnt holds for these settings alone: those of them that are not as they come."""
        own = self.model_dump(mode="json", exclude_defaults=True, exclude=set(self.MAY_CHANGE))
        return {**own, "type": self.type}

    def lines_url(self, wanted: Wanted) -> str | None:
        """Where people read exactly these lines; None where it is not said where that is."""
        return None

    @abstractmethod
    def build(self, context: Context) -> Source:
        """The source. Raises ConfigError or PermanentError when it cannot be built."""


class FieldMap(Settings):
    """Where a document keeps what; of several paths, the first that is present."""

    body: OneOrMore = known.BODY
    """What the line says: the message, without time and level where these stand elsewhere."""
    timestamp: OneOrMore = known.TIMESTAMP
    """When it happened."""
    service: OneOrMore = known.SERVICE
    """Which service wrote it: what is judged, and named in incidents."""
    severity: OneOrMore = known.SEVERITY
    """How bad its writer finds it, in a word or number: syslog's in `PRIORITY`, pino's in `level`, else OTel's. What
    the line says itself counts more than what syslog or journald carried beside it."""
    trace: OneOrMore = known.TRACE
    """The trace that it belongs to: services that share one are of one incident."""
    session: OneOrMore | None = None
    """Set through `sessions.field`."""
    host: OneOrMore = known.HOST
    """Where it was written: a pod or a machine."""
    stream: OneOrMore = known.STREAM
    """Which file, pod or container it comes from: only within one stream does a line follow another."""
    sequence: OneOrMore = known.SEQUENCE
    """Its place in the stream, for lines of the same moment."""
    ingested_at: OneOrMore = known.INGESTED_AT
    """When the log store took it in: tells how late lines are."""
    instance: OneOrMore = known.INSTANCE
    """Which process of the service wrote it."""
    version: OneOrMore = known.VERSION
    """The version of the service."""
    template: OneOrMore = known.TEMPLATE
    """The template that whoever wrote the line says it has."""

    @field_validator("*")
    @classmethod
    def _short(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return _not_too_deep(value)


class RecordSourceSettings(SourceSettings):
    """What can be said of a source whose records have fields of any shipper, or are lines that are taken apart."""

    MAY_CHANGE = SourceSettings.MAY_CHANGE | {"page_size"}

    fields: FieldMap = FieldMap()
    """Where a record keeps what."""
    exclude_services: tuple[str, ...] = ()
    """Services that are not read; our own never is."""
    page_size: Annotated[int, Unit("lines")] = Field(default=5000, ge=1, le=10_000)
    """Lines asked for at once."""

    @property
    def excluded(self) -> tuple[str, ...]:
        """Services that are left out: reading our own output would feed us with ourselves."""
        return (OWN_NAME, *self.exclude_services)

    def columns(self) -> dict[str, tuple[str, ...]]:
        """Candidate paths by column of a page."""
        paths: dict[str, tuple[str, ...] | None] = {name: getattr(self.fields, name) for name in FieldMap.model_fields}
        if self.sessions and self.sessions.field:
            paths["session"] = self.sessions.field
        if self.group_by != ("service",):
            paths.pop("service")
        return {name: value for name, value in paths.items() if value}


# --- Sinks, memory, models ----------------------------------------------------------------------------


class SinkSettings(Settings):
    """What can be said of every sink."""

    type: str
    """Which kind of sink it is."""
    name: str
    """Stands in metrics and in the record of what was delivered; every sink needs a name of its own."""
    notices: bool = False
    """Also tell it what is worth knowing and pages nobody, such as a release or a burst of refused requests."""

    @abstractmethod
    def build(self, context: Context) -> Sink:
        """The sink. Raises ConfigError or PermanentError when it cannot be built."""

    def places(self, context: Context) -> tuple[Sink, ...]:
        """The sink, once for each of its instances that is told for itself."""
        return (self.build(context),)

    @staticmethod
    @abstractmethod
    def preview(notification: Notification) -> object:
        """What would be sent, with nothing sent before: JSON, or text for people."""


class EmbedderSettings(Settings):
    """What can be said of every embedder: what stands under `memory.embedder`."""

    type: str
    """Which kind of embedder it is."""

    @abstractmethod
    def build(self) -> Embedder:
        """The embedder. Raises PermanentError when its model cannot be loaded."""


class MemorySettings(Settings):
    """What can be said of every incident store, beside its own settings."""

    type: str
    """Where past incidents are kept."""
    embedder: SerializeAsAny[EmbedderSettings] | None = None
    """Turns incidents into vectors, so that they are found by meaning. Default: `hashing`, which needs no model."""
    others: bool = True
    """Whether incidents that other installations wrote, or that were imported from them, are recalled, too."""

    @abstractmethod
    def build(self, context: Context) -> IncidentStore:
        """The store. Raises ConfigError or PermanentError when it cannot be built."""


class KeepingSettings(MemorySettings):
    """What can be said of a store that keeps documents itself, and drops them again."""

    max_documents: Annotated[int, Unit("documents")] = Field(default=10_000, ge=1, le=100_000)
    """Documents that are kept; the newest, those with a confirmed fix before others."""
    retention: Duration | None = None
    """How long an incident is remembered after it began. Default: as long as there is room for it."""

    def kept_since(self, now: datetime) -> datetime | None:
        """What began before this is dropped; None where age is no reason."""
        return now - self.retention if self.retention else None


class LLMSettings(Settings):
    """What can be said of every language model."""

    type: str
    """Which interface the model has."""
    timeout: Duration = timedelta(seconds=60)
    """Of one request; a whole answer, with retries at a lower level and a repair, takes at most twice that."""
    concurrency: Annotated[int, Unit("requests")] = Field(default=1, ge=1, le=16)
    """Requests at the same time."""
    hourly_calls: Annotated[int, Unit("requests")] | None = Field(default=120, ge=1)
    """Requests an hour; over it, reports are written without the model until the next. Null: no limit."""
    daily_calls: Annotated[int, Unit("requests")] | None = Field(default=1_000, ge=1)
    """Requests a day (UTC)."""
    hourly_tokens: Annotated[int, Unit("tokens")] | None = Field(default=None, ge=1)
    """Tokens of prompts and answers an hour."""
    daily_tokens: Annotated[int, Unit("tokens")] | None = Field(default=1_000_000, ge=1)
    """Tokens of prompts and answers a day (UTC). What is spent is remembered over a restart."""

    @abstractmethod
    def build(self, context: Context) -> LLM:
        """The client of the model. Raises ConfigError or PermanentError when it cannot be built."""


class ReportSettings(Settings):
    """What can be said of whoever writes another version of each report."""

    type: str
    """Who writes it."""

    @abstractmethod
    def build(self, context: Context) -> ReportWriter:
        """The writer. Raises ConfigError or PermanentError when it cannot be built."""
