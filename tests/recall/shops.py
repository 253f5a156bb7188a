"""Make incidents of simulated shops by the product's own pipeline: `python -m tests.recall.shops SEED... [--days N]`.

Each kind of failure happens twice in a shop. What is kept of an incident is what any release knows of one, so that
every checkout can be asked about it, and the facts, by which one that has them compares; it is kept as data, for a run
takes 20 minutes of a core and what detection finds may change.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

from exporter.demo.shop import source as simulator
from exporter.demo.shop.failures import Failure
from exporter.demo.shop.shop import Shop, all_failures
from exporter.model import Incident, to_json
from tests.evaluate.data import HEALTHY, run, simulator_config

DATA = Path(__file__).parent / "data"
CONTRIBUTIONS, EVIDENCE = 24, 12
"""Of each incident: those that explain most, and the lines that stand first."""


def twice(plain: Shop, healthy: timedelta, seed: int) -> tuple[Failure, ...]:
    """Each kind in the first half of the time after the healthy days, and again, in another order, in the second."""
    days = (plain.end - plain.start - healthy) / 2 / timedelta(days=1)
    half = timedelta(days=days)
    found: list[Failure] = []
    for number in range(2):
        length = (healthy + half * (number + 1)) / timedelta(days=1)
        part = Shop(len(plain.services), plain.seed, plain.start, length, plain.rate, (), False)
        found += all_failures(part, healthy + half * number, seed + 1_000 * number)
    return tuple(found)


def incidents(seed: int, days: float, rate: float) -> list[dict[str, Any]]:
    """The incidents of a shop, each with the kind of the failure that it overlaps most, or none."""
    config = simulator_config(12, days, failures=True, seed=seed, rate=rate)
    with patch.object(simulator, "all_failures", twice):
        (source,) = config.sources
        assert isinstance(source, simulator.SimulatorSettings)
        shop = source.shop()
        result = asyncio.run(run(config, None, shop.start + HEALTHY, shop.end))
    return [plain(incident, _kind(incident, shop.failures)) for incident in result.incidents]


def _kind(incident: Incident, failures: Iterable[Failure]) -> str:
    tolerance = timedelta(minutes=2)
    shared = {
        min(incident.last_seen, one.end + tolerance) - max(incident.starts_at, one.start - tolerance): one
        for one in failures
    }
    longest = max(shared, default=timedelta(0))
    return shared[longest].kind if longest > timedelta(0) else ""


def plain(incident: Incident, kind: str) -> dict[str, Any]:
    """What is kept of an incident."""
    by_share = sorted(incident.contributions, key=lambda c: (-c.share, c.kind, c.text))[:CONTRIBUTIONS]
    kept: dict[str, Any] = to_json(incident)
    names = ("id", "fingerprint", "severity", "service", "services", "starts_at", "ends_at")
    lines = [to_json(line) for line in incident.evidence[:EVIDENCE]]
    return {
        "kind": kind,
        **{name: kept[name] for name in names},
        "contributions": [
            _told(to_json(one), ("kind", "text", "observed", "expected", "unit", "share", "service"))
            for one in by_share
        ],
        "evidence": [
            _told(one, ("id", "source", "service", "timestamp", "body", "severity", "template")) for one in lines
        ],
        "facts": kept["facts"] and _told(kept["facts"], ("until", "failing", "measured")),
    }


def _told(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """With numbers as short as they need be."""

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(one) for one in value]
        if isinstance(value, dict):
            return {key: short(one) for key, one in value.items()}
        return round(value, 4) if isinstance(value, float) else value

    return {name: short(values[name]) for name in names}


def load(seed: int) -> list[dict[str, Any]]:
    """The incidents of a shop, as they were kept."""
    with gzip.open(DATA / f"shop-{seed}.ndjson.gz", "rt") as file:
        return [json.loads(line) for line in file]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.recall.shops", description=__doc__)
    parser.add_argument("seeds", nargs="+", type=int, metavar="SEED")
    parser.add_argument("--days", type=float, default=9)
    parser.add_argument("--rate", type=float, default=4)
    options = parser.parse_args()
    for seed in options.seeds:
        found = incidents(seed, options.days, options.rate)
        DATA.mkdir(exist_ok=True)
        with (DATA / f"shop-{seed}.ndjson.gz").open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:
            file.write("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in found).encode())
        pairs = sum(a["kind"] == b["kind"] != "" for a, b in pairwise(sorted(found, key=lambda one: one["kind"])))
        print(f"shop {seed}: {len(found)} incidents, {pairs} of a kind that comes again", flush=True)


if __name__ == "__main__":
    main()
