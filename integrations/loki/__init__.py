"""Read logs from Loki: forward paging that loses no line of a shared nanosecond, and exact counts of windows."""

from integrations.loki.settings import LokiSettings

__all__ = ["LokiSettings"]
