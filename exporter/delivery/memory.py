"""Memory as one of the places that are told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

from exporter.memory.recall import Memory
from exporter.model import Check, Notification


class MemorySink:
    """Keeps memory up to date through the same table and the same patience as every sink."""

    name = "memory"
    peer = ""
    concurrency = 4
    wants: Literal["latest"] = "latest"
    resend: timedelta | None = None

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def deliver(self, notification: Notification) -> str | None:
        await self._memory.remember(notification.incident, notification.report)
        return None

    async def check(self) -> Sequence[Check]:
        return await self._memory.check()

    async def close(self) -> None:
        await self._memory.close()
