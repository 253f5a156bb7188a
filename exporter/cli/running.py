"""`run` and `serve`: a daemon, or a layer alone, from its configuration to its end."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from exporter.cli import early
from exporter.cli.options import add_command, config_option, helpless, load_config

if TYPE_CHECKING:
    from exporter.config import Config


def run(commands: Any) -> None:
    parser = add_command(
        commands,
        "run",
        "run the daemon",
        "Poll the sources, find anomalies, group them into incidents and deliver them, until SIGTERM.\n"
        "At first start it learns from history (`warmup`) before it may alarm; /-/warm says how far it is.",
        _run_command,
    )
    config_option(parser)
    parser.add_argument("--once", action="store_true", help="every job once, then stop: for cron, or to try it")
    parser.add_argument(
        "--format", choices=("ndjson",), help="print each change of an incident as a line of JSON, beside the sinks"
    )


def _run_command(options: argparse.Namespace) -> int:
    from exporter.cli import logs

    logs.configure()
    # Only the main thread may; whoever runs a command in another one decides what signals do.
    if threading.current_thread() is threading.main_thread():
        _heed_signals(options.once)
    load = partial(_to_run, options)
    return _left(asyncio.run(_daemon(load, options.once)))


def _to_run(options: argparse.Namespace) -> Config:
    """The configuration of a daemon. Raises ConfigError."""
    from exporter.config import SINKS, resolve
    from exporter.model import ConfigError

    config = load_config(options)
    if not config.sources:
        raise ConfigError(f"{options.config}: sources: missing; name at least one, or use `serve`")
    if options.format != "ndjson":
        return config
    # What a console sink would print for people would stand between the lines.
    others = tuple(sink for sink in config.sinks if sink.type != "console" or getattr(sink, "format", "") == "ndjson")
    printed = resolve(SINKS["console"])(type="console", name="standard output", format="ndjson")
    known = any(sink.type == "console" for sink in others)
    return config.model_copy(update={"sinks": others if known else (*others, printed)})


def _heed_signals(once: bool) -> None:
    """Every job once is interrupted as any command; of a daemon it is remembered that it is to stop."""
    interrupt = signal.getsignal(signal.SIGINT)
    early.heed()
    if once:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        if early.asked():
            raise KeyboardInterrupt


def _left(code: int) -> int:
    """End at once, for all is committed and closed, where a thread goes on: a model that loads or computes.

    The interpreter would end such a thread inside foreign code, and then the process aborts.
    """
    from exporter.memory.worker import at_work

    if at_work(within=1.0):
        _end(code)
    return code


def _end(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _leave_threads(code: int) -> None:
    """End at once, for all is committed and closed, where threads go on reading: asyncio would wait for them."""
    ending = asyncio.ensure_future(asyncio.get_running_loop().shutdown_default_executor())
    if not (await asyncio.wait({ending}, timeout=1.0))[0]:
        _end(code)


async def _daemon(load: Callable[[], Config], once: bool) -> int:
    from exporter.model import SystemClock
    from exporter.run.assembly import assemble
    from exporter.run.daemon import Daemon
    from exporter.run.steady import SteadyClock
    from exporter.state.contact import Contact, new_token, reachable
    from exporter.telemetry import PrometheusTelemetry
    from exporter.web.app import serve
    from exporter.web.settings import Access

    config = load()
    telemetry = PrometheusTelemetry(config.telemetry)
    clock = SteadyClock(SystemClock())
    assembly = assemble(config, clock, telemetry)
    try:
        daemon = Daemon(assembly, telemetry, clock, load)
        if once:
            await daemon.once()
            return 1 if any(polling.detail for polling in daemon.pollings) else 0
        daemon.obey_signals()
        if early.asked():
            return 0
        token = new_token()

        def access() -> Access:
            return Access(daemon.assembly.config.web, daemon.assembly.config.external_url)

        async with serve(config.web, daemon, telemetry, access, token) as url:
            with reachable(config.state, Contact(url, token)):
                await daemon.run()
        code = 1 if daemon.failed else 0
    finally:
        await assembly.close()
        await asyncio.to_thread(telemetry.close)
    await _leave_threads(code)
    return code


# --- serve ----------------------------------------------------------------------------------------

LAYERS = {
    "memory": "past incidents for several daemons and other tools: its own state file, one embedding model",
    "report": "reports of what somebody has found, with the model of this configuration if it names one",
}


def serve(commands: Any) -> None:
    parser = add_command(
        commands,
        "serve",
        "serve a layer alone: memory, or report",
        "Answer over HTTP what a daemon asks (`memory: {type: remote, url: …}`, `report: {type: remote, url: …}`), or\n"
        "another tool. `serve.memory` and `serve.report` of exporter.yml say where, and who may; it needs no sources.",
        lambda options: helpless(parser),
    )
    verbs = parser.add_subparsers(title="verbs", metavar="LAYER")
    for name, text in LAYERS.items():
        verb = add_command(verbs, name, text, f"Serve {text}.", partial(_serve_command, name))
        what = verb.add_mutually_exclusive_group(required=True)
        what.add_argument("-c", "--config", type=Path, metavar="FILE", help="exporter.yml")
        what.add_argument("--openapi", action="store_true", help="print the OpenAPI document of it, and end")


def _serve_command(name: str, options: argparse.Namespace) -> int:
    if options.openapi:
        from exporter.run.serving import described

        print(json.dumps(described(name), indent=2, ensure_ascii=False))
        return 0
    from exporter.cli import logs

    logs.configure()
    if threading.current_thread() is threading.main_thread():
        early.heed()
    return _left(asyncio.run(_layer(name, partial(load_config, options))))


async def _layer(name: str, load: Callable[[], Config]) -> int:
    from exporter.model import SystemClock
    from exporter.run.serving import serving
    from exporter.telemetry import PrometheusTelemetry

    config = load()
    stop, telemetry = asyncio.Event(), PrometheusTelemetry(config.telemetry)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if early.asked():
        return 0
    try:
        async with serving(name, config, telemetry, SystemClock()):
            await stop.wait()
    finally:
        await asyncio.to_thread(telemetry.close)
    await _leave_threads(0)
    return 0
