"""What is known of one file: who writes it, and, block by block, which time stands where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from integrations.file.content import Kind
from integrations.file.lines import Writer

SECOND = 10**9

Numbers = npt.NDArray[np.int64]


@dataclass
class Block:
    """Lines that stand together. `carry` is the time of the line before them, `seconds` how many lines each has."""

    start: int
    end: int
    line: int
    next_line: int
    carry: int | None
    next_carry: int | None
    first: int | None
    last: int | None
    seconds: tuple[Numbers, Numbers] | None

    def overlaps(self, start: int, end: int) -> bool:
        return self.first is not None and self.last is not None and self.first < end and self.last >= start


@dataclass
class Log:
    """What is known of one file: who writes it, and, block by block, which time stands where."""

    identity: str
    """The same wherever the file is moved to: of its content up to the first line with a time."""
    head: int
    """Bytes that the identity is made of."""
    writer: Writer
    after: bytes = b""
    """What follows these bytes, as far as it has been seen: generations can begin alike."""
    blocks: list[Block] = field(default_factory=list)
    seen: tuple[int, int] = (-1, -1)
    """Size and time of change when it was indexed."""
    complete: bool = False
    truncated: bool = False
    unusable: dict[str, int] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return self.writer.kind

    def within(self, start: int, end: int) -> list[Block]:
        return [block for block in self.blocks if block.overlaps(start, end)]

    def note(self, unusable: Mapping[str, int]) -> None:
        for reason, lines in unusable.items():
            self.unusable[reason] = self.unusable.get(reason, 0) + lines


def extent(times: pl.Series) -> tuple[int | None, int | None]:
    first, last = times.min(), times.max()
    return (first, last) if isinstance(first, int) and isinstance(last, int) else (None, None)


def seconds_of(times: pl.Series) -> tuple[Numbers, Numbers]:
    seconds, lines = np.unique(times.to_numpy() // SECOND, return_counts=True)
    return seconds.astype(np.int64), lines.astype(np.int64)


def joined(first: Block, second: Block) -> Block:
    """Two neighbours as one."""
    earliest = [value for value in (first.first, second.first) if value is not None]
    latest = [value for value in (first.last, second.last) if value is not None]
    return Block(
        first.start,
        second.end,
        first.line,
        second.next_line,
        first.carry,
        second.next_carry,
        min(earliest, default=None),
        max(latest, default=None),
        _added(first.seconds, second.seconds),
    )


def _added(
    first: tuple[Numbers, Numbers] | None, second: tuple[Numbers, Numbers] | None
) -> tuple[Numbers, Numbers] | None:
    if first is None or second is None:
        return None
    seconds, places = np.unique(np.concatenate([first[0], second[0]]), return_inverse=True)
    lines = np.bincount(places, weights=np.concatenate([first[1], second[1]]), minlength=len(seconds))
    return seconds, lines.astype(np.int64)
