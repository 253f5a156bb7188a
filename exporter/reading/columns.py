"""Lines whose columns have names: `#Fields:` of W3C, a header of CSV, PostgreSQL's csvlog."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import polars as pl

from exporter.reading.choice import may_be_time
from exporter.reading.times import moments

SAMPLE = 200
"""Lines by which it is told whether a file has columns."""

MOST_COLUMNS = 512
"""Of a row; what has more is no row of ours."""

MOST_TIMED = 32
"""Columns among which one with times is looked for."""

MOST_LINES = 500
"""Lines that a quoted text may span: with more, a quote is missing, and each line is a row by itself."""

LONGEST = 1_000_000
"""Characters of a row that are parted into columns."""

_FIELDS = re.compile(r"(?i)#fields:?\s")
_NAME = re.compile(r"[A-Za-z_@][\w .@/()-]{0,63}")
_TELLING = re.compile(
    r"(?i)@?timestamp|time|date|datetime|ts|message|msg|log|level|severity|body|text|event|description|eventtime"
)
_POSTGRES = re.compile(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [A-Za-z0-9+:-]{1,8},"?')
_POSTGRES_NAMES = (
    *("log_time", "user_name", "database_name", "process_id", "connection_from", "session_id", "session_line_num"),
    *("command_tag", "session_start_time", "virtual_transaction_id", "transaction_id", "error_severity"),
    *("sql_state_code", "message", "detail", "hint", "internal_query", "internal_query_pos", "context", "query"),
    *("query_pos", "location", "application_name", "backend_type", "leader_pid", "query_id"),
)
_POSTGRES_LEVELS = ("LOG", "INFO", "NOTICE", "WARNING", "ERROR", "FATAL", "PANIC", "DEBUG", "DEBUG1", "DEBUG2")
_POSTGRES_WIDTHS = (23, 24, 26)


@dataclass(frozen=True)
class Columns:
    """How the rows of a file are parted, and what stands where."""

    kind: Literal["w3c", "csv", "csvlog"]
    names: tuple[str, ...]
    delimiter: str
    header: str = ""
    """The line that names the columns, which is no row."""


@dataclass(frozen=True)
class Row:
    """One row: the position of its first line, how many lines it has, and its values by column."""

    position: int
    lines: int
    values: Mapping[str, str]


def columns_of(lines: pl.Series) -> Columns | None:
    """What the first lines of a file say of columns; None where they name none."""
    head = [line for line in lines.head(SAMPLE).to_list() if line.strip()]
    if not head or max(map(len, head)) > LONGEST:
        return None
    if head[0].startswith("#"):
        named = next((line for line in head if _FIELDS.match(line)), None)
        return _w3c(named, [line for line in head if not line.startswith("#")]) if named else None
    return _csvlog(head) or _with_header(head)


def _w3c(line: str, rows: Sequence[str]) -> Columns | None:
    """IIS parts values with blanks, CloudFront with tabs, whatever stands between the names; Exchange with commas."""
    names = line[len("#fields") :].lstrip(":").strip()
    for delimiter in "\t, ":
        parted = tuple(filter(None, names.split(delimiter))) if delimiter in names else tuple(names.split())
        wide = next((len(row) for row in _parted(rows[:1], delimiter)), len(parted))
        if 1 < len(parted) <= MOST_COLUMNS and wide == len(parted):
            return Columns("w3c", parted, delimiter)
    return None


def _csvlog(head: Sequence[str]) -> Columns | None:
    if not _POSTGRES.match(head[0]):
        return None
    first = next(_parted(head, ","), [])
    if len(first) not in _POSTGRES_WIDTHS or first[11] not in _POSTGRES_LEVELS:
        return None
    return Columns("csvlog", _POSTGRES_NAMES[: len(first)], ",")


def _with_header(head: Sequence[str]) -> Columns | None:
    for delimiter in ",;\t| ":
        names = next(_parted(head[:1], delimiter), [])
        if not 2 < len(names) <= MOST_COLUMNS or len(set(names)) < len(names) or not all(map(_NAME.fullmatch, names)):
            continue
        rows = list(_parted(head[1:], delimiter))
        # The last may be cut.
        whole = [row for row in rows[:-1] or rows if len(row) == len(names)]
        if not whole or len(whole) * 10 < len(rows[:-1] or rows) * 8:
            continue
        # Words of another language name columns where one of these holds times; so do those that blanks part.
        if (delimiter != " " and any(map(_TELLING.fullmatch, names))) or _has_times(whole):
            return Columns("csv", tuple(name.strip() for name in names), delimiter, head[0])
    return None


def _has_times(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a column of some rows holds times."""
    return any(
        all(map(may_be_time, column)) and len(moments(pl.Series(column)).drop_nulls()) * 10 >= len(rows) * 9
        for column in islice(zip(*rows, strict=True), MOST_TIMED)
    )


def _parted(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(LONGEST + 1)
    try:
        yield from csv.reader(lines, delimiter=delimiter)
    except csv.Error:
        return


def rows_of(lines: pl.Series, columns: Columns) -> tuple[list[Row], pl.Series]:
    """The rows among lines, and the positions of those that are none: of another width, or too long.

    Comments and the header are neither.
    """
    positions = pl.int_range(len(lines), eager=True)
    if columns.kind == "w3c":
        comments = lines.str.starts_with("#")
        if columns.delimiter == " ":
            return _split(lines, positions.filter(~comments), columns)
        return _rows(lines, positions.filter(~comments), columns, [1] * int((~comments).sum()))
    if columns.header:
        positions = positions.filter(lines != columns.header)
    counts = lines.gather(positions).str.count_matches('"', literal=True)
    found = [_rows(lines, positions, columns, spans) for spans in _spans(counts)]
    # A block may begin inside of a quoted text: then the other reading has more rows.
    return max(found, key=lambda item: len(item[0]))


def _spans(quotes: pl.Series) -> Iterator[list[int]]:
    """How many lines each row has, if the first line begins one, and if it ends one."""
    if not (quotes % 2 == 1).any():
        yield [1] * len(quotes)
        return
    for before in (0, 1):
        odd = (quotes.cast(pl.Int64).cum_sum() + before) % 2
        begins = odd.shift(1, fill_value=before) == 0
        starts = begins.arg_true().to_list()
        if starts and before:
            starts = [0, *starts] if starts[0] else starts
        spans = [end - start for start, end in zip(starts, [*starts[1:], len(quotes)], strict=True)]
        yield spans if spans and max(spans) <= MOST_LINES else [1] * len(quotes)


def _rows(
    lines: pl.Series, positions: pl.Series, columns: Columns, spans: Sequence[int]
) -> tuple[list[Row], pl.Series]:
    texts, places = lines.gather(positions).to_list(), positions.to_list()
    rows: list[Row] = []
    others: list[int] = []
    at = 0
    for span in spans:
        piece = texts[at : at + span]
        values = next(_parted([f"{line}\n" for line in piece], columns.delimiter), []) if _fits(piece) else []
        if len(values) == len(columns.names):
            rows.append(Row(places[at], span, dict(zip(columns.names, values, strict=True))))
        else:
            others += places[at : at + span]
        at += span
    return rows, pl.Series(others, dtype=pl.Int64)


def _fits(piece: Sequence[str]) -> bool:
    return sum(map(len, piece)) <= LONGEST


def _split(lines: pl.Series, positions: pl.Series, columns: Columns) -> tuple[list[Row], pl.Series]:
    """W3C writes no blank inside of a value, so no quotes."""
    texts = lines.gather(positions)
    fits = (texts.str.len_bytes() <= LONGEST) & (
        texts.str.count_matches(columns.delimiter, literal=True) == len(columns.names) - 1
    )
    places, taken = positions.filter(fits).to_list(), texts.filter(fits).to_list()
    rows = [
        Row(place, 1, dict(zip(columns.names, text.split(columns.delimiter), strict=True)))
        for place, text in zip(places, taken, strict=True)
    ]
    return rows, positions.filter(~fits)


def document_of(row: Row, columns: Columns) -> dict[str, str]:
    """A row as a document: W3C parts its time into two columns and writes `-` where there is nothing."""
    values = {name: value for name, value in row.values.items() if value not in ("", "-")}
    if columns.kind == "w3c" and "date" in values and "time" in values:
        return {"@timestamp": f"{values.pop('date')} {values.pop('time')}", **values}
    return values
