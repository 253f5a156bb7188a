"""Keep incident documents in the state file, and search them by cosine similarity and BM25 in this process."""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from exporter.model import (
    Aside,
    Check,
    ConfigError,
    Context,
    Documents,
    IncidentDocument,
    MemorySettings,
    NoTelemetry,
    Telemetry,
    Unit,
    from_json,
    to_json,
)

# The usual parameters of BM25.
SATURATION = 1.2
LENGTH_WEIGHT = 0.75

REMEDY = "restore a copy of the state file, or leave it: it is written again with the next change of its incident"

_WORD = re.compile(r"\w+")
Vector = np.ndarray[Any, np.dtype[np.float32]]


class LocalIncidentsSettings(MemorySettings):
    """Memory inside the state file; nothing to run, enough for years of incidents of one installation."""

    type: Literal["local"] = "local"
    max_documents: Annotated[int, Unit("documents")] = Field(default=10_000, ge=1, le=100_000)
    """Documents that are searched; the newest, those with a confirmed fix before others."""

    def build(self, context: Context) -> LocalIncidents:
        if context.documents is None:
            raise ConfigError("memory: local needs the state file; set `state:`, or use type: elasticsearch")
        return LocalIncidents(context.documents, self.max_documents, context.telemetry, context.aside)


@dataclass(frozen=True)
class Index:
    """All documents in a form that is quick to search; built again after a write, which is rare."""

    documents: tuple[IncidentDocument, ...]
    vectors: Mapping[str, tuple[tuple[int, ...], Vector]]
    words: tuple[Mapping[str, int], ...]
    frequencies: Mapping[str, int]
    mean_length: float


class LocalIncidents:
    """An incident store over the document protocol that the state file serves."""

    def __init__(
        self,
        documents: Documents,
        max_documents: int = 10_000,
        telemetry: Telemetry | None = None,
        aside: Aside | None = None,
    ) -> None:
        self._documents = documents
        self._aside = aside or Aside()
        self._max_documents = max_documents
        self._telemetry = telemetry or NoTelemetry()
        self._kept: dict[str, IncidentDocument] | None = None
        self._index: Index | None = None
        self._lock = asyncio.Lock()

    async def put(self, document: IncidentDocument) -> None:
        async with self._lock:
            kept = await self._load()
            before = kept.get(document.id)
            if before is not None and before.revision > document.revision:
                return
            plain, vector = to_row(document)
            await self._documents.put_document(document.id, plain, vector)
            kept[document.id] = document
            self._index = None
            await self._make_room(kept)

    async def nearest(
        self, vector: Sequence[float], embedding_model: str, k: int, exclude: str
    ) -> Sequence[tuple[IncidentDocument, float]]:
        index = await self._current()
        if embedding_model not in index.vectors:
            return ()
        positions, matrix = index.vectors[embedding_model]
        if matrix.shape[1] != len(vector):
            return ()
        scores = matrix @ np.asarray(vector, dtype=np.float32)
        found = [(index.documents[position], float(score)) for position, score in zip(positions, scores, strict=True)]
        return _best([(d, min(1.0, max(-1.0, score))) for d, score in found if d.id != exclude], k)

    async def matching(self, text: str, k: int, exclude: str) -> Sequence[tuple[IncidentDocument, float]]:
        index = await self._current()
        scored = await asyncio.to_thread(bm25, index, text)
        return _best([(d, score) for d, score in scored if d.id != exclude and score > 0], k)

    async def check(self) -> Sequence[Check]:
        async with self._lock:
            return [Check("memory: local", True, f"{len(await self._load())} incidents in the state file")]

    async def close(self) -> None:
        pass

    async def _current(self) -> Index:
        async with self._lock:
            if self._index is None:
                self._index = await asyncio.to_thread(build_index, tuple((await self._load()).values()))
            return self._index

    async def _load(self) -> dict[str, IncidentDocument]:
        if self._kept is None:
            rows = await self._documents.all_documents()
            read = ((key, self._read(key, plain, vector)) for key, plain, vector in rows)
            self._kept = {key: document for key, document in read if document is not None}
        return self._kept

    def _read(self, key: str, plain: Mapping[str, Any], vector: bytes | None) -> IncidentDocument | None:
        try:
            return from_row(plain, vector)
        except ValueError as error:
            self._aside.note("documents", key, error, REMEDY)
            return None

    async def _make_room(self, kept: dict[str, IncidentDocument]) -> None:
        surplus = len(kept) - self._max_documents
        if surplus <= 0:
            return
        by_worth = sorted(kept.values(), key=lambda d: (d.fix is not None, d.starts_at, d.id))
        dropped = [document.id for document in by_worth[:surplus]]
        await self._documents.delete_documents(dropped)
        for key in dropped:
            del kept[key]
        self._telemetry.count("memory_requests", surplus, operation="put", outcome="dropped")


def _best(found: Sequence[tuple[IncidentDocument, float]], k: int) -> list[tuple[IncidentDocument, float]]:
    return sorted(found, key=lambda item: (-item[1], item[0].id))[:k]


def to_row(document: IncidentDocument) -> tuple[dict[str, Any], bytes | None]:
    """The document as JSON without its vector, and the vector as little-endian float32."""
    vector = np.asarray(document.embedding, dtype="<f4").tobytes() if document.embedding else None
    return to_json(replace(document, embedding=())), vector


def from_row(plain: Mapping[str, Any], vector: bytes | None) -> IncidentDocument:
    """The document that `to_row` wrote."""
    document: IncidentDocument = from_json(IncidentDocument, plain)
    return replace(document, embedding=tuple(np.frombuffer(vector, dtype="<f4").tolist())) if vector else document


def build_index(documents: tuple[IncidentDocument, ...]) -> Index:
    """Vectors by model as matrices, words as counts."""
    by_model: dict[str, list[int]] = {}
    for position, document in enumerate(documents):
        if document.embedding:
            by_model.setdefault(document.embedding_model, []).append(position)
    words = tuple(Counter(tokens(f"{d.headline} {d.text}")) for d in documents)
    lengths = [sum(counts.values()) for counts in words]
    return Index(
        documents=documents,
        vectors={model: _matrix(documents, positions) for model, positions in by_model.items()},
        words=words,
        frequencies=Counter(word for counts in words for word in counts),
        mean_length=max(1.0, sum(lengths) / max(1, len(lengths))),
    )


def _matrix(documents: Sequence[IncidentDocument], positions: Sequence[int]) -> tuple[tuple[int, ...], Vector]:
    """Unit vectors of the model's newest dimensions; a model that changed them under one name is not mixed."""
    size = len(documents[positions[-1]].embedding)
    usable = tuple(position for position in positions if len(documents[position].embedding) == size)
    matrix = np.asarray([documents[position].embedding for position in usable], dtype=np.float32)
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return usable, (matrix / np.where(norms > 0, norms, 1)).astype(np.float32)


def tokens(text: str) -> list[str]:
    """Words as Elasticsearch's standard analyser cuts them, near enough."""
    return _WORD.findall(text.lower())


def bm25(index: Index, text: str) -> list[tuple[IncidentDocument, float]]:
    """Okapi BM25 of every document that shares a word."""
    query = sorted(set(tokens(text)) & index.frequencies.keys())
    weights = {word: _rarity(index.frequencies[word], len(index.documents)) for word in query}
    return [
        (document, _score(counts, weights, index.mean_length))
        for document, counts in zip(index.documents, index.words, strict=True)
        if not weights.keys().isdisjoint(counts)
    ]


def _rarity(documents_with: int, documents: int) -> float:
    return math.log(1 + (documents - documents_with + 0.5) / (documents_with + 0.5))


def _score(counts: Mapping[str, int], weights: Mapping[str, float], mean_length: float) -> float:
    length = SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * sum(counts.values()) / mean_length)
    return sum(
        weight * counts[word] * (SATURATION + 1) / (counts[word] + length)
        for word, weight in weights.items()
        if word in counts
    )
