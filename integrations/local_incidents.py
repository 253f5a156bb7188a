"""Keep incident documents in the state file, and search them by cosine similarity, BM25 and kinds in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from heapq import nlargest, nsmallest
from typing import Any, Literal, TypeVar

import numpy as np

from exporter.model import (
    Aside,
    Check,
    ConfigError,
    Context,
    Documents,
    Earlier,
    IncidentDocument,
    KeepingSettings,
    NoTelemetry,
    Telemetry,
    from_json,
    to_json,
)
from exporter.model.memory import in_place_of, key_of

REMEDY = "restore a copy of the state file, or leave it: it is written again with the next change of its incident"

LEAST_ROWS = 64
"""Of a matrix; it is doubled when it is full."""

READ_AT_ONCE = 500
"""Documents: what is being read takes more room than what is kept of it."""

WRITTEN_AT_ONCE = 500

LATEST = datetime.max.replace(tzinfo=UTC)

T = TypeVar("T")
Vector = np.ndarray[Any, np.dtype[np.float32]]
Found = Sequence[tuple[IncidentDocument, float]]


class LocalIncidentsSettings(KeepingSettings):
    """Memory inside the state file; nothing to run, enough for years of incidents of one installation."""

    type: Literal["local"] = "local"

    def build(self, context: Context) -> LocalIncidents:
        if context.documents is None:
            raise ConfigError("memory: local needs the state file; set `state:`, or use type: elasticsearch")
        return LocalIncidents(context.documents, self, context.telemetry, context.aside, context.installation)


class Vectors:
    """Unit vectors of one model and length as one matrix, which is changed in place."""

    def __init__(self, dimensions: int) -> None:
        self._matrix: Vector = np.zeros((LEAST_ROWS, dimensions), dtype=np.float32)
        self._keys: list[str] = []
        self._rows: dict[str, int] = {}

    def put(self, key: str, vector: Vector) -> None:
        norm = float(np.linalg.norm(vector))
        row = self._rows.setdefault(key, len(self._keys))
        if row == len(self._keys):
            self._keys.append(key)
        if row == len(self._matrix):
            self._matrix = np.concatenate([self._matrix, np.zeros_like(self._matrix)])
        self._matrix[row] = vector / norm if norm > 0 else vector

    def delete(self, key: str) -> None:
        """The last one takes the place of what goes."""
        row = self._rows.pop(key, None)
        if row is None:
            return
        last = self._keys.pop()
        if last != key:
            self._keys[row], self._rows[last] = last, row
            self._matrix[row] = self._matrix[len(self._keys)]

    def scores(self, vector: Sequence[float]) -> Iterator[tuple[str, float]]:
        """Cosine similarity of each, the nearest first."""
        found = np.clip(self._matrix[: len(self._keys)] @ np.asarray(vector, dtype=np.float32), -1, 1)
        for row in np.argsort(-found, kind="stable"):
            yield self._keys[row], float(found[row])


class LocalIncidents:
    """An incident store over the document protocol that the state file serves."""

    def __init__(
        self,
        documents: Documents,
        settings: LocalIncidentsSettings | None = None,
        telemetry: Telemetry | None = None,
        aside: Aside | None = None,
        installation: str = "",
    ) -> None:
        self._documents = documents
        self._installation = installation
        self._aside = aside or Aside()
        self._settings = settings or LocalIncidentsSettings()
        self._telemetry = telemetry or NoTelemetry()
        self._kept: dict[str, IncidentDocument] | None = None
        """All documents, without their vectors."""
        self._vectors: dict[tuple[str, int], Vectors] = {}
        self._signs: dict[str, set[str]] = {}
        """Which documents have a signature or a kind of fault."""
        self._words = documents.word_index()
        self._lock = asyncio.Lock()

    async def put(self, document: IncidentDocument) -> None:
        await self._whole(lambda: self._put([document], again=True))

    async def put_all(self, documents: Sequence[IncidentDocument]) -> int:
        written = 0
        for start in range(0, len(documents), WRITTEN_AT_ONCE):
            some = documents[start : start + WRITTEN_AT_ONCE]
            written += await self._whole(lambda some=some: self._put(some, again=False))  # type: ignore[misc]
        return written

    async def everything(self) -> AsyncIterator[IncidentDocument]:
        for document in await self._search(lambda kept: sorted(kept.values(), key=lambda one: (one.id, one.key))):
            yield document

    async def _put(self, documents: Sequence[IncidentDocument], again: bool) -> int:
        """Write those that are newer than what is there; with `again` those of the same revision, too."""
        kept = await self._load()
        new: dict[str, IncidentDocument] = {}
        replaced: list[IncidentDocument] = []
        for document in documents:
            old = new.get(document.key) or kept.get(document.key) or self._of_older_release(document, kept)
            if old is not None and old.revision + (not again) > document.revision:
                continue
            new[document.key] = in_place_of(old, document) if old else document
            if old is not None and old.key != document.key:
                replaced.append(old)
        rows = [(document, *to_row(document)) for document in new.values()]
        await self._documents.put_documents([(document.key, plain, vector) for document, plain, vector in rows])
        self._index([(document, vector) for document, _, vector in rows])
        await self._drop(replaced, kept)
        await self._make_room(kept)
        return len(new)

    def _of_older_release(
        self, document: IncidentDocument, kept: Mapping[str, IncidentDocument]
    ) -> IncidentDocument | None:
        """The same one without its installation: an older release knew of one only."""
        return kept.get(document.id) if document.installation == self._installation else None

    async def nearest(self, vector: Sequence[float], embedding_model: str, k: int, past: Earlier) -> Found:
        def search(kept: Mapping[str, IncidentDocument]) -> Found:
            known = self._vectors.get((embedding_model, len(vector)))
            scores = known.scores(vector) if known else ()
            return _first(((kept[key], score) for key, score in scores if past.has(kept[key])), k)

        return await self._search(search)

    async def matching(self, text: str, k: int, past: Earlier) -> Found:
        def search(kept: Mapping[str, IncidentDocument]) -> Found:
            among = () if past.others else ("", past.installation)
            found = self._words.best(text, k, past.before.timestamp(), key_of(past.installation, past.exclude), among)
            return [(kept[key], score) for key, score in found]

        return await self._search(search)

    async def sharing(self, signature: str, kinds: Sequence[str], k: int, past: Earlier) -> Sequence[IncidentDocument]:
        def search(kept: Mapping[str, IncidentDocument]) -> Sequence[IncidentDocument]:
            keys = set[str]().union(*(self._signs.get(sign, ()) for sign in (signature, *kinds) if sign))
            alike = [kept[key] for key in keys if past.has(kept[key])]
            return nlargest(k, alike, key=lambda one: (one.signature == signature, one.starts_at, one.key))

        return await self._search(search)

    async def document(self, key: str) -> IncidentDocument | None:
        return await self._search(lambda kept: kept.get(key))

    async def delete(self, key: str) -> bool:
        async def gone() -> bool:
            kept = await self._load()
            found = [kept[key]] if key in kept else []
            await self._drop_for("asked", found, kept)
            return bool(found)

        return await self._whole(gone)

    async def prune(self, now: datetime, whose: Collection[str]) -> None:
        """Whoever wrote them: nobody else looks after a state file."""
        await self._whole(lambda: self._prune(self._settings.kept_since(now)))

    async def _prune(self, since: datetime | None) -> None:
        kept = await self._load()
        if since is not None:
            await self._drop_for("age", [one for one in kept.values() if one.starts_at < since], kept)
        await self._make_room(kept)

    async def check(self) -> Sequence[Check]:
        kept = await self._search(len)
        return [Check("memory: local", True, f"{kept} incidents in the state file")]

    async def close(self) -> None:
        async with self._lock:
            self._words.close()

    async def _search(self, search: Callable[[dict[str, IncidentDocument]], T]) -> T:
        """Search in a thread: the event loop has other things to do."""

        async def searched() -> T:
            return await asyncio.to_thread(search, await self._load())

        return await self._whole(searched)

    async def _whole(self, work: Callable[[], Awaitable[T]]) -> T:
        """Work that goes on to its end when whoever asked for it has gone: rows and indexes never differ."""

        async def alone() -> T:
            async with self._lock:
                return await work()

        return await asyncio.shield(asyncio.ensure_future(alone()))

    async def _load(self) -> dict[str, IncidentDocument]:
        if self._kept is None:
            self._kept, last = {}, ""
            try:
                while rows := await self._documents.documents_after(last, READ_AT_ONCE):
                    await asyncio.to_thread(self._read_all, rows)
                    last = rows[-1][0]
            except BaseException:
                # What was read in part would pass for all there is.
                self._kept = None
                raise
        return self._kept

    def _read_all(self, rows: Iterable[tuple[str, Mapping[str, Any] | None, bytes | None]]) -> None:
        read = ((self._read(key, plain), vector) for key, plain, vector in rows)
        self._index([(document, vector) for document, vector in read if document is not None])

    def _read(self, key: str, plain: Mapping[str, Any] | None) -> IncidentDocument | None:
        try:
            return from_row(plain) if plain is not None else None
        except ValueError as error:
            self._aside.note("documents", key, error, REMEDY)
            return None

    def _index(self, found: Sequence[tuple[IncidentDocument, bytes | None]]) -> None:
        assert self._kept is not None  # noqa: S101
        for document, vector in found:
            before = self._kept.get(document.key)
            self._kept[document.key] = replace(document, embedding=())
            if before is not None:
                self._forget(before)
            for sign in (document.signature, *document.kinds):
                self._signs.setdefault(sign, set()).add(document.key)
            if vector:
                values = np.frombuffer(vector, dtype="<f4")
                key = document.embedding_model, len(values)
                self._vectors.setdefault(key, Vectors(len(values))).put(document.key, values)
        self._words.put(
            (
                one.key,
                f"{one.headline} {one.text}",
                one.starts_at.timestamp(),
                one.installation if Earlier("", LATEST).has(one) else None,
            )
            for one, _ in found
        )

    def _forget(self, document: IncidentDocument) -> None:
        """By what it is found, but for its words."""
        for sign in (document.signature, *document.kinds):
            self._signs.get(sign, set()).discard(document.key)
        for (model, _), vectors in self._vectors.items():
            if model == document.embedding_model:
                vectors.delete(document.key)

    async def _make_room(self, kept: dict[str, IncidentDocument]) -> None:
        surplus = len(kept) - self._settings.max_documents
        if surplus > 0:
            worst = nsmallest(surplus, kept.values(), key=lambda d: (d.fix is not None, d.starts_at, d.id))
            await self._drop_for("room", worst, kept)

    async def _drop_for(
        self, reason: str, documents: Sequence[IncidentDocument], kept: dict[str, IncidentDocument]
    ) -> None:
        if documents:
            await self._drop(documents, kept)
            self._telemetry.count("memory_documents_dropped", len(documents), reason=reason)

    async def _drop(self, documents: Sequence[IncidentDocument], kept: dict[str, IncidentDocument]) -> None:
        if not documents:
            return
        await self._documents.delete_documents([document.key for document in documents])
        self._words.delete(document.key for document in documents)
        for document in documents:
            self._forget(document)
            del kept[document.key]


def _first(found: Iterable[T], k: int) -> list[T]:
    return [one for _, one in zip(range(k), found, strict=False)]


def to_row(document: IncidentDocument) -> tuple[dict[str, Any], bytes | None]:
    """The document as JSON without its vector, and the vector as little-endian float32."""
    vector = np.asarray(document.embedding, dtype="<f4").tobytes() if document.embedding else None
    return to_json(replace(document, embedding=())), vector


def from_row(plain: Mapping[str, Any], vector: bytes | None = None) -> IncidentDocument:
    """The document that `to_row` wrote, with its vector where that is given."""
    document: IncidentDocument = from_json(IncidentDocument, plain)
    return replace(document, embedding=tuple(np.frombuffer(vector, dtype="<f4").tolist())) if vector else document
