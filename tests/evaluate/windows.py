"""Windows: the TrainTicket day and the simulated shop, both through backtest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from exporter.config import Config
from exporter.demo.shop import Shop, SimulatorSettings
from exporter.model.times import Window
from exporter.run import backtest
from exporter.run.evaluation import Interval, Labels
from tests.evaluate.data import (
    HEALTHY,
    move_train_ticket,
    run,
    simulator_config,
    train_ticket_config,
    train_ticket_labels,
)


def train_ticket(data: Path) -> dict[str, Any]:
    """All metrics of the labelled faults; nothing is known before the day begins."""
    return dict(asyncio.run(run(train_ticket_config(data), train_ticket_labels(data))).metrics)


def train_ticket_moved(data: Path) -> list[dict[str, Any]]:
    """The same of the day as if it had happened 10, 20 … 50 seconds later: what owes to where minutes begin varies."""
    found = []
    for seconds in range(10, 60, 10):
        with TemporaryDirectory() as folder:
            move_train_ticket(data, Path(folder), timedelta(seconds=seconds))
            found.append(train_ticket(Path(folder)))
    return found


@contextmanager
def collected() -> Iterator[list[float]]:
    """The scores of all services and windows that a backtest judges."""
    scores: list[float] = []
    add = backtest.Record.add

    def listen(self: backtest.Record, window: Window, judgement: Any) -> None:
        for detection in judgement.detections:
            scores.extend(detection.scores["score"].to_list())
        add(self, window, judgement)

    backtest.Record.add = listen  # type: ignore[method-assign]
    try:
        yield scores
    finally:
        backtest.Record.add = add  # type: ignore[method-assign]


def simulated(config: Config) -> Shop:
    """The shop that a configuration of `simulator_config` reads."""
    (source,) = config.sources
    assert isinstance(source, SimulatorSettings)
    return source.shop()


def calibration(services: int = 12, days: float = 2.0) -> float:
    """How often a window of a healthy shop is called one in a hundred; the first half is learnt from.

    Clean is what does not change: after a release a window really is unlike its past.
    """
    config = simulator_config(services, days, failures=False, seed=5, releases=False)
    shop = simulated(config)
    with collected() as scores:
        asyncio.run(run(config, start=shop.start + timedelta(days=days / 2), end=shop.end))
    return float((np.array(scores) >= 0.99).mean())


def simulator(services: int, days: float, seed: int = 0, rate: float | None = None) -> dict[str, Any]:
    """Recall of one failure of each kind, and false incidents a day; the healthy first days are learnt from."""
    config = simulator_config(services, days, failures=True, seed=seed, rate=rate)
    shop = simulated(config)
    intervals = [Interval(failure.start, failure.end, failure.service, failure.kind) for failure in shop.failures]
    result = asyncio.run(run(config, Labels(intervals=tuple(intervals)), shop.start + HEALTHY, shop.end))
    missed = [
        interval.kind
        for interval in intervals
        if not any(interval.overlaps(i.starts_at, i.last_seen, timedelta(minutes=2)) for i in result.incidents)
    ]
    return {**result.metrics, "incidents": len(result.incidents), "missed": missed}
