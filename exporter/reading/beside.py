"""What records say beside their message: status, duration, error, and words of few values that may decide."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from exporter.model import MOST_FIELDS, MOST_WORD_CHARS, MOST_WORDS

CODES = (
    *("http.response.status_code", "http.status_code", "attributes.http.response.status_code"),
    *("attributes.http.status_code", "httpRequest.status", "res.statusCode", "res.status", "response.status_code"),
    *("response.statusCode", "response.status", "responseStatus.code", "status_code", "statusCode", "status"),
    *("http_status", "response_code", "sc-status", "elb_status_code", "DownstreamStatus", "OriginStatus", "StatusCode"),
    *("rpc.grpc.status_code", "attributes.rpc.grpc.status_code", "grpc.status_code", "grpc_status", "grpc-status"),
    *("process.exit_code", "exit_code", "exitCode", "code", "resp"),
)
"""Where a status or an exit code stands."""

DURATIONS: Mapping[str, float] = {
    "event.duration": 1e-9,
    "attributes.http.server.duration": 1e-3,
    "duration": 1.0,
    "elapsed": 1.0,
    "latency": 1.0,
    "took": 1.0,
    "duration_s": 1.0,
    "duration_ms": 1e-3,
    "durationMs": 1e-3,
    "elapsed_ms": 1e-3,
    "elapsedMs": 1e-3,
    "latency_ms": 1e-3,
    "latencyMs": 1e-3,
    "took_ms": 1e-3,
    "took_millis": 1e-3,
    "responseTime": 1e-3,
    "response_time": 1.0,
    "response_time_ms": 1e-3,
    "request_time": 1.0,
    "upstream_response_time": 1.0,
    "attr.durationMillis": 1e-3,
    "durationMillis": 1e-3,
    "Elapsed": 1e-3,
    "ElapsedMilliseconds": 1e-3,
    "time-taken": 1e-3,
    "time_taken": 1e-3,
    "httpRequest.latency": 1.0,
    "rt": 1.0,
}
"""Where a duration stands, and of how many seconds its unit is where the value does not say."""

ERROR_TYPES = (
    *("error.type", "error.kind", "error.name", "err.type", "err.name", "exception.type", "exception.class"),
    *("exception.exception_class", "attributes.exception.type", "error.code", "thrown.name", "exception_class"),
)
ERROR_TEXTS = (
    *("error.message", "err.message", "exception.message", "exception.exception_message", "thrown.message"),
    *("attributes.exception.message", "error", "err", "exception", "error_message", "errorMessage"),
)
ERROR_STACKS = (
    *("error.stack_trace", "error.stack", "err.stack", "exception.stacktrace", "exception.stack_trace"),
    *("attributes.exception.stacktrace", "stack_trace", "stacktrace", "exc_info", "stack", "thrown.extendedStackTrace"),
)

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
CHOSEN_DURATIONS = {f"duration in {unit}": seconds for unit, seconds in _UNITS.items()}
"""Names under which is chosen where durations stand, by their unit."""

CHOSEN_WORDS = "words"
"""The name under which is chosen of which fields the words are kept."""

_DURATION_NAME = re.compile(
    r"(?:^|[._-])(?:duration|elapsed|latency|took|cost|rt|(?:resp(?:onse)?|req(?:uest)?|upstream|proc(?:essing)?|query|"
    r"exec(?:ution)?|service|backend|handler)[_-]?time|time[_-]?taken)"
    r"(?:[_-]?(?:in[_-]?)?(?P<unit>ns|nanos?|nanoseconds|us|micros?|microseconds|ms|msecs?|millis|milliseconds|s|secs?|"
    r"seconds))?$"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DECIDES = re.compile(
    r"(?i)outcome|result|status|state|reason|success|verdict|decision|action|error|exception|kind|code"
)
_NO_WORD = re.compile(
    r"(?i)(?:^|\.)(?:agent|ecs|input|@metadata|_[a-z]+|host|cloud|container|kubernetes|log|data_stream|dataset|module|labels|tags|"
    r"version|schema|pid|thread|traceid|trace_id|spanid|span_id|uuid|id)(?:\.|$)|[._-]id$"
)
_LOOKS_LIKE_A_WORD = re.compile(r"[^\W\d][^\n\t]*")

_SPELT = re.compile(
    r"(?i)\s*([0-9]{1,15}(?:\.[0-9]{1,15})?) ?"
    r"(ns|us|µs|ms|s|secs?|seconds?|m|mins?|minutes?|h|hours?|millis|milliseconds)?\s*"
)
_SPELT_UNITS = {"n": 1e-9, "u": 1e-6, "µ": 1e-6, "ms": 1e-3, "mil": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def code_of(value: Any) -> int | None:
    """A status or an exit code.

    >>> code_of("503"), code_of(137), code_of("ok"), code_of(True)
    (503, 137, None, None)
    """
    if isinstance(value, str):
        return int(value) if len(value) <= 3 and value.isascii() and value.isdecimal() else None
    return value if type(value) is int and 0 <= value < 1000 else None


def seconds_of(value: Any, unit: float) -> float | None:
    """A duration as a number of seconds, whether it says its unit or not.

    >>> seconds_of(1500, 1e-3), seconds_of("12.5ms", 1.0), seconds_of("-", 1.0)
    (1.5, 0.0125, None)
    """
    if isinstance(value, str):
        match = _SPELT.fullmatch(value[:40])
        if not match:
            return None
        if match[2]:
            lower = match[2].lower()
            unit = next(size for start, size in _SPELT_UNITS.items() if lower.startswith(start))
        # The same column is written in whole milliseconds by one server, in fractions of a second by another.
        elif unit == 1e-3 and "." in match[1]:
            unit = 1.0
        value = float(match[1])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value * unit < 1e9:
        return None
    return float(value) * unit


def with_error(message: str, kind: Any, text: Any, stack: Any, most: int) -> str:
    """A message, and on lines of their own the type and text of its error and the stack, as far as it lacks them.

    >>> with_error("cannot save", "IOError", "disk full", None, 100)
    'cannot save\\nIOError: disk full'
    """
    said = [piece for piece in (_short(kind), _short(text)) if piece and piece not in message]
    if said and not _short(kind):
        said.insert(0, "error")
    if isinstance(stack, list):
        stack = "\n".join(map(str, stack[:100]))
    under = stack[:most] if isinstance(stack, str) and stack[:200] not in message else ""
    return "\n".join(piece for piece in (message.rstrip("\n"), ": ".join(said), under) if piece)[:most]


def _short(value: Any) -> str:
    return value[:1024].strip() if isinstance(value, str) else ""


def word_of(value: Any) -> str | None:
    """A value as a word, where it is one.

    >>> word_of("declined"), word_of(True), word_of(7), word_of("x" * 100)
    ('declined', 'true', None, None)
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) and 0 < len(value) <= MOST_WORD_CHARS else None


def words_as_text(words: Mapping[str, str]) -> str | None:
    """Words by field as one text, the same for the same words."""
    text = json.dumps(dict(sorted(words.items())), ensure_ascii=False, separators=(",", ":")) if words else None
    return text.encode("utf-8", "replace").decode() if text else None


def chosen_beside(leaves: Mapping[str, Sequence[Any]], known: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Where some records keep a duration whose unit has to be told, and words that may decide; by what stands there."""
    found: dict[str, tuple[str, ...]] = {}
    usual = {path.lower() for path in known} | {path.lower() for path in CODES}
    for path, values in leaves.items():
        name, unit = _duration(path, values)
        if name:
            found[name] = (*found.get(name, ()), path)[:4]
            usual.add(path.lower())
        elif unit:
            usual.add(path.lower())
    ranked = sorted((rank, path) for path, values in leaves.items() if (rank := _rank(path, values, usual)) is not None)
    if ranked:
        found[CHOSEN_WORDS] = tuple(path for _, path in ranked[:MOST_FIELDS])
    return found


def _duration(path: str, values: Sequence[Any]) -> tuple[str, bool]:
    """The name under which a path is chosen, and whether it is one of a duration."""
    match = _DURATION_NAME.search(_CAMEL.sub("_", path).lower())
    if not match:
        return "", False
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if 2 * len(numbers) < sum(value is not None for value in values):
        return "", True
    if (unit := match["unit"]) is not None:
        short = "ns" if unit[0] == "n" else "us" if unit[0] == "u" or unit.startswith("mic") else "ms"
        return f"duration in {'s' if unit[0] == 's' else short}", True
    if path in DURATIONS and DURATIONS[path] != 1.0:
        return "", True
    # Who counts in seconds writes fractions; whole numbers are of a smaller unit, by how large they are.
    whole = all(float(number).is_integer() for number in numbers)
    middle = median(numbers) if numbers else 0
    return f"duration in {'s' if not whole else 'ns' if middle >= 1e7 else 'us' if middle >= 1e5 else 'ms'}", True


def _rank(path: str, values: Sequence[Any], usual: set[str]) -> tuple[int, int] | None:
    """How likely it is that a field decides, smaller is likelier; None where its values are no words, or many."""
    if path.lower() in usual or _NO_WORD.search(path):
        return None
    words = Counter(word for value in values if (word := word_of(value)) is not None)
    if not words or 2 * words.total() < sum(value is not None for value in values) or len(words) > MOST_WORDS:
        return None
    if not all(map(_LOOKS_LIKE_A_WORD.fullmatch, words)) or (len(words) > 3 and 3 * len(words) > words.total()):
        return None
    # What is always the same may be otherwise when something fails.
    return 0 if _DECIDES.search(path) else 1 if len(words) > 1 else 2, -words.total()
