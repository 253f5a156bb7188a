"""What a window keeps for the facts of an incident, from lines as they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from exporter.detection.observation import observe
from exporter.facts.observed import Observed, observed
from exporter.ingest.reduction import merge, reduce, windows
from exporter.ingest.settings import ReductionSettings
from exporter.mining.miner import Miner
from exporter.mining.settings import MiningSettings
from exporter.model.times import seconds
from tests.memory_source import START, at, page

MINUTE = timedelta(minutes=1)


def seen(rows: Sequence[Mapping[str, Any]]) -> Observed:
    """What is kept of a window of these lines."""
    window = seconds(START)
    (part,) = windows(merge([reduce(page(rows), ReductionSettings())]), MINUTE).values()
    mined = Miner("shop", MiningSettings()).mine(window, part)
    return observed("shop", observe("shop", window, MINUTE, part, mined), part, mined)


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
    found = seen(rows)
    (said,), (place,) = found.sayings, found.places
    assert said.instances == (("payments-0", 10),)
    assert sorted(said.hosts) == [("node-0", 5), ("node-1", 5)]
    assert sorted(place.instances) == [(f"payments-{number}", 10) for number in range(3)]
    assert place.versions == (("2.14.0", 30),)


def test_lines_that_say_the_same_are_counted_together_however_many_kinds_of_lines_they_are() -> None:
    words = ("safari", "chrome", "curl", "wget", "python", "java", "opera", "edge", "brave", "lynx")
    agents = [" ".join([one, *(more,) * (1 + number)]) for one in words for number, more in enumerate(words)]
    rows = [
        {
            "timestamp": at(float(number % 60)),
            "service": "gateway",
            "severity": 17,
            "body": f'10.1.2.3 - - "GET /api/cart HTTP/1.1" 502 17 "{agents[number % 100]}"',
            "host": f"node-{number % 2}",
        }
        for number in range(200)
    ]
    (said,) = seen(rows).sayings
    assert (said.count, said.words) == (200, ("GET /api/cart HTTP/1.1 502",))
    assert sorted(said.hosts) == [("node-0", 100), ("node-1", 100)]
    assert len(said.lines) == 2


def test_what_is_written_to_debug_is_counted_as_whoever_counts_again_does() -> None:
    rows = [
        {"timestamp": at(float(number)), "service": "cart", "severity": 5 if number % 2 else 9, "body": "cart saved"}
        for number in range(30)
    ]
    assert seen(rows).lines == {"cart": 30}


def test_what_a_template_says_that_joins_another_is_not_said_of_both() -> None:
    pods, words = ("pod-a1", "pod-b2"), ["x" * length for length in range(1, 16)]
    rows = [
        {
            "timestamp": at(float(number % 60)),
            "service": "cart",
            "severity": 17,
            "body": f"upstream {pods[number // 30]} {words[number % 15]} timed out after {number} ms",
        }
        for number in range(60)
    ]
    told = [each for said in seen(rows).sayings for each in said.words]
    assert any("pod-a1" in each for each in told)
    assert any("pod-b2" in each for each in told)
