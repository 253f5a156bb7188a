"""What a window keeps for the facts of an incident, from lines as they are read."""

from __future__ import annotations

from datetime import timedelta

from exporter.detection.observation import observe
from exporter.facts.observed import observed
from exporter.ingest.reduction import merge, reduce, windows
from exporter.ingest.settings import ReductionSettings
from exporter.mining.miner import Miner
from exporter.mining.settings import MiningSettings
from exporter.model.times import seconds
from tests.memory_source import START, at, page

MINUTE = timedelta(minutes=1)


def test_a_failing_service_is_kept_with_the_hosts_versions_and_instances_of_its_lines() -> None:
    rows = [
        {
            "timestamp": at(float(number)),
            "service": "payments",
            "severity": 17 if number % 3 == 0 else 9,
            "body": "charge failed: no route to host" if number % 3 == 0 else "charged a card",
            "host": f"node-{number % 2}",
            "version": "2.14.0",
            "instance": f"payments-{number % 3}",
        }
        for number in range(30)
    ]
    window = seconds(START)
    (part,) = windows(merge([reduce(page(rows), ReductionSettings())]), MINUTE).values()
    mined = Miner("shop", MiningSettings()).mine(window, part)
    found = observed("shop", observe("shop", window, MINUTE, part, mined), part, mined)
    (said,), (place,) = found.sayings, found.places
    assert said.instances == (("payments-0", 10),)
    assert sorted(said.hosts) == [("node-0", 5), ("node-1", 5)]
    assert sorted(place.instances) == [(f"payments-{number}", 10) for number in range(3)]
    assert place.versions == (("2.14.0", 30),)
