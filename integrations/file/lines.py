"""Turn lines of text, NDJSON documents and rows of parquet into pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import polars as pl

from exporter.model import nanoseconds, page_schema
from exporter.reading.levels import severities
from exporter.reading.times import EARLIEST, Stamp, dated, leading, moments, nothing, recognise
from integrations._documents import MAX_BODY_CHARS, Decoder, without_pod_suffix
from integrations.file.content import Chunk, Kind
from integrations.file.settings import GROUPS, FileOptions


@dataclass
class Writer:
    """Who wrote the lines, and how."""

    stream: str
    service: str
    host: str | None
    kind: Kind
    reference: datetime
    """When the last line can have been written: tells the year where none stands."""
    place: str
    """What the ids of its lines begin with."""
    stamp: Stamp | None = None
    begun: int | None = None
    """When the first line was written, where lines tell the time of day only."""


_PROGRAM = (
    r"^(?:<\d{1,3}>)?(?:\d )?[A-Z][a-z]{2} [ \d]?\d \d{2}:\d{2}:\d{2}(?:\.\d+)? (\S+) "
    r"([A-Za-z_][\w./-]*)(?:\([\w./-]+\))?(?:\[\d+\])?:(?: |$)"
)
_PROGRAM_ISO = (
    r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2}) (\S+) "
    r"([A-Za-z_][\w./-]*)(?:\([\w./-]+\))?\[\d+\]: "
)


class Parser:
    """Turns lines of files into pages."""

    def __init__(self, settings: FileOptions) -> None:
        self._settings = settings
        self._decoder = Decoder(settings)
        self._excluded = list(settings.excluded)
        self._schema = page_schema()

    def page(self, log: Writer, chunk: Chunk, carry: int | None) -> tuple[pl.DataFrame, dict[str, int]]:
        """The lines of a chunk, each a document or text; text without a time takes that of the line before it."""
        lines = _lines(chunk.data)
        numbers = pl.int_range(chunk.line, chunk.line + len(lines), eager=True)
        filled = lines.str.contains(r"\S")
        if not filled.all():
            numbers, lines = numbers.filter(filled), lines.filter(filled)
        unusable: dict[str, int] = {}
        plain, documents = self._documents(log, lines, numbers)
        if len(plain) == len(lines):
            times = self._plausible(self._own_times(log, lines, carry), unusable)
            page = self._text(log, lines, numbers, _inherited(times, carry))
        elif len(plain):
            times = nothing(len(lines)).scatter(numbers.search_sorted(documents["sequence"]), documents["timestamp"])
            own = self._plausible(self._own_times(log, lines.gather(plain), carry), unusable)
            times = _inherited(times.scatter(plain, own), carry).gather(plain)
            text = self._text(log, lines.gather(plain), numbers.gather(plain), times)
            page = pl.concat([documents, text]).sort("sequence")
        else:
            page = documents
        if missing := page["timestamp"].null_count():
            unusable["absent_timestamp"] = missing
        return page, unusable

    def _own_times(self, log: Writer, lines: pl.Series, carry: int | None) -> pl.Series:
        """The times that lines begin with, or those in the pattern's group."""
        pattern, zone = self._settings.pattern, self._settings.timezone
        if log.kind == "ndjson":
            # What stands between documents has no form of its own: a time inside it may be any.
            return leading(lines, log.reference, zone)
        if pattern and "<timestamp>" in pattern:
            lines = lines.str.extract_groups(pattern).struct["timestamp"].fill_null("")
        if log.stamp is None:
            log.stamp = recognise(lines, log.reference, zone)
        if log.stamp is None:
            return nothing(len(lines))
        times = log.stamp.times(lines, log.reference, zone)
        if log.stamp.form.dateless:
            return dated(times, log.begun if carry is None else carry, log.reference, zone)
        return times

    def _text(self, log: Writer, lines: pl.Series, numbers: pl.Series, times: pl.Series) -> pl.DataFrame:
        columns: dict[str, Any] = {
            "id": self._ids(log, numbers),
            "timestamp": times,
            "sequence": numbers,
            "stream": pl.lit(log.stream),
            "service": pl.lit(self._settings.service or log.service),
            "severity": pl.lit(0, pl.Int8),
            "body": lines,
            "host": pl.lit(log.host, pl.String),
        }
        columns |= self._told(log, lines)
        return self._finished(columns, len(lines))

    def _told(self, log: Writer, lines: pl.Series) -> dict[str, pl.Series]:
        """What lines of text say of themselves where their form says where."""
        told: dict[str, pl.Series] = {}
        if log.stamp and log.stamp.form.name in ("syslog", "iso"):
            pattern = _PROGRAM if log.stamp.form.name == "syslog" else _PROGRAM_ISO
            groups = lines.str.head(256).str.extract_groups(pattern).struct
            if groups.field("1").null_count() < len(lines):
                told["host"] = groups.field("1").fill_null(log.host) if log.host else groups.field("1")
                if not self._settings.service:
                    told["service"] = groups.field("2").str.split("/").list.last().fill_null(log.service)
        if self._settings.pattern:
            found = lines.str.extract_groups(self._settings.pattern).struct.unnest()
            for name in (name for name in GROUPS if name in found.columns and name != "timestamp"):
                values = found[name].replace("", None)
                told[name] = values.fill_null(pl.Series([log.service])) if name == "service" else values
            if "severity" in told:
                told["severity"] = severities(told["severity"], len(lines))
            if "body" in told:
                told["body"] = lines.zip_with(told["body"].is_null(), told["body"])
        return told

    def _documents(self, log: Writer, lines: pl.Series, numbers: pl.Series) -> tuple[pl.Series, pl.DataFrame]:
        """Which lines are text, and the page of the others.

        A document without a time is one all the same, except between lines of text, which it continues.
        """
        documents: list[Mapping[str, Any]] = []
        found: list[int] = []
        positions = pl.int_range(len(lines), eager=True)
        braced = (lines.str.strip_chars_start() if log.kind == "ndjson" else lines).str.starts_with("{")
        if self._settings.format == "text" or not braced.any():
            return positions, self._finished({}, 0)
        for number, line in zip(positions.filter(braced), lines.filter(braced), strict=True):
            try:
                documents.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                continue
            found.append(number)
        order = numbers.gather(found)
        page = self._decoder.page(documents, self._ids(log, order).to_list(), None, order.to_list())
        taken = pl.Series(found, dtype=pl.Int64)
        if log.kind == "text":
            timeless = page.filter(pl.col("timestamp").is_null())["sequence"]
            page = page.filter(pl.col("timestamp").is_not_null())
            taken = taken.filter(~order.is_in(timeless.implode()))
        raw = lines.gather(numbers.search_sorted(page["sequence"])).str.head(MAX_BODY_CHARS)
        own = page["body"].str.strip_chars_end("\r\n")
        page = page.with_columns(
            stream=page["stream"].fill_null(log.stream),
            service=page["service"].fill_null(self._settings.service or log.service),
            body=own.zip_with(own != "", raw),
            host=page["host"].fill_null(log.host) if log.host else page["host"],
        )
        plain = positions.filter(~positions.is_in(taken.implode())) if len(taken) < len(lines) else positions.clear()
        return plain, page

    def rows(self, log: Writer, frame: pl.DataFrame, first: int) -> tuple[pl.DataFrame, dict[str, int]]:
        """Rows of a parquet file, their columns mapped; no loop over them."""
        taken = {name: _column(frame, paths) for name, paths in self._settings.columns().items()}
        numbers = pl.int_range(first, first + frame.height, eager=True)
        columns: dict[str, Any] = {
            "id": self._ids(log, numbers),
            "sequence": numbers,
            "stream": pl.Series([log.stream]).new_from_index(0, frame.height),
            "severity": pl.lit(0, pl.Int8),
            "body": pl.lit(""),
        }
        for name in ("body", "stream", "trace", "session", "host", "template"):
            if (values := taken.get(name)) is not None:
                columns[name] = _texts(values)
        unusable: dict[str, int] = {}
        columns["timestamp"] = self._times(taken.get("timestamp"), log, frame.height, unusable)
        if (values := taken.get("sequence")) is not None and values.dtype.is_integer():
            columns["sequence"] = values.cast(pl.Int64, strict=False).fill_null(0)
        if (values := taken.get("severity")) is not None:
            columns["severity"] = severities(values, frame.height, values.name)
        if (values := taken.get("ingested_at")) is not None:
            columns["ingested_at"] = moments(values, self._settings.timezone, log.reference)
        columns["body"] = columns["body"].fill_null("") if isinstance(columns["body"], pl.Series) else columns["body"]
        columns["service"] = self._grouped(frame, taken, log)
        return self._finished(columns, frame.height), unusable

    def _times(self, values: pl.Series | None, log: Writer, height: int, unusable: dict[str, int]) -> pl.Series:
        if values is None:
            times = nothing(height)
        else:
            times = self._plausible(moments(values, self._settings.timezone, log.reference), unusable)
        if missing := times.null_count() - unusable.get("before_1990", 0):
            unusable["absent_timestamp"] = missing
        return times

    def _grouped(self, frame: pl.DataFrame, taken: Mapping[str, pl.Series | None], log: Writer) -> pl.Series:
        if self._settings.group_by != ("service",):
            parts = [_column(frame, (path,)) for path in self._settings.group_by]
            texts = [pl.Series([""] * frame.height) if part is None else _texts(part).fill_null("") for part in parts]
            joined: pl.Series = texts[0]
            for text in texts[1:]:
                joined = joined + "/" + text
            return joined
        values = taken.get("service")
        own = self._settings.service or log.service
        return pl.Series([own]).new_from_index(0, frame.height) if values is None else _texts(values).fill_null(own)

    def _plausible(self, times: pl.Series, unusable: dict[str, int]) -> pl.Series:
        wrong = times < nanoseconds(EARLIEST)
        if count := int(wrong.sum()):
            unusable["before_1990"] = count
            return times.set(wrong.fill_null(False), None)
        return times

    def _ids(self, log: Writer, numbers: pl.Series) -> pl.Series:
        return f"{log.place}:" + numbers.cast(pl.String)

    def _finished(self, columns: Mapping[str, Any], height: int) -> pl.DataFrame:
        """All columns of a page, in order; lines of services that are left out removed."""
        given = [
            (columns[name] if isinstance(columns[name], pl.Expr) else pl.lit(columns[name])).cast(kind).alias(name)
            if name in columns
            else pl.lit(None, kind).alias(name)
            for name, kind in self._schema.items()
        ]
        page = (
            pl.select(pl.int_range(height).alias("\0")).select(*given) if height else pl.DataFrame(schema=self._schema)
        )
        long = page["body"].str.len_bytes().max()
        if isinstance(long, int) and long > MAX_BODY_CHARS:
            page = page.with_columns(pl.col("body").str.head(MAX_BODY_CHARS))
        page = page.with_columns(without_pod_suffix())
        return page.filter(~pl.col("service").is_in(self._excluded).fill_null(False))


def _lines(data: bytes) -> pl.Series:
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = pl.Series("line", text.removesuffix("\n").split("\n"), dtype=pl.String)
    if "\x00" in text:
        # Before a line they are what a file that was cut leaves; inside, a crash or a payload.
        lines = lines.str.strip_chars_start("\x00").str.replace_all(r"\x00+", "\ufffd")
    return lines.str.strip_chars_end("\r") if "\r" in text else lines


def _inherited(times: pl.Series, carry: int | None) -> pl.Series:
    filled = times.fill_null(strategy="forward")
    return filled.fill_null(carry) if carry is not None else filled


def _column(frame: pl.DataFrame, paths: Iterable[str]) -> pl.Series | None:
    """The first of several paths that the frame has, where it is filled; further ones fill its holes."""
    found: pl.Series | None = None
    for path in paths:
        values = _at(frame, path)
        if values is None or values.null_count() == len(values):
            continue
        if found is None:
            found = values.alias(path)
        elif found.dtype == values.dtype:
            found = found.zip_with(found.is_not_null(), values)
        if not found.null_count():
            break
    return found


def _at(frame: pl.DataFrame, path: str) -> pl.Series | None:
    if path in frame.columns:
        return frame[path]
    head, _, rest = path.partition(".")
    if rest and head in frame.columns and isinstance(frame.schema[head], pl.Struct):
        return _at(frame[head].struct.unnest(), rest)
    return None


def _texts(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.Struct):
        return values.struct.json_encode()
    if isinstance(values.dtype, pl.List):
        return values.list.eval(pl.element().cast(pl.String)).list.first()
    if values.dtype == pl.Binary:
        return pl.Series([None if v is None else v.decode("utf-8", "replace") for v in values], dtype=pl.String)
    return values.cast(pl.String)
