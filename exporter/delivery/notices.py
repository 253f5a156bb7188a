"""Tell a place of what is worth knowing and pages nobody: each notice once, while it is news."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from exporter.delivery.settings import Ask
from exporter.model import Notice, NoticeSink, NoticeTold, PermanentError, TimeRange
from exporter.state.file import State
from exporter.state.notices import notices, told, told_row

log = logging.getLogger(__name__)

NEWS = timedelta(hours=6)
"""What began longer ago is not told any more: a sink that is new, or was down for a day, is not flooded."""

MOST = 20
"""Of the notices of that time, the newest: what pages nobody may fill no channel either."""


class Notices:
    """The notices of one place. What it was told of is in rows."""

    def __init__(self, sink: NoticeSink, state: State, external_url: str | None) -> None:
        self._sink = sink
        self._state = state
        self._url = f"{external_url}/" if external_url else None
        self._due: dict[str, Notice] = {}
        self._attempts: dict[str, int] = {}

    async def due(self, now: datetime) -> list[str]:
        """The ids of what it was not told of yet, the oldest first."""
        span = TimeRange(now - NEWS, now + NEWS)
        had = await told(self._state, self._sink.name, self._sink.peer)
        found = [one for one in await notices(self._state, MOST, span) if one.id not in had]
        self._due = {one.id: one for one in reversed(found)}
        self._attempts = {one: count for one, count in self._attempts.items() if one in self._due}
        return list(self._due)

    async def tell(self, identity: str, now: datetime, ask: Ask) -> bool:
        """Tell one that is due; what is refused for good is not told again, for it pages nobody."""
        told = NoticeTold(f"{identity}:1", self._due[identity], now, self._url)
        try:
            await ask(lambda: self._sink.deliver_notice(told))
        except PermanentError as error:
            log.warning("sink %s refuses the notice %s, which is given up: %s", self._sink.name, identity, error)
        await self._state.write([told_row(self._sink.name, self._sink.peer, identity, now)])
        self._attempts.pop(identity, None)
        return True

    def failed(self, identity: str) -> int:
        """An attempt on it failed. Returns how many did before."""
        before = self._attempts.get(identity, 0)
        self._attempts[identity] = before + 1
        return before
