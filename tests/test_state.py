"""The state file: all or nothing, one writer, given rows kept, derived rows rebuilt, and clear words when it fails."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.model import StateError, Write
from exporter.state.file import MIGRATIONS, Rows, State, StateInUse, meta_write

TABLES = "CREATE TABLE templates (source TEXT, id INTEGER, text TEXT, PRIMARY KEY (source, id)) STRICT, WITHOUT ROWID;"


def incident(identity: str) -> Write:
    names = ("id", "status", "revision", "service", "starts_at", "updated_at", "body", "cluster")
    return Write("incidents", names, ((identity, "firing", 1, "s", 0, 0, "{}", ""),))


async def test_a_transaction_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    with pytest.raises(StateError):
        await state.write([meta_write("a", "1"), Write("no_such_table", ("x",), ((1,),))])
    assert await state.meta("a") is None
    await state.write([meta_write("a", "1")])
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
    await state.write([meta_write("a", "1")])
    rows = Rows(tmp_path / "state.db")
    assert await rows.meta("a") == "1"
    with pytest.raises(StateError):
        await rows.read("DELETE FROM meta")
    rows.close()
    state.close()


def test_a_file_of_a_newer_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    State(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(StateError, match="newer release"):
        State(path)
    with pytest.raises(StateError, match="newer release"):
        Rows(path).read_now("SELECT * FROM meta")
    connection.close()


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
    await state.write([meta_write("kept", "1")])
    pages = (await state.read("PRAGMA page_count"))[0][0]
    state._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StateError, match="disk is full"):
        await state.write([meta_write(f"k{number}", "x" * 4000) for number in range(50)])
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
