"""What stood before the newest steps of each source, so that late lines can take them back."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

from exporter.model import SqlValue, Write

if TYPE_CHECKING:
    from exporter.state.file import Rows


def keep(connection: sqlite3.Connection, write: Write) -> None:
    """Keep what a write is about to replace; what is known of a row from earlier in its step stays."""
    columns, key = _shape(connection.execute(_SHAPE, (write.table,)).fetchall())
    by = write.columns if write.delete else key
    places = [write.columns.index(name) for name in by]
    query = f"SELECT {', '.join(columns)} FROM {write.table} WHERE {' AND '.join(f'{name} = ?' for name in by)}"
    for row in write.rows:
        values = tuple(row[place] for place in places)
        found = connection.execute(query, values).fetchall()
        kept: dict[tuple[SqlValue, ...], str | None]
        kept = {tuple(old[columns.index(name)] for name in key): _dumped(old) for old in found}
        if not found and not write.delete:
            kept = {values: None}
        connection.executemany(
            "INSERT OR IGNORE INTO undo VALUES (?, ?, ?, ?, ?)",
            [(row[0], write.step, write.table, _dumped(one), body) for one, body in kept.items()],
        )


async def taken_back(rows: Rows, source: str, step: int) -> list[Write]:
    """The writes that make a source's rows what they were before a step and all that followed."""
    query = "SELECT name, key, body FROM undo WHERE source = ? AND step >= ? ORDER BY step DESC"
    before: dict[str, dict[str, str | None]] = {}
    for name, key, body in await rows.read(query, (source, step)):
        before.setdefault(name, {})[key] = body
    writes = [await forgotten(rows, source, ">=", step)]
    for name, found in before.items():
        columns, key = _shape(await rows.read(_SHAPE, (name,)))
        writes.append(Write(name, key, tuple(map(_loaded, found)), delete=True))
        writes.append(Write(name, columns, tuple(_loaded(body) for body in found.values() if body is not None)))
    return writes


async def kept_from(rows: Rows, source: str, table: str) -> int | None:
    """The first step that can be taken back of those that wrote to a table."""
    found = await rows.read("SELECT MIN(step) FROM undo WHERE source = ? AND name = ?", (source, table))
    return None if found[0][0] is None else int(found[0][0])


async def forgotten(rows: Rows, source: str, which: str, step: int) -> Write:
    """Forget the steps of a source that are so (`<`, `>=`) compared with a step."""
    found = await rows.read(f"SELECT DISTINCT step FROM undo WHERE source = ? AND step {which} ?", (source, step))
    return Write("undo", ("source", "step"), tuple((source, one) for (one,) in found), delete=True)


_SHAPE = "SELECT name, pk FROM pragma_table_info(?) ORDER BY cid"


def _shape(found: Sequence[tuple[str, int]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of a table, and those of its key."""
    keys = sorted((place, name) for name, place in found if place)
    return tuple(name for name, _ in found), tuple(name for _, name in keys)


def _dumped(row: Sequence[SqlValue]) -> str:
    return json.dumps([[base64.b64encode(one).decode()] if isinstance(one, bytes) else one for one in row])


def _loaded(text: str) -> tuple[SqlValue, ...]:
    return tuple(base64.b64decode(one[0]) if isinstance(one, list) else one for one in json.loads(text))
