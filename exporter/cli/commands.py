"""What `analyze`, `simulate` and `backtest` do and print."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from argparse import Namespace

from pydantic import ValidationError

from exporter.cli.options import reading
from exporter.config import SOURCES, resolve
from exporter.model import ConfigError, SystemClock, to_json
from exporter.run.backtest import Result
from exporter.wording.terminal import can_color, incident_line
from exporter.wording.text import number


async def analyze(options: Namespace) -> int:
    """Say what is unusual in files; 3 when something is and the caller wants to know by exit code."""
    from exporter.analysis import text
    from exporter.analysis.analyze import analyze as analyse_pages
    from exporter.analysis.findings import AnalyzeSettings
    from exporter.config import explain
    from exporter.ingest.settings import session_pattern
    from exporter.reading.told import Told

    given = reading(options)
    if options.session_field:
        given["sessions"] = {"field": options.session_field}
    try:
        files = resolve(SOURCES["file"])(name="files", path=options.files, **given)
        settings = AnalyzeSettings(window=options.window, session_pattern=options.session, top=options.top)
        if options.session is not None:
            session_pattern(options.session)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error))) from error
    except ValueError as error:
        raise ConfigError(f"--session: {error}") from error
    told = Told()
    found = await analyse_pages(files.read(options.files, told), settings, told)
    if options.format == "json":
        print(json.dumps(to_json(found), ensure_ascii=False))
    else:
        print(text.render(found, can_color(sys.stdout)))
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
    print(f"{number(written)} lines written", file=sys.stderr)
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
