"""How the processor time of a function grows with its text: about 1 where it is linear, 2 where it is quadratic."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.hostile.inputs import Text

SIZES = tuple(8_000 << doubling for doubling in range(6))
"""Characters, from 8k to 256k."""

TELLING = 0.5e-6
"""Seconds for each character below which nobody waits, and a time says nothing: the longest text takes 0.13 s."""

MOST = 1.45
"""Slope from which growth is not linear; what is quadratic has 2, and times of a busy machine are not exact."""

ENOUGH = 2.0
"""Seconds of one call after which no longer text is tried."""


@dataclass(frozen=True)
class Growth:
    """How one function fares with one text."""

    name: str
    text: Text
    times: tuple[float, ...]

    @property
    def slope(self) -> float:
        """The steepest over two doublings; what is bounded grows up to its bound only."""
        told = [max(taken, TELLING * size) for taken, size in zip(self.times, SIZES, strict=False)]
        return max([1.0, *(math.log2(after / before) / 2 for before, after in zip(told, told[2:], strict=False))])

    @property
    def linear(self) -> bool:
        return self.slope <= MOST

    @property
    def per_character(self) -> float:
        """Seconds, at the longest."""
        return self.times[-1] / SIZES[len(self.times) - 1]

    def __str__(self) -> str:
        times = " ".join(f"{seconds * 1000:.0f}" for seconds in self.times)
        return f"{self.name}: slope {self.slope:.2f} with {self.text} ({times} ms)"


def grown(name: str, function: Callable[[str], object], text: Text, most: int = SIZES[-1]) -> Growth:
    """Measured once; where that is suspicious and quick, as the least of several times."""
    found = Growth(name, text, tuple(_times(function, text, most)))
    for _ in range(3):
        if found.linear or sum(found.times) > ENOUGH:
            break
        found = Growth(name, text, tuple(map(min, found.times, _times(function, text, most))))
    return found


def _times(function: Callable[[str], object], text: Text, most: int) -> Iterator[float]:
    for size in (size for size in SIZES if size <= most):
        given = text.of(size)
        # A collection comes by chance, and looks at everything that all tests have left.
        gc.disable()
        begin = time.process_time()
        function(given)
        taken = time.process_time() - begin
        gc.enable()
        yield taken
        if taken > ENOUGH:
            return
