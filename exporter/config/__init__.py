"""exporter.yml as typed values."""

from exporter.config.loading import effective, load, parse
from exporter.config.problems import explain
from exporter.config.settings import Config
from exporter.config.tables import EMBEDDERS, LLMS, MEMORIES, SINKS, SOURCES, resolve

__all__ = [
    "EMBEDDERS",
    "LLMS",
    "MEMORIES",
    "SINKS",
    "SOURCES",
    "Config",
    "effective",
    "explain",
    "load",
    "parse",
    "resolve",
]
