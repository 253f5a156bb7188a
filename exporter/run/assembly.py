"""Put the parts together as the configuration says: the same for the daemon, backtest and demo."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from exporter.config import Config
from exporter.delivery.deliver import Deliverer
from exporter.delivery.enrich import Enricher, Links
from exporter.delivery.memory import MemorySink
from exporter.delivery.settings import DigestRules
from exporter.detection import Detector, localise, packing
from exporter.facts import observed, story
from exporter.flow.brain import Brain
from exporter.flow.flow import Flow
from exporter.flow.group import Grouper
from exporter.flow.settings import Pace
from exporter.flow.source import SourcePipeline
from exporter.incidents.clusters import Cluster
from exporter.incidents.suspects import suspected
from exporter.incidents.tracker import Localise, Tell
from exporter.ingest.redaction import Redactor
from exporter.ingest.settings import ReductionSettings
from exporter.memory.recall import Memory
from exporter.mining.miner import Miner
from exporter.model import (
    Clock,
    ConfigError,
    Context,
    Contribution,
    Evidence,
    Facts,
    Incident,
    ReportWriter,
    Sink,
    Source,
    SourceSettings,
    Suspect,
    SystemClock,
    Telemetry,
    TimeRange,
)
from exporter.model.times import moment
from exporter.report.llm import tell_again
from exporter.report.writing import ModelWriter
from exporter.run.learning import open_state
from exporter.state.file import State
from exporter.state.narration import Narrations
from exporter.state.windows import facts_now, scores_now
from exporter.wording.text import rfc3339

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger(__name__)

Client = Source | Sink | Memory | ReportWriter
C = TypeVar("C", Source, Sink, Memory, ReportWriter)


def make_brain(config: Config, source: SourceSettings) -> Brain:
    """A source's brain with nothing learnt."""
    miner = Miner(source.name, config.mining)
    sessions = {"idle": source.sessions.idle, "max_age": source.sessions.max_age} if source.sessions else {}
    detector = Detector(source.name, config.detection, source.window, source.late_window, **sessions)
    return Brain(source.name, miner, detector, source.window, source.late_window)


def reduction_settings(config: Config, source: SourceSettings, key: bytes) -> ReductionSettings:
    """What `reduce` needs to know of a source."""
    return ReductionSettings.of(source, config.mining, config.redaction, key)


def make_writer(config: Config, context: Context, redactor: Redactor) -> ReportWriter:
    """Whoever writes another version of reports: who is asked for it elsewhere, or the model."""
    if config.report is not None:
        again = partial(tell_again, redactor=redactor, telemetry=context.telemetry)
        return config.report.build(replace(context, tell_again=again))
    if config.llm is None:
        raise ConfigError("llm: missing; name the model that is to write reports")
    llm = config.llm.build(context)
    return ModelWriter(llm, redactor, context.telemetry, config.llm, context.ledger, context.clock)


def source_links(config: Config) -> Links:
    """A function from an incident to links into the places where its logs can be read."""
    links = {source.name: source.link for source in config.sources if source.link}

    def of(incident: Incident) -> tuple[tuple[str, str], ...]:
        start = incident.starts_at - timedelta(minutes=5)
        end = incident.last_seen + timedelta(minutes=5)
        values = {"start": rfc3339(start), "end": rfc3339(end), "service": quote(incident.service, safe="")}
        return tuple((name, link.format(**values)) for name, link in links.items() if name in incident.sources)

    return of


@dataclass(frozen=True)
class Base:
    """What an installation keeps whatever its configuration says."""

    clock: Clock
    telemetry: Telemetry
    state: State
    wall: Clock
    """The clock of deliveries."""
    lock: asyncio.Lock
    key: bytes
    """Of placeholders."""


@dataclass
class Assembly:
    """Every part of one installation, ready to run."""

    config: Config
    base: Base
    pipelines: tuple[SourcePipeline, ...]
    grouper: Grouper
    redactor: Redactor
    links: Links
    memory: Memory
    enricher: Enricher
    deliverers: tuple[Deliverer, ...]
    """Memory's first, then those of the sinks."""
    writer: ReportWriter | None

    @property
    def clock(self) -> Clock:
        return self.base.clock

    @property
    def telemetry(self) -> Telemetry:
        return self.base.telemetry

    @property
    def state(self) -> State:
        return self.base.state

    @property
    def lock(self) -> asyncio.Lock:
        return self.base.lock

    @property
    def flow(self) -> Flow:
        """What a line goes through."""
        budget = self.config.alarm_budget
        after = self.config.digest_after
        return Flow(self.clock, self.pipelines, self.grouper, self.enricher, self.deliverers, budget, after)

    async def close(self) -> None:
        """Close clients first, then the state file, also where one of them fails or nobody waits any more."""
        async with AsyncExitStack() as closing:
            closing.callback(self.state.close)
            for client in self.clients():
                closing.push_async_callback(client.close)

    def clients(self) -> Iterator[Client]:
        """What is connected to servers, each once."""
        yield from (pipeline.source for pipeline in self.pipelines)
        yield from (deliverer.sink for deliverer in self.deliverers[1:])
        yield self.memory
        if self.writer is not None:
            yield self.writer

    async def part_from(self, successor: Assembly) -> None:
        """Close what the next assembly of the same installation did not keep; the state file is its own now."""
        kept = {id(client) for client in successor.clients()}
        if successor.enricher is not self.enricher:
            self.enricher.close()
        for client in self.clients():
            if id(client) not in kept:
                try:
                    await client.close()
                except Exception:
                    log.exception("what is not used any more could not be closed")


def assemble(
    config: Config,
    clock: Clock,
    telemetry: Telemetry,
    state: State | None = None,
    sources: Sequence[Source] | None = None,
    sinks: Sequence[Sink] | None = None,
    wall: Clock | None = None,
) -> Assembly:
    """Build what the configuration names. Raises ConfigError or StateError.

    `sources` and `sinks` replace its own. `wall` is the clock of deliveries, which other servers' clocks must
    agree with, also when `clock` is stepped through the past.
    """
    state = state or open_state(config)
    base = Base(clock, telemetry, state, wall or SystemClock(), asyncio.Lock(), state.redaction_key())
    try:
        return _Builder(config, base).assembly(sources, sinks)
    except BaseException:
        state.close()
        raise


async def assemble_again(before: Assembly, config: Config) -> Assembly:
    """The same installation by another configuration: what it says nothing new of is kept, the rest is built.

    `before` can go on when this fails. Raises ConfigError or PermanentError.
    """
    builder = _Builder(config, before.base, before)
    try:
        return builder.assembly()
    except BaseException:
        for client in builder.built:
            await client.close()
        raise


class _Builder:
    """Builds the parts of one assembly, or takes them from the one before."""

    def __init__(self, config: Config, base: Base, before: Assembly | None = None) -> None:
        self._config = config
        self._base = base
        self._before = before
        self._context = Context(
            clock=base.clock,
            telemetry=base.telemetry,
            documents=base.state,
            aside=base.state.aside,
            installation=base.state.installation(),
            origin=config.origin,
            ledger=Narrations(base.state),
        )
        self.built: list[Client] = []
        """Clients that did not come from the assembly before."""

    def assembly(self, sources: Sequence[Source] | None = None, sinks: Sequence[Sink] | None = None) -> Assembly:
        config, base = self._config, self._base
        pipelines = self._pipelines(sources)
        redactor = Redactor.of(config.redaction, base.key, base.telemetry)
        memory, writer, links = self._memory(redactor), self._writer(redactor), source_links(config)
        return Assembly(
            config=config,
            base=base,
            pipelines=pipelines,
            grouper=Grouper(
                base.state,
                config.incidents,
                config.external_labels,
                {pipeline.name: pipeline.window for pipeline in pipelines},
                {pipeline.name: pipeline.settling for pipeline in pipelines},
                localiser(base.state, pipelines),
                base.lock,
                base.telemetry,
                config.rules,
                teller(base.state, pipelines),
            ),
            redactor=redactor,
            links=links,
            memory=memory,
            enricher=self._enricher(memory, redactor, links, writer),
            deliverers=self._deliverers(memory, links, sinks, redactor),
            writer=writer,
        )

    def _unchanged(self, *names: str) -> Assembly | None:
        """The assembly before, where the configuration says the same of these settings."""
        before = self._before
        same = before and all(getattr(before.config, name) == getattr(self._config, name) for name in names)
        return before if same else None

    def _new(self, client: C) -> C:
        self.built.append(client)
        return client

    def _pipelines(self, sources: Sequence[Source] | None) -> tuple[SourcePipeline, ...]:
        before = self._unchanged("mining", "detection", "redaction", "max_catch_up", "warmup", "readers")
        known = zip(before.config.sources, before.pipelines, strict=True) if before else ()
        kept = {settings.name: (settings, pipeline) for settings, pipeline in known if not secret_files(settings)}
        pipelines = []
        for number, settings in enumerate(self._config.sources):
            same, pipeline = kept.get(settings.name, (None, None))
            if pipeline is None or same != settings:
                source = sources[number] if sources is not None else self._new(settings.build(self._context))
                pipeline = self._pipeline(source, settings)
            pipelines.append(pipeline)
        return tuple(pipelines)

    def _pipeline(self, source: Source, settings: SourceSettings) -> SourcePipeline:
        config, base = self._config, self._base
        return SourcePipeline(
            source,
            lambda: make_brain(config, settings),
            base.state,
            reduction_settings(config, settings, base.key),
            Pace(settings.query_offset, settings.late_window, config.max_catch_up, config.warmup),
            config.readers,
            base.telemetry,
            base.lock,
            settings.max_lines_per_window,
        )

    def _memory(self, redactor: Redactor) -> Memory:
        before = self._unchanged("memory", "redaction", "external_labels")
        if before and not secret_files(self._config.memory):
            return before.memory
        return self._new(Memory.of(self._config.memory, self._context, redactor.redact))

    def _writer(self, redactor: Redactor) -> ReportWriter | None:
        config, before = self._config, self._unchanged("llm", "report", "redaction")
        settings = config.report or config.llm
        if settings is None or (before and not secret_files(settings)):
            return before.writer if before else None
        return self._new(make_writer(config, self._context, redactor))

    def _enricher(self, memory: Memory, redactor: Redactor, links: Links, writer: ReportWriter | None) -> Enricher:
        """What it still waits for is kept with it, where it would be asked the same."""
        before, base = self._unchanged("sources", "redaction"), self._base
        if before and before.memory is memory and before.writer is writer:
            return before.enricher
        return Enricher(base.state, memory, redactor, links, writer, base.telemetry, base.wall)

    def _deliverers(
        self, memory: Memory, links: Links, sinks: Sequence[Sink] | None, redactor: Redactor
    ) -> tuple[Deliverer, ...]:
        config, base = self._config, self._base
        if sinks is None:
            sinks = [self._new(sink) for settings in config.sinks for sink in settings.places(self._context)]
        noticing = {settings.name for settings in config.sinks if settings.notices}
        rules = DigestRules(config.digest_above, config.digest_after)
        return tuple(
            Deliverer(
                *(sink, base.state, base.wall, links, config.external_url, base.telemetry),
                rules=rules,
                redact=redactor.redact,
                notices=sink.name in noticing,
            )
            for sink in (MemorySink(memory), *sinks)
        )


def secret_files(settings: BaseModel) -> list[Path]:
    """The files that settings name and that are read again whenever the configuration is: of secrets, certificates."""
    found: list[Path] = []
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            found += secret_files(value)
        elif isinstance(value, tuple):
            found += [file for one in value if isinstance(one, BaseModel) for file in secret_files(one)]
        elif isinstance(value, Path) and name.endswith("_file"):
            found.append(value)
    return found


def localiser(state: State, pipelines: Sequence[SourcePipeline]) -> Localise:
    """How services are ranked by how likely each is the cause: from the scores of all services while it lasted."""
    windows = {pipeline.name: pipeline.window for pipeline in pipelines}

    def of(span: TimeRange, cluster: Cluster) -> tuple[Suspect, ...]:
        ranked = []
        for source in dict.fromkeys(member.source for member in cluster.members if member.source in windows):
            step = windows[source]
            found = scores_now(state, source, TimeRange(span.start - step, span.end))
            frames = [(moment(window), _scores(body)) for window, body in found]
            ranked.append(localise(frames, span, step))
        return suspected(cluster, ranked)

    return of


def teller(state: State, pipelines: Sequence[SourcePipeline]) -> Tell:
    """What is known of an incident at a moment: from what its sources' windows said until then."""

    def of(cluster: Cluster, suspects: Sequence[Suspect], at: datetime) -> tuple[Facts, tuple[Evidence, ...]]:
        sources = dict.fromkeys(member.source for member in cluster.members)
        known = told_of(state, pipelines, (*sources,), cluster.starts_at, suspects, cluster.contributions, at)
        return known.facts, known.lines

    return of


def told_of(
    state: State,
    pipelines: Sequence[SourcePipeline],
    sources: Sequence[str],
    starts_at: datetime,
    suspects: Sequence[Suspect],
    findings: Sequence[Contribution],
    at: datetime,
) -> story.Told:
    """What is known at a moment of what began at another, in these sources."""
    windows = {pipeline.name: pipeline.window for pipeline in pipelines if pipeline.name in sources}
    first = starts_at - story.EARLIER - story.ORDINARY
    found = [
        (source, window, _said(body))
        for source in windows
        for window, body in facts_now(state, source, TimeRange(first, at))
    ]
    step = min(windows.values(), default=timedelta(minutes=1))
    weights = {suspect.service: suspect.weight for suspect in suspects}
    return story.told(found, step, starts_at, at, weights, findings)


@lru_cache(512)
def _said(body: bytes) -> observed.Observed:
    """Of a window: an incident is told again with each window that it goes on through."""
    return observed.read(body)


@lru_cache(512)
def _scores(body: bytes) -> pl.DataFrame:
    """Of a window: an incident is told again with each window that it goes on through."""
    return packing.unpack(body)
