"""What an analysis is asked and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import Field

from exporter.ingest.redaction import RedactionSettings
from exporter.mining.settings import MiningSettings
from exporter.model import AnalysisKind, Duration, Settings


class AnalyzeSettings(Settings):
    """What one may say about the logs; everything else is found."""

    window: Duration | None = None
    """Length of the windows that are compared; absent: chosen by the length of the stretch."""
    session_pattern: str | None = None
    top: int = Field(default=10, ge=1)
    """Findings that are told."""
    max_lines: int = Field(default=30_000_000, ge=1)
    """More are not read."""
    held_bytes: int = Field(default=80_000_000, ge=1_000)
    """Of lines that come to more when they are reduced, about a million, a sample is kept."""
    max_services: int = Field(default=5_000, ge=1)
    """Services that are told apart; lines of others are left out."""
    mining: MiningSettings = MiningSettings()
    redaction: RedactionSettings = RedactionSettings()


@dataclass(frozen=True)
class Example:
    """A line that shows a finding; `place` says where it stands (file and line or offset)."""

    place: str
    timestamp: datetime | None
    body: str


@dataclass(frozen=True)
class Finding:
    """One thing that is unusual: what was seen against what was expected, and when.

    `score` in [0, 1] ranks; from 0.5 on it is worth telling.
    """

    kind: AnalysisKind
    service: str
    text: str
    score: float
    observed: float
    expected: float
    unit: str
    since: datetime | None
    until: datetime | None
    severity: int
    reason: str
    examples: tuple[Example, ...] = ()
    also: tuple[str, ...] = ()
    """Other kinds of lines of the same service that move the same way, and are not told one by one."""
    confirmed: bool = False
    """Whether the daemon's detector, which sees only what was before, found the service anomalous then, too."""


@dataclass(frozen=True)
class ServiceOverview:
    """How much a service says."""

    service: str
    lines: int
    errors: int
    warnings: int
    templates: int


@dataclass(frozen=True)
class Overview:
    """What was read."""

    lines: int
    start: datetime | None
    end: datetime | None
    window: timedelta | None
    services: tuple[ServiceOverview, ...]
    templates: int
    continuations: int
    dropped: Mapping[str, int]
    by_position: bool = False
    """Without usable timestamps, the order of the lines stands for time."""
    records: int = 0
    """Lines that are none of the record before them."""
    levels: Mapping[str, int] = field(default_factory=dict)
    """Records by the level that they state, the worst first; one that states none is in none."""
    encoding: str | None = None
    first: datetime | None = None
    last: datetime | None = None
    fields: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By what a record says (timestamp, severity, service, body, trace, host): the share of records that have it from
    each field or place, and under `missing` of those that say nothing of it."""


@dataclass(frozen=True)
class Analysis:
    """What was read, and what is unusual in it, the most unusual first."""

    overview: Overview
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def unusual(self) -> bool:
        return bool(self.findings)
