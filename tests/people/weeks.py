"""Weeks in the life of an installation whose people make rules, take them back, accept, reject and acknowledge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from exporter.config import parse
from exporter.flow.steps import Step, rows_of
from exporter.model import Anomaly, Contribution, Evidence, Incident, NoTelemetry, Severity, Verb
from exporter.model.questions import Said
from exporter.model.times import Window
from exporter.run.assembly import Assembly, assemble
from exporter.run.operations import Operations
from exporter.state.checkpoints import Checkpoint
from exporter.state.incidents import incident_list
from tests.fakes.grafana import GrafanaFake
from tests.fakes.recording import Recorder
from tests.fakes.serving import serving
from tests.fakes.slack import SlackFake

START = datetime(2026, 3, 2, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

SERVICES = ("orders", "billing", "search", "mail", "gateway", "backup")
TEXTS = ("pool exhausted", "timed out after <NUM> ms", "known noise", "disk full")


class StepClock:
    """A clock that moves when the story says so."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


def failure(service: str, text: str, at: datetime, minutes: int, severity: int) -> list[Anomaly]:
    """A failure of so many windows."""
    return [
        Anomaly(
            source="shop",
            service=service,
            window=at + minute * MINUTE,
            duration=MINUTE,
            kind="window",
            score=0.9999,
            threshold=0.99,
            severity=severity,
            contributions=(Contribution("template", text, 40, 1, share=1.0),),
            reached=at + (minute + 1) * MINUTE,
            evidence=(Evidence(f"L{at:%d%H%M}{minute}{service}", "shop", service, at + minute * MINUTE, text),),
        )
        for minute in range(minutes)
    ]


def failures(chance: Random, days: int) -> list[Anomaly]:
    """Of several services, some of them at the same time; a backup fails each night, and nobody will mend it."""
    found: dict[tuple[str, datetime], Anomaly] = {}
    for _ in range(days * 5):
        at = START + chance.randrange(60, days * 1440 - 120) * MINUTE
        severity = chance.choice((Severity.ERROR, Severity.ERROR, Severity.FATAL, Severity.INFO))
        for one in failure(chance.choice(SERVICES[:5]), chance.choice(TEXTS), at, chance.randrange(1, 40), severity):
            found[one.service, one.window] = one
    for day in range(days):
        for one in failure("backup", "nightly copy failed", START + day * DAY + 2 * HOUR, 3, Severity.ERROR):
            found[one.service, one.window] = one
    return sorted(found.values(), key=lambda one: (one.window, one.service))


@dataclass
class Places:
    """Where it is told."""

    grafana: GrafanaFake = field(default_factory=GrafanaFake)
    slack: SlackFake = field(default_factory=SlackFake)
    webhook: Recorder = field(default_factory=Recorder)


Deed = Callable[["Weeks"], Awaitable[None]]


class Weeks:
    """One installation over a state file, stepped through its days; it can be left and opened again."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.settings = {**settings, "state": str(folder / "state.db")}
        self.clock = StepClock(START)
        self.assembly = self._open()

    def _open(self) -> Assembly:
        return assemble(parse(self.settings), self.clock, NoTelemetry(), wall=self.clock)

    @property
    def operations(self) -> Operations:
        return Operations(self.assembly)

    async def open_again(self) -> None:
        """As by another release."""
        await self.assembly.close()
        self.assembly = self._open()

    async def hour(self, found: Sequence[Anomaly]) -> None:
        """An hour of windows, grouped each few minutes, and told."""
        start = self.clock.moment
        for minute in range(0, 60, 5):
            until = start + (minute + 5) * MINUTE
            self.clock.moment = until
            here = [one for one in found if until - 5 * MINUTE <= one.window < until]
            checkpoint = Checkpoint(until, until, START - DAY, START - DAY)
            windows = sorted({one.window for one in here}) or [until - MINUTE]
            steps = [Step(Window(at, MINUTE), [one for one in here if one.window == at], ()) for at in windows]
            await self.assembly.state.write(await rows_of(self.assembly.state, "shop", steps, checkpoint))
            if await self.assembly.grouper.group(until):
                await self.tell()
        await self.tell()

    async def tell(self) -> None:
        """Reports and deliveries; Slack may want its messages further apart than they come."""
        for _ in range(3):
            await self.assembly.enricher.enrich()
            for deliverer in self.assembly.deliverers:
                await deliverer.deliver(gather=False)
            self.clock.moment += timedelta(seconds=10)
        self.clock.moment -= timedelta(seconds=30)

    async def incidents(self, status: Any = None) -> list[Incident]:
        return await incident_list(self.assembly.state, status, 10_000)

    async def do(self, verb: Verb, incident: Incident, text: str = "") -> None:
        await self.operations.act(incident.id, verb, Said("anna", text, lasting=2 * DAY, confirmed=True))
        await self.tell()


@asynccontextmanager
async def weeks(folder: Path, *sinks: dict[str, Any]) -> AsyncIterator[tuple[Weeks, Places]]:
    """An installation that tells faithful fakes, and `sinks` beside them."""
    places = Places()
    async with AsyncExitStack() as stack:
        grafana = await stack.enter_async_context(serving(places.grafana.app()))
        slack = await stack.enter_async_context(serving(places.slack.app()))
        hook = await stack.enter_async_context(serving(places.webhook.app()))
        lines = folder / "empty.log"
        lines.touch()
        settings = {
            "sources": [{"type": "file", "name": "shop", "path": str(lines), "late_window": "5m"}],
            "memory": {"type": "local"},
            "digest_above": 1_000,
            "sinks": [
                {"type": "grafana", "url": grafana, "token": places.grafana.token},
                {
                    "type": "slack",
                    "token": places.slack.token,
                    "channel": places.slack.channel,
                    "api_url": f"{slack}/api",
                },
                {"type": "webhook", "url": hook},
                *sinks,
            ],
        }
        lived = Weeks(folder, settings)
        try:
            yield lived, places
        finally:
            await lived.assembly.close()


RULES: tuple[dict[str, Any], ...] = (
    {"name": "backup", "do": "expected", "service": "backup", "reason": "nobody will mend it"},
    {"name": "noise", "do": "expected", "texts": "known noise"},
    {"name": "mail-muted", "do": "mute", "service": "mail"},
    {"name": "search-info", "do": "severity", "at_most": "info", "service": "search"},
    {"name": "night", "do": "mute", "hours": "23:00-03:00", "service": "~^(orders|billing)$"},
    {"name": "weekend", "do": "mute", "weekdays": ["sat", "sun"], "severities": ["info"]},
    {"name": "timeouts", "do": "expected", "texts": "~timed out", "service": "gateway"},
    {"name": "gateway-muted", "do": "mute", "service": "gateway"},
    {"name": "billing-warning", "do": "severity", "at_most": "warning", "service": "billing"},
    {"name": "disk", "do": "expected", "texts": "disk full"},
    {"name": "orders-muted", "do": "mute", "service": "orders"},
    {"name": "all-info", "do": "mute", "severities": ["info"]},
)


async def live(lived: Weeks, days: int, rules: int, seed: int) -> None:
    """Days of failures; rules come and go, and open incidents are accepted, rejected, acknowledged, resolved."""
    chance = Random(seed)
    found = failures(chance, days)
    standing: list[str] = []
    waiting = list(RULES[:rules])
    for hour in range(days * 24):
        at = lived.clock.moment
        await lived.hour([one for one in found if at <= one.window < at + HOUR])
        if waiting and hour % max(days * 24 // (2 * rules), 1) == 1:
            rule = waiting.pop(0)
            await lived.operations.add_rule(rule, Said("ben", lasting=days * DAY, confirmed=True))
            standing.append(rule["name"])
        if standing and chance.random() < 0.03:
            await lived.operations.remove_rule(standing.pop(0), Said("ben", "not any more"))
        firing = await lived.incidents("firing")
        if firing and chance.random() < 0.5:
            verb: Verb = chance.choice(("accept", "reject", "ack", "note", "resolve"))
            await lived.do(verb, chance.choice(firing), f"{verb}, says anna")
        if hour == days * 12:
            await lived.open_again()
    for _ in range(2):
        await lived.hour([])
