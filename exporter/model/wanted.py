"""Lines that somebody wants to read where they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Wanted:
    """Lines of a service between two moments, the second included, that have all of these texts in them.

    `trace` is the trace that they belong to, where they are those of one.
    """

    service: str
    start: datetime
    end: datetime
    texts: tuple[str, ...] = ()
    trace: str = ""
