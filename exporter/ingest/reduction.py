"""Reduce pages of log lines to numbers, distinct shapes and a few exemplars: stateless, in any division and order."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, field_validator

from exporter.ingest import lateness, messages
from exporter.ingest.messages import Messages
from exporter.ingest.redaction import RedactionSettings, Redactor
from exporter.mining.masks import shapes_of
from exporter.model import Duration, Reduced, Settings, Severity, line_schema, page_schema, stable_key

UInt64s = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]
K = TypeVar("K")

EXEMPLARS = 3
"""Lines kept as text, of each window, service and shape; of those that say to be harmless, the first."""

MAX_BODY_CHARS = 2_000
"""Characters of an exemplar that are kept, continuation lines included."""

MAX_CONTINUATION_CHARS = 300
MAX_CONTINUATIONS = 400
"""Continuation lines whose text is kept, of each window and stream."""

MAX_JOINED = 30
"""Continuation lines that are joined to an exemplar."""

_MAX_REMEMBERED = 100_000
_BEFORE_REDACTION = 8_192

LINES_SCHEMA = line_schema()
SHAPES_SCHEMA = {"shape": pl.UInt64(), "text": pl.String(), "given": pl.Boolean()}
NAMES_SCHEMA = {"key": pl.UInt64(), "text": pl.String()}
EXEMPLAR_SCHEMA = {
    "window": pl.Int64(),
    "service": pl.String(),
    "shape": pl.UInt64(),
    **{
        name: page_schema()[name]
        for name in ("timestamp", "sequence", "id", "severity", "trace", "host", "stream", "body")
    },
}
NO_EXEMPLARS = pl.DataFrame(schema=EXEMPLAR_SCHEMA)
_NO_LINES, _NO_SHAPES, _NO_NAMES = (
    pl.DataFrame(schema=schema) for schema in (LINES_SCHEMA, SHAPES_SCHEMA, NAMES_SCHEMA)
)
_ORDER = (
    "timestamp",
    "stream",
    "sequence",
    "shape",
    "session",
    "trace",
    "service",
    "host",
    "severity",
    "code",
    "duration",
)

# Hashes of polars hold inside one process only; a seed of its own keeps anyone from preparing collisions.
_SEED = secrets.randbits(63)


class LineSettings(Settings):
    """What of a line is looked at."""

    max_line_chars: int = Field(default=4_096, ge=64, le=65_536)
    """Characters of a line that are looked at."""
    multiline: bool = True
    """Whether a line may continue the one before it: frames of a stack trace are neither counted nor mined."""
    drop_stack_frames: bool = True
    """Whether a trace inside one record loses its frames first."""


class ReductionSettings(LineSettings):
    """What `reduce` needs to know of a source."""

    window: Duration = timedelta(seconds=60)
    session_pattern: str | None = None
    """Where the source gives no session: a regular expression; its first group is the key."""
    redaction: RedactionSettings = RedactionSettings()
    redaction_key: bytes = Field(default=b"", repr=False, exclude=True)
    """Of the installation; without one, a key of this process alone."""

    @field_validator("session_pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        return session_pattern(value) if value is not None else None

    @classmethod
    def of(cls, source: Any, lines: LineSettings, redaction: RedactionSettings, key: bytes) -> ReductionSettings:
        """What a source's, the miner's and the redactor's configuration say."""
        sessions = getattr(source, "sessions", None)
        return cls(
            window=source.window,
            session_pattern=getattr(sessions, "pattern", None),
            **{name: getattr(lines, name) for name in LineSettings.model_fields},
            redaction=redaction,
            redaction_key=key,
        )


def session_pattern(value: str) -> str:
    """The pattern, if it can find keys. Raises ValueError."""
    try:
        pl.Series([""]).str.contains(value)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"not a regular expression that Rust knows (it has no look-around): {value!r}") from error
    return value


def frame_of(schema: Mapping[str, pl.DataType], *columns: Any) -> pl.DataFrame:
    """A frame of columns in the order of a schema: what pl.DataFrame does, without its long way of finding out."""
    return pl.DataFrame(
        [
            column.alias(name) if isinstance(column, pl.Series) else pl.Series(name, column, dtype)
            for (name, dtype), column in zip(schema.items(), columns, strict=True)
        ]
    )


def empty() -> Reduced:
    """What is left of no lines."""
    return Reduced(_NO_LINES, _NO_SHAPES, _NO_NAMES, NO_EXEMPLARS)


def reduce(page: pl.DataFrame, settings: ReductionSettings) -> Reduced:
    """All that later stages need of a page. The same lines give the same numbers in every process."""
    absent = page["timestamp"].null_count()
    kept = page.filter(pl.col("timestamp").is_not_null()) if absent else page
    dropped = {"absent_timestamp": absent} if absent else {}
    if kept.is_empty():
        return replace(empty(), dropped=dropped)
    kept, numbers = reduce_to_numbers(kept, settings)
    return replace(
        numbers,
        exemplars=_exemplars(kept, numbers.lines, settings),
        dropped=dropped,
        lateness=lateness.measure(kept, settings.window),
    )


def reduce_to_numbers(page: pl.DataFrame, settings: ReductionSettings) -> tuple[pl.DataFrame, Reduced]:
    """`reduce` without exemplars, of lines that all have a timestamp; and the page with what structured lines say."""
    found = messages.find_messages(page["body"], settings.drop_stack_frames)
    shapes = _with_given(distinct_shapes(found.text, settings), page["template"], settings)
    page = _with_fields(page, found)
    lines, names = _lines(page, found, shapes, settings)
    return page, Reduced(lines, shapes.frame(lines["shape"]), names, NO_EXEMPLARS)


def _with_fields(page: pl.DataFrame, found: Messages) -> pl.DataFrame:
    """Service and trace of structured lines where the source gives none."""
    for name in ("service", "trace"):
        values = [getattr(fields, name) for fields in found.fields]
        if any(values) and page[name].null_count():
            own = pl.repeat(None, page.height, dtype=pl.String, eager=True).scatter(list(found.rows), values)
            page = page.with_columns(pl.col(name).fill_null(own.alias(name)))
    return page


# --- Shapes ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """What is known of a coarse shape once it has been seen; a pure function of its text."""

    key: int
    text: str
    severity: int
    continuation: bool
    hidden_level: bool
    code: bool
    phrase: bool
    duration: bool
    given: bool = False


@dataclass(frozen=True)
class Shapes:
    """The distinct shapes of some lines: which lines have which."""

    distinct: tuple[Shape, ...]
    inverse: Int64s

    @cached_property
    def keys(self) -> list[int]:
        """Of the distinct shapes."""
        return [shape.key for shape in self.distinct]

    def key_of_each(self) -> UInt64s:
        """The key of its shape for every line."""
        return np.array(self.keys, np.uint64)[self.inverse]

    def of_each(self, name: str, dtype: Any) -> npt.NDArray[Any]:
        """An attribute of its shape for every line."""
        return np.array([getattr(shape, name) for shape in self.distinct], dtype)[self.inverse]

    def rows(self, name: str) -> Int64s | None:
        """The lines whose shape has an attribute, or None when no shape has."""
        having = [getattr(shape, name) for shape in self.distinct]
        return np.flatnonzero(np.array(having)[self.inverse]) if any(having) else None

    def frame(self, used: pl.Series) -> pl.DataFrame:
        """As `Reduced.shapes` has them; continuation lines use none."""
        shapes = dict(zip(self.keys, self.distinct, strict=True))
        if any(shape.continuation for shape in self.distinct):
            shapes = {key: shapes[key] for key in used.unique() if key}
        return frame_of(
            SHAPES_SCHEMA,
            list(shapes),
            [shape.text for shape in shapes.values()],
            [shape.given for shape in shapes.values()],
        )


def distinct_shapes(texts: pl.Series, settings: ReductionSettings) -> Shapes:
    """The shape of each message. What is known of a shape is remembered for the next page."""
    coarse = shapes_of(texts, settings.max_line_chars)
    hashes, first, inverse = _grouped(coarse.hash(_SEED))
    known = _memory(settings)
    shapes = [known.get(key) for key in hashes.tolist()]
    unknown = [index for index, shape in enumerate(shapes) if shape is None]
    if unknown:
        if len(known) > _MAX_REMEMBERED:
            known.clear()
        for index, shape in zip(unknown, _learn(coarse.gather(first[unknown]), settings), strict=True):
            shapes[index] = known[int(hashes[index])] = shape
    return Shapes(tuple(shape for shape in shapes if shape), inverse)


def _with_given(shapes: Shapes, templates: pl.Series, settings: ReductionSettings) -> Shapes:
    """Where the source brings a template it is the shape, as it is; what else is known comes from the line."""
    if templates.null_count() == len(templates):
        return shapes
    rows = np.flatnonzero(templates.is_not_null().to_numpy())
    _, first, inverse = _grouped(templates.gather(rows).hash(_SEED))
    texts = templates.gather(rows).gather(first).str.head(settings.max_line_chars)
    safe = _redactor(settings.redaction, settings.redaction_key).redact_series(texts).to_list()
    # The same template may be of lines whose own shapes differ: one row for each pair.
    pairs, inverse = _pairs(shapes.inverse[rows], inverse)
    given = [
        replace(
            shapes.distinct[own], key=stable_key(f"\0{texts[text]}"), text=safe[text], given=True, continuation=False
        )
        for own, text in pairs
    ]
    whole = shapes.inverse.copy()
    whole[rows] = inverse + len(shapes.distinct)
    return Shapes((*shapes.distinct, *given), whole)


def _pairs(first: Int64s, second: Int64s) -> tuple[list[tuple[int, int]], Int64s]:
    """The distinct pairs of two columns, and which one each row has."""
    pairs, inverse = np.unique(np.column_stack((first, second)), axis=0, return_inverse=True)
    return [(int(a), int(b)) for a, b in pairs], inverse.ravel()


def _grouped(hashes: pl.Series) -> tuple[UInt64s, Int64s, Int64s]:
    """The distinct hashes, where each is first, and which one each line has."""
    distinct, first, inverse = np.unique(hashes.to_numpy(), return_index=True, return_inverse=True)
    return distinct, first, inverse.ravel()


@lru_cache(64)
def _memory(settings: ReductionSettings) -> dict[int, Shape]:
    return {}


def forget() -> None:
    """Forget the shapes seen so far: results stay the same, only slower once."""
    _memory.cache_clear()


@lru_cache(64)
def _redactor(settings: RedactionSettings, key: bytes) -> Redactor:
    return Redactor.of(settings, key or secrets.token_bytes(16))


def _learn(texts: pl.Series, settings: ReductionSettings) -> list[Shape]:
    """Redacted, for templates are made of them; the key is that of the text as it was."""
    redacted = _redactor(settings.redaction, settings.redaction_key).redact_series(texts)
    hints = messages.hints(texts).rows()
    return [
        Shape(
            stable_key(text),
            safe,
            messages.level_in(text),
            settings.multiline and messages.continues(text),
            messages.HIDDEN_LEVEL.match(text) is not None,
            *hint,
        )
        for text, safe, hint in zip(texts.to_list(), redacted.to_list(), hints, strict=True)
    ]


# --- Lines -----------------------------------------------------------------------------------------


def _lines(
    page: pl.DataFrame, found: Messages, shapes: Shapes, settings: ReductionSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`Reduced.lines` and `Reduced.names` of a page."""
    texts = page.select(*_TEXTS, _session(page, settings))
    hashes = texts.select(pl.all().hash(_SEED))
    names: dict[int, str] = {}
    keys = {name: _keys(texts[name], hashes[name], names if name != "trace" else None) for name in texts.columns}
    continuation = _continuation(found, shapes)
    columns = {
        "timestamp": page["timestamp"],
        "sequence": page["sequence"],
        **keys,
        "severity": _severities(page, found, shapes),
        "shape": np.where(continuation, np.uint64(0), shapes.key_of_each()),
        "code": _codes(found, shapes),
        "duration": _durations(found, shapes),
        "continuation": continuation,
    }
    lines = frame_of(LINES_SCHEMA, *(columns[name] for name in LINES_SCHEMA))
    return lines, frame_of(NAMES_SCHEMA, list(names), list(names.values()))


_TEXTS = ("service", "host", "stream", "trace")


def _keys(texts: pl.Series, hashes: pl.Series, names: dict[int, str] | None) -> UInt64s:
    """The stable key of each text, 0 where there is none; the texts are noted in `names`."""
    numbers = hashes.to_numpy()
    if (numbers == numbers[0]).all():
        distinct, inverse = [texts[0]], None
    else:
        _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
        distinct = texts.gather(first).to_list()
    keys = [stable_key(text) if text else 0 for text in distinct]
    if names is not None:
        names.update((key, text) for key, text in zip(keys, distinct, strict=True) if key)
    return np.full(len(texts), keys[0], np.uint64) if inverse is None else np.array(keys, np.uint64)[inverse.ravel()]


def _session(page: pl.DataFrame, settings: ReductionSettings) -> pl.Expr:
    session = pl.col("session")
    missing = page["session"].null_count()
    if settings.session_pattern is None or not missing:
        return session
    found = pl.col("body").str.extract(settings.session_pattern, _group(settings.session_pattern))
    return found.alias("session") if missing == page.height else session.fill_null(found)


@lru_cache(64)
def _group(pattern: str) -> int:
    """The first group of a pattern, or all of the match when it has none."""
    groups = pl.Series([""]).str.extract_groups(pattern).dtype
    return 1 if isinstance(groups, pl.Struct) and groups.fields else 0


def _continuation(found: Messages, shapes: Shapes) -> npt.NDArray[np.bool_]:
    """Which lines are part of the record before them; a structured record never is."""
    continuation = shapes.of_each("continuation", np.bool_)
    continuation[[row for row, fields in zip(found.rows, found.fields, strict=True) if fields.record]] = False
    return continuation


def _severities(page: pl.DataFrame, found: Messages, shapes: Shapes) -> npt.NDArray[np.int8]:
    """The source's word counts most, then the line's own field, then its header."""
    given = page["severity"].to_numpy()
    if given.all():
        return given
    own = shapes.of_each("severity", np.int8)
    hidden = shapes.rows("hidden_level")
    if hidden is not None:
        own[hidden] = np.maximum(own[hidden], messages.hidden_levels(found.text.gather(hidden)))
    for row, fields in zip(found.rows, found.fields, strict=True):
        own[row] = fields.severity or own[row]
    return np.where(given == 0, own, given)


def _codes(found: Messages, shapes: Shapes) -> pl.Series:
    column = pl.Series(dtype=pl.Int16).clear(len(found.text))
    column = _looked_for(column, found.text, shapes.rows("phrase"), messages.phrases_in)
    column = _looked_for(column, found.text, shapes.rows("code"), messages.codes_in)
    return _from_fields(column, found, [fields.code for fields in found.fields])


def _durations(found: Messages, shapes: Shapes) -> pl.Series:
    column = pl.Series(dtype=pl.Float32).clear(len(found.text))
    column = _looked_for(column, found.text, shapes.rows("duration"), messages.durations_in)
    return _from_fields(column, found, [fields.duration for fields in found.fields])


def _looked_for(
    column: pl.Series, texts: pl.Series, rows: Int64s | None, look: Callable[[pl.Series], pl.Series]
) -> pl.Series:
    """The column with what is found in the text of some rows."""
    if rows is None:
        return column
    values = look(texts.gather(rows))
    found = values.is_not_null().to_numpy()
    return column.scatter(rows[found], values.drop_nulls())


def _from_fields(column: pl.Series, found: Messages, fields: Sequence[float | None]) -> pl.Series:
    """The column with what structured lines say in fields of their own."""
    named = {row: value for row, value in zip(found.rows, fields, strict=True) if value is not None}
    return column.scatter(list(named), pl.Series(list(named.values()), dtype=column.dtype)) if named else column


# --- Exemplars -------------------------------------------------------------------------------------


def _exemplars(page: pl.DataFrame, lines: pl.DataFrame, settings: ReductionSettings) -> pl.DataFrame:
    """The first lines of each window, service and shape, and of continuation lines the first of each stream."""
    windows = _window_starts(lines["timestamp"], settings.window)
    rows, exact = _first_rows(windows, lines)
    picked = page.select(*_OF_PAGE)[rows].with_columns(
        lines["severity"].gather(rows), lines["shape"].gather(rows), pl.Series("window", windows[rows])
    )
    if not exact:
        picked = _best(picked.with_columns(pl.Series("row", rows)))
        rows = picked["row"].to_numpy()
    bodies = page["body"].gather(rows).str.head(_BEFORE_REDACTION)
    redacted = _redactor(settings.redaction, settings.redaction_key).redact_series(bodies)
    return _detached(picked.with_columns(redacted.alias("body")).select(*_EXEMPLAR_COLUMNS))


def _detached(frame: pl.DataFrame) -> pl.DataFrame:
    """The same with texts of its own: the few rows that are gathered from a page hold on to all texts of the page."""
    return frame.with_columns(pl.col(pl.String) + "")


_OF_PAGE = ("service", "timestamp", "sequence", "id", "trace", "host", "stream")
# Where a line is a continuation, less of it is enough.
_CUT = pl.when(pl.col("shape") == 0).then(MAX_CONTINUATION_CHARS).otherwise(MAX_BODY_CHARS)
_EXEMPLAR_COLUMNS = [
    pl.col(name) if name != "body" else pl.col("body").str.strip_chars_end().str.head(_CUT) for name in EXEMPLAR_SCHEMA
]


def _window_starts(timestamps: pl.Series, window: timedelta) -> Int64s:
    """Of each line, in seconds since the epoch."""
    seconds = window // timedelta(seconds=1)
    return np.asarray(timestamps.to_numpy() // (seconds * 1_000_000_000) * seconds)


def _first_rows(windows: Int64s, lines: pl.DataFrame) -> tuple[Int64s, bool]:
    """Rows that could be among the first of their group: those not later than its third, so that none is lost.

    And whether these are the first already, because no two compete for the last place.
    """
    timestamps = lines["timestamp"].to_numpy()
    shapes = lines["shape"].to_numpy()
    severities = lines["severity"].to_numpy()
    harmless = (severities > 0) & (severities < Severity.WARN)
    groups = _group_numbers(windows, lines["service"].to_numpy(), shapes, harmless)
    order = np.lexsort((timestamps, groups))
    ordered, moments = groups[order], timestamps[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    sizes = np.diff(np.append(starts, len(ordered)))
    wanted = np.minimum(sizes, np.where(harmless[order[starts]], 1, EXEMPLARS))
    early = moments <= np.repeat(moments[starts + wanted - 1], sizes)
    early |= shapes[order] == 0
    return np.asarray(order[early]), int(early.sum()) == int(wanted.sum())


def _group_numbers(*columns: npt.NDArray[Any]) -> Int64s:
    """One number for each distinct combination of the columns' values."""
    numbers = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        if (column != column[0]).any():
            values, inverse = np.unique(column, return_inverse=True)
            numbers = numbers * len(values) + inverse.ravel()
    return numbers


_HARMLESS = pl.col("severity").is_between(1, Severity.WARN - 1)


def _best(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows to keep of some: the earliest of each group, by time, then id. Parts of parts give the same."""
    heads = frame.filter(pl.col("shape") != 0)
    group = ("window", "service", "shape", _HARMLESS)
    place = pl.int_range(pl.len()).over(group)
    kept = heads.sort("window", "service", "shape", "timestamp", "id").filter(
        place < pl.when(_HARMLESS).then(1).otherwise(EXEMPLARS)
    )
    if heads.height == frame.height:
        return kept.select(frame.columns)
    stream = ("window", "stream")
    tails = frame.filter(pl.col("shape") == 0).sort(*stream, "timestamp", "sequence", "id")
    some = tails.group_by(stream, maintain_order=True).head(MAX_CONTINUATIONS)
    return pl.concat([kept.select(frame.columns), some.select(frame.columns)])


# --- Merging ---------------------------------------------------------------------------------------


def merge(parts: Sequence[Reduced]) -> Reduced:
    """The parts as one: the same in any order and division."""
    if not parts:
        return empty()
    return Reduced(
        pl.concat([part.lines for part in parts]).sort(_ORDER, nulls_last=True),
        pl.concat([part.shapes for part in parts]).unique("shape", keep="any").sort("shape"),
        pl.concat([part.names for part in parts]).unique("key", keep="any").sort("key"),
        _best(pl.concat([part.exemplars for part in parts])),
        _largest([part.exact for part in parts]),
        _summed([part.dropped for part in parts]),
        lateness=_summed([part.lateness for part in parts]),
        sampled={window: share for part in parts for window, share in part.sampled.items()},
    )


def _largest(counts: Sequence[Mapping[int, int]]) -> dict[int, int]:
    windows = sorted({window for count in counts for window in count})
    return {window: max(count.get(window, 0) for count in counts) for window in windows}


def _summed(counts: Sequence[Mapping[K, int]]) -> dict[K, int]:
    total: dict[K, int] = {}
    for count in counts:
        for key, amount in count.items():
            total[key] = total.get(key, 0) + amount
    return total


def windows(reduced: Reduced, window: timedelta) -> dict[int, Reduced]:
    """Each window's part, by its start in seconds since the epoch; continuation lines are joined to their exemplars.

    Texts are shared: a window may name shapes that only others have.
    """
    if reduced.lines.is_empty():
        return {}
    lines = reduced.lines if reduced.lines["timestamp"].is_sorted() else reduced.lines.sort(_ORDER, nulls_last=True)
    exemplars = _joined(reduced, window).partition_by("window", as_dict=True)
    late: dict[int, dict[tuple[int, float], int]] = {}
    for (start, bound), amount in reduced.lateness.items():
        late.setdefault(start, {})[start, bound] = amount
    starts, first = np.unique(_window_starts(lines["timestamp"], window), return_index=True)
    ends = np.append(first[1:], lines.height)
    return {
        int(start): Reduced(
            lines.slice(int(at), int(end - at)),
            reduced.shapes,
            reduced.names,
            exemplars.get((int(start),), reduced.exemplars.clear()),
            {int(start): reduced.exact[start]} if start in reduced.exact else {},
            lateness=late.get(int(start), {}),
            sampled={int(start): reduced.sampled[start]} if start in reduced.sampled else {},
        )
        for start, at, end in zip(starts, first, ends, strict=True)
    }


def _joined(reduced: Reduced, window: timedelta) -> pl.DataFrame:
    """The exemplars, each followed by the continuation lines of its own window that came before the next line."""
    keyed = reduced.exemplars.with_columns(pl.Series("key", _stream_keys(reduced.exemplars["stream"])))
    heads = keyed.filter(pl.col("shape") != 0)
    if heads.height == keyed.height:
        return reduced.exemplars
    tails = keyed.filter(pl.col("shape") == 0).select(*_PLACE, "body")
    records = _records(reduced.lines, tails, window)
    texts = (
        records.filter(pl.col("body").is_not_null())
        .group_by("key", "window", "record", maintain_order=True)
        .agg(pl.col("body").head(MAX_JOINED).str.join("\n").alias("tail"))
    )
    first = records.filter(pl.col("body").is_null()).join(texts, on=("key", "window", "record"))
    with_tails = heads.join(first.unique(_PLACE).select(*_PLACE, "tail"), on=_PLACE, how="left", maintain_order="left")
    body = pl.concat_str("body", "tail", separator="\n", ignore_nulls=True).str.head(MAX_BODY_CHARS)
    return with_tails.with_columns(body.alias("body")).select(*EXEMPLAR_SCHEMA)


def _stream_keys(streams: pl.Series) -> UInt64s:
    return _keys(streams, streams.hash(_SEED), None)


_PLACE = ("key", "window", "timestamp", "sequence")


def _records(lines: pl.DataFrame, tails: pl.DataFrame, window: timedelta) -> pl.DataFrame:
    """Continuation lines (with a body) after the lines of their streams, `record` counting these in each window."""
    kept = lines.filter(~pl.col("continuation") & pl.col("stream").is_in(tails["key"].unique().implode()))
    heads = kept.select(
        pl.col("stream").alias("key"),
        pl.Series("window", _window_starts(kept["timestamp"], window)),
        "timestamp",
        "sequence",
        pl.lit(None, pl.String).alias("body"),
    )
    both = pl.concat([heads, tails]).sort(*_PLACE, "body", nulls_last=False)
    record = pl.col("body").is_null().cum_sum().over("key", "window").alias("record")
    return both.with_columns(record).filter(pl.col("record") > 0)
