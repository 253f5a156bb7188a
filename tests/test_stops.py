"""However it is stopped, and whatever it is doing: the program ends as documented, and its state file is sound."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.stops import QUICK, SLOW, stopped


def test_each_way_to_stop_ends_as_documented() -> None:
    """Three times each, at other moments; `make evaluate` has thirty, and those that take longer."""
    rounds = [(*QUICK, SLOW[0]), QUICK[::-1], QUICK]
    with ThreadPoolExecutor(len(rounds)) as pool:
        found = list(pool.map(stopped, (1, 2, 5), rounds))
    assert [stop for stops in found for stop in stops if not stop.clean] == []
    assert [tuple(stop.way for stop in stops) for stops in found] == rounds
