"""The layers that are deployed alone: memory and report, as they are built and asked."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from exporter.config import MEMORIES, Config, resolve
from exporter.incidents.given import given_incident, lines_of
from exporter.ingest.redaction import Redactor
from exporter.memory.moving import redacted
from exporter.memory.recall import Memory
from exporter.model import (
    Clock,
    ConfigError,
    Context,
    Earlier,
    Evidence,
    ExporterError,
    Facts,
    Incident,
    IncidentDocument,
    PermanentError,
    Report,
    ReportWriter,
    RetellingWriter,
    SystemClock,
    TransientError,
    WriterFailedError,
)
from exporter.model.layers import (
    MOST_DOCUMENTS,
    VERSION,
    About,
    ConflictingError,
    Documents,
    Failed,
    Fix,
    Hit,
    Hits,
    LayerName,
    Page,
    PageRequest,
    RecallRequest,
    Recollection,
    Rejection,
    Reported,
    ReportRequest,
    Route,
    SearchRequest,
    UnknownError,
    UnusableError,
    Written,
)
from exporter.model.questions import MOST_SAID
from exporter.report import rules as reports
from exporter.run.assembly import make_writer
from exporter.run.learning import open_state
from exporter.state.file import State
from exporter.state.retention import HOUSEKEEPING
from exporter.telemetry import PrometheusTelemetry, product_version
from exporter.web.layers import openapi, serve_layer
from exporter.web.settings import Guarded
from exporter.wording.text import storable

log = logging.getLogger(__name__)

MOST_K = 200
"""Candidates that a search may ask for."""

MOST_WRITERS = 100
"""Installations of whose documents old ones are dropped."""

ATTEMPTS = 3
"""To say something of an incident that is written again meanwhile."""

Redact = Callable[[str], str]


class MemoryService:
    """Past incidents: recalled for whoever asks, and remembered."""

    name: LayerName = "memory"

    def __init__(
        self,
        memory: Memory,
        redact: Redact,
        telemetry: PrometheusTelemetry,
        clock: Clock,
        in_place: Callable[[], bool] = lambda: True,
    ) -> None:
        self._memory = memory
        self._redact = redact
        self._telemetry = telemetry
        self._clock = clock
        self._in_place = in_place
        self._writers: set[str] = set()
        """Installations that remember their incidents here; whoever brings those of others is none."""
        self.warm = False
        """Whether the embedder has been loaded, or has failed to be."""
        one = "/v1/documents/{key}"
        self.routes: Sequence[Route] = (
            Route("GET", "/v1", "Who answers.", None, About, self.about),
            Route("POST", "/v1/recall", "Past incidents like one.", RecallRequest, Recollection, self.recall),
            Route("POST", "/v1/documents", "Remember incidents.", Documents, Written, self.put),
            Route("GET", "/v1/documents", "All that is remembered, by pages.", PageRequest, Page, self.page),
            Route("POST", "/v1/search", "Candidates, not compared yet.", SearchRequest, Hits, self.search),
            Route("GET", one, "One incident.", None, IncidentDocument, self.document),
            Route("DELETE", one, "Forget one incident.", None, IncidentDocument, self.forget),
            Route("POST", f"{one}/fix", "What fixed it.", Fix, IncidentDocument, self.fix),
            Route("POST", f"{one}/reject", "It was no failure.", Rejection, IncidentDocument, self.reject),
        )

    async def about(self, asked: None, path: Mapping[str, str]) -> About:
        return About(self.name, VERSION, product_version(), self._memory.embedding_model)

    async def recall(self, asked: RecallRequest, path: Mapping[str, str]) -> Recollection:
        incident = asked.incident or self._given(asked)
        past = Earlier(incident.id, incident.starts_at, asked.installation, asked.others)
        return Recollection(await self._memory.recall(incident, past))

    def _given(self, asked: RecallRequest) -> Incident:
        lines = [*asked.evidence, *lines_of(asked.text, self._clock.now())]
        return _checked(asked.facts, [replace(line, body=self._redact(line.body)) for line in lines])

    async def put(self, asked: Documents, path: Mapping[str, str]) -> Written:
        if len(asked.documents) > MOST_DOCUMENTS:
            raise UnusableError(f"more than {MOST_DOCUMENTS} documents at once; send them in parts")
        plain = [redacted(one, self._redact) for one in asked.documents]
        if asked.again:
            if len(self._writers) < MOST_WRITERS:
                self._writers |= {document.installation for document in plain}
            for document in plain:
                await self._keep(document)
            return Written(len(plain))
        bare = [one for one in plain if not one.embedding]
        given = [one for one in plain if one.embedding]
        written = await self._memory.remember_all(bare) if bare else 0
        return Written(written + (await self._memory.store.put_all(given) if given else 0))

    async def _keep(self, document: IncidentDocument) -> None:
        """With the vector that it brings, or one of ours."""
        await (self._memory.store.put(document) if document.embedding else self._memory.keep(document))

    async def page(self, asked: PageRequest, path: Mapping[str, str]) -> Page:
        found: list[IncidentDocument] = []
        async for document in self._memory.store.everything():
            if asked.after and _place(document) <= asked.after:
                continue
            if len(found) == MOST_DOCUMENTS:
                return Page(tuple(found), _place(found[-1]))
            found.append(replace(document, embedding=()))
        return Page(tuple(found))

    async def search(self, asked: SearchRequest, path: Mapping[str, str]) -> Hits:
        store, k = self._memory.store, min(max(asked.k, 1), MOST_K)
        if asked.by == "kind":
            return Hits(tuple(Hit(one) for one in await store.sharing(asked.signature, asked.kinds, k, asked.past)))
        if asked.by == "words":
            found = await store.matching(asked.text, k, asked.past)
        else:
            found = await store.nearest(asked.vector, asked.embedding_model, k, asked.past)
        return Hits(tuple(Hit(replace(one, embedding=()), score) for one, score in found))

    async def document(self, asked: None, path: Mapping[str, str]) -> IncidentDocument:
        found = await self._memory.store.document(path["key"])
        if found is None:
            raise UnknownError(f"no incident {path['key'][:200]!r} is remembered")
        return replace(found, embedding=())

    async def forget(self, asked: None, path: Mapping[str, str]) -> IncidentDocument:
        document = await self.document(None, path)
        await self._memory.forget(document.key)
        return document

    async def housekeep(self) -> None:
        """Drop what is kept no longer."""
        await self._memory.prune(self._clock.now(), {self._memory.installation, *self._writers})

    async def fix(self, asked: Fix, path: Mapping[str, str]) -> IncidentDocument:
        said = self._redact(storable(asked.fix))[:MOST_SAID]
        by = self._redact(storable(asked.by))[:200] if said else ""
        now = self._clock.now()
        return await self._say(path, "fix", fix=said or None, fixed_by=by, fixed_at=min(asked.at or now, now))

    async def reject(self, asked: Rejection, path: Mapping[str, str]) -> IncidentDocument:
        verdict = "rejected" if asked.rejected else ""
        return await self._say(path, "verdict", verdict=verdict, verdict_at=self._clock.now())

    async def _say(self, path: Mapping[str, str], word: str, **said: Any) -> IncidentDocument:
        """Write what people say of an incident to memory itself, on its newest revision, which may come meanwhile."""
        for _ in range(ATTEMPTS):
            document = await self._over(path)
            told = (*(one for one in document.told if one != word), word)
            await self._memory.keep(replace(document, embedding_model="", embedding=(), told=told, **said))
            written = await self.document(None, path)
            if all(getattr(written, name) == value for name, value in said.items()):
                return written
        raise TransientError(f"incident {path['key'][:200]!r} changes all the time; send it again")

    async def _over(self, path: Mapping[str, str]) -> IncidentDocument:
        document = await self.document(None, path)
        if document.status != "resolved":
            raise ConflictingError(f"incident {document.key!r} goes on: what is said of its end waits for that")
        return document

    async def warm_up(self) -> Sequence[str]:
        """Load the embedder now, not in the first question. Returns what is wrong, each in a sentence."""
        try:
            checks = await self._memory.check()
            return [f"{one.subject}: {one.detail} {one.remedy}".strip() for one in checks if not one.ok]
        except ExporterError as error:
            return [str(error)]
        finally:
            self.warm = True

    async def unready(self) -> Sequence[str]:
        if not self._in_place():
            return ["the state file was deleted or replaced: nothing more is kept; start anew"]
        return [] if self.warm else ["the embedder is being loaded"]

    def metrics(self) -> str:
        return self._telemetry.exposition()


def _place(document: IncidentDocument) -> str:
    """Where it stands among all, which come by their ids, then by their keys."""
    return f"{document.id} {document.key}"


class ReportService:
    """Reports of what somebody has found: the deterministic one, and the model's, checked."""

    name: LayerName = "report"

    def __init__(self, writer: ReportWriter | None, redact: Redact, telemetry: PrometheusTelemetry) -> None:
        self._writer = writer
        self._redact = redact
        self._telemetry = telemetry
        self.routes: Sequence[Route] = (
            Route("GET", "/v1", "Who answers.", None, About, self.about),
            Route("POST", "/v1/report", "The report of an incident.", ReportRequest, Reported, self.report),
        )

    async def about(self, asked: None, path: Mapping[str, str]) -> About:
        return About(self.name, VERSION, product_version(), self._writer.name if self._writer else "")

    async def report(self, asked: ReportRequest, path: Mapping[str, str]) -> Reported:
        incident = asked.incident or _checked(asked.facts, [self._safe(line) for line in asked.evidence])
        report = asked.report
        if report is None:
            report = await asyncio.to_thread(self._by_rules, incident, asked)
        if not asked.model:
            return Reported(report)
        if self._writer is None:
            return Reported(report, Failed("no model is configured there; set llm", answered=True))
        try:
            written = await self._writer.write(report, incident)
        except WriterFailedError as error:
            self._telemetry.count("reports", writer="rules")
            wait = error.retry_after.total_seconds() if error.retry_after else None
            return Reported(report, Failed(str(error), wait, error.answered, error.passing))
        self._telemetry.count("reports", writer="model")
        answered = await self._writer.asked(incident.id) if isinstance(self._writer, RetellingWriter) else None
        return Reported(written, asked=answered)

    def _by_rules(self, incident: Incident, asked: ReportRequest) -> Report:
        return reports.write(incident, asked.similar, asked.links, asked.gaps, asked.unasked)

    def _safe(self, line: Evidence) -> Evidence:
        return replace(line, body=self._redact(line.body), template=self._redact(line.template))

    async def unready(self) -> Sequence[str]:
        return []

    def metrics(self) -> str:
        return self._telemetry.exposition()


def _checked(facts: Facts | None, evidence: Sequence[Evidence]) -> Incident:
    try:
        return given_incident(facts, evidence)
    except PermanentError as error:
        raise UnusableError(str(error)) from None


@asynccontextmanager
async def memory_service(config: Config, telemetry: PrometheusTelemetry, clock: Clock) -> AsyncIterator[MemoryService]:
    """The memory that the configuration describes, in its own state file. Raises ConfigError or StateError."""
    if config.memory.type in ("remote", "none"):
        raise ConfigError(f"memory.type: {config.memory.type} cannot be served; give local or elasticsearch")
    state = open_state(config)
    memory: Memory | None = None
    try:
        redactor = Redactor.of(config.redaction, state.redaction_key(), telemetry)
        memory = Memory.of(config.memory, _context(config, telemetry, clock, state), redactor.redact)
        yield MemoryService(memory, redactor.redact, telemetry, clock, state.in_place)
    finally:
        if memory is not None:
            await memory.close()
        state.close()


@asynccontextmanager
async def report_service(config: Config, telemetry: PrometheusTelemetry, clock: Clock) -> AsyncIterator[ReportService]:
    """The writer of reports that the configuration describes; it keeps nothing. Raises ConfigError."""
    if config.report is not None:
        raise ConfigError("report: who serves reports writes them; remove it, and give llm for a model's version")
    # Placeholders of what reaches us unredacted are of this process alone.
    redactor = Redactor.of(config.redaction, secrets.token_bytes(32), telemetry)
    context = Context(clock=clock, telemetry=telemetry, origin=config.origin)
    writer = make_writer(config, context, redactor) if config.llm else None
    try:
        yield ReportService(writer, redactor.redact, telemetry)
    finally:
        if writer is not None:
            await writer.close()


def _context(config: Config, telemetry: PrometheusTelemetry, clock: Clock, state: State) -> Context:
    return Context(
        clock=clock,
        telemetry=telemetry,
        documents=state,
        aside=state.aside,
        installation=state.installation(),
        origin=config.origin,
    )


@asynccontextmanager
async def serving(name: str, config: Config, telemetry: PrometheusTelemetry, clock: Clock) -> AsyncIterator[str]:
    """Serve a layer while the block runs, which is given its address. Raises ConfigError or StateError."""
    settings = getattr(config.serve, name)
    guarded = Guarded(settings, config.external_url)
    async with AsyncExitStack() as stack:
        service: MemoryService | ReportService
        if name == "memory":
            service = await stack.enter_async_context(memory_service(config, telemetry, clock))
            warming = asyncio.ensure_future(_warm(service))
            keeping = asyncio.ensure_future(_keep_house(service))
            stack.callback(warming.cancel)
            stack.callback(keeping.cancel)
        else:
            service = await stack.enter_async_context(report_service(config, telemetry, clock))
        if settings.auth == "bearer" and not (settings.token or settings.token_file):
            log.warning("serve.%s.token_file is not set: nobody is answered", name)
        if settings.auth == "none":
            log.warning("serve.%s.auth is none: who reaches %s is answered", name, settings.listen)
        yield await stack.enter_async_context(serve_layer(service, lambda: guarded, telemetry))


async def _warm(service: MemoryService) -> None:
    for wrong in await service.warm_up():
        log.warning("%s", wrong)


async def _keep_house(service: MemoryService) -> None:
    while True:
        await asyncio.sleep(HOUSEKEEPING.total_seconds())
        await service.housekeep()


def described(name: str) -> dict[str, Any]:
    """The OpenAPI document of a layer."""
    telemetry = PrometheusTelemetry()
    if name == "report":
        return openapi(ReportService(None, str, telemetry))
    memory = Memory.of(resolve(MEMORIES["none"])(type="none"), Context())
    return openapi(MemoryService(memory, str, telemetry, SystemClock()))
