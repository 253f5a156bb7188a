"""Look for a text that a function of the table takes more than linear time for."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

from tests.hostile.inputs import some
from tests.hostile.slope import SIZES, Growth, grown
from tests.hostile.table import TABLE, Row


def worst(row: Row, seconds: float, seed: int, least: int = 1, most: int = SIZES[-1]) -> list[Growth]:
    """How a row fares with as many texts as the time allows, but `least` of them: the steepest first."""
    began = time.process_time()
    found = []
    for number, text in enumerate(some(seed)):
        if number >= least and time.process_time() - began > seconds:
            break
        found.append(grown(row.name, row.read, text, most))
    return sorted(found, key=lambda one: -one.slope)


def table(seconds: float, seed: int) -> Iterator[tuple[str, list[Growth]]]:
    """How each row of the table fares, a process for each core: what counts is processor time."""
    rows = range(len(TABLE))
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.map(_row, rows, repeat(seconds), repeat(seed))
        yield from ((row.name, growths) for row, growths in zip(TABLE, found, strict=True))


def _row(number: int, seconds: float, seed: int) -> list[Growth]:
    return worst(TABLE[number], seconds, seed)
