"""exporter.yml as typed values; the only module that knows which integrations exist."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, PlainSerializer, SerializeAsAny, ValidationError, field_validator

from exporter.detection import DetectionSettings
from exporter.flow.settings import WarmupSettings
from exporter.incidents.settings import IncidentSettings
from exporter.ingest.redaction import RedactionSettings
from exporter.mining.settings import MiningSettings
from exporter.model import ConfigError, Duration, LLMSettings, MemorySettings, Settings, SinkSettings, SourceSettings
from exporter.telemetry import TelemetrySettings
from exporter.web import WebSettings

# What exists, by the word that `type:` takes. To add an integration is to add a file and an entry here.
SOURCES = {
    "elasticsearch": "integrations.elasticsearch:ElasticsearchSettings",
    "file": "integrations.file:FileSettings",
    "loki": "integrations.loki:LokiSettings",
    "simulator": "exporter.demo.shop:SimulatorSettings",
}

SINKS = {
    "alertmanager": "integrations.alertmanager:AlertmanagerSettings",
    "console": "integrations.console:ConsoleSettings",
    "grafana": "integrations.grafana:GrafanaSettings",
    "slack": "integrations.slack:SlackSettings",
    "otlp": "integrations.otlp:OtlpSettings",
    "webhook": "integrations.webhook:WebhookSettings",
}

MEMORIES = {
    "elasticsearch": "integrations.elasticsearch_incidents:ElasticsearchIncidentsSettings",
    "local": "integrations.local_incidents:LocalIncidentsSettings",
}

EMBEDDERS = {
    "hashing": "exporter.memory.embedding:HashingSettings",
    "sentence_transformers": "integrations.sentence_transformers:SentenceTransformersSettings",
}

LLMS = {"openai": "integrations.openai:OpenAISettings"}


def _rate(value: object) -> float:
    """Alarms a day, written like `1/day`, `2/week` or `0.5/hour`."""
    per = {"hour": 24.0, "day": 1.0, "week": 1 / 7}
    if isinstance(value, (int, float)) and value > 0:
        return float(value)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*/\s*(hour|day|week)\s*", str(value))
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{value!r} is not a budget: write a number above 0 a day, such as 1/day, 3/week or 1/hour")
    return float(match[1]) * per[match[2]]


class Config(Settings):
    """Everything that exporter.yml says. Sources, sinks, memory and llm are those of the integrations."""

    state: Path = Path("./state.db")
    external_url: str | None = None
    """Where people reach the incident pages: what alerts and messages link to."""
    external_labels: dict[str, str] = Field(default_factory=dict)
    """Added to every alert."""
    warmup: WarmupSettings = WarmupSettings()
    alarm_budget: Annotated[
        float, BeforeValidator(_rate), PlainSerializer(lambda rate: f"{rate:g}/day", return_type=str)
    ] = 1.0
    """Incidents a day that the whole installation may open; warm-up sets the threshold from it."""
    stall_after: Duration = timedelta(minutes=10)
    """A source that has not answered for this long holds the others' incidents back no more."""
    max_catch_up: Duration = timedelta(hours=24)
    """After a longer outage, the older part is recorded as a gap and not read."""
    readers: int = Field(default=2, ge=1, le=64)
    """Parts of a range that are read at the same time."""
    retention: Duration = timedelta(days=400)
    """How long resolved incidents are kept."""
    sources: tuple[SerializeAsAny[SourceSettings], ...] = Field(min_length=1)
    memory: SerializeAsAny[MemorySettings]
    llm: SerializeAsAny[LLMSettings] | None = None
    sinks: tuple[SerializeAsAny[SinkSettings], ...] = ()
    incidents: IncidentSettings = IncidentSettings()
    mining: MiningSettings = MiningSettings()
    detection: DetectionSettings = DetectionSettings()
    redaction: RedactionSettings = RedactionSettings()
    web: WebSettings = WebSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

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


def load(path: Path) -> Config:
    """Read and validate a file. Raises ConfigError that names the path in the file, the value and the choices."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the configuration with -c FILE") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not text in UTF-8, at byte {error.start}; give YAML with -c FILE") from error
    try:
        raw = yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {_worded(error)}") from error
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{path}: holds no settings; the shortest useful file is one source and one sink")
    return parse(raw, str(path))


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a key that is there twice: the first would be lost without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.composer.ComposerError(
                    problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else key)
        return node


def _worded(error: yaml.YAMLError) -> str:
    """Where YAML goes wrong, and what is wrong there."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"not valid YAML: line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return f"not valid YAML: {' '.join(str(error).split())}"


def parse(raw: Mapping[str, Any], origin: str = "configuration") -> Config:
    """Validate what a file says. Raises ConfigError with every problem found, one a line."""
    # A block of which every line is a comment says nothing.
    values = {key: value for key, value in _with_environment(raw, origin, "").items() if value is not None}
    problems: list[str] = []
    values["sources"] = _several(values.get("sources"), SOURCES, "sources", problems)
    values["sinks"] = _several(values.get("sinks") or (), SINKS, "sinks", problems)
    memory = values.get("memory") or {"type": "local"}
    if isinstance(memory, Mapping) and memory.get("embedder"):
        memory = {**memory, "embedder": _one(memory["embedder"], EMBEDDERS, "memory.embedder", problems)}
    values["memory"] = _one(memory, MEMORIES, "memory", problems)
    values["llm"] = _one(values["llm"], LLMS, "llm", problems) if values.get("llm") else None
    config = None
    if not problems:
        try:
            config = Config(**values)
        except ValidationError as error:
            problems.extend(explain(error, ""))
        else:
            problems.extend(_duplicates("sources", config.sources) + _duplicates("sinks", config.sinks))
            problems.extend(_session_patterns(config.sources))
    if problems or config is None:
        raise ConfigError("\n".join(f"{origin}: {problem}" for problem in problems))
    return config


def resolve(reference: str) -> Any:
    """The object that a `module:name` reference names."""
    module, name = reference.split(":")
    return getattr(import_module(module), name)


def _with_environment(value: Any, origin: str, path: str) -> Any:
    """`${NAME}` in any text becomes the environment's value; `$$` stands for a dollar."""
    if isinstance(value, Mapping):
        return {str(k): _with_environment(v, origin, f"{path}.{k}" if path else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_environment(v, origin, f"{path}.{i}") for i, v in enumerate(value)]
    if not isinstance(value, str) or "$" not in value:
        return value

    def lookup(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if match[1] not in os.environ:
            raise ConfigError(f"{origin}: {path}: the environment has no variable {match[1]}; set it, or use *_file")
        return os.environ[match[1]]

    return re.sub(r"\$\$|\$\{(\w+)\}", lookup, value)


def _several(raw: Any, table: Mapping[str, str], path: str, problems: list[str]) -> tuple[Any, ...]:
    if raw is None or raw == []:
        problems.append(f"{path}: missing; name at least one, its type one of {_choices(table)}")
        return ()
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        problems.append(f"{path}: must be a list, each item with a type that is one of {_choices(table)}")
        return ()
    return tuple(_one(item, table, f"{path}.{index}", problems) for index, item in enumerate(raw))


def _one(raw: Any, table: Mapping[str, str], path: str, problems: list[str]) -> Any:
    if not isinstance(raw, Mapping):
        problems.append(f"{path}: must be a block of settings with a type that is one of {_choices(table)}")
        return None
    kind = raw.get("type")
    if not isinstance(kind, str) or kind not in table:
        what = "missing; must be" if kind is None else f"{kind!r} is not"
        problems.append(f"{path}.type: {what} one of {_choices(table)}")
        return None
    try:
        return resolve(table[kind])(**raw)
    except ValidationError as error:
        problems.extend(explain(error, path))
        return None


def _choices(table: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(table))


def explain(error: ValidationError, path: str) -> list[str]:
    """One line a problem: where, what stands there, and what could."""
    lines = []
    for item in error.errors(include_url=False):
        place = ".".join([path, *(str(part) for part in item["loc"])]).strip(".") or "configuration"
        if item["type"] == "extra_forbidden":
            message = "unknown key; check its spelling and indentation"
        elif item["type"] == "missing":
            message = "missing"
        else:
            message = item["msg"].removeprefix("Value error, ")
            if item["type"] in ("model_type", "dict_type"):
                message = "must be a block of settings, such as `{key: value}`"
            shown = item["input"]
            secret = any(word in place for word in ("key", "token", "password", "secret", "url"))
            if isinstance(shown, (str, int, float, bool)) and repr(shown) not in message and not secret:
                message = f"{shown!r}: {message}"
        lines.append(f"{place}: {message}")
    return lines


def _duplicates(path: str, items: Sequence[Any]) -> list[str]:
    names = [item.name for item in items]
    return [
        f"{path}.{index}.name: {name!r} is taken; every one needs a name of its own"
        for index, name in enumerate(names)
        if name in names[:index]
    ]


def _session_patterns(sources: Sequence[Any]) -> list[str]:
    patterns = [(index, getattr(source.sessions, "pattern", None)) for index, source in enumerate(sources)]
    problems = []
    for index, pattern in patterns:
        if pattern is not None:
            # Imported here: it brings polars.
            from exporter.ingest.settings import session_pattern

            try:
                session_pattern(pattern)
            except ValueError as error:
                problems.append(f"sources.{index}.sessions.pattern: {error}")
    return problems


def effective(config: Config) -> str:
    """The whole configuration with its defaults as YAML, secrets masked."""
    return yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)
