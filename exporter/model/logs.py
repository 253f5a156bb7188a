"""Log lines: the columns of a page, and what is left of pages after reduction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


OWN_NAME = "log-anomaly-exporter"
"""Our service name: sources leave out lines of it, and alerts carry it as the label `source`."""


class Severity(IntEnum):
    """The first number of each range of OpenTelemetry's SeverityNumber; 0 is unspecified."""

    UNSPECIFIED = 0
    TRACE = 1
    DEBUG = 5
    INFO = 9
    WARN = 13
    ERROR = 17
    FATAL = 21


LEVELS: Mapping[str, Severity] = {
    word: severity
    for severity, words in {
        Severity.TRACE: "trace finest finer verbose vrb v 跟踪 トレース трассировка",
        Severity.DEBUG: (
            "debug dbug dbg fine d 调试 調試 除錯 デバッグ 디버그 отладка отл débogage depuración depuração"
        ),
        Severity.INFO: (
            "info information informational infos notice note log config inf i informationen hinweis "
            "informations informação informacion información informazioni 信息 資訊 通知 提示 情報 정보 инфо инф "
            "информация сведения bilgi"
        ),
        Severity.WARN: (
            "warn warning w wrn warnung avertissement advertencia aviso avviso avvertenza attenzione 警告 경고 "
            "внимание пред предупреждение waarschuwing ostrzeżenie varning uyarı uyari"
        ),
        Severity.ERROR: (
            "error err severe e fail failed eror fehler schwerwiegend grave erreur errore erro 错误 錯誤 エラー 오류 "
            "ошибка ошиб błąd fout hata"
        ),
        Severity.FATAL: (
            "fatal panic dpanic critical crit alert emergency emerg f ftl kritisch critique crítico crítica critico "
            "critica 致命 严重 嚴重 重大 심각 критический критическая критично krytyczny"
        ),
    }.items()
    for word in words.split()
}
"""What the words and letters of loggers mean, wherever they stand: in a field, in the header of a line."""

SYSLOG = tuple(LEVELS[word] for word in ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"))
"""What syslog's numbers mean. Only syslog counts from the worst, so they are read only where syslog writes them."""


PAGE_COLUMNS: Mapping[str, str] = {
    "id": "String",  # unique in its source: index and _id, file and offset, stream and nanosecond
    "timestamp": "Int64",  # nanoseconds since the epoch; null when absent or impossible
    "sequence": "Int64",  # order of the lines of one stream that share a timestamp
    "stream": "String",  # one writer: a file, a container, a Loki stream
    "service": "String",  # or the values of `group_by`, joined by "/"
    "severity": "Int8",  # OpenTelemetry's SeverityNumber; 0 when the source does not say;
    # below 0 where only a transport does: what the line itself says counts more
    "body": "String",
    "trace": "String",
    "session": "String",
    "host": "String",
    "ingested_at": "Int64",  # nanoseconds since the epoch, where documents carry it
    "template": "String",  # a template mined upstream (attribute log.record.template)
    "instance": "String",  # which of the service's processes: a pod, a container, an instance id
    "version": "String",  # of the service
    "fields": "String",  # words of the record's other fields: a JSON object, its keys sorted, at most MOST_FIELDS
    "code": "Int16",  # HTTP status or exit code in a field of its own
    "duration": "Float32",  # seconds, in a field of its own
    "place": "String",  # the name of the field that the duration stands in
    "record": "Int64",  # `sequence` of the first line of its record; null where only its text can say
}
"""Columns of a page, always all present; nullable, except id, sequence, severity and body."""

MOST_FIELDS = 16
"""Fields of a source whose words travel with its lines."""

MOST_WORDS = 50
"""Words of one field that are told apart in what is reduced at once; all others are OTHER_WORD."""

MOST_WORD_CHARS = 64
"""Characters of a word; a longer value is no word and is left out."""

OTHER_WORD = "*other*"
"""Stands for the words of a field beyond those that are told apart."""

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
    "instance": "UInt64",
    "version": "UInt64",
    "fields": "UInt64",  # the words of its fields: the text of this key in Reduced.names is a JSON object
    "place": "UInt64",  # where the duration stands: the name of a key, or of a place in the text; 0 where none is
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

    Parts merge in any order (`exporter.ingest.reduction.merge`). The form is versioned, for parts may come
    from other processes.

    lines: LINE_COLUMNS, one row a line with a usable timestamp.
    shapes: `shape` UInt64, `text` String, `given` Boolean (a template mined upstream: take it as it is).
    names: `key` UInt64, `text` String: services, hosts, streams, sessions, instances, versions, places of durations,
        and the words of fields. These are a JSON object of text by name, `{"event.action":"login","outcome":"no"}`,
        keys sorted, redacted: of at most MOST_FIELDS fields a source (those whose values are few in its sample), of at
        most MOST_WORD_CHARS characters each, and of a field at most MOST_WORDS words in one window, the first by time
        and text; every other is OTHER_WORD (`*other*`). So lines of the same words share one key, and 0 is a line
        without any. Status, exit code and duration are no words: they are `code` and `duration`. A duration is one
        number a line, in seconds, and belongs to its template and its `place`: durations of two places are never
        compared.
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
    version: int = 2
    lateness: Mapping[tuple[int, float], int] = field(default_factory=dict)
    sampled: Mapping[int, float] = field(default_factory=dict)
