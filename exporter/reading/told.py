"""What reading found out about its input, gathered for whoever says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

SAID = ("timestamp", "severity", "service", "body", "trace", "host")
"""Columns of which is said where they come from."""

MOST = 200_000
"""Records of which that is noted; the shares of more are the same."""

TEXT = "the line itself"
NAME = "the name of the file"
FRONT = "what stands in front of lines"


@dataclass
class Told:
    """Filled while pages are read; complete when the last one was."""

    encodings: set[str] = field(default_factory=set)
    """What text was written in."""
    zones: Counter[str] = field(default_factory=Counter)
    """Lines by the letters of a zone that has several meanings."""
    timezone: str = "UTC"
    """As what times are read that name none."""
    unzoned: int = 0
    """Lines whose time names no zone."""
    undecoded: int = 0
    """Lines with bytes that are no text in what they are read as."""
    chosen: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Places that were found by what stands there, by column."""
    records: int = 0
    """Those that places are noted of."""
    places: dict[str, Counter[str]] = field(default_factory=dict)
    """Records by column and the place that it comes from."""

    @property
    def encoding(self) -> str | None:
        """As one text."""
        return ", ".join(sorted(self.encodings)) or None

    @property
    def enough(self) -> bool:
        """Whether so many records were noted that more tell nothing."""
        return self.records >= MOST

    def note(self, column: str, place: str, amount: int) -> None:
        """So many records have a column from a place."""
        if amount and column in SAID:
            self.places.setdefault(column, Counter())[place] += amount

    def shares(self) -> dict[str, Mapping[str, float]]:
        """By column, the share of records that have it from each place, and under `missing` of those without it."""
        whole = max(1, self.records)
        found: dict[str, Mapping[str, float]] = {}
        for column in SAID:
            places = self.places.get(column, Counter())
            missing = 1 - min(1.0, places.total() / whole)
            ranked = {place: round(min(1.0, n / whole), 4) for place, n in places.most_common(8)}
            found[column] = {**ranked, "missing": round(missing, 4)}
        return found
