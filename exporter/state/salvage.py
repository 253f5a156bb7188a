"""Save the given rows of a damaged state file into a new one; what is derived is learnt anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.model import StateError
from exporter.state import migrations
from exporter.state.place import BESIDE, PRIVATE, without_companions

DERIVED_MARKS = (
    "derived",
    "fingerprint",
    "alarm_threshold",
    "alarm_services",
    "alarm_budget",
    "alarm_learnt",
    "regroup_from",
)
"""Rows of the table meta that say what was learnt: it is not taken over."""


@dataclass(frozen=True)
class Salvaged:
    """What became of a damaged file: where it lies now, and how many rows of each table were saved."""

    damaged: Path
    saved: dict[str, int]
    broken: tuple[str, ...]
    """Tables of which not all could be read."""

    def __str__(self) -> str:
        rows = f"{sum(self.saved.values()):,} rows were saved"
        lost = f"of {', '.join(self.broken)} some are lost" if self.broken else "all that was given"
        return f"it was damaged: {rows}, {lost}; what was learnt is learnt anew; the damaged file is {self.damaged}"


def salvage(path: Path) -> Salvaged:
    """Put a new file in the place of a damaged one. Raises StateError when nothing of it can be read."""
    new = path.with_name(f"{path.name}.salvaged")
    new.unlink(missing_ok=True)
    without_companions(new)
    new.touch(mode=PRIVATE)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(new, isolation_level=None)) as target:
        source.text_factory = lambda text: text.decode("utf-8", "replace")
        version = _version(source, path)
        for number, step in enumerate(migrations.MIGRATIONS[:version], start=1):
            migrations.take(target, step, number)
        saved, broken = {}, []
        for table in _tables(target):
            saved[table], whole = _copy(source, target, table)
            if not whole:
                broken.append(table)
        marks = ", ".join("?" * len(DERIVED_MARKS))
        target.execute(f"DELETE FROM meta WHERE key IN ({marks})", DERIVED_MARKS)
        target.execute("DELETE FROM checkpoints")
        if "undo" in saved:
            target.execute("DELETE FROM undo")
    damaged = _free_name(path)
    for ending in ("", *BESIDE):
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(damaged.with_name(damaged.name + ending))
    new.rename(path)
    return Salvaged(damaged, saved, tuple(broken))


def _version(source: sqlite3.Connection, path: Path) -> int:
    try:
        version = int(source.execute("PRAGMA user_version").fetchone()[0])
        source.execute("SELECT 1 FROM meta LIMIT 1").fetchall()
    except sqlite3.Error as error:
        raise StateError(
            f"state file {path}: nothing of it can be read ({error}); restore a copy (`state restore FILE`), or move "
            "it away and start again"
        ) from error
    if not 0 < version <= len(migrations.MIGRATIONS):
        raise StateError(f"state file {path}: is damaged, and of no version that this program knows ({version})")
    return version


def _tables(target: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    return [name for (name,) in target.execute(query)]


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> tuple[int, bool]:
    """How many rows were saved, and whether that was all of them."""
    info = target.execute(f"PRAGMA table_info({table})").fetchall()
    columns = ", ".join(column[1] for column in info)
    marks = ", ".join("?" * len(info))
    whole = True
    target.execute("BEGIN")
    before = target.total_changes
    for row in _rows(source, table, columns, [column[1] for column in sorted(info, key=lambda c: c[5]) if column[5]]):
        if row is None:
            whole = False
            continue
        try:
            target.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", row)
        except sqlite3.Error:
            whole = False
    saved = target.total_changes - before
    target.execute("COMMIT")
    return saved, whole


def _rows(source: sqlite3.Connection, table: str, columns: str, key: list[str]) -> Iterator[tuple[Any, ...] | None]:
    """All that can be read: from the beginning, and where that breaks off, from the end; None where it does."""
    backwards = ", ".join(f"{name} DESC" for name in key)
    for order in ("", f" ORDER BY {backwards}"):
        try:
            yield from source.execute(f"SELECT {columns} FROM {table}{order}")
        except sqlite3.Error:
            yield None
        else:
            return


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in range(1, 1_000))
    return next((name for name in names if not name.exists()), path.with_name(f"{path.name}.damaged"))
