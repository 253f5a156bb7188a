"""A slice of the fault matrix of `make evaluate`: what places hold after a fault, a kill in it, and a short story."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.faulty import Fault
from tests.matrix.places import SINKS
from tests.matrix.play import Played, played, setting
from tests.servers.process import PATIENCE

FAULTS: tuple[Fault, ...] = ("stored, then 500", "hanging")


@pytest.fixture(scope="module")
def slice_of_the_matrix(alertmanager_program: Path) -> tuple[dict[Fault, Played], Played]:
    """Each of the faults, and a calm run of the same story."""
    found, calm = played(FAULTS, setting(seed=6, seconds=6, kills=1, patience=PATIENCE / 2, short=True))
    return {one.fault: one for one in found}, calm


def test_a_calm_run_leaves_what_it_should(slice_of_the_matrix: tuple[dict[Fault, Played], Played]) -> None:
    assert slice_of_the_matrix[1].bad(None) == {}


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_and_a_kill_all_is_told_once_and_as_it_stands(
    slice_of_the_matrix: tuple[dict[Fault, Played], Played], fault: Fault, sink: str
) -> None:
    found, calm = slice_of_the_matrix
    assert found[fault].bad(calm).get(sink, []) == []
