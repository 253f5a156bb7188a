"""What every source has in common: its settings, and how documents of any shipper become pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any

import polars as pl
from pydantic import BeforeValidator, Field, field_validator, model_validator

from exporter.model import OWN_NAME, Duration, Settings, Severity, nanoseconds, page_schema

MAX_BODY_CHARS = 65_536
"""Characters of a line that are kept at all; reduction looks at far fewer."""

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
"""Before this no logs were kept: a timestamp like that is a broken clock's."""

Paths = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value), Field(min_length=1)
]


class FieldMap(Settings):
    """Where a document keeps what; of several paths, the first that is present."""

    body: Paths = ("message", "body.text", "body_text", "body", "log", "msg", "event.original", "text", "MESSAGE")
    timestamp: Paths = (
        "@timestamp",
        "timestamp",
        "time",
        "ts",
        "datetime",
        "date",
        "TimeUnixNano",
        "__REALTIME_TIMESTAMP",
    )
    service: Paths = (
        "service.name",
        "resource.attributes.service.name",
        "kubernetes.labels.app",
        "kubernetes.labels.app_kubernetes_io/name",
        "kubernetes.labels.app.kubernetes.io/name",
        "kubernetes.deployment.name",
        "kubernetes.container.name",
        "kubernetes.container_name",
        "container.name",
        "service_name",
        "service",
        "app",
        "application",
        "process.name",
        "program",
        "logger_name",
        "kubernetes.pod.name",
        "kubernetes.pod_name",
        "PodName",
    )
    severity: Paths = (
        "log.level",
        "severity_number",
        "severity_text",
        "level",
        "severity",
        "lvl",
        "loglevel",
        "log_level",
        "levelname",
        "PRIORITY",
    )
    trace: Paths = ("trace.id", "trace_id", "traceId", "TraceId", "traceID", "TraceID", "traceid", "dd.trace_id")
    span: Paths = ("span.id", "span_id", "spanId", "SpanId", "SpanID", "transaction.id")
    session: Paths | None = None
    """Set through `sessions.field`."""
    host: Paths = (
        "kubernetes.pod.name",
        "kubernetes.pod_name",
        "host.name",
        "host.hostname",
        "resource.attributes.k8s.pod.name",
        "resource.attributes.host.name",
        "hostname",
        "host",
        "_HOSTNAME",
    )
    stream: Paths = (
        "kubernetes.pod.uid",
        "container.id",
        "kubernetes.pod.name",
        "kubernetes.pod_name",
        "log.file.path",
        "file",
    )
    sequence: Paths = ("log.offset", "event.sequence", "offset")
    ingested_at: Paths = ("event.ingested",)
    template: Paths = ("log.record.template", "attributes.log.record.template")


class SessionSettings(Settings):
    """Which lines belong together as one session (a request, an order, a block), and when it is over."""

    pattern: str | None = None
    """A regular expression over the message; its first group is the key."""
    field: Paths | None = None
    """Or the field that holds the key."""
    idle: Duration = timedelta(minutes=10)
    """A session is judged when nothing has come for this long."""
    max_age: Duration = timedelta(hours=24)
    """When its key comes back within this time, it is the same session, judged again."""

    @model_validator(mode="after")
    def _one(self) -> SessionSettings:
        if (self.pattern is None) == (self.field is None):
            raise ValueError("give either pattern or field")
        return self


class SourceSettings(Settings):
    """What can be said of every source."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
    """Stands in metrics and incidents; letters, digits, `_`, `.` and `-`."""
    fields: FieldMap = FieldMap()
    group_by: Paths = ("service",)
    """What a window belongs to: `service`, or paths of fields whose values are joined."""
    sessions: SessionSettings | None = None
    window: Duration = timedelta(seconds=60)
    query_offset: Duration = timedelta(seconds=30)
    """How long lines may take to arrive before their window is read."""
    late_window: Duration = timedelta(minutes=15)
    """How long a window is compared with the source, and read again when lines came late."""
    exclude_services: tuple[str, ...] = ()
    """Services that are not read; our own never is."""
    link: str | None = None
    """Where people read these logs: a URL with {start}, {end} and {service}."""
    page_size: int = Field(default=5000, ge=1, le=10_000)
    """Lines asked for at once."""

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


Getter = Callable[[Mapping[str, Any]], Any]


def lookup(document: Mapping[str, Any], path: str) -> Any:
    """The value at a path, whether keys are nested, dotted, or a mix of both; None when absent.

    >>> lookup({"log.level": "warn"}, "log.level"), lookup({"log": {"level": "info"}}, "log.level")
    ('warn', 'info')
    """
    if path in document:
        return document[path]
    head, dot, rest = path.partition(".")
    while dot:
        value = document.get(head)
        if isinstance(value, Mapping) and (found := lookup(value, rest)) is not None:
            return found
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


class Decoder:
    """Documents to pages. The one loop over log lines that is allowed: their form is any shipper's."""

    def __init__(self, settings: SourceSettings) -> None:
        self._columns = settings.columns()
        self._group_by = settings.group_by if settings.group_by != ("service",) else ()
        self._excluded = frozenset(settings.excluded)
        # Documents of one shipper have the same top-level keys: which paths can be there at all is found once.
        self._plan = lru_cache(maxsize=1024)(self._plan_for)

    def paths(self) -> list[str]:
        """Every path that may be needed."""
        return sorted({path for paths in self._columns.values() for path in paths} | set(self._group_by))

    def _plan_for(self, keys: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        present = set(keys)
        return {
            column: tuple(path for path in paths if _may_be_in(path, present))
            for column, paths in self._columns.items()
        }

    def page(
        self,
        documents: Sequence[Mapping[str, Any]],
        ids: Sequence[str],
        timestamps: pl.Series | None = None,
        order: Sequence[int] | None = None,
    ) -> pl.DataFrame:
        """A page of documents; `timestamps` (nanoseconds) and `order` where the caller knows better than they do."""
        rows: dict[str, list[Any]] = {column: [] for column in self._columns}
        groups: list[str | None] = []
        for document in documents:
            plan = self._plan(tuple(document))
            for column, paths in plan.items():
                value = None
                for path in paths:
                    value = document[path] if path in document else lookup(document, path)
                    if value is not None and value != "" and not (isinstance(value, dict) and column != "body"):
                        break
                    value = None
                rows[column].append(value)
            if self._group_by:
                groups.append("/".join(_plain(lookup(document, path)) or "" for path in self._group_by))
        if self._group_by:
            rows["service"] = groups
        return self._frame(rows, ids, timestamps, order)

    def _frame(
        self, rows: dict[str, list[Any]], ids: Sequence[str], timestamps: pl.Series | None, order: Sequence[int] | None
    ) -> pl.DataFrame:
        height = len(ids)
        texts = ("stream", "service", "trace", "span", "session", "host", "template")
        times = rows.get("timestamp", [None] * height)
        columns: dict[str, pl.Series] = {
            "id": pl.Series(ids, dtype=pl.String),
            "timestamp": timestamps if timestamps is not None else pl.Series(list(map(instant, times)), dtype=pl.Int64),
            "sequence": pl.Series(list(order) if order is not None else _integers(rows.get("sequence"), height)),
            "severity": pl.Series(list(map(severity, rows.get("severity", [None] * height))), dtype=pl.Int8),
            "body": pl.Series(list(map(_body, rows.get("body", [None] * height))), dtype=pl.String),
            "ingested_at": pl.Series(list(map(instant, rows.get("ingested_at", [None] * height))), dtype=pl.Int64),
        }
        for name in texts:
            columns[name] = pl.Series(list(map(_plain, rows.get(name, [None] * height))), dtype=pl.String)
        frame = pl.DataFrame({name: columns[name].cast(dtype) for name, dtype in page_schema().items()})
        frame = frame.with_columns(without_pod_suffix())
        return frame.filter(~pl.col("service").is_in(list(self._excluded)).fill_null(False))


def without_pod_suffix() -> pl.Expr:
    """The service without what Kubernetes adds to the names of the pods of a deployment."""
    return pl.col("service").str.replace(r"-[0-9a-f]{8,10}-[a-z0-9]{5}$", "")


def _may_be_in(path: str, keys: set[str]) -> bool:
    """Whether a document with these top-level keys can have the path, nested or dotted."""
    parts = path.split(".")
    return any(".".join(parts[:count]) in keys for count in range(1, len(parts) + 1))


def _plain(value: Any) -> str | None:
    """A value as text; the first of a list."""
    if isinstance(value, str):
        return value[:1024] or None
    if isinstance(value, (list, tuple)):
        return _plain(value[0]) if value else None
    return None if value is None or isinstance(value, Mapping) else str(value)


def _body(value: Any) -> str:
    if isinstance(value, str):
        return value[:MAX_BODY_CHARS]
    if isinstance(value, (list, tuple)):
        return _body(value[0]) if len(value) == 1 else str(list(value))[:MAX_BODY_CHARS]
    if isinstance(value, Mapping):
        # The log of Fluent Bit, or a structured body of OpenTelemetry.
        inner = next((value[key] for key in ("message", "msg", "text", "log") if isinstance(value.get(key), str)), None)
        return (inner if inner is not None else str(dict(value)))[:MAX_BODY_CHARS]
    return "" if value is None else str(value)


def _integers(values: Sequence[Any] | None, height: int) -> list[int]:
    if values is None:
        return [0] * height
    return [value if type(value) is int and abs(value) < 2**62 else 0 for value in values]


_NAMES = {
    "trace": Severity.TRACE, "finest": Severity.TRACE, "finer": Severity.TRACE, "verbose": Severity.TRACE,
    "debug": Severity.DEBUG, "dbug": Severity.DEBUG, "fine": Severity.DEBUG, "d": Severity.DEBUG,
    "info": Severity.INFO, "informational": Severity.INFO, "information": Severity.INFO, "notice": Severity.INFO,
    "i": Severity.INFO, "log": Severity.INFO, "config": Severity.INFO,
    "warn": Severity.WARN, "warning": Severity.WARN, "w": Severity.WARN,
    "error": Severity.ERROR, "err": Severity.ERROR, "severe": Severity.ERROR, "e": Severity.ERROR,
    "fatal": Severity.FATAL, "critical": Severity.FATAL, "crit": Severity.FATAL, "alert": Severity.FATAL,
    "emerg": Severity.FATAL, "emergency": Severity.FATAL, "panic": Severity.FATAL, "f": Severity.FATAL,
}  # fmt: skip

# Syslog's priorities, and the levels of bunyan and pino, which count the other way round.
_SYSLOG = {0: 21, 1: 21, 2: 21, 3: 17, 4: 13, 5: 9, 6: 9, 7: 5}
_BUNYAN = {10: 1, 20: 5, 30: 9, 40: 13, 50: 17, 60: 21}


@lru_cache(maxsize=4096)
def _severity_of(text: str) -> int:
    word = text.strip().strip("[]").lower()
    if word in _NAMES:
        return int(_NAMES[word])
    if word.isdigit():
        return severity(int(word))
    # OpenTelemetry writes INFO2 for the second number of a range.
    return int(_NAMES.get(word.rstrip("234"), Severity.UNSPECIFIED))


def severity(value: Any) -> int:
    """OpenTelemetry's number of a level in anybody's spelling; 0 when there is none."""
    if isinstance(value, str):
        return _severity_of(value[:32])
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return severity(value[0]) if isinstance(value, (list, tuple)) and value else 0
    number = int(value)
    if number in _BUNYAN and number > 24:
        return _BUNYAN[number]
    return number if 1 <= number <= 24 else _SYSLOG.get(number, 0)


def instant(value: Any) -> int | None:
    """Nanoseconds since the epoch of a time in any usual form; None when there is none, or an impossible one."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if text.replace(".", "", 1).isdigit():
            return _epoch(text)
        return _parsed(text)
    if isinstance(value, datetime):
        return _plausible(nanoseconds(value if value.tzinfo else value.replace(tzinfo=UTC)))
    return _epoch(repr(value)) if isinstance(value, (int, float)) else None


def _epoch(text: str) -> int | None:
    """Seconds, milliseconds, microseconds or nanoseconds, told apart by size."""
    try:
        whole, _, fraction = text.partition(".")
        number = int(whole)
        digits = len(whole)
        if digits <= 11:
            return _plausible(number * 10**9 + int((fraction[:9] or "0").ljust(9, "0")))
        scale = 10**6 if digits <= 14 else 10**3 if digits <= 17 else 1
        return _plausible(number * scale)
    except ValueError:
        return None


@lru_cache(maxsize=65_536)
def _parsed(text: str) -> int | None:
    """RFC 3339, with up to nine digits of a second."""
    try:
        moment = datetime.fromisoformat(text.replace(",", "."))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        whole = nanoseconds(moment)
    except OverflowError:
        return None
    digits = text.partition(".")[2]
    count = next((i for i, character in enumerate(digits) if not character.isdigit()), len(digits))
    rest = digits[6:count][:3]
    return _plausible(whole + (int(rest.ljust(3, "0")) if rest else 0))


def _plausible(value: int) -> int | None:
    """Nanoseconds that a 64-bit integer holds and that a log can have; the future is for the caller to judge."""
    return value if nanoseconds(EARLIEST) <= value < 2**63 else None
