"""Read logs from files: text, NDJSON or parquet, compressed or not, growing and rotated."""

from integrations.file.source import FileSettings

__all__ = ["FileSettings"]
