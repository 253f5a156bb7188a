"""Tell a story with the code of the checkout that it is started in; `python -P driver.py` with a task in stdin.

It may use only what every checkout has, as `tests/lives/driver.py`, whose source of lines it shares. Between the first
part and the second each incident is remembered, with the fix that the task gives for its time.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any


def _beside(name: str) -> Any:
    """A driver of this checkout, whatever checkout is measured."""
    place = Path(__file__).parent.parent / name / "driver.py"
    spec = importlib.util.spec_from_file_location(f"{name}_driver", place)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LIVES = _beside("lives")
LIVES.PLACES |= {
    "Memory": ("exporter.memory.recall", "exporter.memory"),
    "HashingEmbedder": ("exporter.memory.embedding", "exporter.embedding"),
    "LocalIncidentsSettings": ("integrations.local_incidents",),
    "Context": ("exporter.model",),
    "write": ("exporter.report.rules", "exporter.report"),
}
find = LIVES.find


async def tell(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Learn from what is before `warm`, judge up to `end`; all revisions that are told, in order."""
    begin, warm, split, end = (datetime.fromtimestamp(task[name], UTC) for name in ("begin", "warm", "split", "end"))
    path = Path(task["folder"], "state.db")
    source = {"type": "elasticsearch", "name": "made", "hosts": ["http://127.0.0.1:9"], "query_offset": "0s"}
    config = find("parse")({"state": str(path), "warmup": {"history": "2d"}, "sources": [source]})
    state, lines = find("open_state")(config, path), LIVES.Lines(task["lines"])
    assembly = find("assemble")(config, find("SystemClock")(), find("NoTelemetry")(), state, sources=[lines], sinks=())
    store = find("LocalIncidentsSettings")().build(find("Context")(documents=assembly.state))
    memory, told = find("Memory")(store, find("HashingEmbedder")()), []
    try:
        (pipeline,) = assembly.pipelines
        if hasattr(pipeline, "pace"):
            pipeline.pace = replace(pipeline.pace, query_offset=timedelta(0), max_catch_up=None)
        await pipeline.start(begin, warm)
        await pipeline.advance(warm)
        await assembly.grouper.calibrate(config.alarm_budget)
        for start, until in ((warm, split), (split, end)):
            found = []
            for at in _hours(start, until):
                await pipeline.advance(at)
                now = await assembly.grouper.group(at)
                told += [await _told(item, memory) for item in now]
                found += now
            await _remember(found, task["fixes"], memory)
    finally:
        await assembly.close()
    return told


def _hours(start: datetime, end: datetime) -> list[datetime]:
    """The moments at which a daemon looks: what it keeps of windows is what it needs then, not days later."""
    hours = range(1, math.ceil((end - start) / timedelta(hours=1)))
    return [*(start + timedelta(hours=hour) for hour in hours), end]


async def _remember(found: Sequence[Any], fixes: Sequence[Mapping[str, Any]], memory: Any) -> None:
    """As somebody resolves what is over: with the fix of the failure in whose time it began."""
    for incident in {item.incident.id: item.incident for item in found}.values():
        at = incident.starts_at.timestamp()
        fix = next((one["fix"] for one in fixes if one["start"] - 300 <= at <= one["end"] + 300), None)
        known = replace(incident, status="resolved", ends_at=incident.last_seen, fix=fix)
        await memory.remember(known, find("write")(known))


async def _told(item: Any, memory: Any) -> dict[str, Any]:
    incident = item.incident
    report = find("write")(incident, await memory.recall(incident))
    claims = [claim.text for part in (report.what_happened, report.causes) for claim in part]
    return {
        "id": incident.id,
        "change": item.change,
        "at": item.at.timestamp(),
        "starts_at": incident.starts_at.timestamp(),
        "last_seen": incident.last_seen.timestamp(),
        "service": incident.suspects[0].service if incident.suspects else incident.service,
        "headline": report.headline,
        "claims": claims,
        "steps": [claim.text for claim in report.steps],
        "notes": list(report.notes),
        "lines": [
            {"service": line.service, "at": line.timestamp.timestamp(), "body": line.body} for line in incident.evidence
        ],
    }


async def backtested(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a backtest of a configuration finds: of each incident the last revision."""
    from exporter.config import parse

    try:
        from exporter.run.backtest import backtest
    except ModuleNotFoundError:
        from exporter.backtest import backtest  # type: ignore[import-not-found, no-redef]

    class Unknown:
        async def recall(self, incident: Any) -> tuple[()]:
            return ()

    class Last:
        def __init__(self, incident: Any) -> None:
            self.incident, self.change, self.at = incident, "updated", incident.last_seen

    result = await backtest(parse(task["config"]))
    return [await _told(Last(incident), Unknown()) for incident in result.incidents]


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    # Where another checkout is installed for editing, its finder would fill what this one lacks.
    sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
    given = json.load(sys.stdin)
    print(json.dumps(asyncio.run(backtested(given) if "config" in given else tell(given))))
