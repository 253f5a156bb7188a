"""The state file: given and derived rows in one SQLite file with a single writing thread."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from exporter.model import Aside, SqlValue, StateError, Write
from exporter.state.bodies import VERSION
from exporter.state.explained import StateDamagedError, explained
from exporter.state.journal import keep
from exporter.state.migrations import known_version, migrate
from exporter.state.place import Held, make_private
from exporter.state.salvage import salvage
from exporter.state.search import WordIndex
from exporter.state.soundness import columns_of, examine, given_as_made, has_columns, plausible

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

DERIVED = """
CREATE TABLE windows (
    source TEXT NOT NULL, window INTEGER NOT NULL, lines INTEGER NOT NULL, reads INTEGER NOT NULL,
    PRIMARY KEY (source, window)
) STRICT, WITHOUT ROWID;
CREATE TABLE anomalies (
    source TEXT NOT NULL, reached INTEGER NOT NULL, id TEXT NOT NULL, quiet INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (source, reached, id)
) STRICT, WITHOUT ROWID;
"""


READERS = 4
"""Threads that read, each on a connection of its own: jobs and pages do not wait for one long read."""

KEY_BYTES = 16
"""Of the key that placeholders are made with."""

WAIT_FOR_OTHERS = 30.0
"""Seconds for which a program may hold the file that looks into it: a shell of sqlite3, a copy."""

STEPS_UNHEEDING = 100_000
"""Steps of SQLite's machine, a few milliseconds, after which a read looks whether the file is being closed."""


class Connection:
    """A connection that one thread at a time uses, and that is closed while none does: SQLite survives no other order.

    Joining threads is not enough: an interrupt may leave one that its pool does not know of.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            yield self._connection

    def close(self) -> None:
        with self.use() as connection:
            connection.close()


class Rows:
    """A state file to read from, without holding it: also while a daemon writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.aside = Aside()
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="rows")
        self._local = threading.local()
        self._readers: list[Connection] = []
        self._closing = threading.Event()

    async def read(self, query: str, parameters: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query, read on a connection that cannot write. Raises StateError."""
        return await asyncio.wrap_future(self._hand_over(self._pool, self._read, query, parameters))

    def read_now(self, query: str, parameters: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """`read` for callers without an event loop."""
        return self._hand_over(self._pool, self._read, query, parameters).result()

    def _hand_over(
        self, pool: ThreadPoolExecutor, work: Callable[P, T], *arguments: P.args, **named: P.kwargs
    ) -> Future[T]:
        try:
            return pool.submit(work, *arguments, **named)
        except RuntimeError as error:
            raise StateError(f"state file {self.path}: is closed") from error

    def _read(self, query: str, parameters: Sequence[SqlValue]) -> list[tuple[Any, ...]]:
        with explained(self.path), self._reader().use() as connection:
            return connection.execute(query, parameters).fetchall()

    def _reader(self) -> Connection:
        if not hasattr(self._local, "reader"):
            opened = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=WAIT_FOR_OTHERS
            )
            # Not `interrupt()`, which misses a read that is just about to begin.
            opened.set_progress_handler(self._closing.is_set, STEPS_UNHEEDING)
            try:
                known_version(opened, self.path)
            except BaseException:
                # It is tried again, with a connection of its own.
                opened.close()
                raise
            self._local.reader = Connection(opened)
            self._readers.append(self._local.reader)
        known: Connection = self._local.reader
        return known

    def installation(self) -> str:
        """Which installation this is, among others that share a memory: the same as long as the file lives.

        Empty where the file has no key yet, or one that cannot be read.
        """
        rows = self.read_now("SELECT value FROM meta WHERE key = 'redaction_key'")
        try:
            return blake2b(key_of(rows[0][0]), digest_size=8, person=b"installation").hexdigest() if rows else ""
        except (ValueError, TypeError):
            return ""

    async def documents_after(self, key: str, limit: int) -> list[tuple[str, Mapping[str, Any] | None, bytes | None]]:
        """The next documents in the order of their keys, with their vectors; None for one that cannot be read."""
        rows = await self.read(
            "SELECT key, body, vector FROM documents WHERE key > ? ORDER BY key LIMIT ?", (key, limit)
        )
        return [(key, self._document(key, body), vector) for key, body, vector in rows]

    def word_index(self) -> WordIndex:
        """An empty index of words, for whoever keeps documents."""
        return WordIndex()

    def _document(self, key: str, body: str) -> Mapping[str, Any] | None:
        try:
            return dict(json.loads(body))
        except (ValueError, TypeError) as error:
            self.aside.note("documents", key, error, "restore a copy of the state file, or leave it")
            return None

    async def meta(self, key: str) -> str | None:
        """A value of the table meta."""
        rows = await self.read("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def close(self) -> None:
        """Break off what is being read, and let go of the file once it has ended."""
        self._closing.set()
        self._pool.shutdown(wait=True)
        for reader in self._readers:
            reader.close()
        self._readers.clear()


class State(Rows):
    """One open state file. Only one process at a time may hold it for writing.

    `derived` are the table definitions of the stages; with another `fingerprint` than the file's, which is none of
    `same` either, derived rows are dropped when it is opened (`rebuilt` says so) and warm-up makes them anew.
    """

    def __init__(
        self, path: Path, derived: Sequence[str] = (), fingerprint: str = "", same: Sequence[str] = ()
    ) -> None:
        super().__init__(path)
        self.rebuilt = False
        self._same = (fingerprint, *same)
        with explained(path):
            self._held = Held(path)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="state")
        try:
            self._connection = self._writer.submit(self._open, (DERIVED, *derived), fingerprint).result()
        except BaseException:
            self.close()
            raise

    def _open(self, derived: Sequence[str], fingerprint: str) -> Connection:
        try:
            return self._opened(derived, fingerprint)
        except StateDamagedError as error:
            with explained(self.path):
                salvaged = salvage(self.path)
                self._held.again()
            self.aside.note("state file", str(self.path), StateDamagedError(str(salvaged)), "look what was lost")
            log.error("%s; %s", error, salvaged)
        return self._opened(derived, fingerprint)

    def _opened(self, derived: Sequence[str], fingerprint: str) -> Connection:
        with explained(self.path):
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=WAIT_FOR_OTHERS
            )
            try:
                self._prepare(connection, derived, fingerprint)
            except BaseException:
                connection.close()
                raise
            return Connection(connection)

    def in_place(self) -> bool:
        """Whether the file still is where it was opened: false once it was deleted or replaced."""
        return self._held.in_place()

    def _prepare(self, connection: sqlite3.Connection, derived: Sequence[str], fingerprint: str) -> None:
        write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")
        examine(connection)
        migrate(connection, self.path)
        make_private(self.path)
        given_as_made(connection, self.path)
        tables = columns_of(derived)
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        known = _names(meta.get("derived", "[]"))
        known = _with_empty(connection, known, derived, tables)
        same = meta.get("fingerprint") in self._same and set(known) == set(tables)
        if not same or not has_columns(connection, tables) or not plausible(connection):
            self.rebuilt = "fingerprint" in meta
            _rebuild(connection, known, derived, list(tables), fingerprint)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'fingerprint'", (fingerprint,))

    def close(self) -> None:
        """Finish what was handed over, then let go of the file."""
        self._writer.shutdown(wait=True)
        super().close()
        if hasattr(self, "_connection"):
            self._connection.close()
        self._held.close()

    async def write(self, writes: Iterable[Write]) -> None:
        """Commit all the rows in one transaction, or none. Raises StateError."""
        await asyncio.wrap_future(self._hand_over(self._writer, self._write, tuple(writes)))

    def write_now(self, writes: Iterable[Write]) -> None:
        """`write` for callers without an event loop."""
        self._hand_over(self._writer, self._write, tuple(writes)).result()

    def _write(self, writes: Sequence[Write]) -> None:
        with explained(self.path), self._connection.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for write in writes:
                    if write.step is not None:
                        keep(connection, write)
                    connection.executemany(_statement(write), write.rows)
                connection.execute("COMMIT")
            except BaseException:
                # SQLite itself has rolled back already when the disk is full.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    async def prune(self, table: str, column: str | None = None, before: int = 0, only: str = "TRUE") -> None:
        """Delete rows that nobody needs any more: those whose column, if one is given, is less than `before`."""
        await asyncio.wrap_future(self._hand_over(self._writer, self._prune, table, column, before, only))

    def _prune(self, table: str, column: str | None, before: int, only: str) -> None:
        old = f'"{column}" < {before:d}' if column else "TRUE"
        with explained(self.path), self._connection.use() as connection:
            connection.execute(f"DELETE FROM {table} WHERE {old} AND {only}")

    async def derived_rows(self, source: str) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of a source in the stages' tables, by table, in key order: what stages are loaded from."""
        tables = json.loads(await self.meta("derived") or "[]")
        return {
            table: await self.read(f"SELECT * FROM {table} WHERE source = ?", (source,))
            for table in tables
            if table not in ("windows", "anomalies")
        }

    def redaction_key(self) -> bytes:
        """The key of this installation, made at first use, so that equal secrets keep equal placeholders."""
        rows = self.read_now("SELECT value FROM meta WHERE key = 'redaction_key'")
        if rows:
            try:
                return key_of(rows[0][0])
            except (ValueError, TypeError) as error:
                remedy = "a new one was made: placeholders of equal secrets differ from those of before"
                self.aside.note("meta", "redaction_key", error, remedy)
        key = secrets.token_hex(KEY_BYTES)
        self.write_now([meta_row("redaction_key", key)])
        return bytes.fromhex(key)

    async def put_documents(self, rows: Sequence[tuple[str, Mapping[str, Any], bytes | None]]) -> None:
        """Write or replace documents with their vectors under their keys, all or none."""
        found = tuple(
            (key, json.dumps({"version": VERSION, **document}, ensure_ascii=False), vector)
            for key, document, vector in rows
        )
        await self.write([Write("documents", ("key", "body", "vector"), found)])

    async def delete_documents(self, keys: Sequence[str]) -> None:
        """Forget documents that made room for newer ones."""
        await self.write([Write("documents", ("key",), tuple((key,) for key in keys), delete=True)])

    def size(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        names = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(name.stat().st_size for name in names if name.exists())


def write_ahead(connection: sqlite3.Connection) -> None:
    """Let readers and the writer go on side by side. SQLite itself does not wait here for somebody who is reading."""
    deadline = time.monotonic() + WAIT_FOR_OTHERS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def key_of(text: str) -> bytes:
    """The key that the table meta holds. Raises ValueError for what is none."""
    key = bytes.fromhex(text)
    if len(key) < KEY_BYTES:
        raise ValueError(f"a key has at least {KEY_BYTES} bytes")
    return key


def meta_row(key: str, value: str) -> Write:
    """A row of the table meta."""
    return Write("meta", ("key", "value"), ((key, value),))


def _statement(write: Write) -> str:
    if write.delete:
        return f"DELETE FROM {write.table} WHERE " + " AND ".join(f"{name} = ?" for name in write.columns)
    marks = ", ".join("?" * len(write.columns))
    return f"INSERT OR REPLACE INTO {write.table} ({', '.join(write.columns)}) VALUES ({marks})"


def _names(text: str) -> list[str]:
    """Names of the tables that a file says to have; none where what it says cannot be read."""
    try:
        return [name for name in json.loads(text) if re.fullmatch(r"[a-z_]+", name)]
    except (ValueError, TypeError):
        return []


BEGIN_EMPTY = frozenset(("facts_windows", "detection_episodes", "detection_silences"))
"""Derived tables of which nothing is learnt: where an earlier release has none, it begins empty."""


def _with_empty(
    connection: sqlite3.Connection, known: list[str], derived: Sequence[str], tables: Collection[str]
) -> list[str]:
    """The names of the derived tables, with those that a file lacks and that may begin empty."""
    new = BEGIN_EMPTY.intersection(tables).difference(known)
    if not known or not new or not new.issuperset(set(tables).difference(known)):
        return known
    names = [*known, *sorted(new)]
    made = "".join(part for part in derived if any(name in part for name in new))
    mark = f"UPDATE meta SET value = {_quoted(json.dumps(names))} WHERE key = 'derived';"
    connection.executescript(f"BEGIN IMMEDIATE; {made} {mark} COMMIT;")
    return names


def _rebuild(
    connection: sqlite3.Connection, known: Sequence[str], derived: Sequence[str], tables: Sequence[str], mark: str
) -> None:
    drops = "".join(f"DROP TABLE IF EXISTS {name};" for name in (*known, *tables))
    marks = f"""
        INSERT OR REPLACE INTO meta VALUES ('derived', {_quoted(json.dumps(list(tables)))});
        INSERT OR REPLACE INTO meta VALUES ('fingerprint', {_quoted(mark)});
    """
    learnt = "DELETE FROM checkpoints; DELETE FROM undo;"
    learnt += " DELETE FROM meta WHERE key GLOB 'alarm_*' OR key = 'regroup_from';"
    connection.executescript(f"BEGIN IMMEDIATE; {drops} {' '.join(derived)} {learnt} {marks} COMMIT;")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
