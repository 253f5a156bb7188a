"""Remember incidents, and recall the past ones that are like a new one, by meaning and by words."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from exporter.memory.documents import document, text_of
from exporter.memory.embedding import HashingEmbedder, HashingSettings
from exporter.memory.worker import Worker
from exporter.model import (
    Check,
    Context,
    Embedder,
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

A = TypeVar("A")

T = TypeVar("T")

Found = Sequence[tuple[IncidentDocument, float]]

CANDIDATES = 30
"""Documents that each of the two queries brings; more than are shown, for some of them are not past."""

RANK_CONSTANT = 60
"""Of reciprocal rank fusion: a first place weighs 1/61, a tenth 1/70."""

STORE_TIMEOUT = timedelta(seconds=10)

EMBED_TIMEOUT = timedelta(seconds=10)
"""A model that takes longer is mostly still loading: recall does without it, what is to be remembered waits."""


@dataclass(frozen=True)
class Candidate:
    """A past incident that a query brought, with its fused rank."""

    document: IncidentDocument
    fused: float
    matched: tuple[str, ...]
    cosine: float | None = None


class Memory:
    """Recalls and remembers through a store; without the embedder it works by words alone."""

    def __init__(
        self,
        store: IncidentStore,
        embedder: Embedder,
        telemetry: Telemetry | None = None,
        *,
        k: int = 5,
        min_similarity: float | None = None,
        store_timeout: timedelta = STORE_TIMEOUT,
        embed_timeout: timedelta = EMBED_TIMEOUT,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._telemetry = telemetry or NoTelemetry()
        self._k = k
        self._min_similarity = min_similarity
        self._store_timeout = store_timeout.total_seconds()
        self._embed_timeout = embed_timeout.total_seconds()
        self._worker = Worker("embed")

    @classmethod
    def of(cls, settings: MemorySettings, context: Context) -> Memory:
        """The memory that `memory:` of the configuration describes."""
        embedder = (settings.embedder or HashingSettings()).build()
        return cls(settings.build(context), embedder, context.telemetry, min_similarity=settings.min_similarity)

    async def remember(self, incident: Incident, report: Report) -> None:
        """Write the incident's document. Raises TransientError or PermanentError of the store."""
        embedder, vectors = await self._embed([text_of(incident)], patient=True)
        written = replace(document(incident, report), embedding_model=embedder.model, embedding=tuple(vectors[0]))
        if embedder is not self._embedder:
            # Words only, until the incident is written again: no vector of another model may stand in.
            written = replace(written, embedding_model="", embedding=())
        await self._ask("put", self._store.put(written))

    async def recall(self, incident: Incident) -> tuple[SimilarIncident, ...]:
        """Past incidents like this one, the most useful first.

        Raises TransientError or PermanentError only when the store answers neither of the two queries.
        """
        text = text_of(incident)
        embedder, vectors = await self._embed([text])
        nearest = self._nearest(embedder, vectors[0], incident.id)
        matching = self._ask("matching", self._store.matching(text, CANDIDATES, incident.id))
        answers = await asyncio.gather(nearest, matching, return_exceptions=True)
        meaning, words = (_answer(answer) for answer in answers)
        if isinstance(answers[1], BaseException) and (embedder is not self._embedder or answers[0] is not meaning):
            raise answers[1]
        candidates = [c for c in fuse(meaning, words) if is_past(c.document, incident)]
        measured = await self._measure(candidates[: 2 * self._k + 10], embedder, vectors[0])
        return self._best(measured, incident, embedder)

    async def check(self) -> Sequence[Check]:
        """What the store says, and whether the embedder works."""
        try:
            await asyncio.wait_for(self._run(self._embedder, ["a check"]), self._embed_timeout)
            embedding = Check(f"embedder {self._embedder.model}", True, f"{self._embedder.dimensions} dimensions")
        except Exception as error:
            remedy = "without it incidents are recalled by words alone; see the message, or use type: hashing"
            embedding = Check("embedder", False, str(error) or type(error).__name__, remedy)
        return [*await self._store.check(), embedding]

    async def close(self) -> None:
        """Wait for nothing: a model that is still loading is abandoned."""
        self._worker.close()
        await self._store.close()

    async def _nearest(self, embedder: Embedder, vector: Sequence[float], exclude: str) -> Found:
        """Nothing when a stand-in made the vector: no document has one of its."""
        if embedder is not self._embedder:
            return ()
        return await self._ask("nearest", self._store.nearest(vector, embedder.model, CANDIDATES, exclude))

    async def _measure(
        self, candidates: Sequence[Candidate], embedder: Embedder, vector: Sequence[float]
    ) -> list[Candidate]:
        """Cosine similarity of those that only words found: stores do not give vectors back, texts they do."""
        unknown = [c for c in candidates if c.cosine is None]
        if not unknown:
            return list(candidates)
        texts = [c.document.text for c in unknown]
        if embedder is self._embedder:
            used, vectors = await self._embed(texts)
            if used is not embedder:
                return [c for c in candidates if c.cosine is not None]
        else:
            vectors = embedder.embed(texts)
        cosines = {c.document.id: cosine(vector, other) for c, other in zip(unknown, vectors, strict=True)}
        return [replace(c, cosine=cosines.get(c.document.id, c.cosine)) for c in candidates]

    def _best(
        self, candidates: Sequence[Candidate], incident: Incident, embedder: Embedder
    ) -> tuple[SimilarIncident, ...]:
        least = self._min_similarity
        if least is None or embedder is not self._embedder:
            least = float(getattr(embedder, "min_similarity", 0.5))
        alike = [
            c
            for c in candidates
            if c.document.fingerprint == incident.fingerprint or (c.cosine is not None and c.cosine >= least)
        ]
        alike.sort(key=lambda c: (-usefulness(c, incident), c.document.id))
        return tuple(similar(c, incident) for c in alike[: self._k])

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

    async def _ask(self, operation: str, request: Awaitable[T]) -> T:
        """Ask the store, with a deadline, and count."""
        began = time.monotonic()
        outcome = "ok"
        try:
            return await asyncio.wait_for(request, self._store_timeout)
        except TimeoutError as error:
            outcome = "transient"
            raise TransientError(f"memory: no answer to {operation} within {self._store_timeout:g}s") from error
        except BaseException as error:
            outcome = "permanent" if isinstance(error, PermanentError) else "transient"
            raise
        finally:
            self._telemetry.count("memory_requests", operation=operation, outcome=outcome)
            self._telemetry.observe("memory_seconds", time.monotonic() - began, operation=operation)


def _answer(answer: Found | BaseException) -> Found:
    """What a query brought; one that failed brought nothing, one that was cancelled goes on being cancelled."""
    if isinstance(answer, (TransientError, PermanentError)):
        return ()
    if isinstance(answer, BaseException):
        raise answer
    return answer


def fuse(meaning: Found, words: Found) -> list[Candidate]:
    """Both rankings as one, by reciprocal rank: their scores cannot be compared, their ranks can."""
    fused: dict[str, Candidate] = {}
    for name, found in (("meaning", meaning), ("words", words)):
        for rank, (item, score) in enumerate(found, start=1):
            before = fused.get(item.id) or Candidate(item, 0.0, ())
            fused[item.id] = Candidate(
                document=before.document,
                fused=before.fused + 1 / (RANK_CONSTANT + rank),
                matched=(*before.matched, name),
                cosine=score if name == "meaning" else before.cosine,
            )
    return sorted(fused.values(), key=lambda c: (-c.fused, c.document.id))


def is_past(candidate: IncidentDocument, incident: Incident) -> bool:
    """Another incident, over, that began before this one."""
    return candidate.id != incident.id and candidate.status == "resolved" and candidate.starts_at < incident.starts_at


def usefulness(candidate: Candidate, incident: Incident) -> float:
    """The fused rank; the same kind of failure and a confirmed fix each lift it."""
    first = 1 / (RANK_CONSTANT + 1)
    same = candidate.document.fingerprint == incident.fingerprint
    return candidate.fused + first * (1.0 if same else 0.0) + first * (0.25 if candidate.document.fix else 0.0)


def similar(candidate: Candidate, incident: Incident) -> SimilarIncident:
    found = candidate.document
    return SimilarIncident(
        id=found.id,
        headline=found.headline,
        similarity=round(min(1.0, max(0.0, candidate.cosine or 0.0)), 4),
        services=found.services,
        starts_at=found.starts_at,
        ends_at=found.ends_at,
        fix=found.fix,
        same_fingerprint=found.fingerprint == incident.fingerprint,
        matched=candidate.matched,
    )


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Of unit vectors: their scalar product."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def norm(vector: Sequence[float]) -> float:
    return math.sqrt(sum(x * x for x in vector))
