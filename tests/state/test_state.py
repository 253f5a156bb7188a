"""The state file: all or nothing, one writer, given rows kept, derived rows rebuilt, and clear words when it fails."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.facts.observed import tables
from exporter.model import Claim, StateError, Write
from exporter.state import migrations
from exporter.state.bodies import pack, unpack
from exporter.state.file import READERS, Rows, State, meta_row
from exporter.state.migrations import MIGRATIONS
from exporter.state.place import StateInUse

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"

CLOSED_WHILE_READ = """
import asyncio, sys
from pathlib import Path
from exporter.state.file import State, meta_row

READS = (
    "SELECT a.key, b.value FROM meta a, meta b LIMIT 50000",
    "SELECT COUNT(*) FROM meta a, meta b WHERE a.value || b.key > 'y'",
    "SELECT value FROM meta",
)

async def again(state, query):
    while True:
        await state.read(query)

async def main():
    for number in range(8):
        state = State(Path(sys.argv[1]) / f"{number}.db")
        await state.write([meta_row(str(row), "x" * 100) for row in range(800)])
        reading = [asyncio.create_task(again(state, query)) for query in READS * 2]
        for _ in range(number):
            await state.read("SELECT 1")
        for task in reading:
            task.cancel()
        state.close()
        await asyncio.gather(*reading, return_exceptions=True)

asyncio.run(main())
"""
"""A program of its own, for what it is about kills a process."""

CLOSED_WHILE_A_STRANGER_READS = """
import sys, threading
from pathlib import Path
from exporter.model import StateError
from exporter.state.file import State, meta_row

def read():
    try:
        while True:
            state._read("SELECT a.key, b.value FROM meta a, meta b LIMIT 50000", ())
    except StateError as error:
        refusals.append(str(error).rpartition(": ")[2])

def reading():
    frame = sys._current_frames()[thread.ident]
    return frame is not None and frame.f_code.co_name == "_read"

refusals = []
for number in range(8):
    state = State(Path(sys.argv[1]) / f"{number}.db")
    state.write_now([meta_row(str(row), "x" * 100) for row in range(800)])
    thread = threading.Thread(target=read)
    thread.start()
    while not reading():
        pass
    state.close()
    thread.join()
assert set(refusals) <= {"is closed", "was closed while it was read"} and len(refusals) == 8, refusals
"""
"""An interrupt that comes while a pool starts a thread leaves one that reads and that the pool does not know of."""

TABLES = "CREATE TABLE templates (source TEXT, id INTEGER, text TEXT, PRIMARY KEY (source, id)) STRICT, WITHOUT ROWID;"


def incident(identity: str) -> Write:
    names = ("id", "status", "revision", "service", "starts_at", "updated_at", "body", "cluster")
    return Write("incidents", names, ((identity, "firing", 1, "s", 0, 0, "{}", ""),))


async def test_a_transaction_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    with pytest.raises(StateError):
        await state.write([meta_row("a", "1"), Write("no_such_table", ("x",), ((1,),))])
    assert await state.meta("a") is None
    await state.write([meta_row("a", "1")])
    assert await state.meta("a") == "1"
    state.close()


async def test_given_rows_survive_a_new_fingerprint_and_derived_rows_do_not(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = State(path, (TABLES,), "one")
    await state.write([incident("i1"), Write("templates", ("source", "id", "text"), (("s", 1, "x"),))])
    state.close()
    state = State(path, (TABLES,), "one")
    assert not state.rebuilt
    assert (await state.derived_rows("s"))["templates"] == [("s", 1, "x")]
    state.close()
    state = State(path, (TABLES,), "two")
    assert state.rebuilt
    assert (await state.derived_rows("s"))["templates"] == []
    assert await state.read("SELECT id FROM incidents") == [("i1",)]
    state.close()


async def test_a_file_without_the_facts_of_windows_is_given_an_empty_table_and_nothing_is_learnt_anew(
    tmp_path: Path,
) -> None:
    learnt = "CREATE TABLE learnt (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
    before = State(tmp_path / "state.db", (learnt,), "one")
    await before.write([Write("learnt", ("key", "value"), (("a", "b"),))])
    before.close()
    for _ in range(2):
        after = State(tmp_path / "state.db", (learnt, tables()), "one")
        assert not after.rebuilt
        assert await after.read("SELECT * FROM learnt") == [("a", "b")]
        assert await after.read("SELECT * FROM facts_windows") == []
        after.close()


def test_a_second_process_is_refused_and_told_who_holds_the_file(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    code = (
        f"from pathlib import Path; from exporter.state.file import State; State(Path({str(tmp_path / 'state.db')!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"in use by process {os.getpid()}" in done.stderr
    state.close()
    State(tmp_path / "state.db").close()


def test_the_same_process_cannot_open_it_twice(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    with pytest.raises(StateInUse):
        State(tmp_path / "state.db")
    state.close()


async def test_a_reader_needs_no_lock(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    await state.write([meta_row("a", "1")])
    rows = Rows(tmp_path / "state.db")
    assert await rows.meta("a") == "1"
    with pytest.raises(StateError):
        await rows.read("DELETE FROM meta")
    rows.close()
    state.close()


@pytest.mark.parametrize("program", [CLOSED_WHILE_READ, CLOSED_WHILE_A_STRANGER_READS], ids=["pool", "stranger"])
def test_closing_while_it_is_read_harms_nobody(program: str, tmp_path: Path) -> None:
    command = [sys.executable, "-X", "faulthandler", "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_closing_breaks_off_a_read_that_would_never_end_and_says_so(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    reading = [asyncio.create_task(state.read(ENDLESS)) for _ in range(2 * READERS)]
    # Half of them begin, and the others wait for their turn: for ever, if nothing breaks those off.
    await asyncio.sleep(0)
    state.close()
    answers = await asyncio.gather(*reading, return_exceptions=True)
    assert {str(answer) for answer in answers} == {f"state file {state.path}: was closed while it was read"}
    assert {type(answer) for answer in answers} == {StateError}


async def test_what_is_asked_of_a_closed_file_is_refused(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    await state.write([meta_row("a", "1")])
    assert state.read_now("SELECT value FROM meta WHERE key = 'a'") == [("1",)]
    state.close()
    state.close()
    with pytest.raises(StateError, match="is closed"):
        await state.meta("a")
    with pytest.raises(StateError, match="is closed"):
        state.read_now("SELECT * FROM meta")
    with pytest.raises(StateError, match="is closed"):
        await state.write([meta_row("b", "1")])
    with pytest.raises(StateError, match="is closed"):
        await state.prune("triggers")


async def test_no_more_connections_are_opened_than_there_are_readers(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    await asyncio.gather(*(state.meta("a") for _ in range(100)))
    await asyncio.gather(*(asyncio.to_thread(state.read_now, "SELECT * FROM meta") for _ in range(100)))
    assert len(state._readers) <= READERS
    state.close()


def test_a_file_of_a_newer_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    State(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(StateError, match="newer release; run that release, or give another `state:` path"):
        State(path)
    with pytest.raises(StateError, match="newer release"):
        Rows(path).read_now("SELECT * FROM meta")
    connection.close()


def marks_resolved(connection: sqlite3.Connection) -> None:
    """A step in Python: it reads a body and writes another."""
    for identity, body in connection.execute("SELECT id, body FROM incidents").fetchall():
        changed = json.dumps({**json.loads(body), "status": "resolved"})
        connection.execute("UPDATE incidents SET body = ? WHERE id = ?", (changed, identity))


COLUMN = "ALTER TABLE incidents ADD COLUMN note TEXT NOT NULL DEFAULT ''; CREATE INDEX notes ON incidents (note);"


def older(path: Path) -> None:
    """A file as this release leaves it, with an incident."""
    state = State(path)
    state.write_now([incident("i1")])
    state.close()


async def test_steps_in_sql_and_in_python_bring_an_older_file_to_todays_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    older(path)
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, COLUMN, marks_resolved))
    state = State(path)
    assert await state.read("SELECT id, body, note FROM incidents") == [("i1", '{"status": "resolved"}', "")]
    assert await state.read("PRAGMA user_version") == [(len(MIGRATIONS) + 2,)]
    state.close()
    State(path).close()


def test_the_file_is_copied_beside_itself_before_the_first_step_and_the_message_of_the_older_release_brings_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "its state.db"
    older(path)
    with monkeypatch.context() as newer:
        newer.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, COLUMN, marks_resolved))
        state = State(path)
        copy = path.with_name(f"its state.db.version-{len(MIGRATIONS)}")
        assert copy.stat().st_mode & 0o077 == 0, "it holds what the file holds"
        # The newer release goes on for a while, and is killed.
        state.write_now([incident("i2")])
        log = path.with_name("its state.db-wal").read_bytes()
        state.close()
        path.with_name("its state.db-wal").write_bytes(log)
    with pytest.raises(StateError, match="run that release, or go back to the copy") as refused:
        State(path)
    subprocess.run(["sh", "-c", str(refused.value).partition("changed the file: ")[2]], check=True)
    state = State(path)
    assert state.read_now("SELECT id, body FROM incidents") == [("i1", "{}")]
    state.close()


@pytest.mark.parametrize("fault", ["CREATE TABLE extra (a TEXT); INSERT INTO nowhere VALUES (1);", lambda _: 1 / 0])
def test_a_step_that_fails_changes_nothing(
    fault: migrations.Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    older(path)
    with monkeypatch.context() as newer:
        newer.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, COLUMN, fault))
        with pytest.raises((StateError, ZeroDivisionError)):
            State(path)
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,), "COLUMN stays"
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'extra'").fetchall() == []
        connection.close()
        newer.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, COLUMN, marks_resolved))
        State(path).close()


def test_a_file_that_is_new_is_not_copied(tmp_path: Path) -> None:
    State(tmp_path / "state.db").close()
    assert list(tmp_path.glob("*.version-*")) == []


def test_a_body_says_the_version_of_its_form() -> None:
    release = Claim("restarted", ("L1",))
    kept = {"version": 1, "text": "restarted", "evidence": ["L1"], "verified": True, "mark": ""}
    assert json.loads(pack(release)) == kept
    assert unpack(Claim, pack(release)) == release


def test_a_body_of_82d5d22_has_no_version_and_is_read() -> None:
    assert unpack(Claim, '{"text":"restarted","evidence":["L1"],"verified":true}') == Claim("restarted", ("L1",))


def test_a_body_of_a_newer_form_is_refused() -> None:
    with pytest.raises(StateError, match="a row holds a Claim of form 2"):
        unpack(Claim, '{"version":2,"words":[]}')


def test_something_else_than_a_state_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"not a database at all, but long enough to look like one" * 100)
    with pytest.raises(StateError, match="no state file"):
        State(path)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StateError, match=str(blocked)):
        State(blocked / "state.db")


async def test_a_full_disk_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    await state.write([meta_row("kept", "1")])
    pages = (await state.read("PRAGMA page_count"))[0][0]
    with state._connection.use() as connection:
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StateError, match="disk is full"):
        await state.write([meta_row(f"k{number}", "x" * 4000) for number in range(50)])
    assert await state.meta("kept") == "1"
    assert await state.meta("k0") is None
    state.close()


def test_the_redaction_key_is_made_once(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    key = state.redaction_key()
    state.close()
    state = State(tmp_path / "state.db")
    assert state.redaction_key() == key
    state.close()
