"""`check-config --connect`: try each server with the rights that are needed."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.config import Config
from exporter.flow.warmup import predict
from exporter.ingest import lateness
from exporter.model import (
    LLM,
    Check,
    Clock,
    Context,
    ExporterError,
    IncidentStore,
    LLMSettings,
    MemorySettings,
    NoTelemetry,
    ReportSettings,
    ReportWriter,
    Sink,
    SinkSettings,
    Source,
    SourceSettings,
    StateError,
    SystemClock,
    floor,
)
from exporter.run.assembly import reduction_settings
from exporter.run.learning import UNMARKED, learnt_with, same_form
from exporter.state.file import Rows
from exporter.state.learnt import begun, differing

Connected = Source | Sink | IncidentStore | LLM | ReportWriter
Part = SourceSettings | SinkSettings | MemorySettings | LLMSettings | ReportSettings


def about_state(config: Config) -> list[str]:
    """Where the state file is, and what the next start would learn anew or first, each a line."""
    lines = [f"state file: {config.state.absolute()}"]
    if not config.state.exists():
        return [*lines, "  is not there yet: all sources learn first"]
    rows = Rows(config.state)
    try:
        return [*lines, *(f"  {one}" for one in _learning(rows, config))]
    except StateError as error:
        return [*lines, f"  {error}"]
    finally:
        rows.close()


def _learning(rows: Rows, config: Config) -> Iterator[str]:
    if not same_form(rows, config):
        yield "is of another release: all sources would be learnt anew, incidents stay"
        return
    wanted = learnt_with(config)
    for source, names in differing(rows, wanted, UNMARKED).items():
        differs = f"{', '.join(names)} differ{'s' if len(names) == 1 else ''}"
        yield f"{source}: would be learnt anew, for {differs} from what it was learnt with"
    known = begun(rows)
    for source in wanted:
        if source not in known:
            yield f"{source}: would learn first{', beside what goes on' if known else ''}"
    for source in sorted(known - wanted.keys()):
        yield f"{source}: is not configured any more; what was learnt of it is kept"


async def connect(config: Config) -> list[Check]:
    """Try every server that the configuration names, with the rights that are needed."""
    checks: list[Check] = []
    named: list[tuple[str, Part]] = [
        *((f"sources.{item.name}", item) for item in config.sources),
        *((f"sinks.{item.name}", item) for item in config.sinks),
        ("memory", config.memory),
        *([("llm", config.llm)] if config.llm else []),
        *([("report", config.report)] if config.report else []),
    ]
    for name, settings in named:
        checks += await _check(config, name, settings, Context(clock=SystemClock(), telemetry=_StoreTime()))
    return checks


class _StoreTime(NoTelemetry):
    """Adds up what a log store says of the time that it took for our queries."""

    def __init__(self) -> None:
        self._took: list[float] = []

    def observe(self, name: str, value: float, **labels: str) -> None:
        if name == "source_store_seconds":
            self._took.append(value)

    def said(self) -> list[Check]:
        if not self._took:
            return []
        told = f"{len(self._took)} queries of this check cost the store {sum(self._took):.2f} s of its own time"
        return [Check("cost", True, f"{told}, the dearest {max(self._took):.2f} s")]


async def _check(config: Config, name: str, settings: Part, context: Context) -> list[Check]:
    if settings.type == "local":
        return [Check(name, True, "kept in the state file")]
    try:
        parts = settings.places(context) if isinstance(settings, SinkSettings) else (settings.build(context),)
    except ExporterError as error:
        return [Check(name, False, str(error))]
    return [check for part in parts for check in await _try(config, name, settings, part, context)]


async def _try(config: Config, name: str, settings: Part, part: Connected, context: Context) -> list[Check]:
    try:
        found = list(await part.check())
        if isinstance(settings, SourceSettings) and isinstance(part, Source) and all(c.ok for c in found):
            found += await _past(config, settings, part, context.clock)
            found += context.telemetry.said() if isinstance(context.telemetry, _StoreTime) else []
        return [Check(f"{name}: {c.subject}", c.ok, c.detail, c.remedy) for c in found]
    except ExporterError as error:
        return [Check(name, False, str(error))]
    finally:
        await part.close()


async def _past(config: Config, settings: SourceSettings, source: Source, clock: Clock) -> list[Check]:
    """What the past of a source lets us foresee: how long learning takes, and how late lines come."""
    reduction = reduction_settings(config, settings, key=b"")
    until = floor(clock.now() - settings.query_offset, settings.window)
    learning = await predict(source, reduction, until, config.warmup, settings.max_lines_per_window)
    return [learning, await lateness.check(settings, source, clock)]
