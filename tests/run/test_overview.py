"""What the overview says of an installation is what its state file holds and its counters have counted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl

from exporter.detection import packing
from exporter.detection.localisation import SCORES as COLUMNS
from exporter.detection.rows import SCORES, SERVICES
from exporter.model.times import seconds
from exporter.run.daemon import Daemon
from exporter.state.incidents import grouped_row
from exporter.telemetry import PrometheusTelemetry
from tests.people.weeks import HOUR, START, weeks


def scores(**strengths: float) -> bytes:
    names = list(strengths)
    values = list(strengths.values())
    columns = {"service": names, "score": [0.99] * len(names), "strength": values, "reason": [""] * len(names)}
    return packing.pack(pl.DataFrame(columns, schema=COLUMNS))


async def test_services_their_hours_and_what_was_left_out_are_said(tmp_path: Path) -> None:
    async with weeks(tmp_path) as (world, _):
        state, through = world.assembly.state, START + 30 * HOUR
        last = seconds(through)
        await state.write(
            [
                grouped_row(through),
                *SERVICES.put("shop", [("orders", seconds(START), last, 60, 900, 0, 0, 1, 60)]),
                *SCORES.put("shop", [(last - 60, scores(orders=2.5)), (last - 120, scores(orders=7.5))]),
                *SCORES.put("shop", [(last - 23 * 3600, scores(orders=1.5)), (last - 40 * 3600, scores(orders=9.0))]),
            ]
        )
        telemetry = PrometheusTelemetry()
        telemetry.count("source_lines_dropped", 12, source="shop", reason="too_old")
        seen = await Daemon(world.assembly, telemetry).overview()
    (orders,) = seen.watched
    assert (orders.source, orders.service, orders.lines, orders.kinds) == ("shop", "orders", 900, 0)
    assert orders.last - orders.since == timedelta(hours=30)
    assert [(hour, strength) for hour, strength in enumerate(orders.hours) if strength] == [(0, 1.5), (22, 7.5)]
    (left_out,) = (one for one in seen.left_out if one.source == "shop")
    assert (left_out.what, left_out.reason, left_out.amount) == (
        "lines that were read and not judged",
        "too_old",
        12,
    )
    assert (seen.until, seen.threshold, seen.budget) == (through, None, 1.0)
