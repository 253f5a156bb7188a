"""`templates mine`: the templates of one file by itself, in a stream."""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.cli import streams
from exporter.wording.text import number, one_line

if TYPE_CHECKING:
    import polars as pl

    from exporter.mining.settings import MiningSettings
    from exporter.reading.columns import Columns

LINES_PER_STEP = 10_000
"""Lines of a file that are mined together: they stand for a window."""

BYTES_PER_STEP = 32 * 1024 * 1024
"""Fewer are, where they are longer than that together."""


def mine_file(
    path: Path, column: str | None, assign: Path | None, settings: MiningSettings | None = None, limit: int = 100
) -> str:
    """The templates of a file by count, as text. `assign` gets a row a line in the order of the file.

    Raises ConfigError when the file cannot be read or has no such column. What is held depends on the templates, not on
    the size of the file.
    """
    miner, counted = LineMiner(settings), Counter[int]()
    with tempfile.TemporaryDirectory() as folder:
        for piece, ids in enumerate(map(miner.take, read_lines(path, column))):
            counted.update(dict(ids.drop_nulls().value_counts().rows()))
            if assign is not None:
                ids.rename("template_id").to_frame().write_parquet(Path(folder, f"{piece:09}.parquet"))
        final, texts = miner.survivors()
        if assign is not None:
            _write_assignment(assign, Path(folder), final, texts)
    merged = Counter[int]()
    for key, count in counted.items():
        merged[final[key]] += count
    return _summary(miner.lines, merged, texts, limit)


def mine_lines(lines: pl.Series, settings: MiningSettings | None = None) -> tuple[pl.Series, dict[int, str]]:
    """The template id of each line, null before the first line that is no continuation, and the text of each id.

    A continuation line has the id of the line that it continues.
    """
    import polars as pl

    miner = LineMiner(settings)
    ids = [miner.take(lines.slice(start, LINES_PER_STEP)) for start in range(0, len(lines), LINES_PER_STEP)]
    final, texts = miner.survivors()
    assigned = pl.concat(ids) if ids else pl.Series("template", [], dtype=pl.Int64)
    return assigned.replace(list(final), list(final.values())), texts


class LineMiner:
    """Mines lines piece by piece; a piece stands for a window."""

    def __init__(self, settings: MiningSettings | None) -> None:
        from exporter.ingest.settings import ReductionSettings
        from exporter.mining.miner import Miner
        from exporter.mining.settings import MiningSettings

        settings = settings or MiningSettings()
        self.lines = 0
        self._pieces = 0
        self._last: int | None = None
        self._miner = Miner("file", settings)
        self._reduction = ReductionSettings(
            max_line_chars=settings.max_line_chars,
            multiline=settings.multiline,
            drop_stack_frames=settings.drop_stack_frames,
        )

    def take(self, lines: pl.Series) -> pl.Series:
        """The id of each line, as it is known so far."""
        from exporter.ingest.reduction import reduce

        reduced = reduce(_page(lines, self.lines), self._reduction)
        mined = self._miner.mine(self._pieces, reduced)
        ids = reduced.lines.join(mined.templates, on=["service", "shape"], how="left", maintain_order="left")[
            "template"
        ]
        self.lines, self._pieces = self.lines + len(lines), self._pieces + 1
        filled = ids.fill_null(strategy="forward")
        if self._last is not None:
            filled = filled.fill_null(self._last)
        self._last = filled[-1] if len(filled) else self._last
        return filled

    def survivors(self) -> tuple[dict[int, int], dict[int, str]]:
        """What each id became, and the text of each."""
        return self._miner.survivors(), self._miner.texts()


def _page(lines: pl.Series, start: int) -> pl.DataFrame:
    import polars as pl

    from exporter.model import page_schema
    from exporter.reading.peeling import peel

    numbers = pl.int_range(start, start + len(lines), eager=True)
    known = {
        "id": numbers.cast(pl.String),
        "timestamp": numbers,
        "sequence": numbers,
        "severity": pl.zeros(len(lines), dtype=pl.Int8, eager=True),
        "body": peel(lines.fill_null("")).text,
    }
    empty = pl.Series(dtype=pl.Null).extend_constant(None, len(lines))
    return pl.DataFrame({name: known.get(name, empty) for name in page_schema()}, schema=page_schema())


def _write_assignment(path: Path, pieces: Path, final: Mapping[int, int], texts: Mapping[int, str]) -> None:
    import polars as pl

    from exporter.model import PermanentError

    ids = pl.col("template_id").replace(list(final), list(final.values()))
    text = ids.replace_strict(list(texts), list(texts.values()), default=None, return_dtype=pl.String)
    known = pl.DataFrame({"template_id": pl.Series(dtype=pl.Int64)}).lazy()
    found = [known, *(pl.scan_parquet(piece) for piece in sorted(pieces.iterdir()))]
    try:
        frame = (
            pl.concat(found).with_row_index("line").select(pl.col("line").cast(pl.Int64), ids, text.alias("template"))
        )
        frame.sink_parquet(path)
    except OSError as error:
        raise PermanentError(
            f"{path}: {error.strerror or error}; name a file in a directory that can be written"
        ) from error


def _summary(lines: int, counted: Mapping[int, int], texts: Mapping[int, str], limit: int) -> str:
    rows = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    said = [f"{number(lines)} lines, {number(len(rows))} templates", f"{'id':>6} {'count':>10}  template"]
    said += [f"{key:>6} {number(count):>10}  {one_line(texts[key])}" for key, count in rows[:limit]]
    if len(rows) > limit:
        said.append(f"and {number(len(rows) - limit)} more; --limit shows them")
    return "\n".join(said)


# --- Reading --------------------------------------------------------------------------------------------

COLUMNS = ("message", "body", "content", "log", "line", "msg", "text", "raw")
"""Where the lines of a file with columns are looked for."""


def read_lines(path: Path, column: str | None) -> Iterator[pl.Series]:
    """The lines of a file in its order, piece by piece. Raises ConfigError."""
    import polars as pl

    from exporter.model import ConfigError
    from exporter.reading.columns import SAMPLE, columns_of
    from exporter.reading.paths import odd

    suffix = _suffix(path)
    try:
        if suffix == ".parquet" and path.name != "-":
            if reason := odd(path):
                raise ConfigError(f"{path}: {reason}")
            yield from _rows(path, column)
            return
        blocks = streams.as_utf8(streams.blocks(path))
        lines = (line for some in streams.lines(blocks) for line in some)
        head = list(islice(lines, SAMPLE))
        columns = columns_of(_decoded(head))
        if suffix == ".csv" and (column or columns is None):
            yield from _records(path, chain(head, lines), column)
            return
        for place, piece in enumerate(_pieces(chain(head, lines), whole=columns is not None)):
            texts = _decoded(piece)
            if columns is not None:
                yield _of_rows(texts, columns, path, column)
            else:
                yield _fields(texts, path, column, must=not place) if column else texts
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (pl.exceptions.PolarsError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read as {suffix[1:] or 'text'}: {error}") from error


def _suffix(path: Path) -> str:
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".zst")]
    return suffixes[-1] if suffixes else ""


def _decoded(lines: Sequence[bytes]) -> pl.Series:
    import polars as pl

    texts = pl.Series("body", [line.decode("utf-8", "replace") for line in lines], dtype=pl.String)
    return texts.str.strip_prefix("\ufeff").str.strip_suffix("\r")


def _pieces(items: Iterable[Any], whole: bool = False) -> Iterator[list[Any]]:
    """So many together as are mined together, fewer where they are long, a few more where a quote of a row is open."""
    from exporter.reading.columns import MOST_LINES

    piece: list[Any] = []
    size = more = 0
    for item in items:
        piece.append(item)
        size += len(item)
        if len(piece) >= LINES_PER_STEP or size > BYTES_PER_STEP:
            if whole and more < MOST_LINES and sum(line.count(b'"') for line in piece) % 2:
                more += 1
                continue
            yield piece
            piece, size, more = [], 0, 0
    if piece:
        yield piece


def _of_rows(lines: pl.Series, columns: Columns, path: Path, column: str | None) -> pl.Series:
    """The messages of rows, the whole of those that have none, and lines that are no rows, in their order."""
    import polars as pl

    from exporter.reading.columns import rows_of

    wanted = column or next((name for name in columns.names if name.lower() in COLUMNS), None)
    if wanted is not None and wanted not in columns.names:
        _chosen(columns.names, path, column)
    rows, others = rows_of(lines, columns)
    if wanted is None:
        found = {row.position: "\n".join(lines.slice(row.position, row.lines)) for row in rows}
    else:
        found = {row.position: row.values[wanted] for row in rows}
    found |= dict(zip(others.to_list(), lines.gather(others).to_list(), strict=True))
    return pl.Series("body", [found[position] for position in sorted(found)], dtype=pl.String)


def _records(path: Path, lines: Iterable[bytes], column: str | None) -> Iterator[pl.Series]:
    """A column of CSV."""
    import polars as pl

    texts = (line.decode("utf-8", "replace") + "\n" for line in lines)
    rows = csv.reader(texts)
    names = next(rows, [])
    at = names.index(_chosen(names, path, column))
    for some in _pieces(row[at] if at < len(row) else "" for row in rows if row):
        yield pl.Series("body", some, dtype=pl.String)


def _rows(path: Path, column: str | None) -> Iterator[pl.Series]:
    """A column of parquet."""
    import polars as pl

    frame = pl.scan_parquet(path)
    name = _chosen(frame.collect_schema().names(), path, column)
    lines = frame.select(pl.col(name).cast(pl.String).str.head(streams.MAX_LINE_BYTES // 4).alias("body"))
    start, size = 0, LINES_PER_STEP
    while len(piece := lines.slice(start, size).collect()["body"]):
        start += len(piece)
        yield piece


def _chosen(names: Sequence[str], path: Path, column: str | None) -> str:
    from exporter.model import ConfigError

    name = column or next((name for name in COLUMNS if name in names), "")
    if name not in names:
        choices = ", ".join(map(repr, names))
        raise ConfigError(f"{path}: --column {name} is not one of {choices}".replace("  ", " "))
    return name


def _fields(lines: pl.Series, path: Path, column: str, must: bool) -> pl.Series:
    """A field of each line of NDJSON; what is no JSON stays as it is."""
    from exporter.model import ConfigError

    found = lines.str.json_path_match(f"$['{column}']")
    if must and found.null_count() == len(lines):
        raise ConfigError(f"{path}: no line is a JSON object with a field {column!r}")
    return found.fill_null(lines)
