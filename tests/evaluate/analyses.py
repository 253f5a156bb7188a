"""Failures of the simulated shop in a file of an hour and a half, as `analyze` finds them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from exporter.analysis.analyze import analyze
from exporter.demo.shop import Failure, Shop, SimulatedSource
from exporter.demo.shop.failures import KINDS
from exporter.model import TimeRange

NOON = datetime(2025, 3, 3, 12, tzinfo=UTC)
STARTS, LASTS, ENDS = timedelta(minutes=70), timedelta(minutes=15), timedelta(minutes=95)


@dataclass(frozen=True)
class Found:
    """What was said of a failure.

    named: whether its service is among the first five findings. off: how far the first of them is from its start.
    """

    named: bool
    off: timedelta | None


async def shop_analysed(kind: str, service: str) -> Found:
    """A failure of a kind and service, in logs that end ten minutes after it."""
    failure = Failure(kind, service, NOON + STARTS, LASTS)
    shop = Shop(days=1, rate=6, failures=[failure])
    findings = (await analyze(SimulatedSource("shop", shop).query(TimeRange(NOON, NOON + ENDS)))).findings
    first = findings[0].since if findings else None
    named = service in {finding.service for finding in findings[:5]}
    return Found(named, abs(first - failure.start) if first else None)


def everyone() -> list[tuple[str, str]]:
    """Each kind of failure, in the first service that it may befall."""
    services = Shop(days=1).services
    return [(kind, next(one for one in befalls if one in services)) for kind, (_, befalls, _) in KINDS.items()]
