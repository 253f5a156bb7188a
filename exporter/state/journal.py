"""Keep what a write is about to replace, in the transaction that replaces it."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Sequence

from exporter.model import SqlValue, Write


def keep(connection: sqlite3.Connection, write: Write) -> None:
    """Keep what a write is about to replace; what is known of a row from earlier in its step stays."""
    columns, key = shape(connection.execute(SHAPE, (write.table,)).fetchall())
    by = write.columns if write.delete else key
    places = [write.columns.index(name) for name in by]
    query = f"SELECT {', '.join(columns)} FROM {write.table} WHERE {' AND '.join(f'{name} = ?' for name in by)}"
    for row in write.rows:
        values = tuple(row[place] for place in places)
        found = connection.execute(query, values).fetchall()
        kept: dict[tuple[SqlValue, ...], str | None]
        kept = {tuple(old[columns.index(name)] for name in key): dumped(old) for old in found}
        if not found and not write.delete:
            kept = {values: None}
        connection.executemany(
            "INSERT OR IGNORE INTO undo VALUES (?, ?, ?, ?, ?)",
            [(row[0], write.step, write.table, dumped(one), body) for one, body in kept.items()],
        )


SHAPE = "SELECT name, pk FROM pragma_table_info(?) ORDER BY cid"


def shape(found: Sequence[tuple[str, int]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of a table, and those of its key."""
    keys = sorted((place, name) for name, place in found if place)
    return tuple(name for name, _ in found), tuple(name for _, name in keys)


def dumped(row: Sequence[SqlValue]) -> str:
    return json.dumps([[base64.b64encode(one).decode()] if isinstance(one, bytes) else one for one in row])


def loaded(text: str) -> tuple[SqlValue, ...]:
    return tuple(base64.b64decode(one[0]) if isinstance(one, list) else one for one in json.loads(text))
