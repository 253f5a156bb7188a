"""Memory that another process serves (`serve memory`): it embeds and compares there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import field_validator

from exporter.model import (
    Check,
    Context,
    Duration,
    Earlier,
    Incident,
    IncidentDocument,
    MemorySettings,
    SimilarIncident,
)
from exporter.model.layers import (
    MOST_DOCUMENTS,
    Documents,
    Hits,
    Page,
    RecallRequest,
    Recollection,
    SearchRequest,
    Written,
)
from integrations._http import Refused
from integrations._layers import LayerClient, LayerSettings, part

Found = Sequence[tuple[IncidentDocument, float]]


class RemoteMemorySettings(LayerSettings, MemorySettings):
    """Memory that another process serves: one for several daemons, with one embedding model."""

    type: Literal["remote"]
    timeout: Duration = timedelta(seconds=10)

    @field_validator("embedder")
    @classmethod
    def _none(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError("whoever serves memory has an embedder of its own; give it there")
        return value

    def build(self, context: Context) -> RemoteMemory:
        return RemoteMemory(self)


class RemoteMemory:
    """An incident store that compares by itself, over HTTP."""

    def __init__(self, settings: RemoteMemorySettings) -> None:
        self._layer = LayerClient(settings, "memory")

    async def recall(self, incident: Incident, past: Earlier) -> Sequence[SimilarIncident]:
        asked = RecallRequest(incident=incident, installation=past.installation, others=past.others)
        found: Recollection = await self._layer.ask(Recollection, "POST", "/recall", asked)
        return found.similar

    async def put(self, document: IncidentDocument) -> None:
        await self._layer.ask(Written, "POST", "/documents", Documents((document,), again=True))

    async def put_all(self, documents: Sequence[IncidentDocument]) -> int:
        written = 0
        for start in range(0, len(documents), MOST_DOCUMENTS):
            some = Documents(tuple(documents[start : start + MOST_DOCUMENTS]))
            answer: Written = await self._layer.ask(Written, "POST", "/documents", some)
            written += answer.written
        return written

    async def everything(self) -> AsyncIterator[IncidentDocument]:
        after = ""
        while True:
            page: Page = await self._layer.ask(Page, "GET", "/documents", after=after)
            for document in page.documents:
                yield document
            if not page.after:
                return
            after = page.after

    async def document(self, key: str) -> IncidentDocument | None:
        try:
            found: IncidentDocument = await self._layer.ask(IncidentDocument, "GET", f"/documents/{part(key)}")
        except Refused as error:
            if error.answer.status == 404:
                return None
            raise
        return replace(found, embedding=())

    async def delete(self, key: str) -> bool:
        try:
            await self._layer.ask(IncidentDocument, "DELETE", f"/documents/{part(key)}")
        except Refused as error:
            if error.answer.status == 404:
                return False
            raise
        return True

    async def prune(self, now: datetime, whose: Collection[str]) -> None:
        """Whoever serves it does so, by its own settings."""

    async def nearest(self, vector: Sequence[float], embedding_model: str, k: int, past: Earlier) -> Found:
        return await self._search(SearchRequest("meaning", past, k, tuple(vector), embedding_model))

    async def matching(self, text: str, k: int, past: Earlier) -> Found:
        return await self._search(SearchRequest("words", past, k, text=text))

    async def sharing(self, signature: str, kinds: Sequence[str], k: int, past: Earlier) -> Sequence[IncidentDocument]:
        asked = SearchRequest("kind", past, k, signature=signature, kinds=tuple(kinds))
        return [document for document, _ in await self._search(asked)]

    async def _search(self, asked: SearchRequest) -> Found:
        found: Hits = await self._layer.ask(Hits, "POST", "/search", asked)
        return [(hit.document, hit.score) for hit in found.hits]

    async def check(self) -> Sequence[Check]:
        return [await self._layer.check()]

    async def close(self) -> None:
        await self._layer.close()
