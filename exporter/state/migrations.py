"""The tables of given rows, and the numbered steps that bring an older state file to today's form."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from exporter.model import READING, RULES, SUGGESTION, StateError
from exporter.state.place import copied

GIVEN = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (
    source TEXT PRIMARY KEY, read_through INTEGER NOT NULL, settled_through INTEGER NOT NULL,
    started_at INTEGER NOT NULL, warm_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE decisions (
    source TEXT NOT NULL, start INTEGER NOT NULL, kind TEXT NOT NULL, end INTEGER NOT NULL,
    at INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (source, start, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE incidents (
    id TEXT PRIMARY KEY, status TEXT NOT NULL, revision INTEGER NOT NULL, service TEXT NOT NULL,
    starts_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, body TEXT NOT NULL, cluster TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX incidents_by_time ON incidents (starts_at);
CREATE TABLE reports (
    incident TEXT NOT NULL, writer TEXT NOT NULL, revision INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (incident, writer)
) STRICT, WITHOUT ROWID;
CREATE TABLE news (
    incident TEXT NOT NULL, revision INTEGER NOT NULL, part INTEGER NOT NULL, change TEXT NOT NULL,
    at INTEGER NOT NULL, body TEXT NOT NULL, report TEXT, PRIMARY KEY (incident, revision, part)
) STRICT, WITHOUT ROWID;
CREATE TABLE deliveries (
    sink TEXT NOT NULL, incident TEXT NOT NULL, revision INTEGER NOT NULL, part INTEGER NOT NULL,
    receipt TEXT, attempts INTEGER NOT NULL, next_attempt INTEGER NOT NULL, delivered_at INTEGER NOT NULL,
    error TEXT NOT NULL, PRIMARY KEY (sink, incident)
) STRICT, WITHOUT ROWID;
CREATE TABLE triggers (
    fingerprint TEXT NOT NULL, starts_at INTEGER NOT NULL, status TEXT NOT NULL, received_at INTEGER NOT NULL,
    done INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (fingerprint, starts_at, status)
) STRICT, WITHOUT ROWID;
CREATE TABLE changes (
    service TEXT NOT NULL, at INTEGER NOT NULL, version TEXT NOT NULL, PRIMARY KEY (service, at)
) STRICT, WITHOUT ROWID;
CREATE TABLE documents (
    key TEXT PRIMARY KEY, body TEXT NOT NULL, vector BLOB
) STRICT, WITHOUT ROWID;
"""

NEWS_AND_NEAR_MISSES = """
CREATE TABLE numbered_news (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    incident TEXT NOT NULL, revision INTEGER NOT NULL, part INTEGER NOT NULL, change TEXT NOT NULL,
    at INTEGER NOT NULL, body TEXT NOT NULL, report TEXT, UNIQUE (incident, revision, part)
) STRICT;
INSERT INTO numbered_news (incident, revision, part, change, at, body, report)
    SELECT incident, revision, part, change, at, body, report FROM news ORDER BY at, incident, revision, part;
DROP TABLE news;
ALTER TABLE numbered_news RENAME TO news;
CREATE INDEX news_unreported ON news (at) WHERE report IS NULL;
CREATE TABLE near_misses (
    id TEXT PRIMARY KEY, ends_at INTEGER NOT NULL, ratio REAL NOT NULL, body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_at_their_time ON deliveries (sink, next_attempt) WHERE next_attempt > 0;
"""
"""News have numbers, so that a sink finds what is new without reading what it has been told for a month; and what came
near to an incident is kept."""

BY_PLACE = """
CREATE TABLE deliveries_by_peer (
    sink TEXT NOT NULL, peer TEXT NOT NULL, incident TEXT NOT NULL, revision INTEGER NOT NULL, part INTEGER NOT NULL,
    receipt TEXT, attempts INTEGER NOT NULL, next_attempt INTEGER NOT NULL, delivered_at INTEGER NOT NULL,
    error TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (sink, peer, incident)
) STRICT, WITHOUT ROWID;
INSERT INTO deliveries_by_peer
    SELECT sink, '', incident, revision, part, receipt, attempts, next_attempt, delivered_at, error, ''
    FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE deliveries_by_peer RENAME TO deliveries;
CREATE INDEX deliveries_at_their_time ON deliveries (sink, peer, next_attempt) WHERE next_attempt > 0;
CREATE INDEX deliveries_by_digest ON deliveries (sink, peer, digest) WHERE digest != '';
CREATE TABLE digests (
    sink TEXT NOT NULL, peer TEXT NOT NULL, id TEXT NOT NULL, reason TEXT NOT NULL, made_at INTEGER NOT NULL,
    told_at INTEGER NOT NULL, times INTEGER NOT NULL, receipt TEXT, PRIMARY KEY (sink, peer, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE questions (
    incident TEXT NOT NULL, model TEXT NOT NULL, revision INTEGER NOT NULL, attempts INTEGER NOT NULL,
    next_attempt INTEGER NOT NULL, error TEXT NOT NULL, PRIMARY KEY (incident, model)
) STRICT, WITHOUT ROWID;
"""
"""Each instance of a sink is told for itself, many incidents at once are told as one digest, and a question to a model
that failed is remembered as that."""


def _each_place_for_itself(connection: sqlite3.Connection) -> None:
    for statement in _statements(BY_PLACE):
        connection.execute(statement)
    # A question that failed was kept as a copy of the report of the rules, which then stood before newer ones.
    for incident, writer, body in connection.execute("SELECT incident, writer, body FROM reports").fetchall():
        if _writer(body) not in (None, writer):
            connection.execute("DELETE FROM reports WHERE incident = ? AND writer = ?", (incident, writer))


def _writer(body: str) -> str | None:
    """None where it cannot be read: such a row is told apart where it is used."""
    try:
        return str(json.loads(body)["writer"])
    except (ValueError, KeyError, TypeError):
        return None


UNDO = """
CREATE TABLE undo (
    source TEXT NOT NULL, step INTEGER NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, body TEXT,
    PRIMARY KEY (source, step, name, key)
) STRICT, WITHOUT ROWID;
"""
"""What stood before each step that late lines may still take back."""

PEOPLE = """
CREATE TABLE rules (
    name TEXT NOT NULL, made_at INTEGER NOT NULL, origin TEXT NOT NULL, removed_at INTEGER, body TEXT NOT NULL,
    PRIMARY KEY (name, made_at)
) STRICT, WITHOUT ROWID;
CREATE TABLE acts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, incident TEXT NOT NULL, rule TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE TABLE hidden (
    rule TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL, service TEXT NOT NULL, said TEXT NOT NULL,
    PRIMARY KEY (rule, id)
) STRICT, WITHOUT ROWID;
"""
"""What people say of incidents, who said it, and what that has hidden."""


Step = str | Callable[[sqlite3.Connection], None]
"""SQL, or a function that changes rows through the connection; it neither begins nor ends a transaction."""

NOTICES = """
CREATE TABLE notices (
    source TEXT NOT NULL, window INTEGER NOT NULL, service TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (source, window, service, kind)
) STRICT, WITHOUT ROWID;
"""
"""What is shown and pages nobody."""

TOLD_NOTICES = """
CREATE TABLE told_notices (
    sink TEXT NOT NULL, peer TEXT NOT NULL, notice TEXT NOT NULL, told_at INTEGER NOT NULL,
    PRIMARY KEY (sink, peer, notice)
) STRICT, WITHOUT ROWID;
"""
"""Of which notices a place was told, in wall time."""

NARRATION = """
CREATE TABLE answers (
    incident TEXT NOT NULL, model TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (incident, model)
) STRICT, WITHOUT ROWID;
CREATE TABLE spent (
    model TEXT NOT NULL, hour INTEGER NOT NULL, calls INTEGER NOT NULL, tokens INTEGER NOT NULL,
    PRIMARY KEY (model, hour)
) STRICT, WITHOUT ROWID;
"""
"""What models were asked and answered, and what that cost."""


def _marked(connection: sqlite3.Connection) -> None:
    """What models wrote freely was shown as checked where it cited a line that exists: now it says that it is not."""
    for statement in _statements(NARRATION):
        connection.execute(statement)
    for incident, writer, body in connection.execute("SELECT incident, writer, body FROM reports").fetchall():
        if (marked := _with_marks(body)) is not None:
            connection.execute(
                "UPDATE reports SET body = ? WHERE incident = ? AND writer = ?", (marked, incident, writer)
            )
    for number, body in connection.execute("SELECT number, report FROM news WHERE report IS NOT NULL").fetchall():
        if (marked := _with_marks(body)) is not None:
            connection.execute("UPDATE news SET report = ? WHERE number = ?", (marked, number))


def _with_marks(body: str) -> str | None:
    """A model's report with a mark on every sentence; None for one of the rules, and where it cannot be read."""
    if _writer(body) in (None, RULES):
        return None
    try:
        report = json.loads(body)
        for part in ("what_happened", "causes", "steps"):
            mark = SUGGESTION if part == "steps" else READING
            report[part] = [{**claim, "verified": False, "mark": mark} for claim in report.get(part, ())]
    except (TypeError, AttributeError):
        return None
    return json.dumps(report, ensure_ascii=False, separators=(",", ":"))


MIGRATIONS: tuple[Step, ...] = (
    GIVEN, NEWS_AND_NEAR_MISSES, _each_place_for_itself, UNDO, PEOPLE, NOTICES, TOLD_NOTICES, _marked,
)  # fmt: skip
"""The version of a file is the number of steps that it has had. A step is never changed once it was released, only
followed by another; one that changes the form of a body raises `exporter.state.bodies.VERSION` too."""


def known_version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of a state file. Raises StateError when a newer release wrote it, with the way back."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StateError(
            f"state file {path} has version {version}, this program knows up to {len(MIGRATIONS)}: "
            f"it was written by a newer release; run that release, or {_way_back(path)}"
        )
    return version


def _way_back(path: Path) -> str:
    copies = (copy_of(path, version) for version in range(len(MIGRATIONS), 0, -1))
    kept = next((copy for copy in copies if copy.exists()), None)
    if kept is None:
        return "give another `state:` path"
    log, index, source, target = (shlex.quote(str(name)) for name in (f"{path}-wal", f"{path}-shm", kept, path))
    return f"go back to the copy that it made before it changed the file: rm -f {log} {index} && cp {source} {target}"


def copy_of(path: Path, version: int) -> Path:
    """Where a file is copied to before steps are taken that lead it away from a version."""
    return path.with_name(f"{path.name}.version-{version}")


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Take the steps that a file has not had, each in one transaction; before the first, copy a file that has rows."""
    version = known_version(connection, path)
    if 0 < version < len(MIGRATIONS):
        copied(connection, copy_of(path, version))
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        take(connection, step, number)


def take(connection: sqlite3.Connection, step: Step, number: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if callable(step):
            step(connection)
        else:
            for statement in _statements(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """One by one: `executescript` would end the transaction."""
    statement = ""
    for piece in script.split(";"):
        statement += f"{piece};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
