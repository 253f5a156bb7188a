"""Find the message in what runtimes and loggers wrote around it, and what else a line says of itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import polars as pl

from exporter.reading.fields import UNIT, Structured, decode, seconds_of

_CRI = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9]{2}:?[0-9]{2}) (?:stdout|stderr) [FP] "

# What a line that needs a closer look has, cheap to look for.
_SIGNS = {"wrapped": _CRI, "structured": r"^(?:\s*\{|[A-Za-z_@][A-Za-z0-9_.@/-]*=)", "traces": r"\n[^\n]"}


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

_DURATION = (
    rf"\b([0-9]+(?:\.[0-9]+)?) ?{UNIT}\b"
    r"|(?:\b|_)(?i:duration|elapsed|latency|took|time)(?:_?(ms|us|ns|s|sec|seconds))?[\"']?(?::|=) ?"
    r"([0-9]+(?:\.[0-9]+)?)(?:$|[\s,;)}\]])"
)


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
