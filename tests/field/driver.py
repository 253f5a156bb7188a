"""Read cases with the code of the checkout that it is started in; `python -P driver.py` with tasks as JSON in stdin.

It may use only what every checkout has: the command line, the sources, and a few parts whose place it looks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

PLACES = {
    "main": ("exporter.cli.main", "exporter.cli"),
    "reduce": ("exporter.ingest.reduction", "exporter.reduction"),
    "ReductionSettings": ("exporter.ingest.settings", "exporter.reduction"),
    "ElasticsearchSettings": ("integrations.elasticsearch",),
    "FileSettings": ("integrations.file",),
    "LokiSettings": ("integrations.loki",),
    "Context": ("exporter.model",),
    "SystemClock": ("exporter.model",),
    "NoTelemetry": ("exporter.model",),
    "TimeRange": ("exporter.model",),
    "parse_alerts": ("exporter.web.webhooks",),
    "owner_of": ("exporter.reading.owners",),
    "_service_of": ("exporter.run.alerts", "exporter.operations"),
}
"""Where things are or were, the newest place first."""


def find(name: str) -> Any:
    """What a checkout has under this name, wherever it has it."""
    for module in PLACES[name]:
        with contextlib.suppress(ModuleNotFoundError, AttributeError):
            return getattr(import_module(module), name)
    raise SystemExit(f"{name} is in none of {', '.join(PLACES[name])}: say in {__file__} where it is now")


def run(arguments: list[str]) -> dict[str, Any]:
    """What a command prints and how it ends."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = find("main")(arguments)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def posted(payload: Any) -> dict[str, Any]:
    """With which status the webhook answers to a payload, and of which services its alerts are."""
    from aiohttp import web

    try:
        alerts = find("parse_alerts")(payload)
    except web.HTTPException as error:
        return {"answer": error.status, "services": []}
    try:
        owner = find("owner_of")
        services = {owner(alert.labels) for alert in alerts}
    except SystemExit:
        services = {find("_service_of")(alert) for alert in alerts}
    return {"answer": 202, "services": sorted(services - {""})}


def lines(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Service, level and body of every line that a source has, with its id."""
    kind = {"elasticsearch": "ElasticsearchSettings", "file": "FileSettings", "loki": "LokiSettings"}[settings["type"]]
    context = find("Context")(find("SystemClock")(), find("NoTelemetry")())
    source = find(kind)(**settings).build(context)
    return {"lines": asyncio.run(_lines(source))}


async def _lines(source: Any) -> list[dict[str, Any]]:
    span = find("TimeRange")(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC))
    found = []
    try:
        await _choose(source, span)
        async for page in source.query(span):
            reduced = find("reduce")(page, find("ReductionSettings")())
            names = dict(reduced.names.select("key", "text").iter_rows())
            read = reduced.lines.select("service", "severity", "timestamp").iter_rows()
            for (service, severity, timestamp), key, body in zip(read, page["id"], page["body"], strict=True):
                line = {"id": key, "service": names.get(service), "severity": severity, "time": timestamp}
                found.append({**line, "body": body})
    finally:
        await source.close()
    return found


async def _choose(source: Any, span: Any) -> None:
    """What a checkout that chooses by looking at records does before it reads the first time."""
    if hasattr(source, "sample"):
        chosen = import_module("exporter.reading.choice").chosen(
            await source.sample(span, 2_000), source.open_columns()
        )
        source.read_by([(span.start, chosen)] if chosen else [])


def main() -> None:
    """Answer each task, one JSON a line."""
    # Where another checkout is installed for editing, its finder would fill what this one lacks.
    sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
    for line in sys.stdin:
        task = json.loads(line)
        if "posted" in task:
            answer = posted(task["posted"])
        else:
            answer = run(task["run"]) if "run" in task else lines(task["source"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
