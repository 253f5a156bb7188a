"""What came and went while nothing was watched pages nobody: it waits until it is known whether it has ended."""

from __future__ import annotations

from exporter.delivery.settings import DigestRules
from exporter.model import DigestSink, Sink, TimeRange
from exporter.state.deliveries import Delivery, delivery_of, delivery_row, is_new
from exporter.state.file import State
from exporter.state.incidents import grouped_through
from exporter.state.news import newest_news
from exporter.state.outages import last_outage, over_before


class Outages:
    """For one place: which incidents of an outage of ours wait, and which of them are told as what they were."""

    def __init__(self, sink: Sink, state: State, rules: DigestRules) -> None:
        self._sink = sink
        self._state = state
        self._rules = rules
        self._outage: TimeRange | None = None
        """The last one, as of the last look."""
        self._held: dict[str, None] = {}
        self.missed: set[str] = set()
        """Incidents that came and went in an outage: only their last state is told."""

    async def is_to_be_told(self, incident: str) -> bool:
        """False while it waits for the end of the outage that it began in, or where nobody is to be told of it."""
        outage = self._outage
        if outage is None:
            return True
        before = await delivery_of(self._state, self._sink.name, self._sink.peer, incident)
        news = None if before.revision else await newest_news(self._state, incident)
        if news is None or not outage.start <= news.incident.starts_at < outage.end:
            return True
        if await self._catches_up(outage):
            self._held.setdefault(incident)
            return False
        if news.incident.status != "resolved":
            return True
        if self._sink.resend is not None and not isinstance(self._sink, DigestSink):
            # It lives by being repeated: somebody is paged by it.
            await self._had(incident, news.revision, news.part)
            return False
        self.missed.add(incident)
        return True

    async def over(self) -> list[str]:
        """Look at the last outage. Returns what had waited, once that is read to its end."""
        self._outage = await last_outage(self._state)
        if not self._held or (self._outage and await self._catches_up(self._outage)):
            return []
        held, self._held = list(self._held), {}
        return [incident for incident in held if await self.is_to_be_told(incident)]

    async def pass_over_old(self) -> None:
        """A sink that is new is not told what was over long before."""
        grouped = await grouped_through(self._state)
        if grouped is None or not await is_new(self._state, self._sink.name):
            return
        for incident, revision, part in await over_before(self._state, grouped - self._rules.after):
            await self._had(incident, revision, part)

    async def _catches_up(self, outage: TimeRange) -> bool:
        grouped = await grouped_through(self._state)
        return grouped is not None and grouped < outage.end

    async def _had(self, incident: str, revision: int, part: int) -> None:
        had = Delivery(self._sink.name, incident, self._sink.peer, revision, part)
        await self._state.write([delivery_row(had)])
