"""What a structured line says of itself: message, level, service, trace, code, duration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exporter.model import MOST_FIELDS
from exporter.reading.beside import DURATIONS, word_of, words_as_text
from exporter.reading.levels import severity

_PAIR = r'[A-Za-z_@][A-Za-z0-9_.@/-]*=(?:"(?:[^"\\]|\\.)*"|[^\s"]*)'

_LOGFMT = rf"^{_PAIR}(?:\s+{_PAIR})+\s*$"

_MESSAGE_KEYS = ("message", "msg", "log", "body", "@message", "text", "event", "Message", "@m", "@mt", "MESSAGE")

_LEVEL_KEYS = (
    "level",
    "log.level",
    "severity",
    "lvl",
    "severity_text",
    "severityText",
    "loglevel",
    "levelname",
    "@level",
    "@l",
    "Level",
    "Severity",
    "SeverityText",
)

_SERVICE_KEYS = ("service", "service.name", "service_name", "app", "application")

_TRACE_KEYS = ("trace_id", "traceId", "trace.id", "traceID", "trace")

_CODE_KEYS = (
    "code",
    "status",
    "status_code",
    "statusCode",
    "http.response.status_code",
    "http_status",
    "exit_code",
    "exitCode",
    "grpc.status_code",
    "grpc_status",
    "grpc-status",
)

_DURATION_KEYS = {
    **{
        key: DURATIONS[key]
        for key in (
            *("duration", "elapsed", "latency", "took", "duration_s", "duration_ms", "durationMs", "elapsed_ms"),
            *("latency_ms", "took_ms", "responseTime", "response_time_ms", "event.duration", "request_time"),
            *("upstream_response_time", "Elapsed", "ElapsedMilliseconds", "time-taken", "time_taken"),
        )
    },
    "DurationMs": 1e-3,
}

_PASSED_OVER = frozenset(
    ("time", "ts", "timestamp", "@timestamp", "datetime", "date", "time_iso8601", "EventTime", "@t", *_LEVEL_KEYS)
)

_TOLD = _PASSED_OVER.union(_MESSAGE_KEYS, _SERVICE_KEYS, _TRACE_KEYS, _CODE_KEYS, _DURATION_KEYS)
"""What is told of a line already, or by others, is none of its words."""

_MAX_NESTING = 3


@dataclass(frozen=True)
class Structured:
    """What the fields of one structured line say."""

    message: str
    severity: int = 0
    service: str | None = None
    trace: str | None = None
    code: int | None = None
    duration: float | None = None
    words: str | None = None
    """The words of its other fields, as `Reduced.names` has them."""
    record: bool = True
    """Whether it is a record by itself; a runtime's wrapper around plain text is not."""


_logfmt = re.compile(_LOGFMT.replace(r"\\.)*", r"\\.)*+"))

# Takes whole runs of a key's characters, also those that no = follows, which have no group 2: looked for from each of
# their characters, one run of 65,000 would take minutes.
_pairs = re.compile(r'([A-Za-z_@][A-Za-z0-9_.@/-]*+)(?:(=)(?:"((?:[^"\\]|\\.)*+)"|([^\s"]*+)))?')


def decode(body: str, depth: int = 0) -> Structured | None:
    """The fields of a line of JSON or logfmt, or None when it is neither."""
    if body.lstrip()[:1] == "{":
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return None
        return _structured(_flat(value), depth) if isinstance(value, dict) and value else None
    if len(body) > 65_536:
        return None
    found = _pairs.findall(body)
    pairs = {key: _unquoted(quoted) if quoted else bare for key, equals, quoted, bare in found if equals}
    if not ({"msg", "message"} & pairs.keys() and len(pairs) > 1 and _logfmt.match(body)):
        return None
    if pairs.get("msg", "").startswith("audit("):
        # What auditd calls so is the time and number of an event.
        return None
    return _structured(pairs, depth)


def _unquoted(text: str) -> str:
    return text.replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\") if "\\" in text else text


def _flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by dotted name; an object's own name is not a field."""
    out: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            for inner, leaf in item.items():
                out.setdefault(f"{key}.{inner}", leaf)
        else:
            out[key] = item
    return out


def _structured(fields: Mapping[str, Any], depth: int) -> Structured:
    message = _first(fields, _MESSAGE_KEYS)
    wrapper = "log" in fields and "stream" in fields and len(fields) <= 4
    if wrapper and message is not None:
        inner = decode(message, depth + 1) if depth < _MAX_NESTING else None
        return inner or Structured(message.rstrip("\n"), record=False)
    return Structured(
        message=message if message is not None else _as_pairs(fields),
        severity=next((number for key in _LEVEL_KEYS if (number := severity(fields.get(key), key))), 0),
        service=_first(fields, _SERVICE_KEYS),
        trace=_first(fields, _TRACE_KEYS),
        code=_code(_first(fields, _CODE_KEYS)),
        duration=_duration(fields),
        words=_words(fields) if message is not None else None,
    )


def _words(fields: Mapping[str, Any]) -> str | None:
    """What stands beside the message in a word without digits: one with digits names what the line is about."""
    words = {key: word for key in sorted(fields.keys() - _TOLD) if (word := word_of(fields[key])) and _plain(word)}
    return words_as_text(dict(list(words.items())[:MOST_FIELDS]))


def _plain(word: str) -> bool:
    return word[0].isalpha() and not any(character.isdigit() or character in "/\\@" for character in word)


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = fields.get(name)
        if value is None:
            continue
        if isinstance(value, str) and value:
            return _clean(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
    return None


def _clean(text: str) -> str:
    # JSON can spell half of a surrogate pair, which no column can hold.
    return text.encode("utf-8", "replace").decode("utf-8")


def _as_pairs(fields: Mapping[str, Any]) -> str:
    """A record without a message, as text that is masked like any other."""
    pairs = (f"{key}={_scalar(value)}" for key, value in sorted(fields.items()) if key not in _PASSED_OVER)
    return _clean(" ".join(pairs))


def _scalar(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False) if " " in text else text


def _code(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,3}", text) else None


def _duration(fields: Mapping[str, Any]) -> float | None:
    for name, unit in _DURATION_KEYS.items():
        value = fields.get(name)
        if value is None:
            continue
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value * unit < 1e9:
            return float(value) * unit
        if isinstance(value, str) and (match := _spelt.fullmatch(value)):
            return float(match[1]) * (seconds_of(match[2]) if match[2] else unit)
    return None


# Units as they are spelt: 512M is no time.
UNIT = (
    r"(ns|nanoseconds?|us|µs|microseconds?|ms|msecs?|millis|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)"
)

# By how a unit begins; the first that fits.
_SECONDS = {"n": 1e-9, "u": 1e-6, "µ": 1e-6, "mic": 1e-6, "ms": 1e-3, "mil": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_spelt = re.compile(rf"(?i)([0-9]+(?:\.[0-9]+)?) ?{UNIT}?")


def seconds_of(unit: str) -> float:
    """How many seconds a unit of time has.

    >>> seconds_of("ms"), seconds_of("minutes")
    (0.001, 60.0)
    """
    lower = unit.lower()
    return next(seconds for start, seconds in _SECONDS.items() if lower.startswith(start))
