"""Find the message in what runtimes and loggers wrote around it, and what else a line says of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

# --- Structured lines ------------------------------------------------------------------------------

_CRI = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9]{2}:?[0-9]{2}) (?:stdout|stderr) [FP] "
_PAIR = r'[A-Za-z_@][A-Za-z0-9_.@/-]*=(?:"(?:[^"\\]|\\.)*"|[^\s"]*)'
_LOGFMT = rf"^{_PAIR}(?:\s+{_PAIR})+\s*$"
# What a line that needs a closer look has, cheap to look for.
_SIGNS = {"wrapped": _CRI, "structured": r"^(?:\s*\{|[A-Za-z_@][A-Za-z0-9_.@/-]*=)", "traces": r"\n[^\n]"}

_MESSAGE_KEYS = ("message", "msg", "log", "body", "@message", "text", "event")
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
)
_DURATION_KEYS = {
    "duration": 1.0,
    "elapsed": 1.0,
    "latency": 1.0,
    "took": 1.0,
    "duration_s": 1.0,
    "duration_ms": 1e-3,
    "durationMs": 1e-3,
    "elapsed_ms": 1e-3,
    "latency_ms": 1e-3,
    "took_ms": 1e-3,
    "responseTime": 1e-3,
    "response_time_ms": 1e-3,
    "event.duration": 1e-9,
}
_PASSED_OVER = frozenset(("time", "ts", "timestamp", "@timestamp", "datetime", "date", *_LEVEL_KEYS))
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
    record: bool = True
    """Whether it is a record by itself; a runtime's wrapper around plain text is not."""


@dataclass(frozen=True)
class Messages:
    """The message of each line; `rows` are the structured lines and `fields` what they say, side by side."""

    text: pl.Series
    rows: tuple[int, ...] = ()
    fields: tuple[Structured, ...] = ()


def find_messages(bodies: pl.Series, drop_stack_frames: bool = True) -> Messages:
    """The message of each line: lines that are no wrapper, JSON or logfmt are their own message."""
    frame = bodies.alias("body").to_frame()
    wrapped, structured, traces = frame.select(
        pl.col("body").str.contains(pattern).any().alias(name) for name, pattern in _SIGNS.items()
    ).row(0)
    if not (wrapped or structured or traces):
        return Messages(frame.to_series())
    text = frame.to_series()
    if wrapped:
        text = text.str.replace(_CRI, "")
    messages = _decoded(text) if structured or wrapped else Messages(text)
    return replace(messages, text=_without_frames(messages.text)) if drop_stack_frames else messages


def _decoded(text: pl.Series) -> Messages:
    rows = text.str.contains(_SIGNS["structured"]).arg_true()
    found = {row: fields for row, body in zip(rows, text.gather(rows), strict=True) if (fields := decode(body))}
    if not found:
        return Messages(text)
    texts = pl.Series([fields.message for fields in found.values()], dtype=pl.String)
    return Messages(text.scatter(list(found), texts), tuple(found), tuple(found.values()))


def _without_frames(text: pl.Series) -> pl.Series:
    rows = text.str.contains(_SIGNS["traces"]).arg_true()
    return text.scatter(rows, text.gather(rows).str.replace_all(_FRAMES, "")) if len(rows) else text


_logfmt = re.compile(_LOGFMT.replace(r"\\.)*", r"\\.)*+"))
_pairs = re.compile(r'([A-Za-z_@][A-Za-z0-9_.@/-]*)=(?:"((?:[^"\\]|\\.)*+)"|([^\s"]*+))')


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
    pairs = {key: _unquoted(quoted) if quoted else bare for key, quoted, bare in _pairs.findall(body)}
    if not ({"msg", "message"} & pairs.keys() and len(pairs) > 1 and _logfmt.match(body)):
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
        severity=severity_of(_first(fields, _LEVEL_KEYS)),
        service=_first(fields, _SERVICE_KEYS),
        trace=_first(fields, _TRACE_KEYS),
        code=_code(_first(fields, _CODE_KEYS)),
        duration=_duration(fields),
    )


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


# --- Levels ----------------------------------------------------------------------------------------

_WORDS = {
    "trace": 1, "finest": 1, "finer": 1, "debug": 5, "fine": 5, "verbose": 5, "info": 9, "information": 9,
    "informational": 9, "notice": 10, "warn": 13, "warning": 13, "err": 17, "error": 17, "severe": 17, "crit": 18,
    "critical": 18, "alert": 19, "fatal": 21, "panic": 21, "dpanic": 21, "emerg": 22, "emergency": 22,
}  # fmt: skip
# What loggers of Node write, and syslog's numbers.
_NUMBERS = {"10": 1, "20": 5, "30": 9, "40": 13, "50": 17, "60": 21}
_PRIORITIES = (22, 19, 18, 17, 13, 10, 9, 5)
_KLOG = {"I": 9, "W": 13, "E": 17, "F": 21}

_UPPER = re.compile(
    r"(?:^|[\s\[(|\"<:=/-])(TRACE|DEBUG|FINE|VERBOSE|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|SEVERE|CRIT(?:ICAL)?|FATAL"
    r"|EMERG|ALERT|PANIC)(?=[\s\])|\":>,/-]|$)"
)
_BRACKETED = re.compile(
    r"(?i)(?:^|\s)(?:\[(trace|debug|info|notice|warn(?:ing)?|err(?:or)?|crit(?:ical)?|fatal|emerg|alert|panic)\]"
    r"|(?:level|lvl|severity)[=:]\s?\"?(\w+))"
)
_LEADING = re.compile(r"(?i)^\W{0,3}(trace|debug|info|notice|warn(?:ing)?|err(?:or)?|crit(?:ical)?|fatal|panic)\s?:")
_LOOKED_AT = 160


def severity_of(word: str | None) -> int:
    """OpenTelemetry's number of a level as loggers spell it; 0 when it is none.

    >>> severity_of("Warning"), severity_of("30"), severity_of("chatty")
    (13, 9, 0)
    """
    return _WORDS.get(word.lower(), _NUMBERS.get(word, 0)) if word else 0


def level_in(shape: str) -> int:
    """The severity that the header of a line names, or 0."""
    head = shape[:_LOOKED_AT]
    for pattern in (_BRACKETED, _UPPER, _LEADING):
        if match := pattern.search(head):
            return severity_of(next(group for group in match.groups() if group))
    return 0


# klog and syslog write the level as a part of a number, which no shape shows.
HIDDEN_LEVEL = re.compile(r"^(?:<0>|0 0:0:0\.0 )")
_HIDDEN = r"^(?:([IWEF])[0-9]{4} |<([0-9]{1,3})>)"


def hidden_levels(texts: pl.Series) -> list[int]:
    """Severities of lines whose shape begins like klog's or syslog's."""
    groups = texts.str.extract_groups(_HIDDEN)
    klog, priority = (groups.struct.field(name).to_list() for name in ("1", "2"))
    return [
        _KLOG[letter] if letter else _PRIORITIES[int(number) % 8] if number else 0
        for letter, number in zip(klog, priority, strict=True)
    ]


# --- Continuation lines and stack traces -----------------------------------------------------------

_FRAMES = (
    r"(?m)^\s+(?:at [\w.$<>/ ]+\([^)\n]*\).*|\.\.\. [0-9]+ (?:more|common frames omitted))\n?"
    r'|^\s+File "[^"\n]+", line [0-9]+.*\n?(?:    .*\n?)?'
    r"|^goroutine [0-9]+ \[[^\n]*\n?|^\t[^\n]*\.go:[0-9]+[^\n]*\n?"
)

_CONTINUES = re.compile(
    r"^(?:\t| {4}\s*\S"
    r"|\s+(?:at |from |in |by |File \"|\.\.\. |--- |->|~|\^)"
    r"|Caused by: |Suppressed: |\.\.\. 0 more|Traceback \(most recent call last\):|During handling of the above"
    r"|The above exception was the direct cause|goroutine 0 \[|created by |#0 0x|#0 +\S+\("
    r"|--- End of |\s*\^+\s*$|[})\]]+[,;]?\s*$)"
)


def continues(shape: str) -> bool:
    """Whether a line is part of the record before it in its stream, as its own shape tells."""
    return _CONTINUES.match(shape) is not None


# --- Codes and durations ---------------------------------------------------------------------------

# Without (?i), for then the engine can look for the words first.
_CODE = (
    r'(?:HTTP/[0-9.]+"? |\b(?:[sS]tatus(?:[ _]?[cC]ode)?|STATUS|http_status|[rR]esponse code|[cC]ode|CODE|http)"?'
    r'(?: is| of|:|=| )[ "]{0,2})([1-5][0-9]{2})\b'
    r"|\b(?:[eE]xit(?:ed)?|[rR]eturn(?:ed)?|[tT]erminated)(?: with)?(?: (?:exit |non-zero )?(?:status|code))[ :=]{1,2}"
    r"([0-9]{1,3})\b"
)
_PHRASE = (
    r"\b([1-5][0-9]{2}) (?:OK|Created|Accepted|No Content|Moved|Found|Not Modified|Bad Request|Unauthorized|Forbidden"
    r"|Not Found|Method Not|Conflict|Gone|Too Many|Internal Server Error|Not Implemented|Bad Gateway"
    r"|Service Unavailable|Gateway Time)"
)
# Units as they are spelt: 512M is no time.
_UNIT = (
    r"(ns|nanoseconds?|us|µs|microseconds?|ms|msecs?|millis|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)"
)
_DURATION = (
    rf"\b([0-9]+(?:\.[0-9]+)?) ?{_UNIT}\b"
    r"|(?:\b|_)(?i:duration|elapsed|latency|took|time)(?:_?(ms|us|ns|s|sec|seconds))?[\"']?(?::|=) ?"
    r"([0-9]+(?:\.[0-9]+)?)(?:$|[\s,;)}\]])"
)
# By how a unit begins; the first that fits.
_SECONDS = {"n": 1e-9, "u": 1e-6, "µ": 1e-6, "mic": 1e-6, "ms": 1e-3, "mil": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_spelt = re.compile(rf"(?i)([0-9]+(?:\.[0-9]+)?) ?{_UNIT}?")


def seconds_of(unit: str) -> float:
    """How many seconds a unit of time has.

    >>> seconds_of("ms"), seconds_of("minutes")
    (0.001, 60.0)
    """
    lower = unit.lower()
    return next(seconds for start, seconds in _SECONDS.items() if lower.startswith(start))


def _in_shapes(pattern: str) -> str:
    """The pattern for text whose numbers are 0 already."""
    for number in (r"[0-9]+(?:\.[0-9]+)?", r"[0-9]{1,3}", r"[1-5][0-9]{2}", r"[0-9.]+"):
        pattern = pattern.replace(number, r"0(?:\.0)?")
    return pattern


_IN_SHAPES = {"code": _in_shapes(_CODE), "phrase": _in_shapes(_PHRASE), "duration": _in_shapes(_DURATION)}


def hints(shapes: pl.Series) -> pl.DataFrame:
    """Whether lines of each shape may hold a `code`, the `phrase` of one, or a `duration`."""
    text = pl.col("text")
    return (
        shapes.alias("text")
        .to_frame()
        .select(text.str.contains(pattern).alias(name) for name, pattern in _IN_SHAPES.items())
    )


def codes_in(texts: pl.Series) -> pl.Series:
    """The first status or exit code of each line, by the word before it; null where there is none."""
    groups = texts.str.extract_groups(_CODE).struct
    return groups.field("1").fill_null(groups.field("2")).cast(pl.Int16, strict=False)


def phrases_in(texts: pl.Series) -> pl.Series:
    """The first status code of each line that its meaning follows; null where there is none."""
    return texts.str.extract(_PHRASE).cast(pl.Int16, strict=False)


def durations_in(texts: pl.Series) -> pl.Series:
    """The first duration of each line in seconds; null where there is none."""
    groups = texts.str.extract_groups(_DURATION).struct
    number = groups.field("1").fill_null(groups.field("4")).cast(pl.Float64, strict=False)
    unit = groups.field("2").fill_null(groups.field("3")).fill_null("s").str.to_lowercase()
    units = unit.unique()
    factor = unit.replace_strict(units, [seconds_of(name) for name in units], return_dtype=pl.Float64)
    return (number * factor).cast(pl.Float32)
