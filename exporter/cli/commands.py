"""What the commands do that need more than a few lines: incidents, checks, analysis of files, simulation."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from argparse import Namespace
from typing import Literal

from pydantic import ValidationError

from exporter.config import Config, resolve
from exporter.flow.source import incident_list
from exporter.flow.warmup import predict
from exporter.ingest import lateness
from exporter.model import (
    Check,
    ConfigError,
    Context,
    ExporterError,
    Incident,
    NoTelemetry,
    PermanentError,
    Report,
    StateError,
    SystemClock,
    TransientError,
    loads,
    to_json,
)
from exporter.run.assembly import assemble
from exporter.run.backtest import Result
from exporter.state.file import Rows, StateInUse


def _rows(config: Config) -> Rows:
    if not config.state.exists():
        raise StateError(f"state file {config.state} does not exist yet: `run` makes it at first start")
    return Rows(config.state)


async def list_incidents(config: Config, status: Literal["firing", "resolved"] | None, limit: int, form: str) -> int:
    """Print incidents, the newest first."""
    found = await incident_list(_rows(config), status, limit)
    if form == "json":
        print(json.dumps(to_json(found), ensure_ascii=False))
    elif not found:
        print("no incidents")
    else:
        for incident in found:
            print(incident_line(incident))
    return 0


async def show_incident(config: Config, incident_id: str, form: str) -> int:
    """Print one incident with its reports."""
    render = resolve("integrations.console:render")
    rows = _rows(config)
    found = await rows.read("SELECT body FROM incidents WHERE id = ? AND body != ''", (incident_id,))
    if not found:
        raise PermanentError(f"no incident {incident_id!r}; `incidents list` prints their ids")
    incident = loads(Incident, found[0][0])
    bodies = await rows.read("SELECT body FROM reports WHERE incident = ? ORDER BY writer = 'rules'", (incident_id,))
    reports = [loads(Report, body) for (body,) in bodies]
    if form == "json":
        print(json.dumps({"incident": to_json(incident), "reports": to_json(reports)}, ensure_ascii=False))
    elif reports:
        print(render(incident, reports[0]))
    else:
        print(incident_line(incident))
    return 0


async def resolve_incident(config: Config, incident_id: str, fix: str | None) -> int:
    """Close an incident in the state file, or through the daemon when that holds it."""
    from exporter.run.operations import Operations

    try:
        assembly = assemble(config, SystemClock(), NoTelemetry())
    except StateInUse:
        await _resolve_through_daemon(config, incident_id, fix)
    else:
        try:
            record = await Operations(assembly).resolve(incident_id, fix)
        finally:
            await assembly.close()
        if record is None:
            raise PermanentError(f"no incident {incident_id!r}; `incidents list` prints their ids")
    print(f"incident {incident_id} is resolved" + (", and what fixed it is remembered" if fix else ""))
    return 0


async def _resolve_through_daemon(config: Config, incident_id: str, fix: str | None) -> None:
    import aiohttp

    tokens = config.web.tokens()
    if not tokens:
        raise PermanentError("the daemon holds the state file, and takes no requests: set web.token or web.token_file")
    url = f"http://{config.web.listen}/api/incidents/{incident_id}/resolve"
    timeout = aiohttp.ClientTimeout(total=30)
    headers = {"Authorization": f"Bearer {tokens[0]}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.post(url, json={"fix": fix}, allow_redirects=False) as response,
        ):
            if response.status >= 400:
                raise PermanentError(f"the daemon answers {response.status}: {(await response.text())[:300]}")
    except aiohttp.ClientError as error:
        raise TransientError(f"the daemon at {config.web.listen} cannot be reached: {error}") from error


async def connect(config: Config) -> list[Check]:
    """Try every server that the configuration names, with the rights that are needed."""
    context = Context(clock=SystemClock(), telemetry=NoTelemetry())
    checks: list[Check] = []
    named = [
        *((f"sources.{item.name}", item) for item in config.sources),
        *((f"sinks.{item.name}", item) for item in config.sinks),
        ("memory", config.memory),
        *([("llm", config.llm)] if config.llm else []),
    ]
    for name, settings in named:
        checks += await _check(config, name, settings, context)
    return checks


async def _check(config: Config, name: str, settings: object, context: Context) -> list[Check]:
    if getattr(settings, "type", "") == "local":
        return [Check(name, True, "kept in the state file")]
    try:
        part = settings.build(context)  # type: ignore[attr-defined]
    except ExporterError as error:
        return [Check(name, False, str(error))]
    try:
        found = list(await part.check())
        if any(settings is item for item in config.sources) and all(c.ok for c in found):
            found.append(await predict(config, settings, part, context.clock.now()))
            found.append(await lateness.check(settings, part, context.clock.now()))
        return [Check(f"{name}: {c.subject}", c.ok, c.detail, c.remedy) for c in found]
    except ExporterError as error:
        return [Check(name, False, str(error))]
    finally:
        await part.close()


async def analyze(options: Namespace) -> int:
    """Say what is unusual in files; 3 when something is and the caller wants to know by exit code."""
    from exporter.analysis import analyze as engine
    from exporter.config import explain
    from exporter.ingest.reduction import session_pattern

    names = {name: getattr(options, name) for name in ("body", "timestamp", "severity", "service", "trace", "host")}
    given: dict[str, object] = {"fields": {name: value for name, value in names.items() if value}}
    if options.session_field:
        given["sessions"] = {"field": options.session_field}
    try:
        files = resolve("integrations.file:FileSettings")(name="files", path=options.files, **given)
        settings = engine.AnalyzeSettings(window=options.window, session_pattern=options.session, top=options.top)
        if options.session is not None:
            session_pattern(options.session)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, ""))) from error
    except ValueError as error:
        raise ConfigError(f"--session: {error}") from error
    found = await engine.analyze(resolve("integrations.file:read_pages")(options.files, files), settings)
    if options.format == "json":
        print(json.dumps(to_json(found), ensure_ascii=False))
    else:
        colored = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print(engine.render(found, colored))
    return 3 if options.fail_on_anomaly and found.unusual else 0


async def simulate(options: Namespace) -> int:
    """Write the logs of a simulated shop: its past, then, if asked, the present."""
    from exporter.demo.shop import BulkWriter, FileWriter, live_shop, simulate_to

    clock = SystemClock()
    now = clock.now()
    shop = live_shop(now, options.history, options.seed, options.rate)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    writer: FileWriter | BulkWriter
    if options.elasticsearch:
        writer = BulkWriter(options.elasticsearch, options.index, os.environ.get("ES_API_KEY"))
    else:
        writer = FileWriter(options.output, options.format)
    try:
        written = await simulate_to(writer, shop, clock, now - options.history, options.follow, stop)
    finally:
        await writer.close()
    print(f"{written} lines written", file=sys.stderr)
    return 0


def print_backtest(result: Result) -> None:
    """What a backtest found, for people."""
    for source, (until, missing) in result.learning.items():
        told = f"could call no window before {until.isoformat()} anomalous, for it had to learn first (see --start)"
        print(f"{source}: {missing if until >= result.time_range.end else told}", file=sys.stderr)
    print(f"{result.time_range.start.isoformat()} .. {result.time_range.end.isoformat()} ({result.days:.2f} days)")
    rate = f"{len(result.incidents) / result.days:.2f} a day" if result.days else "no time"
    pages = f"{result.pages / result.days:.2f} a day" if result.days else "no time"
    print(f"incidents {len(result.incidents)} ({rate}), pages {result.pages} ({pages})")
    for incident in result.incidents:
        print(f"  {incident_line(incident)}")
    for name, value in result.metrics.items():
        print(f"{name}: {json.dumps(value)}")


def incident_line(incident: Incident) -> str:
    """An incident on one line."""
    end = incident.ends_at.strftime("%H:%M") if incident.ends_at else "still firing"
    start = incident.starts_at.strftime("%Y-%m-%d %H:%M")
    services = ", ".join(inert(service) for service in incident.services[:4])
    return f"{incident.id}  {start} .. {end}  {incident.severity:8}  {services}"


def inert(text: str) -> str:
    """Text from logs, without what a terminal would obey."""
    return "".join(character if character.isprintable() else "�" for character in text)
