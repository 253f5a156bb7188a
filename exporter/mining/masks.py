"""Name what varies in log lines: one cheap pattern on every line, all the others on distinct shapes only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import polars as pl
from pydantic import Field, field_validator

from exporter.ingest.shapes import BOUNDARY, COARSE, CUT
from exporter.model import Settings, stable_key
from exporter.reading.patterns import matches_empty, problem

WILDCARD = "<*>"
"""Stands for a position that has held more values than are told apart."""


def _after_zero(letters: str) -> tuple[str, ...]:
    return tuple(f"0{space}{letter}" for letter in letters for space in ("", " "))


_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"

_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"

_CLOCK = r"0:0(?::0(?:[.,:]0)?)?"

_TLD = (
    r"(?:com|net|org|edu|gov|mil|int|io|co|dev|app|cloud|info|biz|local|localdomain|internal|lan|svc|arpa"
    r"|hk|cn|tw|jp|kr|sg|in|de|fr|uk|nl|eu|us|ca|au|br|ru|pl|it|es|ch|se|no|fi|dk|cz|at|be|ro)(?:\.[a-z]{2})?"
)

_UNIT = r"(?:ms|us|µs|ns|secs?|seconds?|msecs?|milliseconds?|mins?|minutes?|hours?|hrs?|days?|s)"

# Syslog's own header: the time and the host say nothing about the statement, the program does.
_SYSLOG = (
    r"^(?:<0>)?" + _MONTH + r" +0 0:0:0 [A-Za-z0-9_.-]+ ([A-Za-z0-9_./()-]+(?:\[0\])?: )",
    r"^<0>0 [0-9T:.Z+-]+ \S+ (\S+) \S+ \S+ (?:- |\[[^\]]*\] ?)?",
)

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_DATES = ("0-0", "0/0", *_MONTHS)


class _Step(NamedTuple):
    """A pattern, the name that it gives, and texts one of which is in everything that it matches."""

    name: str
    pattern: str
    signs: tuple[str, ...]


_STEPS = (
    _Step("URL", BOUNDARY + r"(?:[a-z][a-z0-9+]*:)+//[^\s'\"<>,;)\]}]+", ("//",)),
    _Step("EMAIL", r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", ("@",)),
    _Step("PATH", r"(?:" + BOUNDARY + r"[A-Za-z]:\\|\\\\)[^\s\"'<>|,;]+", ("\\",)),
    _Step(
        "HOST",
        BOUNDARY + r"(?:(?:[A-Za-z0-9_-]+\.)+" + _TLD + r"(?::0)?|(?:[a-z0-9_-]+\.){2,}[a-z]+:0)" + BOUNDARY,
        (".",),
    ),
    _Step(
        "TIME",
        BOUNDARY
        # The coarse pattern makes one 0 of the day, the T and the hour of 2026-11-22T11:20:04Z.
        + rf"(?:0[-/]0[-/]0(?:(?:[T _-]{_CLOCK}|:0(?::0(?:[.,]0)?)?)(?: ?(?:Z|UTC|GMT|[+-]0:?0?))?)?"
        + rf"|(?:{_DAY},? )?{_MONTH} +0(?:,? {_CLOCK})?(?: [A-Z]{{3,4}})?(?:,? 0)?(?: {_CLOCK})?"
        + rf"|0[/-]{_MONTH}[/-]0(?:[ :T]{_CLOCK})?(?: [+-]0)?)"
        + BOUNDARY,
        _DATES,
    ),
    _Step(
        "HOST",
        rf"{BOUNDARY}(?:[0-9A-Fa-f]{{1,4}}[:-]){{5}}[0-9A-Fa-f]{{1,4}}{BOUNDARY}|/?{BOUNDARY}0\.0\.0\.0(?::0|/0)?{BOUNDARY}"
        rf"|{BOUNDARY}(?:(?:[0-9A-Fa-f]{{1,4}}:){{7}}[0-9A-Fa-f]{{1,4}}"
        rf"|(?:[0-9A-Fa-f]{{1,4}}:){{1,6}}(?::[0-9A-Fa-f]{{1,4}}){{1,6}}){BOUNDARY}(?:%[A-Za-z0-9]+)?",
        (":", "-", ".0.0."),
    ),
    _Step("TIME", BOUNDARY + _CLOCK + BOUNDARY, ("0:0",)),
    _Step("HEADER", r"^(?:0 )?(?:[\[(]?<TIME>[\])]?[\s,|;-]*)+", ("0:0", "<TIME>", *_DATES)),
    _Step(
        "PATH",
        r"/?(?:[A-Za-z0-9_.+@$~*-]+/|<TIME>/)(?:[A-Za-z0-9_.+@$~*:-]*/|<TIME>/)+(?:[A-Za-z0-9_.+@$~:%*-]|<TIME>)*"
        r"|/[A-Za-z0-9_.+@$~-]+/[A-Za-z0-9_.+@$~:%*-]*",
        ("/",),
    ),
    _Step("TIME", r"<?" + BOUNDARY + r"0(?:\.0)? ?" + _UNIT + BOUNDARY, _after_zero("muµnshd")),
    _Step(
        "SIZE",
        BOUNDARY + r"0(?:\.0)? ?(?:[kKMGTP]i?[Bb]|[Bb]ytes?|B)" + BOUNDARY + r"(?: ?\(0(?:\.0)? ?[KMGT]i?B\))?",
        _after_zero("kKMGTPBb"),
    ),
    _Step("KV", r"=(?:\"[^\"]*\"|'[^']*'|[^\s,;&(){}\[\]\"'=]+)", ("=",)),
    _Step("NUM", rf"[-+]?(?:{BOUNDARY}0(?:\.0)*(?:[eE][-+]?0)?[kKMGTP%]?{BOUNDARY}|0(?:\.0)*)", ("0",)),
)
"""Named patterns, in order; they are written for text whose digits are 0 already."""

NAMES: tuple[str, ...] = tuple(dict.fromkeys(name for name, _, _ in _STEPS if name != "HEADER"))

KEEP_KEYS: tuple[str, ...] = (
    *("level", "loglevel", "log_level", "lvl", "severity", "status", "state", "result", "outcome", "reason", "code"),
    *("err", "error", "method", "verb", "op", "operation", "action", "event", "type", "kind", "phase", "success", "ok"),
)
"""Keys whose value tells statements apart, in `key=value`: it stays."""

_LISTS = (
    *(
        _Step(f"<{name}>", rf"<{name}>(?:[\s,;:/|._-]{{0,3}}<{name}>)+", signs)
        for name, signs in (("NUM", ("0", "<")), ("HOST", (".", ":", "-", "<")), ("PATH", ("/", "\\", "<")))
    ),
    _Step("[<LIST>]", r"\[[^\s,;\[\](){}=]+(?:, ?[^\s,;\[\](){}=]+)+\]", ("[",)),
)

_REDACTED = re.compile(r"<([a-z][a-z0-9_]{0,31}):[0-9a-f]{6}>")

_KINDS = {"email": "<EMAIL>", "ip": "<HOST>"}

_BINARY = r"[\x00-\x08\x0e-\x1f\x7f-\x9f\x{FFFD}]"

_binary = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]")

_BLOB = r"[^\s]{200,}"

_blob = re.compile(r"\S{200}")

_GUARD = "\u2261"

_PLACEHOLDER = re.compile(r"<(?:NUM|HOST|TIME|PATH|URL|EMAIL|SIZE|SECRET|BLOB|BINARY|V|[A-Z][A-Z0-9_]*|\*|\.\.\.)>")

# A word or a bracket, and the separators after it; an empty piece only where a text begins with separators.
_PIECE = re.compile(r"(^(?=[\s,;])|[\[\](){}]|[^\s\[\](){},;]+)([\s,;]*)")

_LONGEST_BLOCK = 24


class ExtraMask(Settings):
    """A pattern of the operator's own, applied before the built-in ones."""

    name: str = Field(pattern=r"^[A-Z][A-Z0-9_]{0,15}$")
    """What the placeholder is called: upper-case letters, digits and _."""
    regex: str
    """What to replace, in Rust's syntax; every number in the text is a single 0 already."""

    @field_validator("regex")
    @classmethod
    def _compiles(cls, value: str) -> str:
        if reason := problem(value):
            raise ValueError(reason)
        if matches_empty(value):
            raise ValueError("matches the empty text, so it would match everywhere; make a part of it mandatory")
        return value


class MaskSettings(Settings):
    """What is masked beyond and instead of the built-in masks."""

    disable: tuple[str, ...] = ()
    """Built-in masks to leave out, such as `PATH` or `KV`."""
    extra: tuple[ExtraMask, ...] = ()
    """Patterns of your own."""

    @field_validator("disable")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in NAMES]:
            raise ValueError(f"{unknown[0]!r} is not one of {', '.join(map(repr, NAMES))}")
        return value


def masked(shapes: Sequence[str], settings: MaskSettings, keep_keys: tuple[str, ...] = KEEP_KEYS) -> list[str]:
    """Shapes with everything that varies named."""
    if not shapes:
        return []
    safe = [_REDACTED.sub(lambda match: _KINDS.get(match[1], "<SECRET>"), shape) for shape in shapes]
    expression = _expression(settings, keep_keys, "\n".join(safe))
    return pl.DataFrame({"text": safe}, schema={"text": pl.String}).select(expression).to_series().to_list()


def _expression(settings: MaskSettings, keep_keys: tuple[str, ...], everything: str) -> pl.Expr:
    """All that any of the texts needs: each pattern costs something even where it finds nothing."""

    def needed(signs: Iterable[str]) -> bool:
        return any(sign in everything for sign in signs)

    text = pl.col("text")
    if _binary.search(everything):
        binary = text.str.count_matches(_BINARY) * 10 > text.str.len_chars()
        text = pl.when(binary).then(pl.lit("<BINARY>")).otherwise(text)
    if keep_keys and needed("="):
        names = "|".join(map(re.escape, keep_keys))
        text = text.str.replace_all(rf"(?i)\b({names})=", "${1}" + _GUARD)
    for mask in settings.extra:
        text = text.str.replace_all(mask.regex, f"<{mask.name}>")
    if needed(("<0>", *_MONTHS)):
        for pattern in _SYSLOG:
            text = text.str.replace(pattern, "${1}")
    for step in _STEPS:
        if step.name not in settings.disable and needed(step.signs):
            text = text.str.replace_all(step.pattern, {"KV": "=<V>", "HEADER": ""}.get(step.name, f"<{step.name}>"))
    for step in _LISTS:
        if needed(step.signs):
            text = text.str.replace_all(step.pattern, step.name)
    if _blob.search(everything):
        text = text.str.replace_all(_BLOB, "<BLOB>")
    return text.str.replace_all(_GUARD, "=", literal=True)


def fingerprint() -> str:
    """Of all the patterns here: templates mined with other masks are not comparable."""
    return (
        f"{stable_key(repr((COARSE, _SYSLOG, _STEPS, _LISTS, _REDACTED.pattern, _BINARY, _BLOB, _LONGEST_BLOCK))):016x}"
    )


def tokens_of(text: str, max_tokens: int) -> list[str]:
    """The tokens of a masked text, lists of any length written once.

    A text that was cut ends where the widths of its values have it: inside of a token, or of a list.

    >>> tokens_of("seats [<NUM>, <NUM>, <NUM>] free", 128)
    ['seats', '[<NUM>,', ']', 'free']
    >>> tokens_of("seats [(no=<V>, at=<V>), (no=<V>, at=<V>), (no=<V>, a <...>", 128)
    ['seats', '[(no=<V>,', 'at=<V>),', '<...>']
    """
    if text.endswith(f" {CUT}"):
        whole = text[: -len(CUT)].rstrip().rpartition(" ")[0]
        text = f"{whole} {CUT}" if whole else text
    tokens = _without_runs(collapse(text))
    return [*tokens[:max_tokens], CUT] if len(tokens) > max_tokens else tokens


def collapse(text: str) -> str:
    """Write a block of tokens that repeats at once only once, if it holds a placeholder.

    >>> collapse("[Ticket(a=<V>, b=<V>), Ticket(a=<V>, b=<V>)] sold")
    '[Ticket(a=<V>, b=<V>), ] sold'
    """
    if "<" not in text:
        return text
    pieces = _PIECE.findall(text)
    core = [piece for piece, _ in pieces]
    kept: list[str] = []
    out: list[str] = []
    places: dict[str, list[int]] = {}
    at, marked = 0, -1
    while at < len(core):
        period = _period(kept, core, at, places.get(core[at], ()), marked)
        if period:
            at += period
        else:
            places.setdefault(core[at], []).append(len(kept))
            marked = len(kept) if "<" in core[at] else marked
            kept.append(core[at])
            out += pieces[at]
            at += 1
    return "".join(out)


def _period(kept: list[str], core: list[str], at: int, places: Sequence[int], marked: int) -> int:
    """The length of the block that ends `kept` and starts again at `at`, or 0; `places`: those of its first piece.

    Where the text was cut before the block ended again, what there is of it. `marked`: where the last piece with a
    placeholder is, which a block must have; most are told apart by it, and a line of brackets has thousands.
    """
    if len(kept) - marked > _LONGEST_BLOCK:
        return 0
    for place in reversed(places):
        period = len(kept) - place
        if period > _LONGEST_BLOCK:
            return 0
        twin = at + marked - place
        if marked < place or (twin < len(core) and core[twin] not in (kept[marked], CUT)):
            continue
        block, again = kept[place:], core[at : at + period]
        cut = again[-1] == CUT
        size = len(again) - cut
        if (cut or size == period) and again[:size] == block[:size]:
            return size
    return 0


def _without_runs(text: str) -> list[str]:
    out: list[str] = []
    last = None
    for token in text.split():
        bare = token.rstrip(",;")
        if bare == last and "<" in bare:
            continue
        out.append(token)
        last = bare
    return out


def is_word(token: str) -> bool:
    """Whether a token could be one of few words that a program writes at its place."""
    bare = token.lstrip("([{\"'=:,;-")
    return bool(bare) and bare[0] != "<" and not bare[0].isdigit()


def extract(template: str, raw: str) -> tuple[tuple[str, str], ...] | None:
    """The values of a line at the placeholders of its template, or None when they do not line up.

    They need not where a list was written once. Time is linear in the line; meant for lines that are reported.

    >>> extract("user <*> logged in after <TIME>", "10:00:01 INFO user ann logged in after 35ms")
    (('*', 'ann'), ('TIME', '35ms'))
    """
    line = " ".join(raw.split())
    names = [match[0][1:-1] for match in _PLACEHOLDER.finditer(template)]
    literals = _PLACEHOLDER.split(template)
    at = line.find(literals[0])
    if at < 0:
        return None
    return _values(names, literals[1:], line, at + len(literals[0]))


def _values(names: list[str], literals: list[str], line: str, at: int) -> tuple[tuple[str, str], ...] | None:
    values = []
    for index, (name, literal) in enumerate(zip(names, literals, strict=True)):
        last = index == len(names) - 1
        end = _end(line, literal, at, last, name == "...")
        if end < at:
            return None
        values.append((name, line[at:end].strip()))
        at = end + len(literal)
    return tuple(values)


def _end(line: str, literal: str, at: int, last: bool, cut: bool) -> int:
    """Where the value that starts at `at` ends: before the literal that follows it."""
    if last:
        found = len(line) - len(literal) if line.endswith(literal) else -1
        return len(line) if cut else found
    if not literal.strip():
        # Two placeholders side by side: the first takes one word.
        space = line.find(" ", at)
        return space if literal and space >= 0 else at if not literal else -1
    return line.find(literal, at)
