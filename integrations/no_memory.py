"""No memory at all: for whoever wants detection alone, or keeps past incidents elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from typing import Literal

from exporter.model import Check, Context, Earlier, Incident, IncidentDocument, MemorySettings, SimilarIncident

Found = Sequence[tuple[IncidentDocument, float]]


class NoMemorySettings(MemorySettings):
    """Nothing is remembered, and nothing recalled."""

    type: Literal["none"]

    def build(self, context: Context) -> NoMemory:
        return NoMemory()


class NoMemory:
    """An incident store that keeps nothing."""

    async def recall(self, incident: Incident, past: Earlier) -> Sequence[SimilarIncident]:
        return ()

    async def put(self, document: IncidentDocument) -> None:
        """It is gone."""

    async def put_all(self, documents: Sequence[IncidentDocument]) -> int:
        return 0

    async def everything(self) -> AsyncIterator[IncidentDocument]:
        nothing: tuple[IncidentDocument, ...] = ()
        for document in nothing:
            yield document

    async def document(self, key: str) -> IncidentDocument | None:
        return None

    async def delete(self, key: str) -> bool:
        return False

    async def prune(self, now: datetime, whose: Collection[str]) -> None:
        """There is nothing."""

    async def nearest(self, vector: Sequence[float], embedding_model: str, k: int, past: Earlier) -> Found:
        return ()

    async def matching(self, text: str, k: int, past: Earlier) -> Found:
        return ()

    async def sharing(self, signature: str, kinds: Sequence[str], k: int, past: Earlier) -> Sequence[IncidentDocument]:
        return ()

    async def check(self) -> Sequence[Check]:
        return [Check("memory: none", True, "nothing is remembered")]

    async def close(self) -> None:
        """Nothing is held."""
