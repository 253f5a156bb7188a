"""What is wrong with a state file is said, what was given is saved, and what is learnt is learnt anew."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exporter.model import StateError, Write
from exporter.state.copies import back_up, look, restore
from exporter.state.file import State, meta_row
from exporter.state.incidents import incident_list, incident_row
from exporter.state.place import StateInUse
from tests import samples
from tests.servers.process import PATIENCE

LEARNT = "CREATE TABLE learnt (source TEXT NOT NULL, n INTEGER NOT NULL, body TEXT, PRIMARY KEY (source, n)) STRICT;"
INCIDENTS = 400


def opened(path: Path) -> State:
    return State(path, (LEARNT,), "f1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state file with many incidents and something learnt, closed."""
    path = tmp_path / "state.db"
    state = opened(path)
    rows = [incident_row(samples.incident(id=f"i{n:04}"), samples.NOW) for n in range(INCIDENTS)]
    learnt = tuple(("shop", n, "x" * 500) for n in range(2_000))
    checkpoint = Write("checkpoints", ("source", *TIMES), (("shop", 100, 90, 10, 50),))
    state.write_now([*rows, Write("learnt", ("source", "n", "body"), learnt), checkpoint, meta_row("note", "kept")])
    state.redaction_key()
    state.close()
    return path


TIMES = ("read_through", "settled_through", "started_at", "warm_until")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def changed(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def pages_of(path: Path, table: str) -> list[int]:
    """The pages that hold the rows of a table, but for the first, in order."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path"
        try:
            return [number for (number,) in connection.execute(query, (table,))]
        except sqlite3.OperationalError:
            pytest.skip("this SQLite cannot say which page holds what (dbstat)")


def overwrite(path: Path, page: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(content)


# --- Who may read it ----------------------------------------------------------------------------------


def test_what_we_make_is_for_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        state = opened(tmp_path / "deep" / "down" / "state.db")
        state.write_now([meta_row("a", "b")])
        files = list((tmp_path / "deep" / "down").iterdir())
        assert {mode(file) for file in files} == {0o600}
        assert len(files) >= 3
        assert mode(tmp_path / "deep" / "down") == 0o700
        state.close()
        back_up(tmp_path / "deep" / "down" / "state.db", tmp_path / "copy.db")
        assert mode(tmp_path / "copy.db") == 0o600
    finally:
        os.umask(old)


def test_a_file_that_all_could_read_is_made_private_and_its_directory_left_as_it_is(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.chmod(0o644)
    path.parent.chmod(0o777)
    opened(path).close()
    assert (mode(path), mode(path.parent)) == (0o600, 0o777)
    assert "others may write" in caplog.text
    path.parent.chmod(0o700)


def test_what_is_no_state_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database at all, but somebody's notes\n" * 100)
    path.chmod(0o644)
    with pytest.raises(StateError, match="no state file"):
        opened(path)
    assert mode(path) == 0o644
    assert path.read_text().startswith("no database")


# --- One file, one daemon -----------------------------------------------------------------------------


def symlink(path: Path) -> Path:
    other = path.with_name("other.db")
    other.symlink_to(path)
    return other


def hard_link(path: Path) -> Path:
    other = path.with_name("other.db")
    other.hardlink_to(path)
    return other


def without_lock(path: Path) -> Path:
    path.with_name(path.name + ".lock").unlink()
    return path


@pytest.mark.parametrize("way", [symlink, hard_link, without_lock])
def test_no_name_of_a_file_lets_a_second_one_hold_it(path: Path, way: Callable[[Path], Path]) -> None:
    first = opened(path)
    with pytest.raises(StateInUse):
        opened(way(path))
    first.write_now([meta_row("still", "mine")])
    first.close()
    opened(path).close()


def test_the_lock_file_of_the_first_releases_is_heeded_and_held(path: Path) -> None:
    import fcntl

    with path.with_name(path.name + ".lock").open("a+") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(StateInUse):
            opened(path)
    ours = opened(path)
    with path.with_name(path.name + ".lock").open("a+") as theirs, pytest.raises(BlockingIOError):
        fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
    ours.close()


def test_a_start_waits_for_whoever_looks_into_the_file(path: Path) -> None:
    changed(path, "PRAGMA journal_mode = DELETE")
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("BEGIN")
    other.execute("SELECT COUNT(*) FROM incidents").fetchall()
    waiting = ThreadPoolExecutor(1).submit(opened, path)
    with pytest.raises(TimeoutError):
        waiting.result(0.2)
    other.close()
    waiting.result(PATIENCE).close()


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_was_deleted_or_replaced_is_noticed(path: Path, replaced: bool) -> None:
    state = opened(path)
    assert state.in_place()
    path.unlink()
    if replaced:
        path.touch()
    assert not state.in_place()
    state.close()


# --- Damage -------------------------------------------------------------------------------------------


def test_a_damaged_page_of_what_is_derived_costs_no_given_row(path: Path) -> None:
    overwrite(path, pages_of(path, "learnt")[3], b"\xff" * 4096)
    state = opened(path)
    try:
        assert len(state.read_now("SELECT id FROM incidents")) == INCIDENTS
        assert state.read_now("SELECT value FROM meta WHERE key = 'note'") == [("kept",)]
        assert state.read_now("SELECT * FROM learnt") == []
        assert state.read_now("SELECT * FROM checkpoints") == []
        (said,) = state.aside.all()
        assert "learnt anew" in said.reason
        assert path.with_name("state.db.damaged-1").exists()
    finally:
        state.close()


async def test_of_a_damaged_page_of_given_rows_the_others_are_saved(path: Path) -> None:
    pages = pages_of(path, "incidents")
    overwrite(path, pages[len(pages) // 2], b"\xff" * 4096)
    key = b""
    state = opened(path)
    try:
        saved = {incident.id for incident in await incident_list(state, limit=INCIDENTS)}
        assert INCIDENTS / 2 < len(saved) < INCIDENTS
        assert {"i0000", f"i{INCIDENTS - 1:04}"} <= saved
        assert "of incidents some are lost" in state.aside.all()[0].reason
        key = state.redaction_key()
    finally:
        state.close()
    again = opened(path)
    assert again.redaction_key() == key
    assert again.aside.all() == ()
    again.close()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_opened_or_a_sentence_says_what_to_do(path: Path, share: float) -> None:
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))
    said = ""
    try:
        state = opened(path)
    except StateError as error:
        said = str(error)
    else:
        state.write_now([meta_row("a", "b")])
        state.close()
    assert not said or "restore a copy" in said


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(seed=3937733, holes=19)
@given(seed=st.integers(0, 2**32), holes=st.integers(1, 30))
def test_whatever_bytes_are_wrong_it_opens_or_a_sentence_says_what_to_do(path: Path, seed: int, holes: int) -> None:
    chance = random.Random(seed)
    broken = path.with_name(f"broken-{seed}-{holes}.db")
    body = bytearray(path.read_bytes())
    for _ in range(holes):
        start, length = chance.randrange(len(body)), chance.choice((1, 8, 200))
        body[start : start + length] = chance.randbytes(length)
    broken.write_bytes(body)
    said = ["state file"]
    try:
        state = opened(broken)
        try:
            state.write_now([meta_row("a", "b")])
            state.read_now("SELECT COUNT(*) FROM incidents")
        finally:
            state.close()
    except StateError as error:
        said = [str(error)]
    assert all(text.startswith("state file") for text in said)


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "state.db").touch()
    state = opened(tmp_path / "state.db")
    assert state.read_now("SELECT * FROM incidents") == []
    state.close()


# --- Odd values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, 10_000_000_000_000, 318_857 * 31_556_952])
def test_a_checkpoint_of_no_time_is_learnt_anew(path: Path, value: int) -> None:
    changed(path, f"UPDATE checkpoints SET read_through = {value}")
    state = opened(path)
    assert (state.rebuilt, state.read_now("SELECT * FROM checkpoints")) == (True, [])
    assert len(state.read_now("SELECT id FROM incidents")) == INCIDENTS
    state.close()


@pytest.mark.parametrize("change", ["DROP TABLE learnt", "ALTER TABLE learnt DROP COLUMN body"])
def test_a_derived_table_of_another_form_is_learnt_anew(path: Path, change: str) -> None:
    changed(path, change)
    state = opened(path)
    assert state.rebuilt
    assert state.read_now("SELECT source, n, body FROM learnt") == []
    state.close()


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ("DROP TABLE triggers", "table triggers is missing"),
        ("ALTER TABLE decisions RENAME COLUMN detail TO details", "column detail of table decisions is missing"),
        ("DROP TABLE meta", "table meta is missing"),
    ],
)
def test_a_given_table_of_another_form_is_named_with_the_remedy(path: Path, change: str, missing: str) -> None:
    changed(path, change)
    with pytest.raises(StateError, match=f"{missing}; restore a copy"):
        opened(path)


@pytest.mark.parametrize("value", ["no hex", "", "zz"])
def test_a_key_that_is_none_is_made_anew_and_that_is_told(path: Path, value: str) -> None:
    changed(path, f"UPDATE meta SET value = '{value}' WHERE key = 'redaction_key'")
    state = opened(path)
    assert len(state.redaction_key()) == 16
    assert state.aside.counts() == {"meta": 1}
    state.close()


@pytest.mark.parametrize("value", ["no JSON", '["learnt; DROP TABLE incidents"]', "3", "null"])
def test_what_a_file_says_of_its_derived_tables_is_not_believed(path: Path, value: str) -> None:
    changed(path, f"UPDATE meta SET value = '{value}' WHERE key = 'derived'")
    state = opened(path)
    assert len(state.read_now("SELECT id FROM incidents")) == INCIDENTS
    state.close()


# --- Copies -------------------------------------------------------------------------------------------


def test_a_copy_is_whole_also_while_the_file_is_written_and_comes_back(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    state = opened(path)
    state.write_now([meta_row("in the log", "too")])
    back_up(path, copy)
    with pytest.raises(StateInUse):
        restore(path, copy)
    state.write_now([meta_row("later", "gone")])
    state.close()
    kept = restore(path, copy)
    assert kept is not None
    state = opened(path)
    assert dict(state.read_now("SELECT key, value FROM meta WHERE key IN ('in the log', 'later')")) == {
        "in the log": "too"
    }
    state.close()
    assert look(kept).wrong == []


def test_a_damaged_file_is_replaced_by_its_copy(path: Path, tmp_path: Path) -> None:
    back_up(path, tmp_path / "copy.db")
    with path.open("r+b") as file:
        file.truncate(5_000)
    restore(path, tmp_path / "copy.db")
    assert look(path).rows["incidents"] == INCIDENTS


def broken_copies(path: Path, copy: Path) -> Iterator[Callable[[], object]]:
    yield lambda: copy.write_text("no copy")
    yield copy.unlink
    yield lambda: changed(copy, "DROP TABLE meta")
    yield lambda: changed(copy, "PRAGMA user_version = 99")


@pytest.mark.parametrize("number", range(4))
def test_what_is_no_whole_copy_is_not_put_back(path: Path, tmp_path: Path, number: int) -> None:
    copy = tmp_path / "copy.db"
    back_up(path, copy)
    list(broken_copies(path, copy))[number]()
    with pytest.raises(StateError):
        restore(path, copy)
    assert look(path).rows["incidents"] == INCIDENTS


def test_a_check_names_each_row_that_cannot_be_read(path: Path) -> None:
    changed(path, "UPDATE incidents SET body = 'junk' WHERE id = 'i0007'")
    found = look(path)
    assert found.wrong == ["incidents i0007: its body cannot be read, and is skipped"]
