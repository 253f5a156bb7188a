"""Many incidents at once: people get one digest, everything else holds each of them, and memory does not grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.matrix.burst import DIGESTS, Burst, burst
from tests.matrix.places import SINKS
from tests.servers.process import PATIENCE

MANY = 60


@pytest.fixture(scope="module")
def many_at_once(alertmanager_program: Path) -> Burst:
    return burst(MANY, PATIENCE / 2)


@pytest.mark.parametrize("sink", [sink for sink in SINKS if sink not in DIGESTS])
def test_each_incident_of_a_burst_is_there_once_in_its_last_state(many_at_once: Burst, sink: str) -> None:
    assert many_at_once.bad.get(sink, []) == []


@pytest.mark.parametrize("sink", DIGESTS)
def test_people_get_one_digest_of_a_burst(many_at_once: Burst, sink: str) -> None:
    assert many_at_once.bad.get(sink, []) == []


def test_a_burst_takes_no_memory(many_at_once: Burst) -> None:
    assert many_at_once.grown < 32 * 2**20
