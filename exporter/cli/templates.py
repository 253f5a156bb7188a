"""`templates list | show | mine`: templates that were learnt, and those of one file, for people."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.cli.options import config_option, load_config
from exporter.wording.text import minute, number, one_line, second

if TYPE_CHECKING:
    from exporter.config import Config

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
        config_option(verb)
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
    return asyncio.run(_list(load_config(options), options))


def _show_command(options: argparse.Namespace) -> int:
    return asyncio.run(_show(load_config(options), options))


def _mine_command(options: argparse.Namespace) -> int:
    from exporter.cli.mine import mine_file
    from exporter.mining.settings import MiningSettings

    settings = load_config(options).mining if options.config else MiningSettings()
    print(mine_file(options.file, options.column, options.assign, settings, options.limit))
    return 0


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


def _rows(config: Config) -> Any:
    from exporter.model import StateError
    from exporter.state.file import Rows

    if not config.state.exists():
        raise StateError(f"state file {config.state} does not exist yet: `run` makes it at first start")
    return Rows(config.state)


async def _list(config: Config, options: argparse.Namespace) -> int:
    with closing(_rows(config)) as rows:
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

    with closing(_rows(config)) as rows:
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
