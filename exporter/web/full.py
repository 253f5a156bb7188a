"""What is said while nobody can be let in: once a minute, where the event loop says it a hundred times a second."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

from exporter.model import NO_MORE_FILES, Seldom, is_at_limit

log = logging.getLogger(__name__)

SAYS_EVERY = timedelta(minutes=1)


class Full:
    """Handles what the event loop cannot: connections that it may not accept, all else as it does itself."""

    def __init__(self) -> None:
        self._minutely = Seldom(SAYS_EVERY)

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not is_at_limit(context.get("exception") or Exception()):
            loop.default_exception_handler(context)
        elif self._minutely.is_time():
            log.error("nobody can be let in: %s", NO_MORE_FILES)
