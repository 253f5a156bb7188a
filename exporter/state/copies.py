"""Copy a state file, look whether one is whole, and put a copy back."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.model import Act, Incident, NearMiss, Report, Rule, StateError
from exporter.model.questions import AlertTrigger
from exporter.state.bodies import unpack
from exporter.state.explained import explained
from exporter.state.migrations import known_version
from exporter.state.place import Held, copied, without_companions

BODIES: tuple[tuple[str, str, str, Any], ...] = (
    ("incidents", "id", "body", Incident),
    ("news", "incident || ':' || revision || ':' || part", "body", Incident),
    ("news", "incident || ':' || revision || ':' || part", "report", Report),
    ("reports", "incident", "body", Report),
    ("triggers", "fingerprint", "body", AlertTrigger),
    ("near_misses", "id", "body", NearMiss),
    ("rules", "name", "body", Rule),
    ("acts", "number", "body", Act),
)
"""Tables with bodies: the column, or what names a row, and what its body holds."""


@dataclass
class Found:
    """What is in a state file: its version, rows by table, and what is wrong with it."""

    version: int = 0
    size: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def back_up(path: Path, target: Path) -> int:
    """Copy a state file, also while a daemon writes it; its size in bytes. The copy has its name once it is whole."""
    if target.exists() and target.samefile(path):
        raise StateError(f"{target} is the state file itself; name another file")
    with explained(path), opened(path) as source:
        known_version(source, path)
        with explained(target):
            copied(source, target)
            return target.stat().st_size


def look(path: Path) -> Found:
    """Read all of it: what SQLite holds against it, and each row that cannot be read."""
    found = Found()
    with explained(path), opened(path) as connection:
        found.version, found.size = known_version(connection, path), path.stat().st_size
        found.wrong += [text for (text,) in connection.execute("PRAGMA integrity_check(20)") if text != "ok"]
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        for (table,) in connection.execute(tables).fetchall():
            (found.rows[table],) = connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
        if "meta" not in found.rows:
            found.wrong.append("it has no table meta: it is no state file")
        for table, key, column, kind in BODIES:
            if table in found.rows:
                found.wrong += _unreadable(connection, table, key, column, kind)
    return found


def _unreadable(connection: sqlite3.Connection, table: str, key: str, column: str, kind: Any) -> Iterator[str]:
    for name, body in connection.execute(f"SELECT {key}, {column} FROM {table} WHERE {column} != ''"):
        try:
            unpack(kind, body)
        except Exception:
            yield f"{table} {name}: its {column} cannot be read, and is skipped"


def restore(path: Path, copy: Path) -> Path | None:
    """Put a copy in the place of the state file. Returns where that is kept now, if there was one.

    Raises StateError when the copy is not whole, or a daemon holds the file.
    """
    found = look(copy)
    if found.wrong:
        raise StateError(f"{copy} is not put back, for it is not whole: {'; '.join(found.wrong[:3])}")
    there = path.exists()
    with explained(path):
        held = Held(path)
        try:
            return _replace(path, copy, there)
        finally:
            held.close()


def _replace(path: Path, copy: Path, there: bool) -> Path | None:
    kept = path.with_name(f"{path.name}.before-restore")
    if there:
        _keep(path, kept)
    with opened(copy) as source:
        without_companions(path)
        copied(source, path)
    return kept if there else None


def _keep(path: Path, kept: Path) -> None:
    """What is replaced, its write-ahead log included; a damaged one as it lies there."""
    try:
        with opened(path) as connection:
            copied(connection, kept)
    except sqlite3.Error:
        os.link(path, kept.with_name(f"{kept.name}.damaged"))


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """To read from, without making what is not there."""
    if not path.is_file():
        raise StateError(f"{path} is not there, or is no file")
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        yield connection
