"""Choose which whole seconds of a window are read when it has more lines than may be read.

The seconds of a window stand in an order that a hash of the source's name and the second gives; those are read that
come first and fit. So whoever reads the window again, in whatever pieces, reads the same, and more or fewer lines
only lengthen or shorten the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.model import EPOCH, TimeRange, stable_key
from exporter.model.times import Window

SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Sample:
    """What is read of a window.

    exact: lines that the source has in the window.
    lines: lines of it that are read at most; fewer than `ranges` hold only where one second is more than the limit.
    """

    window: Window
    exact: int
    lines: int
    ranges: tuple[TimeRange, ...]

    @property
    def share(self) -> float:
        return self.lines / self.exact

    @property
    def left_out(self) -> int:
        return self.exact - self.lines


def over(counts: Mapping[datetime, int], limit: int | None) -> list[datetime]:
    """The windows that have more lines than may be read."""
    return sorted(window for window, lines in counts.items() if limit is not None and lines > limit)


def choose(source: str, window: Window, counts: Mapping[datetime, int], limit: int) -> Sample | None:
    """The seconds that are read of a window, by the lines of each; None when there are none or all can be read.

    Where not even one second fits, one is read up to the limit: which of its lines is then up to the source.
    """
    present = {second: lines for second, lines in counts.items() if lines}
    exact = sum(present.values())
    if exact <= limit:
        return None
    order = sorted(present, key=lambda second: (_place(source, second), second))
    small = [second for second in order if present[second] <= limit]
    chosen, lines = [], 0
    for second in small:
        if lines + present[second] > limit:
            break
        chosen.append(second)
        lines += present[second]
    if not chosen:
        chosen, lines = order[:1], limit
    return Sample(window, exact, lines, joined(TimeRange(second, second + SECOND) for second in chosen))


def _place(source: str, second: datetime) -> int:
    return stable_key(f"{source}/{(second - EPOCH) // SECOND}")


def joined(ranges: Iterable[TimeRange]) -> tuple[TimeRange, ...]:
    """The ranges in order, those that touch as one."""
    found: list[TimeRange] = []
    for one in sorted(ranges):
        if found and found[-1].end == one.start:
            one = TimeRange(found.pop().start, one.end)
        found.append(one)
    return tuple(found)


def at_once(
    time_range: TimeRange, length: timedelta, counts: Mapping[datetime, int], limit: int, most: int
) -> TimeRange:
    """As many windows from the start of a range as have at most `most` lines to read together; one at least."""
    lines = 0
    for window in time_range.windows(length):
        lines += min(counts.get(window.start, 0), limit)
        if lines > most and window.start > time_range.start:
            return TimeRange(time_range.start, window.start)
    return time_range
