"""Everything that exporter.yml can say, as typed values."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, SerializeAsAny, WithJsonSchema, field_validator

from exporter.config.tables import MEMORIES, resolve
from exporter.detection import DetectionSettings
from exporter.flow.settings import WarmupSettings
from exporter.incidents.rule_settings import MAX_RULES, RuleSettings
from exporter.incidents.settings import IncidentSettings
from exporter.ingest.redaction import RedactionSettings
from exporter.mining.settings import MiningSettings
from exporter.model import (
    Duration,
    LLMSettings,
    MemorySettings,
    ReportSettings,
    Settings,
    SinkSettings,
    SourceSettings,
    Unit,
)
from exporter.reading.paths import odd
from exporter.telemetry import TelemetrySettings
from exporter.web import WebSettings
from exporter.web.settings import ServeSettings


def _rate(value: object) -> float:
    """Alarms a day, written like `1/day`, `2/week` or `0.5/hour`."""
    per = {"hour": 24.0, "day": 1.0, "week": 1 / 7}
    if isinstance(value, (int, float)) and value > 0:
        return float(value)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*/\s*(hour|day|week)\s*", str(value))
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{value!r} is not a budget: write a number above 0 a day, such as 1/day, 3/week or 1/hour")
    return float(match[1]) * per[match[2]]


Rate = Annotated[
    float,
    BeforeValidator(_rate),
    PlainSerializer(lambda rate: f"{rate:g}/day", return_type=str),
    WithJsonSchema(
        {
            "title": "rate",
            "x-unit": "incidents a day",
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*/\s*(hour|day|week)\s*$"},
            ],
        }
    ),
]
"""A field that is written like `3/week` and is a number a day in code."""


class Config(Settings):
    """Everything that exporter.yml says. Sources, sinks, memory and llm are those of the integrations."""

    state: Path = Path("./state.db")
    """The one file that the daemon writes: incidents, deliveries and what was learnt. A second process on it
    is refused."""
    external_url: str | None = None
    """Where people reach the incident pages: what alerts and messages link to."""
    external_labels: dict[str, str] = Field(default_factory=dict)
    """Added to every alert."""
    warmup: WarmupSettings = WarmupSettings()
    """What is learnt from the past before the first alarm."""
    alarm_budget: Rate = 1.0
    """Incidents a day that the whole installation may open; warm-up sets the threshold from it."""
    stall_after: Duration = timedelta(minutes=10)
    """A source that has not answered for this long holds the others' incidents back no more."""
    max_catch_up: Duration = timedelta(hours=24)
    """After a longer outage, the older part is recorded as a gap and not read."""
    trust_env: bool = False
    """Whether all clients (of sources, sinks, memory, model and telemetry) go by the usual proxy variables of the
    environment; each of them can say otherwise."""
    readers: Annotated[int, Unit("parts")] = Field(default=2, ge=1, le=64)
    """Parts of a range that are read at the same time."""
    retention: Duration = timedelta(days=400)
    """How long resolved incidents are kept."""
    sources: tuple[SerializeAsAny[SourceSettings], ...] = Field(default=(), min_length=1)
    """Where logs are read; at least one, unless there is a block `serve`."""
    memory: SerializeAsAny[MemorySettings] = Field(default_factory=lambda: resolve(MEMORIES["local"])())
    """Where past incidents are kept, and how similar ones are found. Default: `local`, in the state file."""
    llm: SerializeAsAny[LLMSettings] | None = None
    """A language model that may add its own version to each report."""
    report: SerializeAsAny[ReportSettings] | None = None
    """Who is asked for that version instead: `serve report` of another process, which has the model. The deterministic
    report is always written here, and waits for nobody."""
    sinks: tuple[SerializeAsAny[SinkSettings], ...] = ()
    """Where incidents are delivered."""
    digest_above: Annotated[int, Unit("incidents")] = Field(default=10, ge=1, le=1_000)
    """Incidents a minute that Slack and console are told of one by one; when there are more, all that were not told
    yet come as one digest."""
    digest_after: Duration = timedelta(hours=6)
    """What opened and ended while nothing could be read, or this program did not run, for longer than this comes as
    one digest and pages nobody."""
    incidents: IncidentSettings = IncidentSettings()
    """How anomalies become incidents."""
    rules: Annotated[tuple[RuleSettings, ...], Field(max_length=MAX_RULES)] = ()
    """What is not news, and what then happens. They hold from when they are first read, and can be changed here only;
    people make others with `rules add`."""
    mining: MiningSettings = MiningSettings()
    """How lines become templates."""
    detection: DetectionSettings = DetectionSettings()
    """How unlike its past something must be, and what its past is."""
    redaction: RedactionSettings = RedactionSettings()
    """What is redacted beyond the built-in types."""
    serve: ServeSettings = Field(default_factory=ServeSettings)
    """What `serve memory` and `serve report` answer, each a process of its own."""
    web: WebSettings = Field(default_factory=WebSettings)
    """Where pages, metrics and webhooks are served, and who may do what."""
    telemetry: TelemetrySettings = TelemetrySettings()
    """Where our own metrics and traces are pushed."""

    @field_validator("rules")
    @classmethod
    def _names_of_rules(cls, value: tuple[RuleSettings, ...]) -> tuple[RuleSettings, ...]:
        names = [rule.name for rule in value]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is the name of two rules")
        return value

    @field_validator("state")
    @classmethod
    def _file(cls, value: Path) -> Path:
        if reason := odd(value):
            raise ValueError(f"{str(value)!r} {reason}; name a file, which is made at first start")
        return value

    @property
    def origin(self) -> tuple[str, ...]:
        """The external labels as `name=value`, in order: whose the incidents are that this installation writes."""
        return tuple(f"{name}={value}" for name, value in sorted(self.external_labels.items()))

    @field_validator("external_url")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https?://[^/]+", value):
            raise ValueError(f"{value!r} is not an absolute http(s) URL, such as https://anomalies.example.org")
        return value.rstrip("/") if value else None

    @field_validator("external_labels")
    @classmethod
    def _label_names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
                raise ValueError(f"{name!r} is not a label name: letters, digits and _ only, no digit first")
        return value
