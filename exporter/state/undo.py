"""What stood before the newest steps of each source, so that late lines can take them back."""

from __future__ import annotations

from exporter.model import Write
from exporter.state.file import Rows
from exporter.state.journal import SHAPE, loaded, shape


async def taken_back(rows: Rows, source: str, step: int) -> list[Write]:
    """The writes that make a source's rows what they were before a step and all that followed."""
    query = "SELECT name, key, body FROM undo WHERE source = ? AND step >= ? ORDER BY step DESC"
    before: dict[str, dict[str, str | None]] = {}
    for name, key, body in await rows.read(query, (source, step)):
        before.setdefault(name, {})[key] = body
    writes = [await forgotten(rows, source, ">=", step)]
    for name, found in before.items():
        columns, key = shape(await rows.read(SHAPE, (name,)))
        writes.append(Write(name, key, tuple(map(loaded, found)), delete=True))
        writes.append(Write(name, columns, tuple(loaded(body) for body in found.values() if body is not None)))
    return writes


async def kept_from(rows: Rows, source: str, table: str) -> int | None:
    """The first step that can be taken back of those that wrote to a table."""
    found = await rows.read("SELECT MIN(step) FROM undo WHERE source = ? AND name = ?", (source, table))
    return None if found[0][0] is None else int(found[0][0])


async def forgotten(rows: Rows, source: str, which: str, step: int) -> Write:
    """Forget the steps of a source that are so (`<`, `>=`) compared with a step."""
    found = await rows.read(f"SELECT DISTINCT step FROM undo WHERE source = ? AND step {which} ?", (source, step))
    return Write("undo", ("source", "step"), tuple((source, one) for (one,) in found), delete=True)
