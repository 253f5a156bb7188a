"""What models were asked and answered of incidents, and what was spent on them, hour by hour."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.model import Asked, Write
from exporter.state.aside import readable
from exporter.state.bodies import pack
from exporter.state.file import Rows, State


def asked_row(asked: Asked, writer: str) -> Write:
    """The newest question that was answered, of each writer on an incident; mostly it is named as its model is."""
    row = (asked.incident, writer, pack(asked))
    return Write("answers", ("incident", "model", "body"), (row,))


async def asked_of(rows: Rows, incident: str, writer: str) -> Asked | None:
    """What a model was asked last of an incident; None where it was not, or where that cannot be read."""
    found = await rows.read("SELECT body FROM answers WHERE incident = ? AND model = ?", (incident, writer))
    return readable(rows, "answers", f"{incident}:{writer}", Asked, found[0][0]) if found else None


async def answers_of(rows: Rows, incident: str) -> list[Asked]:
    """What every model was asked last of an incident."""
    found = await rows.read("SELECT model, body FROM answers WHERE incident = ? ORDER BY model", (incident,))
    told = [readable(rows, "answers", f"{incident}:{model}", Asked, body) for model, body in found]
    return [one for one in told if one is not None]


def spent_rows(model: str, spent: Mapping[int, tuple[int, int]]) -> Write:
    """Requests and tokens of a model by hour, in seconds since the epoch."""
    return Write(
        "spent",
        ("model", "hour", "calls", "tokens"),
        tuple((model, hour, calls, tokens) for hour, (calls, tokens) in sorted(spent.items())),
    )


async def spent_since(rows: Rows, model: str, since: int) -> dict[int, tuple[int, int]]:
    """What `spent_rows` wrote of the hours from a moment on."""
    query = "SELECT hour, calls, tokens FROM spent WHERE model = ? AND hour >= ?"
    return {hour: (calls, tokens) for hour, calls, tokens in await rows.read(query, (model, since))}


class Narrations:
    """The `Ledger` of a state file."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def asked(self, incident: str, writer: str) -> Asked | None:
        return await asked_of(self._state, incident, writer)

    async def keep(self, asked: Asked, writer: str) -> None:
        await self._state.write([asked_row(asked, writer)])

    async def spent(self, model: str, since: int) -> Mapping[int, tuple[int, int]]:
        return await spent_since(self._state, model, since)

    async def spend(self, model: str, spent: Mapping[int, tuple[int, int]]) -> None:
        await self._state.write([spent_rows(model, spent)])
