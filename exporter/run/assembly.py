"""Put the parts together as the configuration says: the same for the daemon, backtest and demo."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from exporter.config import Config
from exporter.delivery.deliver import Deliverer
from exporter.delivery.enrich import Enricher, Links
from exporter.delivery.memory import MemorySink
from exporter.delivery.settings import DigestRules
from exporter.detection import Detector, localise, observation
from exporter.detection import tables as detection_tables
from exporter.flow.brain import Brain
from exporter.flow.flow import Flow
from exporter.flow.group import Grouper
from exporter.flow.settings import Pace
from exporter.flow.source import SourcePipeline
from exporter.incidents.clusters import Cluster
from exporter.incidents.suspects import suspected
from exporter.incidents.tracker import Localise
from exporter.ingest.redaction import Redactor
from exporter.ingest.settings import ReductionSettings
from exporter.memory.recall import Memory
from exporter.mining.miner import Miner
from exporter.mining.rows import TABLES as MINING_TABLES
from exporter.mining.settings import fingerprint as mining_fingerprint
from exporter.model import (
    LLM,
    Clock,
    Context,
    Incident,
    Sink,
    Source,
    SourceSettings,
    Suspect,
    SystemClock,
    Telemetry,
    TimeRange,
)
from exporter.model.times import moment
from exporter.state.file import Rows, State
from exporter.state.learnt import Learnt, form_of, learn_with
from exporter.state.windows import scores_now
from exporter.wording.text import rfc3339

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger(__name__)

FORMAT = 3
"""Raised when what stages write changes its meaning without its tables changing: then all is learnt anew."""


def learnt_with(config: Config) -> dict[str, Learnt]:
    """What each source is learnt with: where one of these is another, that source is learnt anew."""
    common: dict[str, object] = {
        "mining": mining_fingerprint(config.mining),
        "detection": config.detection.model_dump(mode="json"),
    }
    return {
        source.name: {name: _mark(value) for name, value in {**common, **source.learnt_with()}.items()}
        for source in config.sources
    }


def fingerprint(config: Config) -> str:
    """As release 0.1 marked what it had learnt: of all sources together. Where it is that, what was learnt is kept."""
    parts = {
        "format": FORMAT,
        "mining": mining_fingerprint(config.mining),
        "detection": config.detection.model_dump(mode="json"),
        "sources": {
            source.name: [str(source.window), str(source.late_window), repr(source.sessions), str(source.group_by)]
            for source in config.sources
        },
    }
    return _mark(parts)


def _mark(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def open_state(config: Config, path: Path | None = None) -> State:
    """The state file with the tables of all stages, and what was learnt with these settings. Raises StateError."""
    form, *same = _forms(config)
    state = State(path or config.state, (MINING_TABLES, detection_tables()), form, same)
    try:
        learn_anew(state, config)
    except BaseException:
        state.close()
        raise
    return state


def same_form(rows: Rows, config: Config) -> bool:
    """Whether what a state file holds means what it means today. Raises StateError."""
    return form_of(rows) in (None, *_forms(config))


def _forms(config: Config) -> tuple[str, str]:
    """The mark of today's form, and how it was marked before."""
    return f"format {FORMAT}", fingerprint(config)


def learn_anew(state: State, config: Config) -> None:
    """Forget what was learnt of sources whose settings are others now; the rest of them go on."""
    for source, names in learn_with(state, learnt_with(config)).items():
        log.warning("%s: %s differs from what it was learnt with: it is learnt anew", source, ", ".join(names))


def make_brain(config: Config, source: SourceSettings) -> Brain:
    """A source's brain with nothing learnt."""
    miner = Miner(source.name, config.mining)
    sessions = {"idle": source.sessions.idle, "max_age": source.sessions.max_age} if source.sessions else {}
    detector = Detector(source.name, config.detection, source.window, source.late_window, **sessions)
    return Brain(source.name, miner, detector, source.window, source.late_window)


def reduction_settings(config: Config, source: SourceSettings, key: bytes) -> ReductionSettings:
    """What `reduce` needs to know of a source."""
    return ReductionSettings.of(source, config.mining, config.redaction, key)


def source_links(config: Config) -> Links:
    """A function from an incident to links into the places where its logs can be read."""
    links = {source.name: source.link for source in config.sources if source.link}

    def of(incident: Incident) -> tuple[tuple[str, str], ...]:
        start = incident.starts_at - timedelta(minutes=5)
        end = incident.last_seen + timedelta(minutes=5)
        values = {"start": rfc3339(start), "end": rfc3339(end), "service": quote(incident.service, safe="")}
        return tuple((name, link.format(**values)) for name, link in links.items() if name in incident.sources)

    return of


@dataclass
class Assembly:
    """Every part of one installation, ready to run."""

    config: Config
    clock: Clock
    telemetry: Telemetry
    state: State
    pipelines: tuple[SourcePipeline, ...]
    grouper: Grouper
    redactor: Redactor
    links: Links
    memory: Memory
    enricher: Enricher
    deliverers: tuple[Deliverer, ...]
    llm: LLM | None
    lock: asyncio.Lock

    @property
    def flow(self) -> Flow:
        """What a line goes through."""
        budget = self.config.alarm_budget
        after = self.config.digest_after
        return Flow(self.clock, self.pipelines, self.grouper, self.enricher, self.deliverers, budget, after)

    async def close(self) -> None:
        """Close clients first, then the state file, also where one of them fails or nobody waits any more."""
        clients = (*(p.source for p in self.pipelines), *(d.sink for d in self.deliverers), self.llm)
        async with AsyncExitStack() as closing:
            closing.callback(self.state.close)
            for client in clients:
                if client is not None:
                    closing.push_async_callback(client.close)


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
    try:
        return _assemble(config, clock, telemetry, state, sources, sinks, wall or SystemClock())
    except BaseException:
        state.close()
        raise


def _assemble(
    config: Config,
    clock: Clock,
    telemetry: Telemetry,
    state: State,
    sources: Sequence[Source] | None,
    sinks: Sequence[Sink] | None,
    wall: Clock,
) -> Assembly:
    context = Context(clock=clock, telemetry=telemetry, documents=state, aside=state.aside)
    lock = asyncio.Lock()
    key = state.redaction_key()
    redactor = Redactor.of(config.redaction, key, telemetry)
    built = sources if sources is not None else [settings.build(context) for settings in config.sources]
    pipelines = tuple(
        SourcePipeline(
            source,
            lambda settings=settings: make_brain(config, settings),  # type: ignore[misc]
            state,
            reduction_settings(config, settings, key),
            Pace(settings.query_offset, settings.late_window, config.max_catch_up, config.warmup),
            config.readers,
            telemetry,
            lock,
            settings.max_lines_per_window,
        )
        for source, settings in zip(built, config.sources, strict=True)
    )
    memory = Memory.of(config.memory, context)
    llm = config.llm.build(context) if config.llm else None
    links = source_links(config)
    places = sinks if sinks is not None else [sink for each in config.sinks for sink in each.places(context)]
    rules = DigestRules(config.digest_above, config.digest_after)
    deliverers = tuple(
        Deliverer(sink, state, wall, links, config.external_url, telemetry, rules=rules)
        for sink in (MemorySink(memory), *places)
    )
    return Assembly(
        config=config,
        clock=clock,
        telemetry=telemetry,
        state=state,
        pipelines=pipelines,
        grouper=Grouper(
            state,
            config.incidents,
            config.external_labels,
            {pipeline.name: pipeline.window for pipeline in pipelines},
            {pipeline.name: pipeline.settling for pipeline in pipelines},
            localiser(state, pipelines),
            lock,
            telemetry,
        ),
        redactor=redactor,
        links=links,
        memory=memory,
        enricher=Enricher(state, memory, redactor, links, llm, telemetry, wall),
        deliverers=deliverers,
        llm=llm,
        lock=lock,
    )


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


@lru_cache(512)
def _scores(body: bytes) -> pl.DataFrame:
    """Of a window: an incident is told again with each window that it goes on through."""
    return observation.unpack(body)
