"""`templates list | show | mine`: templates that were learnt, and those of one file, for people."""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.cli import streams
from exporter.wording.text import minute, number, one_line, second

if TYPE_CHECKING:
    import polars as pl

    from exporter.config import Config
    from exporter.mining.settings import MiningSettings

LINES_PER_STEP = 10_000
"""Lines of a file that are mined together: they stand for a window."""

BYTES_PER_STEP = 32 * 1024 * 1024
"""Fewer are, where they are longer than that together."""

BARS = " ▁▂▃▄▅▆▇█"
TREND_HOURS = 24

Add = Callable[[Any, str, str, str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]


def add_verbs(parser: argparse.ArgumentParser, add: Add) -> None:
    """The verbs of `templates`, with their options."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    listing = add(
        verbs,
        "list",
        "print the templates that were learnt, the most frequent first",
        "Print id, count, when first and last seen, trend of the last day, service and text of each template.",
        _list_command,
    )
    listing.add_argument("--service", metavar="NAME", help="only of this service")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default: 100)")
    show = add(
        verbs,
        "show",
        "print one template",
        "Print everything that is known of a template: counts, trend, an example and the values in it.",
        _show_command,
    )
    show.add_argument("id", type=int, help="as `templates list` prints it")
    for verb in (listing, show):
        verb.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="exporter.yml")
        verb.add_argument("--source", metavar="NAME", help="only of this source")
        verb.add_argument("--format", choices=("text", "json"), default="text")
    mine = add(
        verbs,
        "mine",
        "mine a file by itself",
        "Mine the lines of a file (text, NDJSON, CSV or parquet; gzip and zstd too) and print its templates by count.",
        _mine_command,
    )
    mine.add_argument("file", type=Path, metavar="FILE", help="- is standard input")
    mine.add_argument("--column", metavar="C", help="where the lines stand, if the file has columns")
    mine.add_argument("--assign", type=Path, metavar="OUT.parquet", help="write line, template_id and template of each")
    mine.add_argument("-c", "--config", type=Path, metavar="FILE", help="for its `mining` settings")
    mine.add_argument("--limit", type=int, default=100, metavar="N", help="print at most so many (default: 100)")


def _list_command(options: argparse.Namespace) -> int:
    return asyncio.run(_list(_load(options), options))


def _show_command(options: argparse.Namespace) -> int:
    return asyncio.run(_show(_load(options), options))


def _mine_command(options: argparse.Namespace) -> int:
    from exporter.mining.settings import MiningSettings

    settings = _load(options).mining if options.config else MiningSettings()
    print(mine_file(options.file, options.column, options.assign, settings, options.limit))
    return 0


def _load(options: argparse.Namespace) -> Config:
    from exporter.config import load

    return load(options.config)


# --- What was learnt -------------------------------------------------------------------------------


@dataclass
class Known:
    """A template as people look at it; counts include those of ids that were merged into it."""

    source: str
    id: int
    service: str
    text: str
    first_seen: int
    last_seen: int
    example: str
    retired: bool
    merged: list[int] = field(default_factory=list)
    hours: Counter[int] = field(default_factory=Counter)
    """Lines by hour, as far as it is known."""

    @property
    def count(self) -> int:
        return sum(self.hours.values())

    def trend(self, now: int) -> str:
        """The last day, an hour a bar."""
        last = now // 3600
        values = [self.hours.get((last - back) * 3600, 0) for back in reversed(range(TREND_HOURS))]
        top = max(values)
        return "".join(BARS[-(-value * 8 // top)] if top else BARS[0] for value in values)

    def as_json(self, now: int) -> dict[str, Any]:
        """For `--format json`."""
        from exporter.model import to_json

        return {
            "source": self.source,
            "id": self.id,
            "service": self.service,
            "template": self.text,
            "count": self.count,
            "first_seen": to_json(_moment(self.first_seen)),
            "last_seen": to_json(_moment(self.last_seen)),
            "retired": self.retired,
            "merged": self.merged,
            "trend": [self.hours.get((now // 3600 - back) * 3600, 0) for back in reversed(range(TREND_HOURS))],
            "example": self.example,
        }


async def known_templates(rows: Any, source: str | None = None, service: str | None = None) -> tuple[list[Known], int]:
    """All templates in the state file, the most frequent first, and the last moment that has a count."""
    from exporter.state.windows import rows_of

    templates, clusters, counts = [
        await rows_of(rows, table, source) for table in ("mining_templates", "mining_clusters", "mining_counts")
    ]
    retired = {(name, cluster) for name, cluster, _, _, _, kind, *_ in clusters if kind == "retired"}
    known = _survivors(templates, retired)
    now = _count(known, {(row[0], row[1]): (row[0], row[5]) for row in templates}, counts)
    found = [item for item in known.values() if service is None or item.service == service]
    return sorted(found, key=lambda item: (-item.count, item.source, item.id)), now


def _survivors(templates: Sequence[tuple[Any, ...]], retired: set[tuple[str, int]]) -> dict[tuple[str, int], Known]:
    known: dict[tuple[str, int], Known] = {}
    for source, key, service, cluster, text, survivor, first_seen, seen, example in templates:
        if survivor == key:
            gone = (source, cluster) in retired
            known[source, key] = Known(source, key, service, text, first_seen, max(seen, first_seen), example, gone)
    return known


def _count(
    known: Mapping[tuple[str, int], Known],
    survivors: Mapping[tuple[str, int], tuple[str, int]],
    rows: Sequence[tuple[Any, ...]],
) -> int:
    """Add up the counts by hour; those of merged ids belong to the survivor."""
    from exporter.mining.counts import unpack

    now = 0
    for source, _, start, counts in rows:
        now = max(now, start)
        for key, count in unpack(counts).items():
            item = known.get(_last(survivors, (source, key)))
            if item:
                item.hours[start // 3600 * 3600] += count
                item.last_seen = max(item.last_seen, start)
    for name in survivors:
        if (item := known.get(_last(survivors, name))) and item.id != name[1]:
            item.merged.append(name[1])
    return now


def _last(survivors: Mapping[tuple[str, int], tuple[str, int]], name: tuple[str, int]) -> tuple[str, int]:
    while survivors.get(name, name) != name:
        name = survivors[name]
    return name


def _state_rows(config: Config) -> Any:
    from exporter.model import StateError
    from exporter.state.file import Rows

    if not config.state.exists():
        raise StateError(f"state file {config.state} does not exist yet: `run` makes it at first start")
    return Rows(config.state)


async def _list(config: Config, options: argparse.Namespace) -> int:
    with closing(_state_rows(config)) as rows:
        found, now = await known_templates(rows, options.source, options.service)
    shown = found[: options.limit]
    if options.format == "json":
        print(json.dumps([item.as_json(now) for item in shown], ensure_ascii=False))
        return 0
    print(f"{'id':>6} {'count':>10}  {'first seen':16}  {'last seen':16}  {'last day':24}  service: template")
    for item in shown:
        said = f"{one_line(item.service)}: {one_line(item.text)}"
        print(f"{item.id:>6} {number(item.count):>10}  {_listed(item, now)}  {said}")
    _rest(len(found) - len(shown))
    return 0


def _listed(item: Known, now: int) -> str:
    return f"{minute(_moment(item.first_seen))}  {minute(_moment(item.last_seen))}  {item.trend(now)}"


def _rest(more: int) -> None:
    if more > 0:
        print(f"and {number(more)} more; --limit shows them", file=sys.stderr)


async def _show(config: Config, options: argparse.Namespace) -> int:
    from exporter.model import PermanentError

    with closing(_state_rows(config)) as rows:
        found, now = await known_templates(rows, options.source)
    matching = [item for item in found if item.id == options.id or options.id in item.merged]
    if not matching:
        raise PermanentError(f"no template {options.id}; `templates list` prints their ids")
    if options.format == "json":
        print(json.dumps([item.as_json(now) for item in matching], ensure_ascii=False))
    for item in matching if options.format == "text" else ():
        print("\n".join(_shown(item, now)))
    return 0


def _shown(item: Known, now: int) -> Iterator[str]:
    from exporter.mining.masks import extract

    yield f"template {item.id} of source {one_line(item.source)}, service {one_line(item.service)}"
    yield f"  {one_line(item.text)}"
    yield f"count       {number(item.count)}"
    yield f"first seen  {second(_moment(item.first_seen))} UTC"
    retired = "  (retired: it comes back under this id)" if item.retired else ""
    yield f"last seen   {second(_moment(item.last_seen))} UTC{retired}"
    yield f"last day    {item.trend(now)}"
    if item.merged:
        yield f"merged      {', '.join(map(str, item.merged))}"
    if item.example:
        yield f"example     {one_line(item.example)}"
        for name, value in extract(item.text, item.example) or ():
            yield f"  <{name}> {one_line(value)}"


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# --- A file by itself ------------------------------------------------------------------------------


def mine_file(
    path: Path, column: str | None, assign: Path | None, settings: MiningSettings | None = None, limit: int = 100
) -> str:
    """The templates of a file by count, as text. `assign` gets a row a line in the order of the file.

    Raises ConfigError when the file cannot be read or has no such column. What is held depends on the templates, not on
    the size of the file.
    """
    miner, counted = LineMiner(settings), Counter[int]()
    with tempfile.TemporaryDirectory() as folder:
        for number, ids in enumerate(map(miner.take, read_lines(path, column))):
            counted.update(dict(ids.drop_nulls().value_counts().rows()))
            if assign is not None:
                ids.rename("template_id").to_frame().write_parquet(Path(folder, f"{number:09}.parquet"))
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

    numbers = pl.int_range(start, start + len(lines), eager=True)
    known = {
        "id": numbers.cast(pl.String),
        "timestamp": numbers,
        "sequence": numbers,
        "severity": pl.zeros(len(lines), dtype=pl.Int8, eager=True),
        "body": lines.fill_null(""),
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


# --- Reading ---------------------------------------------------------------------------------------

COLUMNS = ("message", "body", "content", "log", "line", "msg", "text", "raw")
"""Where the lines of a file with columns are looked for."""


def read_lines(path: Path, column: str | None) -> Iterator[pl.Series]:
    """The lines of a file in its order, piece by piece. Raises ConfigError."""
    import polars as pl

    from exporter.model import ConfigError
    from exporter.reading.paths import odd

    suffix = _suffix(path)
    try:
        if suffix == ".parquet" and path.name != "-":
            if reason := odd(path):
                raise ConfigError(f"{path}: {reason}")
            yield from _rows(path, column)
            return
        with streams.opened(path) as blocks:
            pieces = _records(path, blocks, column) if suffix == ".csv" else _texts(blocks)
            for number, piece in enumerate(pieces):
                yield _fields(piece, path, column, must=not number) if column and suffix != ".csv" else piece
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (pl.exceptions.PolarsError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read as {suffix[1:] or 'text'}: {error}") from error


def _suffix(path: Path) -> str:
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".zst")]
    return suffixes[-1] if suffixes else ""


def _texts(blocks: Iterator[bytes]) -> Iterator[pl.Series]:
    import polars as pl

    for some in _pieces(line for lines in streams.lines(blocks) for line in lines):
        texts = [line.decode("utf-8", "replace") for line in some]
        yield pl.Series("body", texts, dtype=pl.String).str.strip_suffix("\r")


def _pieces(items: Iterable[Sized]) -> Iterator[list[Any]]:
    """So many together as are mined together, fewer where they are long."""
    piece: list[Any] = []
    size = 0
    for item in items:
        piece.append(item)
        size += len(item)
        if len(piece) == LINES_PER_STEP or size > BYTES_PER_STEP:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _records(path: Path, blocks: Iterator[bytes], column: str | None) -> Iterator[pl.Series]:
    """A column of CSV."""
    import polars as pl

    texts = (line.decode("utf-8", "replace") + "\n" for lines in streams.lines(blocks) for line in lines)
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
