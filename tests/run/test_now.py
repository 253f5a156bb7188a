"""Who opens the page of what goes on sees what is known by now, not by when it was told last."""

from __future__ import annotations

from pathlib import Path

import zstandard

from exporter.facts.observed import FACTS, Observed, Requests, Saying
from exporter.model import Evidence, dumps
from exporter.model.times import seconds
from tests.people.weeks import HOUR, MINUTE, START, failure, weeks

WORDS = "HikariPool-1 - Connection is not available"


def window(minute: int) -> tuple[int, bytes]:
    """A minute in which ten lines of orders say what fails, and five of twenty requests do."""
    at = START + minute * MINUTE
    line = Evidence(f"L{minute:010d}", "shop", "orders", at, WORDS, 17)
    saying = Saying("orders", 1, 17, 10, seconds(at) * 10**9, "", (WORDS,), (line,))
    said = Observed({"orders": 30}, (saying,), (Requests("orders", 1, 20, 15, 5),))
    return seconds(at), zstandard.compress(dumps(said).encode())


async def test_what_goes_on_is_counted_up_to_now(tmp_path: Path) -> None:
    async with weeks(tmp_path) as (world, _):
        await world.assembly.state.write([*FACTS.put("shop", [window(minute) for minute in range(120)])])
        await world.hour(failure("orders", "pool exhausted", START, 60, 17))
        (incident,) = await world.incidents("firing")
        record = await world.operations.incident(incident.id)
        assert record is not None
        assert record.now is not None
        assert incident.facts is not None
        assert incident.facts.until < record.now.until == START + HOUR
        assert record.now.failing[0].count == 600
        assert record.now.impact is not None
        assert (record.now.impact.failed, record.now.impact.of) == (300, 1_200)
        for _ in range(3):
            await world.hour([])
        over = await world.operations.incident(incident.id)
        assert over is not None
        assert (over.incident.status, over.now) == ("resolved", None)
