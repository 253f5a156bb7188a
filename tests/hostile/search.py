"""Look for a text that a function of the table takes more than linear time for."""

from __future__ import annotations

import time

from tests.hostile.inputs import some
from tests.hostile.slope import SIZES, Growth, grown
from tests.hostile.table import Row


def worst(row: Row, seconds: float, seed: int, least: int = 1, most: int = SIZES[-1]) -> list[Growth]:
    """How a row fares with as many texts as the time allows, but `least` of them: the steepest first."""
    began = time.process_time()
    found = []
    for number, text in enumerate(some(seed)):
        if number >= least and time.process_time() - began > seconds:
            break
        found.append(grown(row.name, row.read, text, most))
    return sorted(found, key=lambda one: -one.slope)
