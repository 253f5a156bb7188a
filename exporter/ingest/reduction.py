"""Reduce pages of log lines to numbers, distinct shapes and a few exemplars: stateless, in any division and order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from exporter.ingest import lateness, messages, places
from exporter.ingest.exemplars import NO_EXEMPLARS, best_of_each, exemplars_of, window_starts, with_continuations
from exporter.ingest.messages import Messages
from exporter.ingest.parts import is_part, with_parts
from exporter.ingest.redaction import Redactor
from exporter.ingest.settings import ReductionSettings
from exporter.ingest.shapes import (
    SEED,
    SHAPES_SCHEMA,
    Shapes,
    distinct_shapes,
    frame_of,
    redactor,
    safe_keys,
    safe_names,
    text_keys,
    with_given,
)
from exporter.ingest.splits import without_split_secrets
from exporter.ingest.words import bounded
from exporter.model import Reduced, line_schema
from exporter.reading.beside import words_as_text
from exporter.reading.levels import hidden_levels

Int64s = npt.NDArray[np.int64]

K = TypeVar("K")

LINES_SCHEMA = line_schema()

NAMES_SCHEMA = {"key": pl.UInt64(), "text": pl.String()}

_NO_LINES, _NO_SHAPES, _NO_NAMES = (
    pl.DataFrame(schema=schema) for schema in (LINES_SCHEMA, SHAPES_SCHEMA, NAMES_SCHEMA)
)

ORDER = (
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
    "place",
    "fields",
    "instance",
    "version",
)


PIECE = 50_000
"""Lines that are sorted at once."""


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
    kept = without_split_secrets(kept, redactor(settings.redaction, settings.redaction_key))
    kept, numbers = reduce_to_numbers(kept, settings)
    shown = ~is_part(kept)
    return replace(
        numbers,
        exemplars=exemplars_of(kept.filter(shown), numbers.lines.filter(shown), settings),
        dropped={**dropped, **numbers.dropped},
        lateness=lateness.measure(kept, settings.window),
    )


def reduce_to_numbers(page: pl.DataFrame, settings: ReductionSettings) -> tuple[pl.DataFrame, Reduced]:
    """`reduce` without exemplars, of lines that all have a timestamp; and the page with what structured lines say."""
    page, cut = with_parts(page) if settings.multiline else (page, 0)
    found = messages.find_messages(page["body"], settings.drop_stack_frames)
    shapes = with_given(distinct_shapes(found.text, settings), page["template"], settings)
    page = _with_fields(page, found)
    lines, names = _lines(page, found, shapes, settings)
    dropped = {"long_record": cut} if cut else {}
    return page, Reduced(lines, shapes.frame(lines["shape"]), names, NO_EXEMPLARS, dropped=dropped)


def _with_fields(page: pl.DataFrame, found: Messages) -> pl.DataFrame:
    """Service, trace and words of structured lines where the source gives none."""
    for name, said in (("service", "service"), ("trace", "trace"), ("fields", "words")):
        values = [getattr(fields, said) for fields in found.fields]
        if any(values) and page[name].null_count():
            own = pl.repeat(None, page.height, dtype=pl.String, eager=True).scatter(list(found.rows), values)
            page = page.with_columns(pl.col(name).fill_null(own.alias(name)))
    return page


def _lines(
    page: pl.DataFrame, found: Messages, shapes: Shapes, settings: ReductionSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`Reduced.lines` and `Reduced.names` of a page."""
    durations, place = _durations(page, found, shapes)
    page = page.with_columns(place.alias("place"))
    texts = page.select(*_TEXTS, _session(page, settings), _words(page, settings))
    hashes = texts.select(pl.all().hash(SEED))
    names: dict[int, str] = {}
    safe = safe_names(settings)
    keys = {
        name: text_keys(texts[name], hashes[name], names, safe_keys(settings) if name == "session" else safe)
        if name not in _UNNAMED
        else text_keys(texts[name], hashes[name], names if name == "fields" else None)
        for name in texts.columns
    }
    continuation = _continuation(page, found, shapes, settings)
    columns = {
        "timestamp": page["timestamp"],
        "sequence": page["sequence"],
        **keys,
        "severity": _severities(page, found, shapes),
        "shape": np.where(continuation, np.uint64(0), shapes.key_of_each()),
        "code": _given(page["code"], _codes(found, shapes)),
        "duration": _given(page["duration"], durations),
        "continuation": continuation,
    }
    lines = frame_of(LINES_SCHEMA, *(columns[name] for name in LINES_SCHEMA))
    return lines, frame_of(NAMES_SCHEMA, list(names), list(names.values()))


_UNNAMED = ("trace", "fields")
"""Traces are nobody's name, and the words of fields have been redacted together."""

_TEXTS = ("service", "host", "stream", "trace", "instance", "version", "place")


def _without_secrets(words: str, safe: str, redactor: Redactor) -> str | None:
    """Words whose redacted text is no object any more: what stands between two may have gone, so each is for itself."""
    if _object(safe) is not None:
        return safe
    pairs = [json.dumps({name: word}, ensure_ascii=False) for name, word in json.loads(words).items()]
    return words_as_text({name: word for pair in redactor.redact_all(pairs) for name, word in _object(pair) or ()})


def _object(text: str) -> list[tuple[str, str]] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return [*found.items()] if isinstance(found, dict) else None


def _words(page: pl.DataFrame, settings: ReductionSettings) -> pl.Series:
    """The words of fields, redacted: each of the few combinations once."""
    words = page["fields"]
    if words.null_count() == len(words):
        return words
    distinct = words.unique().drop_nulls().to_list()
    redacts = redactor(settings.redaction, settings.redaction_key)
    safe = [_without_secrets(*pair, redacts) for pair in zip(distinct, redacts.redact_all(distinct), strict=True)]
    return words.replace_strict(distinct, safe, default=None, return_dtype=pl.String)


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


def _continuation(
    page: pl.DataFrame, found: Messages, shapes: Shapes, settings: ReductionSettings
) -> npt.NDArray[np.bool_]:
    """Which lines are part of the record before them; a structured record never is, unless its source says so."""
    continuation = shapes.of_each("continuation", np.bool_)
    continuation[[row for row, fields in zip(found.rows, found.fields, strict=True) if fields.record]] = False
    record = page["record"]
    if settings.multiline and record.null_count() < len(record):
        known = record.is_not_null().to_numpy()
        continuation[known] = (record != page["sequence"]).fill_null(False).to_numpy()[known]
    return continuation


def _severities(page: pl.DataFrame, found: Messages, shapes: Shapes) -> npt.NDArray[np.int8]:
    """The source's word counts most, then the line's own field, then its header, then what a transport said."""
    given = page["severity"].to_numpy()
    if (given > 0).all():
        return given
    own = shapes.of_each("severity", np.int8)
    hidden = shapes.rows("hidden_level")
    if hidden is not None:
        own[hidden] = np.maximum(own[hidden], hidden_levels(found.text.gather(hidden)))
    for row, fields in zip(found.rows, found.fields, strict=True):
        own[row] = fields.severity or own[row]
    return np.where(given > 0, given, np.where(own != 0, own, -given))


def _given(own: pl.Series, found: pl.Series) -> pl.Series:
    """What stands in fields of records, and where there is nothing what was found in their text."""
    return found if own.null_count() == len(own) else own.fill_null(found)


def _codes(found: Messages, shapes: Shapes) -> pl.Series:
    column = pl.Series(dtype=pl.Int16).clear(len(found.text))
    column = _looked_for(column, found.text, shapes.rows("phrase"), messages.phrases_in)
    column = _looked_for(column, found.text, shapes.rows("code"), messages.codes_in)
    return _from_fields(column, found, [fields.code for fields in found.fields])


def _durations(page: pl.DataFrame, found: Messages, shapes: Shapes) -> tuple[pl.Series, pl.Series]:
    """The duration of each line, and the place where it stands; one at a known place counts before any other."""
    column = pl.Series(dtype=pl.Float32).clear(len(found.text))
    column = _looked_for(column, found.text, shapes.rows("duration"), messages.durations_in)
    at = page["place"]
    if shapes.rows("place") is not None:
        numbers = shapes.of_each("place", np.int8)
        for number in np.unique(numbers[numbers > 0]).tolist():
            rows = np.flatnonzero(numbers == number)
            column = _looked_for(column, found.text, rows, partial(places.durations_at, place=number))
            at = at.scatter(rows, [places.DURATIONS[number - 1][2]] * len(rows))
    if page["body"].str.starts_with("# ").any():
        rows = page["body"].str.contains(places.QUERY_TIME).arg_true().to_numpy()
        column = _looked_for(column, page["body"], rows, places.query_times)
        at = at.scatter(rows, ["Query_time"] * len(rows))
    return _from_fields(column, found, [fields.duration for fields in found.fields]), at


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


def merge(parts: Sequence[Reduced]) -> Reduced:
    """The parts as one: the same in any order and division."""
    if not parts:
        return empty()
    return Reduced(
        in_order(pl.concat([part.lines for part in parts])),
        pl.concat([part.shapes for part in parts]).unique("shape", keep="any").sort("shape"),
        pl.concat([part.names for part in parts]).unique("key", keep="any").sort("key"),
        best_of_each(pl.concat([part.exemplars for part in parts])),
        _largest([part.exact for part in parts]),
        _summed([part.dropped for part in parts]),
        lateness=_summed([part.lateness for part in parts]),
        sampled={window: share for part in parts for window, share in part.sampled.items()},
    )


def in_order(lines: pl.DataFrame) -> pl.DataFrame:
    """In the one order of lines. Sorting by all columns takes several times the room of what is sorted: a piece of them
    at a time, none of which ends inside of a moment."""
    if not lines["timestamp"].is_sorted():
        lines = lines.sort("timestamp")
    times = lines["timestamp"].to_numpy()
    moments = np.flatnonzero(times[1:] != times[:-1]) + 1
    wanted = np.searchsorted(moments, np.arange(PIECE, lines.height, PIECE))
    ends = [*np.unique(moments[wanted[wanted < len(moments)]]).tolist(), lines.height]
    pieces = [lines[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return pl.concat([piece.sort(ORDER, nulls_last=True) for piece in pieces])


def missing(lines: pl.DataFrame) -> dict[str, int]:
    """How many records say nothing of each of these; time, which nothing goes without, is among what was dropped."""
    silent = [(pl.col(name) == 0).sum().alias(name) for name in ("service", "severity", "trace", "host")]
    return {name: int(n) for name, n in lines.filter(~pl.col("continuation")).select(silent).row(0, named=True).items()}


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
    lines = reduced.lines if reduced.lines["timestamp"].is_sorted() else in_order(reduced.lines)
    exemplars = with_continuations(reduced, window).partition_by("window", as_dict=True)
    late: dict[int, dict[tuple[int, float], int]] = {}
    for (start, bound), amount in reduced.lateness.items():
        late.setdefault(start, {})[start, bound] = amount
    starts, first = np.unique(window_starts(lines["timestamp"], window), return_index=True)
    ends = np.append(first[1:], lines.height)
    parts = {
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
    if not (lines["fields"] != 0).any():
        return parts
    texts = dict(reduced.names.rows())
    return {start: bounded(part, texts) for start, part in parts.items()}
