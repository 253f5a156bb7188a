"""A small shop for a month, with failures each day: what the state file keeps while retentions come and go."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from exporter.config import parse
from exporter.demo.demo import ReplayClock
from exporter.demo.shop import Shop, SimulatedSource
from exporter.demo.shop.failures import KINDS, Failure
from exporter.model.questions import AlertTrigger
from exporter.run.assembly import assemble
from exporter.run.daemon import Daemon
from exporter.telemetry import PrometheusTelemetry

DAY = timedelta(days=1)
STEP = timedelta(hours=2)
PAUSE = timedelta(hours=8)
"""From one failure to the next."""


@dataclass(frozen=True)
class Kept:
    """What the state file holds on a day."""

    day: int
    bytes: int
    rows: dict[str, int]


async def keep(days: list[int], rate: float = 0.5, window: str = "10m", retention: timedelta = 5 * DAY) -> list[Kept]:
    """What is kept on each of the days, when what may be set is set to so long."""
    shop = _shop(max(days) + 1, rate)
    clock, telemetry, found = ReplayClock(shop.start + DAY), PrometheusTelemetry(), list[Kept]()
    with tempfile.TemporaryDirectory() as folder:
        config = parse(_settings(Path(folder) / "state.db", shop, window, retention))
        assembly = assemble(config, clock, telemetry, sources=[SimulatedSource("shop", shop)], sinks=[])
        try:
            daemon = Daemon(assembly, telemetry)
            for number in itertools.count():
                await daemon.once()
                await _given(daemon, clock, number)
                await daemon.housekeep()
                day = (clock.moment - shop.start) / DAY
                if day in days:
                    found.append(Kept(int(day), assembly.state.size(), await _rows(daemon)))
                if day >= max(days):
                    return found
                clock.moment += STEP
        finally:
            await assembly.close()
    return found


async def _given(daemon: Daemon, clock: ReplayClock, number: int) -> None:
    """What people and other machines bring: deployments and alerts."""
    await daemon.change("orders", f"1.{number}", clock.moment)
    alert = AlertTrigger(f"{number}", "firing", clock.moment - timedelta(minutes=30), None, {"alertname": "Slow"})
    await daemon.take([alert])


def _shop(days: float, rate: float) -> Shop:
    shop = Shop(services=6, days=days, rate=rate)
    failures = []
    for number, kind in enumerate(itertools.cycle(KINDS)):
        _, candidates, duration = KINDS[kind]
        service = next((name for name in candidates if name in shop.services), "")
        start = shop.start + DAY + (number + 1) * PAUSE
        if start >= shop.end:
            break
        if service:
            failures.append(Failure(kind, service, start, duration))
    return Shop(services=6, days=days, rate=rate, failures=failures)


def _settings(state: Path, shop: Shop, window: str, retention: timedelta) -> dict[str, Any]:
    kept = f"{retention // timedelta(hours=1)}h"
    return {
        "state": str(state),
        "retention": kept,
        "warmup": {"history": "1d"},
        "detection": {"history": kept},
        "mining": {"template_retention": kept},
        "memory": {"type": "local", "max_documents": 10},
        "sources": [{"type": "simulator", "name": "shop", "start": shop.start.isoformat(), "window": window}],
    }


async def _rows(daemon: Daemon) -> dict[str, int]:
    state = daemon.assembly.state
    tables = await state.read("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return {name: (await state.read(f"SELECT COUNT(*) FROM {name}"))[0][0] for (name,) in tables}


def grown(before: Kept, after: Kept, least: int = 30) -> dict[str, tuple[int, int]]:
    """Tables that grew by more than a tenth, and by more rows than failures of other kinds make."""
    pairs = {table: (before.rows[table], after.rows[table]) for table in after.rows}
    return {table: (one, other) for table, (one, other) in pairs.items() if other > 1.1 * one and other - one > least}
