"""Read logs from Loki: forward paging that loses no line of a shared nanosecond, and exact counts of windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.model import Context
from integrations.loki.settings import LokiOptions

if TYPE_CHECKING:
    from integrations.loki.source import LokiSource


class LokiSettings(LokiOptions):
    """A Loki of version 3 or 2.9, self-hosted or in the cloud."""

    def build(self, context: Context) -> LokiSource:
        # Only what is built needs its client.
        from integrations.loki.source import LokiSource

        return LokiSource(self, context)
