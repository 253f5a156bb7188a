"""Find the message in what runtimes and loggers wrote around it, and what else a line says of itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import polars as pl

from exporter.ingest import places
from exporter.reading.fields import UNIT, Structured, decode, seconds_of
from exporter.reading.records import CONTINUES, RAISED

_CRI = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9]{2}:?[0-9]{2}) (?:stdout|stderr) [FP] "

_PROGRAM = (
    r"^(?:[A-Z][a-z]{2} [ 0-9]?[0-9] [0-9:]{8} |[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]+(?:Z|[+-][0-9:]{4,6})? )?"
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]* )?[A-Za-z][A-Za-z0-9_./-]*(?:\[[0-9]+\])?: \{\""
)
"""What syslog writes before a record of JSON."""

# What a line that needs a closer look has, cheap to look for.
_SIGNS = {
    "wrapped": _CRI,
    "structured": rf"^(?:\s*\{{|[A-Za-z_@][A-Za-z0-9_.@/-]*=)|{_PROGRAM}",
    "traces": r"\n[^\n]",
}


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
    bodies = text.gather(rows).str.replace(_PROGRAM, '{"')
    found = {row: fields for row, body in zip(rows, bodies, strict=True) if (fields := decode(body))}
    if not found:
        return Messages(text)
    texts = pl.Series([fields.message for fields in found.values()], dtype=pl.String)
    return Messages(text.scatter(list(found), texts), tuple(found), tuple(found.values()))


def _without_frames(text: pl.Series) -> pl.Series:
    """Of several lines the first that says something, and those that name an error: neither frames nor details."""
    rows = text.str.contains(_SIGNS["traces"]).arg_true()
    return text.scatter(rows, _said_first(text.gather(rows))) if len(rows) else text


# What stands on lines of its own before the message, and what of it is kept with that.
_BEFORE = (
    (r"^\s+", ""),
    (r"^(?:(?:# [A-Z][^\n]*|SET timestamp=[0-9]+;|use [^\s;]+;)\n)+(\S)", "${1}"),
    (r"^(?:[^\n]*\s)?((?:trce|dbug|info|warn|fail|crit): )\S+\[-?[0-9]+\]\n\s*", "${1}"),
    (r"^[A-Z][a-z]{2} [0-9]{1,2}, [0-9]{4},? [0-9:]+ [AP]M \S+ \S+\n", ""),
    (r"^[\[(]?[0-9][0-9T:.,/ +-]*Z?[\])]?\n\s*", ""),
    # Oracle's time, Samba's header with the place in its source.
    (r"^(?:[A-Z][a-z]{2} )?[A-Z][a-z]{2} +[0-9]{1,2} [0-9:.]+ (?:[A-Z]{2,5} )?[0-9]{4}\n\s*", ""),
    (r"^\[[0-9/:. ]+, +[0-9]{1,2}(?:,[^\]\n]*)?\] \S+\([^)\n]*\)\s*\n\s*", ""),
    (r"^[^\n]*(LEVEL: [A-Za-z]+)\s*\n(?:[^\n]*\n)*?MESSAGE *: ", "${1} "),
)

_TELLING = (
    rf"^\s*(?:Caused by: |-+> |\*\* \()?{RAISED}|^\s*Caused by: |^[Ee]rror: |^(?:ORA|TNS|PLS|RMAN|SP2)-[0-9]{{3,5}}: "
)

_MOST_TELLING = 4
"""Lines that name an error, of one record."""


def _said_first(texts: pl.Series) -> pl.Series:
    for pattern, kept in _BEFORE:
        texts = texts.str.replace(pattern, kept)
    lines = texts.str.replace_all(_FRAMES, "").str.split("\n").alias("lines").to_frame()
    telling = pl.element().filter(pl.element().str.contains(_TELLING))
    first, others = pl.col("lines").list.head(1), pl.col("lines").list.slice(1).list.eval(telling)
    return lines.select(pl.concat_list(first, others.list.head(_MOST_TELLING)).list.join("\n"))["lines"]


_FRAMES = (
    r"(?m)^\s+(?:at [\w.$<>/ ]+\([^)\n]*\).*|\.\.\. [0-9]+ (?:more|common frames omitted))\n?"
    r'|^\s+File "[^"\n]+", line [0-9]+.*\n?(?:    .*\n?)?'
    r"|^goroutine [0-9]+ \[[^\n]*\n?|^\t[^\n]*\.go:[0-9]+[^\n]*\n?"
)

# In shapes, whose numbers are 0 already.
_CONTINUES = re.compile(CONTINUES.replace("[0-9]+", "0"))


def continues(shape: str) -> bool:
    """Whether a line is part of the record before it in its stream, as its own shape tells."""
    return _CONTINUES.match(shape) is not None


# Without (?i), for then the engine can look for the words first.
_CODE = (
    r'(?:HTTP/[0-9.]+"? |\b(?:[sS]tatus(?:[ _]?[cC]ode)?|STATUS|http_status|[rR]esponse code|[cC]ode|CODE|http)"?'
    r'(?: is| of|:|=| )[ "]{0,2})([1-5][0-9]{2})\b'
    r"|\b(?:[eE]xit(?:ed)?|[rR]eturn(?:ed)?|[tT]erminated)(?: with)?(?: (?:exit |non-zero )?(?:status|code))[ :=]{1,2}"
    r"([0-9]{1,3})\b"
    r"|\b(?:rpc\.)?grpc[-_. ]status(?:[-_]code)?\"?[:= ]{1,2}([0-9]{1,3})\b"
)

_STATUS = "|".join(f"(?:{pattern})" for pattern in places.STATUSES)

_PHRASE = (
    r"\b([1-5][0-9]{2}) (?:OK|Created|Accepted|No Content|Moved|Found|Not Modified|Bad Request|Unauthorized|Forbidden"
    r"|Not Found|Method Not|Conflict|Gone|Too Many|Internal Server Error|Not Implemented|Bad Gateway"
    r"|Service Unavailable|Gateway Time)"
)

_DURATION = (
    rf"\b([0-9]+(?:\.[0-9]+)?) ?{UNIT}\b"
    r"|(?:\b|_)(?i:duration|elapsed|latency|took|time)(?:_?(ms|us|ns|s|sec|seconds))?[\"']?(?::|=) ?"
    rf"([0-9]+(?:\.[0-9]+)?)(?: ?{UNIT})?(?:$|[\s,;)}}\]])"
)


def _in_shapes(pattern: str) -> str:
    """The pattern for text whose numbers are 0 already."""
    for number in (r"[0-9]+(?:\.[0-9]+)?", r"[0-9]{1,3}", r"[1-5][0-9]{2}", r"[0-9.]+"):
        pattern = pattern.replace(number, r"0(?:\.0)?")
    return pattern


_IN_SHAPES = {
    "code": f"{_in_shapes(_CODE)}|{places.in_shapes(_STATUS)}",
    "phrase": _in_shapes(_PHRASE),
    "duration": _in_shapes(_DURATION),
}


def hints(shapes: pl.Series) -> pl.DataFrame:
    """Whether lines of each shape may hold a `code`, the `phrase` of one, or a `duration`, and at which place."""
    text = pl.col("text")
    return (
        shapes.alias("text")
        .to_frame()
        .select(
            *(text.str.contains(pattern).alias(name) for name, pattern in _IN_SHAPES.items()),
            places.first_place(text).alias("place"),
        )
    )


def codes_in(texts: pl.Series) -> pl.Series:
    """The first status, exit or gRPC code of each line, by the word before it; null where there is none."""
    groups = texts.str.extract_groups(_CODE).struct
    found = groups.field("1").fill_null(groups.field("2")).fill_null(groups.field("3"))
    for pattern in places.STATUSES if found.null_count() else ():
        found = found.fill_null(texts.str.extract(pattern))
    return found.cast(pl.Int16, strict=False)


def phrases_in(texts: pl.Series) -> pl.Series:
    """The first status code of each line that its meaning follows; null where there is none."""
    return texts.str.extract(_PHRASE).cast(pl.Int16, strict=False)


def durations_in(texts: pl.Series) -> pl.Series:
    """The first duration of each line in seconds; null where there is none."""
    groups = texts.str.replace_all(places.NONE, " ").str.extract_groups(_DURATION).struct
    number = groups.field("1").fill_null(groups.field("4")).cast(pl.Float64, strict=False)
    unit = groups.field("2").fill_null(groups.field("5")).fill_null(groups.field("3")).fill_null("s").str.to_lowercase()
    units = unit.unique()
    factor = unit.replace_strict(units, [seconds_of(name) for name in units], return_dtype=pl.Float64)
    return (number * factor).cast(pl.Float32)
