"""How often each template was seen, by window for a while and by hour afterwards: what `templates` shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

HOUR = 3600
RECENT = 2 * HOUR
"""Windows for so long can be read again and are replaced; older ones are added to their hour."""

Row = tuple[str, int, bytes]


class TemplateCounts:
    """Counts of one source. A window that is mined again replaces what it counted before."""

    def __init__(self) -> None:
        self._recent: dict[int, dict[int, int]] = {}
        self._hours: dict[int, Counter[int]] = {}
        self._closed: set[int] = set()
        self._latest = 0

    def load(self, rows: Iterable[Row]) -> None:
        """Become what wrote the rows."""
        rows = list(rows)
        self._recent = {start: unpack(counts) for kind, start, counts in rows if kind == "window"}
        self._latest = max(self._recent, default=0)
        for start, counts in ((start, counts) for kind, start, counts in rows if kind == "hour"):
            if start < self._open_from():
                self._closed.add(start)
            else:
                self._hours[start] = Counter(unpack(counts))

    def put(self, window: int, counts: Mapping[int, int]) -> tuple[list[Row], list[tuple[str, int]]]:
        """Note a window's counts. Returns rows to write and keys to delete; what is too old to replace is left."""
        if not counts or window < self._latest - RECENT:
            return [], []
        self._latest = max(self._latest, window)
        self._recent[window] = dict(counts)
        rows, gone = [("window", window, pack(counts))], []
        for start in sorted(start for start in self._recent if start < self._latest - RECENT):
            hour = start // HOUR * HOUR
            self._hours.setdefault(hour, Counter()).update(self._recent.pop(start))
            rows.append(("hour", hour, pack(self._hours[hour])))
            gone.append(("window", start))
        for hour in [hour for hour in self._hours if hour < self._open_from()]:
            self._closed.add(hour)
            del self._hours[hour]
        return rows, gone

    def lately(self, template: int) -> int:
        """Lines of a template in the windows that can be read again."""
        return sum(counts.get(template, 0) for counts in self._recent.values())

    def prune(self, before: int) -> list[tuple[str, int]]:
        """Keys of the hours that ended before a moment."""
        gone = sorted(hour for hour in self._closed if hour + HOUR <= before)
        self._closed.difference_update(gone)
        return [("hour", hour) for hour in gone]

    def _open_from(self) -> int:
        return (self._latest - RECENT) // HOUR * HOUR


def pack(counts: Mapping[int, int]) -> bytes:
    """Ids and counts as pairs of little-endian 32-bit numbers, by id.

    >>> unpack(pack({7: 3, 1: 2}))
    {1: 2, 7: 3}
    """
    return np.array(sorted(counts.items()), dtype="<u4").tobytes()


def unpack(counts: bytes) -> dict[int, int]:
    """What `pack` wrote."""
    pairs = np.frombuffer(counts, dtype="<u4").reshape(-1, 2).tolist()
    return dict(pairs)
