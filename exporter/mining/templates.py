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
    writes: tuple[Write, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)


TEMPLATES_SCHEMA = {"service": pl.UInt64(), "shape": pl.UInt64(), "template": pl.Int64()}
