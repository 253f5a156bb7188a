"""Templates, and what mining a window found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from exporter.model import Write

OVERFLOW = 0
"""The template of lines that a limit left without one, in all services."""

OVERFLOW_TEXT = "<more kinds of lines than the limit>"


@dataclass(frozen=True)
class Template:
    """A kind of log line of a service."""

    id: int
    service: str
    text: str


WORDS_SCHEMA = {
    "service": pl.UInt64(),
    "shape": pl.UInt64(),
    "family": pl.Int64(),
    "place": pl.Int64(),
    "value": pl.Int64(),
    "said": pl.String(),
    "lines": pl.Int64(),
    "template": pl.Int64(),
}
"""Of lines of a service that have a shape: a place of their family, which word stands there and how it is said, how
many they are, and their template."""

NO_WORDS = pl.DataFrame(schema=WORDS_SCHEMA)


@dataclass(frozen=True)
class Mined:
    """The templates of one window's lines."""

    templates: pl.DataFrame
    """`service` UInt64 and `shape` UInt64 as in `Reduced.lines`, `template` Int64."""
    new: tuple[Template, ...] = ()
    """Seen for the first time in this window."""
    merged: tuple[tuple[int, int], ...] = ()
    """Ids that became another: what was counted for the first belongs to the second."""
    texts: Mapping[int, str] = field(default_factory=dict)
    families: Mapping[int, int] = field(default_factory=dict)
    """Of each template of the window the number of its family, below 0: templates that differ in a few words are one.
    A template that the source brought has its own."""
    words: pl.DataFrame = field(default_factory=lambda: NO_WORDS)
    """The words at places where several have stood, as WORDS_SCHEMA has them, whether they make templates or not."""
    writes: tuple[Write, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)


TEMPLATES_SCHEMA = {"service": pl.UInt64(), "shape": pl.UInt64(), "template": pl.Int64()}
