"""Steps of a source can be taken back: its rows are then what they were before."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.model import Write
from exporter.state.file import State
from exporter.state.undo import forgotten, kept_from, taken_back

TABLE = """
CREATE TABLE things (
    source TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, share REAL NOT NULL, body BLOB,
    PRIMARY KEY (source, name, number)
) STRICT, WITHOUT ROWID;
"""
COLUMNS = ("source", "name", "number", "share", "body")

key = st.tuples(st.sampled_from(["shop", "other"]), st.sampled_from(["a", "ü\n"]), st.integers(-1, 1))
value = st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.binary(max_size=3) | st.none())
put = st.lists(st.tuples(key, value), max_size=4).map(
    lambda rows: Write("things", COLUMNS, tuple((*one, *other) for one, other in rows))
)
deleted = st.lists(key, max_size=3).map(lambda keys: Write("things", COLUMNS[:3], tuple(keys), delete=True))
all_of = st.sampled_from([("shop", "a"), ("other", "a")]).map(
    lambda row: Write("things", COLUMNS[:2], (row,), delete=True)
)
steps_ = st.lists(st.lists(put | deleted | all_of, max_size=4), min_size=1, max_size=5)


async def things(state: State) -> list[tuple[Any, ...]]:
    return await state.read("SELECT * FROM things WHERE source = 'shop'")


@given(steps_, st.data())
@settings(max_examples=100, deadline=None)
def test_rows_are_what_they_were_before_a_step_that_is_taken_back(
    steps: list[list[Write]], data: st.DataObject
) -> None:
    async def check() -> None:
        with tempfile.TemporaryDirectory() as name:
            state = State(Path(name) / "state.db", (TABLE,))
            before = []
            for number, writes in enumerate(steps):
                before.append(await things(state))
                await state.write([replace(write, step=number) for write in writes])
            back = data.draw(st.integers(0, len(steps) - 1))
            others = await state.read("SELECT * FROM things WHERE source = 'other'")
            await state.write(await taken_back(state, "shop", back))
            assert await things(state) == before[back]
            assert await state.read("SELECT * FROM things WHERE source = 'other'") == others
            assert await state.read("SELECT * FROM undo WHERE source = 'shop' AND step >= ?", (back,)) == []
            state.close()

    asyncio.run(check())


async def test_what_is_forgotten_cannot_be_taken_back(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db", (TABLE,))
    for number in range(3):
        await state.write([Write("things", COLUMNS, (("shop", "a", number, 0.5, None),), step=number)])
    await state.write([await forgotten(state, "shop", "<", 2)])
    assert await kept_from(state, "shop", "things") == 2
    await state.write(await taken_back(state, "shop", 0))
    assert [row[2] for row in await things(state)] == [0, 1]
    state.close()


async def test_with_what_was_learnt_the_steps_to_it_are_forgotten(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db", (TABLE,), "one")
    await state.write([Write("things", COLUMNS, (("shop", "a", 1, 0.5, None),), step=1)])
    state.close()
    state = State(tmp_path / "state.db", (TABLE,), "another")
    assert await state.read("SELECT * FROM undo") == []
    state.close()
