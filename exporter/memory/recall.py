"""Remember incidents, and recall the past ones that are the same failure, or may be related to it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar, cast

from exporter.memory.documents import document, searched
from exporter.memory.embedding import HashingEmbedder, HashingSettings
from exporter.memory.judging import Candidate, judged, redacted, similar
from exporter.memory.signs import Signs, signature, signs_of, telling
from exporter.memory.worker import Worker
from exporter.model import (
    Check,
    ComparingStore,
    Context,
    Earlier,
    Embedder,
    ExporterError,
    Incident,
    IncidentDocument,
    IncidentStore,
    MemorySettings,
    NoTelemetry,
    PermanentError,
    Report,
    SimilarIncident,
    Telemetry,
    TransientError,
)
from exporter.model.faults import know_faults
from exporter.model.memory import MOST_COUNTED, key_of

log = logging.getLogger(__name__)

A = TypeVar("A")

T = TypeVar("T")

Found = Sequence[tuple[IncidentDocument, float]]

CANDIDATES = MOST_COUNTED
"""Documents that each of the queries brings; more than are shown, for most are not alike enough."""

STORE_TIMEOUT = timedelta(seconds=10)

EMBED_TIMEOUT = timedelta(seconds=10)
"""A model that takes longer is mostly still loading: recall does without it, what is to be remembered waits."""

MANY_TIMEOUT = timedelta(minutes=10)
"""For an import, which nobody waits for but who asked for it."""


class Memory:
    """Recalls and remembers through a store; without the embedder it works by words alone."""

    def __init__(
        self,
        store: IncidentStore,
        embedder: Embedder,
        telemetry: Telemetry | None = None,
        *,
        k: int = 5,
        redact: Callable[[str], str] = str,
        installation: str = "",
        origin: Sequence[str] = (),
        others: bool = True,
        store_timeout: timedelta = STORE_TIMEOUT,
        embed_timeout: timedelta = EMBED_TIMEOUT,
    ) -> None:
        self.store = store
        self._embedder = embedder
        self._telemetry = telemetry or NoTelemetry()
        self._k = k
        self._redact = redact
        self.installation = installation
        self._origin = tuple(origin)
        self._others = others
        self._store_timeout = store_timeout.total_seconds()
        self._embed_timeout = embed_timeout.total_seconds()
        self._worker = Worker("embed")

    @classmethod
    def of(cls, settings: MemorySettings, context: Context, redact: Callable[[str], str] = str) -> Memory:
        """The memory that `memory:` of the configuration describes; what is recalled is foreign text, and redacted."""
        know_faults()
        store = settings.build(context)
        compares = isinstance(store, ComparingStore)
        embedder = HashingEmbedder() if compares else (settings.embedder or HashingSettings()).build()
        return (AskedMemory if compares else cls)(
            store,
            embedder,
            context.telemetry,
            redact=redact,
            installation=context.installation,
            origin=context.origin,
            others=settings.others,
        )

    async def remember(self, incident: Incident, report: Report) -> None:
        """Write the incident's document. Raises TransientError or PermanentError of the store."""
        await self.keep(replace(document(incident, report), installation=self.installation, origin=self._origin))

    async def keep(self, plain: IncidentDocument) -> None:
        """Write a document, embedded. Raises as `remember`."""
        embedder, vectors = await self._embed([plain.text], patient=True)
        written = replace(plain, embedding_model=embedder.model, embedding=tuple(vectors[0]))
        if embedder is not self._embedder:
            # Words only, until the incident is written again: no vector of another model may stand in.
            written = replace(written, embedding_model="", embedding=())
        await self._ask("put", self.store.put(written))

    async def remember_all(self, documents: Sequence[IncidentDocument]) -> int:
        """Write documents from elsewhere, embedded anew. Returns how many are new, or newer than what was there.

        Raises TransientError or PermanentError.
        """
        patient = MANY_TIMEOUT.total_seconds()
        vectors = await asyncio.wait_for(self._run(self._embedder, [one.text for one in documents]), patient)
        embedded = [
            replace(document, embedding_model=self._embedder.model, embedding=tuple(vector))
            for document, vector in zip(documents, vectors, strict=True)
        ]
        return await self._ask("put", self.store.put_all(embedded), patient)

    async def forget(self, key: str) -> bool:
        """Delete what is remembered under a key, or under an id of this installation; False where that is nothing.

        Raises as `remember`.
        """
        for one in dict.fromkeys((key_of(self.installation, key), key)):
            if await self._ask("delete", self.store.delete(one)):
                return True
        return False

    async def prune(self, now: datetime, whose: Collection[str] = ()) -> None:
        """Let the store drop what it keeps no longer, of this installation or of these; one that fails is asked again
        the next time."""
        try:
            await self._ask("prune", self.store.prune(now, whose or {self.installation}))
        except ExporterError as error:
            log.warning("%s; what memory keeps no longer stays until it answers", error)

    async def recall(self, incident: Incident, past: Earlier | None = None) -> tuple[SimilarIncident, ...]:
        """Past incidents like this one, the most useful first; `past` says of whom it is asked, where not of us.

        Raises TransientError or PermanentError when the store does not answer a query and nothing is found without it:
        that is not the same as that nothing is remembered.
        """
        signs = await asyncio.to_thread(signs_of, incident)
        past = past or self._past(incident)
        if not signs.any:
            # Nothing is like what cannot be compared, and nobody waits for a store to say so.
            return ()
        nearest, matching, sharing = await asyncio.gather(
            self._nearest(signs, past),
            self._ask("matching", self.store.matching(searched(signs), CANDIDATES, past)),
            self._ask("sharing", self.store.sharing(signature(signs), telling(signs), CANDIDATES, past)),
            return_exceptions=True,
        )
        candidates = gathered(
            _answer(nearest),
            _answer(matching),
            _answer(sharing),
            semantic=getattr(self._embedder, "semantic", True),
        )
        past_ones = [one for one in candidates if past.has(one.document)]
        found = await asyncio.to_thread(self._judge, incident, signs, past_ones, past.installation)
        for answer in (nearest, matching, sharing):
            if not found and isinstance(answer, BaseException):
                raise answer
        return found

    def _past(self, incident: Incident) -> Earlier:
        return Earlier(incident.id, incident.starts_at, self.installation, self._others)

    def _judge(
        self, incident: Incident, signs: Signs, candidates: Sequence[Candidate], installation: str
    ) -> tuple[SimilarIncident, ...]:
        alike = judged(incident, signs, candidates)
        found = similar(alike, signs, self._k, incident.fingerprint, installation)
        return tuple(redacted(one, self._redact) for one in found)

    @property
    def embedding_model(self) -> str:
        """The model of the vectors."""
        return self._embedder.model

    async def check(self) -> Sequence[Check]:
        """What the store says, and whether the embedder works."""
        try:
            await asyncio.wait_for(self._run(self._embedder, ["a check"]), self._embed_timeout)
            embedding = Check(f"embedder {self._embedder.model}", True, f"{self._embedder.dimensions} dimensions")
        except Exception as error:
            remedy = "without it incidents are recalled by words alone; see the message, or use type: hashing"
            embedding = Check("embedder", False, str(error) or type(error).__name__, remedy)
        return [*await self.store.check(), embedding]

    async def close(self) -> None:
        """Wait for nothing: a model that is still loading is abandoned."""
        self._worker.close()
        await self.store.close()

    async def _nearest(self, signs: Signs, past: Earlier) -> Found:
        """Nothing when the embedder fails, for a stand-in made the vector then: no document has one of its."""
        embedder, vectors = await self._embed([searched(signs)])
        if embedder is not self._embedder:
            return ()
        return await self._ask("nearest", self.store.nearest(vectors[0], embedder.model, CANDIDATES, past))

    async def _embed(self, texts: Sequence[str], patient: bool = False) -> tuple[Embedder, Sequence[Sequence[float]]]:
        """Vectors and the embedder that made them: the hashing one, which cannot fail, when the configured one does.

        Raises TransientError when `patient` and the embedder is not ready in time.
        """
        try:
            vectors = await asyncio.wait_for(self._run(self._embedder, texts), self._embed_timeout)
            return self._embedder, vectors
        except Exception as error:
            # A model that is absent or broken must not cost the recall by words.
            if patient and isinstance(error, TimeoutError):
                raise TransientError(f"memory: embedder {self._embedder.model} is not ready yet") from error
            self._telemetry.count("memory_requests", operation="embed", outcome="failed")
            fallback = HashingEmbedder()
            return fallback, fallback.embed(texts)

    async def _run(self, embedder: Embedder, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        vectors = await self._worker.run(embedder.embed, list(texts))
        if len(vectors) != len(texts) or any(
            len(v) != embedder.dimensions or not 0.99 < norm(v) < 1.01 for v in vectors
        ):
            raise PermanentError(f"embedder {embedder.model}: did not give one unit vector for each text")
        return vectors

    async def _ask(self, operation: str, request: Awaitable[T], within: float | None = None) -> T:
        """Ask the store, with a deadline in seconds, and count."""
        deadline = within or self._store_timeout
        began = time.monotonic()
        outcome = "ok"
        try:
            return await asyncio.wait_for(request, deadline)
        except TimeoutError as error:
            outcome = "transient"
            raise TransientError(f"memory: no answer to {operation} within {deadline:g}s") from error
        except BaseException as error:
            outcome = "permanent" if isinstance(error, PermanentError) else "transient"
            raise
        finally:
            self._telemetry.count("memory_requests", operation=operation, outcome=outcome)
            self._telemetry.observe("memory_seconds", time.monotonic() - began, operation=operation)


class AskedMemory(Memory):
    """A memory whose store makes vectors and compares by itself: one question brings what is told."""

    async def keep(self, plain: IncidentDocument) -> None:
        await self._ask("put", self.store.put(plain))

    async def remember_all(self, documents: Sequence[IncidentDocument]) -> int:
        plain = [replace(document, embedding_model="", embedding=()) for document in documents]
        return await self._ask("put", self.store.put_all(plain), MANY_TIMEOUT.total_seconds())

    async def recall(self, incident: Incident, past: Earlier | None = None) -> tuple[SimilarIncident, ...]:
        if not (await asyncio.to_thread(signs_of, incident)).any:
            return ()
        store = cast(ComparingStore, self.store)
        found = await self._ask("recall", store.recall(incident, past or self._past(incident)))
        return tuple(redacted(one, self._redact) for one in found)

    async def check(self) -> Sequence[Check]:
        return await self.store.check()


def _answer(answer: Sequence[A] | BaseException) -> Sequence[A]:
    """What a query brought; one that failed brought nothing, one that was cancelled goes on being cancelled."""
    if isinstance(answer, (TransientError, PermanentError)):
        return ()
    if isinstance(answer, BaseException):
        raise answer
    return answer


def gathered(meaning: Found, words: Found, kinds: Sequence[IncidentDocument], semantic: bool = True) -> list[Candidate]:
    """What the queries brought, each once: ranks choose who is compared, and nothing else.

    Where no model made the vectors they say of words what the words say already.
    """
    found: dict[str, Candidate] = {}
    for way, documents in (("meaning", meaning), ("words", words), ("kind", [(one, 0.0) for one in kinds])):
        for item, score in documents:
            before = found.get(item.key) or Candidate(item, ())
            cosine = score if way == "meaning" and semantic else before.cosine
            found[item.key] = Candidate(before.document, (*before.matched, way), cosine)
    return [found[key] for key in sorted(found)]


def norm(vector: Sequence[float]) -> float:
    return math.sqrt(sum(x * x for x in vector))
