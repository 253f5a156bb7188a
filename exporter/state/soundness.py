"""Whether a state file is what it should be, looked at when it is opened."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from exporter.model import StateError
from exporter.state import migrations
from exporter.state.explained import StateDamagedError

LOOK_FOR = 10.0
"""Seconds that looking through a file may take at a start: what is damaged beyond shows when it is read."""

STEPS = 100_000
"""Steps of SQLite's machine between two looks at the clock."""

LAST_SECOND = 253_402_300_799
"""The end of the year 9999: what lies behind is no time."""

Columns = Mapping[str, tuple[str, ...]]
"""The columns of tables, by name."""


def examine(connection: sqlite3.Connection) -> None:
    """Raises StateDamagedError where SQLite finds something wrong with the pages of a file."""
    until = time.monotonic() + LOOK_FOR
    connection.set_progress_handler(lambda: time.monotonic() > until, STEPS)
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return
        raise
    finally:
        connection.set_progress_handler(None, 0)
    if found != [("ok",)]:
        raise StateDamagedError(f"the state file is damaged: {found[0][0]}")


def columns_of(definitions: Iterable[str]) -> Columns:
    """The tables that definitions make."""
    with closing(sqlite3.connect(":memory:")) as scratch:
        for definition in definitions:
            scratch.executescript(definition)
        return _columns(scratch)


def has_columns(connection: sqlite3.Connection, tables: Columns) -> bool:
    """Whether a file has these tables, as they are defined."""
    found = _columns(connection)
    return all(found.get(name) == columns for name, columns in tables.items())


def given_as_made(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StateError where a given table, or a column of it, is missing: somebody changed the file."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as scratch:
        for number, step in enumerate(migrations.MIGRATIONS, start=1):
            migrations.take(scratch, step, number)
        given = _columns(scratch)
    found = _columns(connection)
    for name, columns in given.items():
        missing = [column for column in columns if column not in found.get(name, ())]
        if missing:
            what = f"column {missing[0]} of table {name}" if name in found else f"table {name}"
            raise StateError(f"state file {path}: {what} is missing; restore a copy (`state restore FILE`)")


def plausible(connection: sqlite3.Connection) -> bool:
    """Whether checkpoints are times: else what is learnt cannot be told to be of when it says."""
    times = ("read_through", "settled_through", "started_at", "warm_until")
    wrong = " OR ".join(f"{name} NOT BETWEEN 0 AND {LAST_SECOND}" for name in times)
    return not connection.execute(f"SELECT 1 FROM checkpoints WHERE {wrong} LIMIT 1").fetchall()


def _columns(connection: sqlite3.Connection) -> Columns:
    query = (
        "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c "
        "WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid"
    )
    found: dict[str, tuple[str, ...]] = {}
    for table, column in connection.execute(query):
        found[table] = (*found.get(table, ()), column)
    return found
