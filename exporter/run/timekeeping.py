"""Say, count and put on record how the clock of the machine was set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from exporter.model import StateError, TimeRange, Write
from exporter.run.assembly import Assembly
from exporter.run.polling import Polling
from exporter.run.steady import DOUBTED_FOR, Jump, SteadyClock
from exporter.state.checkpoints import CLOCK, decision_row
from exporter.telemetry import PrometheusTelemetry
from exporter.wording.text import duration, rfc3339

log = logging.getLogger(__name__)


class Timekeeper:
    """Looks after the clock of an installation."""

    def __init__(
        self, steady: SteadyClock, assembly: Assembly, telemetry: PrometheusTelemetry, pollings: Sequence[Polling]
    ) -> None:
        self._steady = steady
        self._assembly = assembly
        self._telemetry = telemetry
        self._pollings = pollings
        self._unwritten: list[Write] = []

    def look(self) -> bool:
        """Whether the clock was set since the last look: then nothing that was planned by it holds."""
        jumps = self._steady.jumps()
        for jump in jumps:
            said = _worded(jump)
            log.warning("%s", said)
            self._telemetry.count("clock_jumps", outcome=jump.outcome)
            span = TimeRange(*sorted((jump.start, jump.start + jump.by)))
            now = self._assembly.clock.now()
            self._unwritten += [decision_row(p.pipeline.name, span, CLOCK, said, now) for p in self._pollings]
            if jump.outcome == "followed":
                for polling in self._pollings:
                    polling.shift(jump.by)
        return bool(jumps)

    async def record(self) -> None:
        """Put it on record, as soon as that can be."""
        if self._unwritten:
            try:
                await self._assembly.state.write(self._unwritten)
            except StateError as error:
                log.error("%s", error)
            else:
                self._unwritten = []


def _worded(jump: Jump) -> str:
    """What the clock did, and what follows.

    >>> from exporter.model import EPOCH
    >>> _worded(Jump(EPOCH, timedelta(hours=-1), "followed"))
    'the clock of this machine went back by 1 h at 1970-01-01T00:00:00.000Z'
    """
    way = f"{'ahead' if jump.by > timedelta(0) else 'back'} by {duration(abs(jump.by))}"
    moved = f"the clock of this machine went {way} at {rfc3339(jump.start)}"
    if jump.outcome == "doubted":
        until = f"until a source has lines of that time, or for {duration(DOUBTED_FOR)}"
        return f"{moved}: that is not believed {until}"
    return f"{moved}, and came back" if jump.outcome == "over" else moved
