"""The main job end to end with no server and no key: a simulated shop fails twice, and the second time it is known."""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from exporter.config import SINKS, Config, parse, resolve
from exporter.demo.shop import DEMO_FIX, Shop, SimulatedSource, demo_shop
from exporter.model import Check, Notification, Sink, to_json
from exporter.model.questions import IncidentRecord
from exporter.run.assembly import assemble
from exporter.run.daemon import Daemon
from exporter.state.place import make_directory, write_private
from exporter.telemetry import PrometheusTelemetry
from exporter.wording.terminal import render
from exporter.wording.text import minute, percent, shorten

WARM_UP = timedelta(days=1)
STEP = timedelta(minutes=30)
SAMPLE_CHARS = 1200


@dataclass
class ReplayClock:
    """A clock that the replay moves."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment


class Told:
    """A sink that keeps what it was told, to show what each place would have been sent."""

    name = "demo"
    wants: Literal["latest", "every"] = "every"
    resend: timedelta | None = None
    peer = ""
    concurrency = 1

    def __init__(self) -> None:
        self.notifications: list[Notification] = []

    async def deliver(self, notification: Notification) -> str | None:
        self.notifications.append(notification)
        return None

    async def check(self) -> Sequence[Check]:
        return []

    async def close(self) -> None:
        pass


async def demo(directory: Path, serve: bool) -> int:
    """Replay, print, leave the state file and an incident page's address behind. Returns the exit code."""
    began = time.monotonic()
    shop = demo_shop()
    config = _config(directory, shop)
    clock, told, telemetry = ReplayClock(shop.start + WARM_UP), Told(), PrometheusTelemetry()
    sinks: list[Sink] = [told]
    assembly = assemble(config, clock, telemetry, sources=[SimulatedSource("shop", shop)], sinks=sinks)
    try:
        daemon = Daemon(assembly, telemetry)
        _say(f"A shop of {len(shop.services)} services, {shop.rate:g} lines a second; a day of history to learn from.")
        record = await _replay(daemon, clock, shop, began)
        if record is None:
            print("nothing was found: that is a defect of the demo", file=sys.stderr)
            return 1
        _show(record, told.notifications, directory, time.monotonic() - began)
        if serve:
            await _serve(config, daemon)
    finally:
        await assembly.close()
    return 0


def _config(directory: Path, shop: Shop) -> Config:
    make_directory(directory)
    for old in directory.glob("state.db*"):
        old.unlink()
    config = parse(
        {
            "state": str(directory / "state.db"),
            "external_url": "http://127.0.0.1:9464",
            "external_labels": {"environment": "demo"},
            "warmup": {"history": f"{WARM_UP // timedelta(hours=1)}h"},
            "sources": [{"type": "simulator", "name": "shop", "start": shop.start.isoformat(), "window": "5m"}],
            "incidents": {"keep_firing_for": "10m"},
            "sinks": [{"type": "console"}],
            "web": {"token": secrets.token_urlsafe(9)},
        },
        "the demo's configuration",
    )
    write_private(
        directory / "exporter.yml",
        "# To look at what the demo left behind: log-anomaly-exporter incidents list -c exporter.yml\n"
        f"state: {directory.resolve() / 'state.db'}\nsources:\n"
        "  - {type: simulator, name: shop, window: 5m}\n",
    )
    return config


async def _replay(daemon: Daemon, clock: ReplayClock, shop: Shop, began: float) -> IncidentRecord | None:
    """Step the clock to the end of the shop's time; a person resolves what the first failure opened."""
    first, second = shop.failures
    fixed = False
    while True:
        await daemon.once()
        _progress(clock.moment, shop, began)
        if not fixed and clock.moment > first.end + timedelta(hours=1):
            fixed = await _resolve(daemon, first.start, first.end)
        if clock.moment >= shop.end:
            break
        clock.moment = min(clock.moment + STEP, shop.end)
    print(file=sys.stderr)
    return await _found(daemon, second.start, second.end)


def _progress(moment: datetime, shop: Shop, began: float) -> None:
    done = (moment - shop.start - WARM_UP) / (shop.end - shop.start - WARM_UP)
    text = f"replaying {minute(moment)} UTC  {percent(done):>4}  {time.monotonic() - began:3.0f} s"
    if sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr, flush=True)
    elif moment.hour % 6 == 0 and moment.minute == 0:
        print(text, file=sys.stderr)


async def _found(daemon: Daemon, start: datetime, end: datetime) -> IncidentRecord | None:
    """The incident that overlaps a failure, with its report."""
    records = await daemon.list_incidents(None, 100)
    inside = [r for r in records if r.incident.starts_at < end and r.incident.last_seen > start]
    return await daemon.incident(inside[-1].incident.id) if inside else None


async def _resolve(daemon: Daemon, start: datetime, end: datetime) -> bool:
    record = await _found(daemon, start, end)
    if record is None:
        return False
    await daemon.resolve(record.incident.id, DEMO_FIX)
    _say(f"\nThe first failure was incident {record.incident.id}. A person resolved it: “{DEMO_FIX}”.")
    return True


def _show(record: IncidentRecord, told: Sequence[Notification], directory: Path, seconds: float) -> None:
    if record.rules:
        print(render(record.incident, record.rules, f"http://127.0.0.1:9464/incidents/{record.incident.id}"))
    last = [n for n in told if n.incident.id == record.incident.id]
    print("\nWhat each place would have been sent (the full messages are in the files)\n")
    for name, payload in _payloads(last[0]).items():
        text = json.dumps(to_json(payload), ensure_ascii=False, indent=1)
        write_private(directory / f"{name}.json", text)
        print(f"--- {name}: {directory / name}.json")
        print(shorten(text, SAMPLE_CHARS))
    changes = ", ".join(n.change for n in last)
    print(f"\n{len(last)} notifications on this incident ({changes}); the demo took {seconds:.0f} s.")
    print("\nRead more")
    print("  the incident page   log-anomaly-exporter demo --serve, then http://127.0.0.1:9464")
    print(f"  the incidents       log-anomaly-exporter incidents list -c {directory / 'exporter.yml'}")
    print("  your own logs       log-anomaly-exporter analyze FILE...")
    print("  your own stack      README.md, Configure")


def _payloads(notification: Notification) -> dict[str, Any]:
    """What each kind of sink would send; texts for people are printed above."""
    previews = {kind: resolve(reference).preview(notification) for kind, reference in SINKS.items()}
    return {kind: payload for kind, payload in previews.items() if not isinstance(payload, str)}


async def _serve(config: Config, daemon: Daemon) -> None:
    from exporter.web.app import serve

    async with serve(config.web, daemon, daemon.telemetry):
        _say(f"\nServing http://{config.web.listen} until stopped (Ctrl-C).")
        _say(f"To resolve, mute or note there, sign in with any name and the token {config.web.tokens()[0]}")
        await daemon.wait()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
