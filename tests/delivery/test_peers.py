"""Two Alertmanagers, one of them behind a proxy that hangs: nobody waits for the other."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.matrix.daemon import Daemon
from tests.matrix.places import PEERS, RESEND, Places, places
from tests.matrix.play import configuration, listening
from tests.matrix.story import Life, life
from tests.servers.process import PATIENCE

MANY = 40

AT_ONCE = 5.0
"""Seconds in which all of them fire, on a machine that is not busy."""


async def test_a_peer_that_hangs_delays_no_other_and_catches_up(alertmanager_program: Path, tmp_path: Path) -> None:
    healthy, hanging = PEERS
    async with places(tmp_path) as told:
        configured = configuration(told, tmp_path)
        alertmanager = [sink for sink in configured["sinks"] if sink["type"] == "alertmanager"]
        daemon = Daemon(tmp_path, {**configured, "sinks": alertmanager})
        daemon.start()
        try:
            await listening(daemon)
            calm = [await _tell(f"calm-{number}", told, daemon, PEERS, PATIENCE) for number in range(2)]
            at_once = max(AT_ONCE, 2 * max(calm))
            await told.become("hanging", (hanging,))
            await _tell("hanging", told, daemon, (healthy,), at_once)
            await told.become("calm", (hanging,))
            await _fire("hanging", told, (hanging,), RESEND + at_once)
        finally:
            daemon.kill()


async def _tell(name: str, told: Places, daemon: Daemon, peers: tuple[str, ...], within: float) -> float:
    """Open incidents of a new name; gives the seconds until all of them fired at the peers."""
    now = datetime.now(UTC).replace(microsecond=0)
    lives: list[Life] = [life(0, f"{name}-{number}", ("open",), (0,), now) for number in range(MANY)]
    began = time.monotonic()
    await asyncio.to_thread(daemon.tell, [row for of in lives for step in of for row in step.rows])
    await _fire(name, told, peers, within)
    return time.monotonic() - began


async def _fire(name: str, told: Places, peers: tuple[str, ...], within: float) -> None:
    deadline = time.monotonic() + within
    for peer in peers:
        while (firing := await _firing(name, told, peer)) < MANY:
            assert time.monotonic() < deadline, f"{firing} of {MANY} fire at {peer} after {within:.0f} s"
            await asyncio.sleep(0.1)


async def _firing(name: str, told: Places, peer: str) -> int:
    return sum(alert["labels"]["service"].startswith(f"{name}-") for alert in await told.alerts(peer))
