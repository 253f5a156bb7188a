"""Where the records of a source keep what no known name says: chosen once by looking at some, on the record, and anew
where those of a day cannot be read by it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from exporter.model import Choice, Choosing, Source, TimeRange, Write, floor
from exporter.reading.choice import MOST_PATHS, SAMPLE, chosen, joined, unread
from exporter.state import checkpoints
from exporter.state.file import State

log = logging.getLogger(__name__)

DAY = timedelta(days=1)


class Places:
    """What was chosen of one source, each from a moment of event time on."""

    def __init__(self, source: Source, state: State) -> None:
        self._source = source if isinstance(source, Choosing) else None
        self._name = source.name
        self._state = state
        self._choices: list[tuple[datetime, Choice]] | None = None

    async def load(self) -> None:
        """Let the source read by what is on the record."""
        if self._source is not None and self._choices is None:
            self._choices = await checkpoints.choices(self._state, self._name)
            self._source.read_by(self._choices)

    async def first(self, span: TimeRange) -> list[Write]:
        """What the first records of a range say, for the record: what was chosen before is forgotten."""
        forgotten = [checkpoints.without_decisions(self._name, checkpoints.CHOSEN)]
        if self._source is None:
            return []
        self._choices = None
        found = await self._of(self._source, span, {})
        if not found:
            return forgotten
        log.info("%s: %s; `fields` says otherwise", self._name, said(found))
        return [*forgotten, checkpoints.choice_row(self._name, span, found)]

    async def look_again(self, at: datetime) -> None:
        """Once a day has been read: what its first records say that cannot be read by what was chosen."""
        await self.load()
        if self._source is None or self._choices is None or at != floor(at, DAY):
            return
        if any(since == at for since, _ in self._choices):
            return
        before = next((choice for since, choice in reversed(self._choices) if since < at), {})
        found = await self._of(self._source, TimeRange(at - DAY, at), before)
        if not found:
            return
        choice = joined(found, before)
        log.warning("%s: less than half of a day can be read by what was chosen: now %s", self._name, said(found))
        row = checkpoints.choice_row(self._name, TimeRange(at, at), choice)
        await self._state.write([row])
        self._choices = None
        await self.load()

    async def _of(self, source: Choosing, span: TimeRange, before: Choice) -> Choice:
        """Further places that the first records of a range show."""
        if not span.duration:
            return {}
        records = await source.sample(span, SAMPLE)
        known = {column: (*paths, *before.get(column, ())) for column, paths in source.open_columns().items()}
        found = await asyncio.to_thread(chosen, records, {**before, **known})
        if before and found.keys().isdisjoint(known):
            # What stands beside a message differs from day to day, and is no reason to read all in another way.
            found = {}
        if not found and (lacking := await asyncio.to_thread(_unread, records, known, before)):
            told = "%s: less than half of the records of %s to %s can be read by what was chosen for %s; see `fields`"
            log.warning(told, self._name, span.start, span.end, ", ".join(lacking))
        return {column: paths[:MOST_PATHS] for column, paths in found.items()}


def _unread(records: Sequence[Mapping[str, Any]], known: Mapping[str, Sequence[str]], before: Choice) -> list[str]:
    return [column for column in unread(records, known) if column in before]


def said(choice: Choice) -> str:
    """What was chosen, in one line.

    >>> said({"severity": ("stufe",), "body": ("vorfall.text",)})
    'by what stands there, severity from stufe, body from vorfall.text'
    """
    parts = (f"{column} from {', '.join(paths)}" for column, paths in choice.items())
    return f"by what stands there, {', '.join(parts)}"
