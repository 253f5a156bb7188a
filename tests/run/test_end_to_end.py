"""A slice of real logs by way of real servers; `make evaluate ARGS=end-to-end` takes all of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.end_to_end import TRAIN_TICKET, Servers, hdfs, train_ticket


@pytest.fixture
def servers(elasticsearch_url: str, alertmanager_url: str, unique_name: str) -> Servers:
    return Servers(elasticsearch_url, alertmanager_url, unique_name)


async def test_hdfs_in_elasticsearch_becomes_session_verdicts(
    shared_data: Path, servers: Servers, tmp_path: Path
) -> None:
    """Of 500 blocks 30 are anomalous: whoever calls all of them so has an F1 of 0.11."""
    assert (await hdfs(shared_data, servers, tmp_path, blocks=500))["f1"] > 0.85


async def test_train_ticket_faults_become_alerts_with_the_right_service_that_resolve(
    shared_data: Path, servers: Servers, tmp_path: Path
) -> None:
    """Two of the first six faults are plain enough to be told."""
    begin, _ = TRAIN_TICKET
    day = await train_ticket(shared_data, servers, tmp_path, until=begin + timedelta(minutes=38))
    assert day.told_alike, "every incident was an alert, and every alert is an incident"
    assert day.over, "every incident has ended, and no alert is left"
    assert len(day.shown) >= 2
    assert day.among_three >= 0.6
    assert day.replays, "a backtest finds what the daemon found"
