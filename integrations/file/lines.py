"""Turn lines of text, NDJSON documents and rows of parquet into pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Literal

import orjson
import polars as pl

from exporter.model import nanoseconds, page_schema
from exporter.reading.batches import BATCHES, records_of
from exporter.reading.choice import chosen
from exporter.reading.columns import Columns, columns_of, document_of, rows_of
from exporter.reading.encodings import UTF8
from exporter.reading.forms import AMBIGUOUS
from exporter.reading.instants import EARLIEST
from exporter.reading.levels import severities
from exporter.reading.parts import begins_last, joined
from exporter.reading.peeling import Peeled, bare_layers, peel
from exporter.reading.records import whole_documents, with_own_times
from exporter.reading.times import Stamp, dated, leading, moments, nothing, recognise
from exporter.reading.told import FRONT, TEXT, Told
from exporter.reading.windows import BEGINNING, event_of
from exporter.reading.writers import PROGRAMS, are_names, in_brackets, of_spring, programs_of
from integrations._documents import MAX_BODY_CHARS, Decoder, without_pod_suffix
from integrations.file.content import Chunk, Kind, lines_of
from integrations.file.parquet import column, texts
from integrations.file.records import grouped, of_documents, timed_inside
from integrations.file.settings import GROUPS, FileOptions

ENDINGS = (16 * 1024, 512 * 1024)
"""Bytes at the end of a block among which its last record is looked for."""


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
    encoding: str = UTF8
    stamp: Stamp | None = None
    layers: tuple[str, ...] | None = None
    """Names that nearly all of its lines have in front; None until lines were looked at."""
    columns: Columns | Literal["none"] | None = None
    """What its rows consist of; None until lines were looked at."""
    chosen: Mapping[str, tuple[str, ...]] | None = None
    """Where its documents keep what, beyond the places that are known; None until documents were looked at."""
    named_in_brackets: bool | None = None
    """Whether its lines name their service in brackets behind their level."""
    blocks: bool | None = None
    """Whether what stands between two lines with a time is one record; None until enough lines were looked at."""
    begun: int | None = None
    """When the first line was written, where lines tell the time of day only."""


def _decoder(settings: FileOptions, told: Told | None, chosen: tuple[tuple[str, tuple[str, ...]], ...]) -> Decoder:
    return Decoder(settings, settings.timezone, dict(chosen), told)


class Parser:
    """Turns lines of files into pages. One class: however lines are parted, they end in one kind of page."""

    def __init__(self, settings: FileOptions, told: Told | None = None) -> None:
        self.told = told or Told()
        self.told.timezone = settings.timezone
        self._settings = settings
        given = settings.fields.model_fields_set
        self._open = {name: paths for name, paths in settings.columns().items() if name not in given}
        self._decoder_of = lru_cache(64)(partial(_decoder, settings, told))
        self._noting, self._looking = told is not None, Parser(settings) if told else self
        self._excluded = list(settings.excluded)
        self._grouped_by = settings.group_by != ("service",)
        self._schema = page_schema()

    def page(self, log: Writer, chunk: Chunk, carry: int | None) -> tuple[pl.DataFrame, dict[str, int]]:
        """The lines of a chunk, each a document or text; text without a time takes that of the line before it."""
        lines = lines_of(chunk.data)
        if self._noting and chunk.data.isascii() is False:
            self.told.undecoded += int(lines.str.contains("\ufffd", literal=True).sum())
        numbers = pl.int_range(chunk.line, chunk.line + len(lines), eager=True)
        filled = lines.str.contains(r"\S")
        if not filled.all():
            numbers, lines = numbers.filter(filled), lines.filter(filled)
        if self._settings.pattern:
            # It was written for lines as they are.
            return self._read(log, lines, numbers, carry, {})
        lines, numbers, cut = joined(lines, numbers)
        log.layers = bare_layers(lines) if log.layers is None and len(lines) else log.layers
        peeled = peel(lines, log.layers or ())
        page, unusable = self._read(log, peeled.text, numbers, carry, peeled.said)
        return self._with_peeled(log, page, numbers, peeled), unusable | cut

    def unfinished(self, log: Writer, data: bytes) -> int:
        """Bytes at the end of whole lines that are the last record among them, which may go on."""
        if self._settings.pattern:
            return 0
        found = (self._last_record(log, data[data.rfind(b"\n", 0, max(0, len(data) - size)) + 1 :]) for size in ENDINGS)
        return next((size for size in found if size is not None), len(data))

    def _last_record(self, log: Writer, tail: bytes) -> int | None:
        """Bytes of the last record of some lines; None where it began before."""
        if (split := begins_last(lines := lines_of(tail))) is not None:
            return sum(len(line) + 1 for line in tail.split(b"\n")[split:-1]) if split else None
        if log.kind != "text":
            return 0
        whole, numbers, _ = joined(lines, pl.int_range(len(lines), eager=True))
        peeled, looked_at = peel(whole, log.layers or ()), replace(log)
        own = self._looking._own_times(looked_at, peeled.text, None, peeled.said.get("time"))
        _, record = self._in_records(looked_at, peeled.text, numbers, own, peeled.said, None)
        opened = numbers.filter(peeled.text == "{")
        first = int(opened[-1] if len(opened) else numbers[-1] if record is None else record[-1])
        return sum(len(line) + 1 for line in tail.split(b"\n")[first:-1]) if first >= 0 else None

    def _with_peeled(self, log: Writer, page: pl.DataFrame, numbers: pl.Series, peeled: Peeled) -> pl.DataFrame:
        """What stood in front of lines, where they name nothing else themselves."""
        if not peeled.said or not page.height:
            return page
        rows = numbers.search_sorted(page["sequence"])
        said = {name: values.gather(rows) for name, values in peeled.said.items()}
        for name in ("service", "severity", "host") if self._noting else ():
            self.told.note(name, FRONT, len(said[name]) - said[name].null_count() if name in said else 0)
        columns: dict[str, pl.Series] = {}
        if (levels := said.get("severity")) is not None:
            own = page["severity"]
            columns["severity"] = own.set(own == 0, None).fill_null(-levels).fill_null(0)
        for name, default in (("service", self._settings.service or log.service), ("host", log.host)):
            if name in said and not (name == "service" and (self._settings.service or self._grouped_by)):
                columns[name] = _instead_of(default, page[name], said[name])
        return page.with_columns(**columns)

    def _read(
        self, log: Writer, lines: pl.Series, numbers: pl.Series, carry: int | None, said: Mapping[str, pl.Series]
    ) -> tuple[pl.DataFrame, dict[str, int]]:
        """Lines without what stood in front of them, and what that said of each."""
        unusable: dict[str, int] = {}
        whole = whole_documents(lines) if log.kind == "text" and not self._settings.pattern else None
        plain, documents = self._documents(log, whole[0] if whole else lines, numbers, said.get("time"))
        if len(plain) == len(lines) and not documents.height:
            own = self._plausible(self._own_times(log, lines, carry, said.get("time")), unusable)
            times, record = self._in_records(log, lines, numbers, own, said, None)
            page = self._text(log, lines, numbers, _inherited(times, carry), record)
        elif len(plain):
            times = nothing(len(lines)).scatter(numbers.search_sorted(documents["sequence"]), documents["timestamp"])
            around = {name: values.gather(plain) for name, values in said.items()}
            left = lines.gather(plain)
            own = self._plausible(self._own_times(log, left, carry, around.get("time")), unusable)
            own, record = self._in_records(log, left, numbers.gather(plain), own, around, plain)
            if whole:
                record = of_documents(record, numbers, plain, whole[1])
            times = _inherited(times.scatter(plain, own), carry).gather(plain)
            text = self._text(log, left, numbers.gather(plain), times, record)
            page = pl.concat([documents, text]).sort("sequence")
        else:
            page = documents
        if missing := page["timestamp"].null_count():
            unusable["absent_timestamp"] = missing
        return page, unusable

    def _in_records(
        self,
        log: Writer,
        lines: pl.Series,
        numbers: pl.Series,
        own: pl.Series,
        said: Mapping[str, pl.Series],
        apart: pl.Series | None,
    ) -> tuple[pl.Series, pl.Series | None]:
        """The times of lines that begin a record, and the record of each line."""
        if self._settings.pattern or not len(lines):
            return own, None
        timed = timed_inside(lines) if "time" in said else own.is_not_null()
        record = grouped(log, lines, numbers, timed, said, apart)
        if record is not None:
            own = own.set((record != numbers).fill_null(False), None)
        return own, record

    def _own_times(self, log: Writer, lines: pl.Series, carry: int | None, outer: pl.Series | None) -> pl.Series:
        """The times that a runtime put in front of lines, else those that they begin with."""
        if outer is None:
            return self._times_inside(log, lines, carry)
        missing = outer.is_null().arg_true()
        if not len(missing):
            return outer
        return outer.clone().scatter(missing, self._times_inside(log, lines.gather(missing), carry))

    def _times_inside(self, log: Writer, lines: pl.Series, carry: int | None) -> pl.Series:
        """The times that lines begin with, or those in the pattern's group."""
        pattern, zone = self._settings.pattern, self._settings.timezone
        if log.kind == "ndjson":
            # What stands between documents has no form of its own: a time inside it may be any.
            return leading(lines, log.reference, zone)
        if pattern and "<timestamp>" in pattern:
            lines = lines.str.extract_groups(pattern).struct["timestamp"].fill_null("")
        lines = with_own_times(lines)
        if log.stamp is None:
            log.stamp = recognise(lines, log.reference, zone)
        if log.stamp is None:
            return nothing(len(lines))
        times = log.stamp.times(lines, log.reference, zone, carry)
        if self._noting:
            self._note_zones(log.stamp, lines, times)
        if log.stamp.form.dateless:
            return dated(times, log.begun if carry is None else carry, log.reference, zone)
        return times

    def _note_zones(self, stamp: Stamp, lines: pl.Series, times: pl.Series) -> None:
        letters = stamp.zones(lines)
        known = int(times.is_not_null().sum())
        self.told.unzoned += max(0, known - (len(letters) - letters.null_count()))
        ambiguous = letters.filter(letters.is_in(AMBIGUOUS))
        self.told.zones.update(ambiguous.to_list())

    def _text(
        self, log: Writer, lines: pl.Series, numbers: pl.Series, times: pl.Series, record: pl.Series | None
    ) -> pl.DataFrame:
        columns: dict[str, Any] = {
            "id": self._ids(log, numbers),
            "timestamp": times,
            "sequence": numbers,
            "stream": pl.lit(log.stream),
            "service": pl.lit(self._settings.service or log.service),
            "severity": pl.lit(0, pl.Int8),
            "body": lines,
            "host": pl.lit(log.host, pl.String),
            "record": record if record is not None else pl.lit(None),
        }
        columns |= self._told(log, lines)
        if self._noting and not self.told.enough:
            self._note(columns, len(lines))
        return self._finished(columns, len(lines))

    def _note(self, columns: Mapping[str, Any], height: int) -> None:
        """Say where the columns of lines of text come from."""
        self.told.records += height
        for name, own in columns.items():
            known = len(own) - own.null_count() if isinstance(own, pl.Series) else 0
            self.told.note(name, TEXT, known)

    def _told(self, log: Writer, lines: pl.Series) -> dict[str, pl.Series]:
        """What lines of text say of themselves where their form says where."""
        told: dict[str, pl.Series] = {}
        heads = lines.str.head(256)
        if log.stamp and log.stamp.form.name in PROGRAMS:
            hosts, programs = programs_of(heads, log.stamp.form.name)
            if hosts.null_count() < len(lines):
                told["host"] = hosts.fill_null(log.host) if log.host else hosts
                if not self._settings.service:
                    told["service"] = programs.fill_null(log.service)
        if not (told or self._settings.pattern or self._settings.service):
            names = None if log.named_in_brackets is False else in_brackets(heads)
            if log.named_in_brackets is None and names is not None:
                log.named_in_brackets = are_names(names)
            if not log.named_in_brackets:
                names = of_spring(heads)
            if names is not None:
                told["service"] = names.fill_null(log.service)
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

    def _documents(
        self, log: Writer, lines: pl.Series, numbers: pl.Series, outer: pl.Series | None
    ) -> tuple[pl.Series, pl.DataFrame]:
        """Which lines are text, and the page of the others; `outer` are times that stood in front of lines.

        A document without a time is one all the same, except between lines of text, which it continues.
        """
        positions = pl.int_range(len(lines), eager=True)
        if columns := self._columns_of(log, lines):
            return self._rows_of_columns(log, lines, numbers, columns)
        documents: list[Mapping[str, Any]] = []
        found: list[int] = []
        braced = (lines.str.strip_chars_start() if log.kind == "ndjson" else lines).str.starts_with("{")
        braced |= lines.str.starts_with(BEGINNING)
        if self._settings.format == "text" or not braced.any():
            return positions, self._finished({}, 0)
        for number, line in zip(positions.filter(braced), lines.filter(braced), strict=True):
            document = _document(line)
            if document is None:
                continue
            several = records_of(document) if not BATCHES.isdisjoint(document) else None
            documents += several or [document]
            found += [number] * len(several or [document])
        order = numbers.gather(found)
        page = self._decoded(log, documents, order)
        if outer is not None:
            rows = numbers.search_sorted(page["sequence"])
            page = page.with_columns(page["timestamp"].fill_null(outer.gather(rows)))
        taken = pl.Series(found, dtype=pl.Int64)
        if log.kind == "text":
            timeless = page.filter(pl.col("timestamp").is_null())["sequence"]
            page = page.filter(pl.col("timestamp").is_not_null())
            taken = taken.filter(~order.is_in(timeless.implode()))
        page = self._filled_in(log, page, lines, numbers)
        plain = positions.filter(~positions.is_in(taken.unique().implode()))
        return plain, page

    def _decoded(self, log: Writer, documents: Sequence[Mapping[str, Any]], order: pl.Series) -> pl.DataFrame:
        if log.chosen is None and documents:
            log.chosen = chosen(documents, self._open)
        if log.chosen:
            self.told.chosen.update(log.chosen)
        decoder = self._decoder_of(tuple((log.chosen or {}).items()))
        ids = self._ids(log, order)
        if order.is_duplicated().any():
            # Several records of one line; the first is called as the line.
            place = pl.int_range(len(order), eager=True) - order.search_sorted(order)
            ids = pl.select(pl.when(place > 0).then(ids + "#" + place.cast(pl.String)).otherwise(ids)).to_series()
        return decoder.page(documents, ids.to_list(), None, order.to_list())

    def _filled_in(self, log: Writer, page: pl.DataFrame, lines: pl.Series, numbers: pl.Series) -> pl.DataFrame:
        """Documents with what the file says where they do not, and the whole line where they have no message."""
        raw = lines.gather(numbers.search_sorted(page["sequence"])).str.head(MAX_BODY_CHARS)
        own = page["body"].str.strip_chars_end("\r\n")
        return page.with_columns(
            stream=page["stream"].fill_null(log.stream),
            service=page["service"].fill_null(self._settings.service or log.service),
            body=own.zip_with(own != "", raw),
            host=page["host"].fill_null(log.host) if log.host else page["host"],
        )

    def _columns_of(self, log: Writer, lines: pl.Series) -> Columns | None:
        if log.columns is None and len(lines):
            looked_for = log.kind == "text" and self._settings.format == "auto" and not self._settings.pattern
            log.columns = (columns_of(lines) if looked_for else None) or "none"
        return log.columns if isinstance(log.columns, Columns) else None

    def _rows_of_columns(
        self, log: Writer, lines: pl.Series, numbers: pl.Series, columns: Columns
    ) -> tuple[pl.Series, pl.DataFrame]:
        """The positions of lines that are no rows, and the page of the rows, each with the number of its first line."""
        rows, plain = rows_of(lines, columns)
        order = numbers.gather([row.position for row in rows])
        documents = [document_of(row, columns) for row in rows]
        page = self._decoded(log, documents, order)
        return plain, self._filled_in(log, page, lines, numbers)

    def rows(self, log: Writer, frame: pl.DataFrame, first: int) -> tuple[pl.DataFrame, dict[str, int]]:
        """Rows of a parquet file, their columns mapped; no loop over them."""
        taken = {name: column(frame, paths) for name, paths in self._settings.columns().items()}
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
                columns[name] = texts(values)
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
            parts = [column(frame, (path,)) for path in self._settings.group_by]
            filled = [pl.Series([""] * frame.height) if part is None else texts(part).fill_null("") for part in parts]
            joined: pl.Series = filled[0]
            for text in filled[1:]:
                joined = joined + "/" + text
            return joined
        values = taken.get("service")
        own = self._settings.service or log.service
        return pl.Series([own]).new_from_index(0, frame.height) if values is None else texts(values).fill_null(own)

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


def _instead_of(default: str | None, own: pl.Series, said: pl.Series) -> pl.Series:
    """A column with what is said of lines that have nothing better than the default."""
    if default is None:
        return own.fill_null(said)
    return own.set((own == default).fill_null(False), None).fill_null(said).fill_null(default)


def _document(line: str) -> dict[str, Any] | None:
    if line.startswith(BEGINNING):
        return event_of(line)
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _inherited(times: pl.Series, carry: int | None) -> pl.Series:
    filled = times.fill_null(strategy="forward")
    return filled.fill_null(carry) if carry is not None else filled
