"""A daemon whose clock is stepped through a scene: `python -m tests.layers.driver SCENE FOLDER`, a process of its own.

It reads FOLDER/exporter.yml, prints the number of each step that it begins, goes on where it was when it is started
again, and leaves what it found and told in FOLDER/result.json.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from exporter.config import load
from exporter.demo.demo import ReplayClock
from exporter.demo.shop import DEMO_FIX
from exporter.model import Incident, to_json
from exporter.run.assembly import assemble
from exporter.run.daemon import Daemon
from exporter.state.incidents import incident_list, reports_of
from exporter.state.questions import unnarrated, without_recall
from exporter.telemetry import PrometheusTelemetry
from tests.layers.scenes import SCENES, Scene
from tests.servers.process import PATIENCE

FAR_AHEAD = 1 << 40
"""Seconds: when every question is asked again."""


async def play(scene: Scene, folder: Path) -> dict[str, Any]:
    """From the first step, or the one in which it was killed, to the last."""
    config = load(folder / "exporter.yml")
    at = folder / "step"
    step = int(at.read_text()) if at.exists() else 0
    clock, telemetry = ReplayClock(scene.moment(step)), PrometheusTelemetry()
    assembly = assemble(config, clock, telemetry, sources=[scene.source()])
    try:
        daemon = Daemon(assembly, telemetry)
        while step <= scene.steps:
            at.write_text(str(step))
            clock.moment = scene.moment(step)
            print(step, flush=True)
            await settled(daemon)
            if clock.moment > scene.fixed_at:
                await fix(daemon, scene)
            step += 1
        return await result(daemon)
    finally:
        await assembly.close()
        await asyncio.to_thread(telemetry.close)


async def settled(daemon: Daemon) -> None:
    """Every job, again and again, until memory and model have answered: time does not go on without them."""
    until = time.monotonic() + PATIENCE
    while True:
        await daemon.once()
        state, writer = daemon.assembly.state, daemon.assembly.writer
        waiting = await without_recall(state, 1) or (writer and await unnarrated(state, writer.name, FAR_AHEAD))
        if not waiting:
            return
        if time.monotonic() > until:
            raise TimeoutError("memory or model has not answered")
        await asyncio.sleep(0.2)


async def fix(daemon: Daemon, scene: Scene) -> None:
    """A person says what fixed the first failure, once."""
    first = scene.failures[0]
    for incident in await incident_list(daemon.assembly.state, limit=100):
        if overlaps(incident, first.start, first.end) and not incident.fix:
            await daemon.resolve(incident.id, DEMO_FIX)
            await settled(daemon)


def overlaps(incident: Incident, start: Any, end: Any) -> bool:
    return bool(incident.starts_at < end and incident.last_seen > start)


async def result(daemon: Daemon) -> dict[str, Any]:
    state = daemon.assembly.state
    found = await incident_list(state, limit=1000)
    return {
        "incidents": {one.id: to_json(one) for one in found},
        "reports": {one.id: {r.writer: to_json(r) for r in await reports_of(state, one.id)} for one in found},
    }


def main() -> None:
    scene, folder = SCENES[sys.argv[1]](), Path(sys.argv[2])
    found = asyncio.run(play(scene, folder))
    (folder / "result.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
