"""Make three logs of one service each, of which eight failures show only in a value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

START = datetime(2026, 3, 2, tzinfo=UTC)
HISTORY = timedelta(days=1)
LASTS = timedelta(minutes=30)
EVERY = timedelta(hours=4)
MINUTE = timedelta(minutes=1)

SWING = 0.6
"""How much more, and less, than the mean is written at the busiest and at the calmest time of the day."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong in one of the logs: for a share of its lines a value is this, or all is so many times as slow."""

    log: str
    kind: str
    share: float = 0.0
    times: float = 1.0


FULL = (
    Fault("access", "status 500", 0.4),
    Fault("access", "status 500", 1.0),
    Fault("access", "status 503", 0.5),
    Fault("payments", "failed", 0.6),
    Fault("jobs", "declined", 0.8),
    Fault("jobs", "exit 137", 0.7),
    Fault("payments", "slow", times=20.0),
    Fault("jobs", "slow", times=50.0),
)
"""Faults that nobody overlooks who looks at values."""

TENTH = (
    Fault("access", "status 500", 0.04),
    Fault("access", "status 500", 0.1),
    Fault("access", "status 503", 0.05),
    Fault("payments", "failed", 0.1),
    Fault("jobs", "declined", 0.1),
    Fault("jobs", "exit 137", 0.1),
    Fault("payments", "slow", times=3.0),
    Fault("jobs", "slow", times=3.0),
)
"""The same at about a tenth, to be found in ten times the lines."""


@dataclass(frozen=True)
class Planted:
    """A fault and when it is."""

    fault: Fault
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Made:
    """Where logs were written, the configuration and labels beside them, and what `backtest` is to judge."""

    config: Path
    labels: Path
    start: datetime
    end: datetime
    planted: tuple[Planted, ...]


class Moment:
    """The lines of a log: their times, in seconds since START, and what is wrong at each."""

    def __init__(self, log: str, planted: tuple[Planted, ...], rate: float, chance: np.random.Generator) -> None:
        self.chance = chance
        minutes = (planted[-1].end - START) // MINUTE + 60
        hour = np.arange(minutes) / 60
        day = 1 + SWING * np.sin(2 * np.pi * (hour - 9) / 24)
        counts = chance.poisson(rate * day * chance.gamma(30, 1 / 30, minutes))
        self.seconds: Floats = np.sort(np.repeat(np.arange(minutes) * 60.0, counts) + chance.random(counts.sum()) * 60)
        self._own = [one for one in planted if one.fault.log == log]

    def wrong(self, kind: str) -> npt.NDArray[np.bool_]:
        """Which lines have the value of a kind of fault because of it."""
        out = np.zeros(len(self.seconds), np.bool_)
        for one in self._own:
            if one.fault.kind == kind:
                out |= self._during(one) & (self.chance.random(len(out)) < one.fault.share)
        return out

    def durations(self, usual: float) -> Floats:
        """Seconds that each took, log-normal with a tail of a Pareto's; as much longer as it is slow then."""
        size = len(self.seconds)
        took = usual * np.exp(self.chance.normal(0, 0.6, size))
        tail = self.chance.random(size) < 0.01
        took[tail] *= 1 + self.chance.pareto(2.5, int(tail.sum()))
        for one in self._own:
            took[self._during(one)] *= one.fault.times
        return took

    def _during(self, one: Planted) -> npt.NDArray[np.bool_]:
        first, last = ((moment - START).total_seconds() for moment in (one.start, one.end))
        return (self.seconds >= first) & (self.seconds < last)

    def chosen(self, words: Mapping[str, float]) -> npt.NDArray[np.str_]:
        """A word for each line, by these shares."""
        shares = np.array(list(words.values()))
        return self.chance.choice(np.array(list(words)), len(self.seconds), p=shares / shares.sum())


def access(moment: Moment) -> Iterator[str]:
    """An access log as nginx writes it, with the time that a request took at the end."""
    base = {"200": 92.0, "304": 4.5, "404": 2.2, "499": 0.5, "302": 0.5, "500": 0.3}
    status = moment.chosen(base)
    for code in ("500", "503"):
        status[moment.wrong(f"status {code}")] = code
    paths = {"GET /api/cart": 30.0, "GET /": 25.0, "POST /api/orders": 10.0, "GET /static/app.js": 20.0}
    paths |= {"GET /api/products/": 14.0, "DELETE /api/cart/": 1.0}
    request = moment.chosen(paths)
    took, sizes = moment.durations(0.04), moment.chance.integers(120, 48_000, len(status))
    hosts = moment.chance.integers(1, 255, (len(status), 2))
    for at, one in enumerate(_times(moment)):
        what = (
            f"{request[at]}{sizes[at] % 977}"
            if request[at].endswith("s/") or request[at].endswith("t/")
            else request[at]
        )
        yield (
            f"198.51.{hosts[at, 0]}.{hosts[at, 1]} - - [{one:%d/%b/%Y:%H:%M:%S} +0000] "
            f'"{what} HTTP/1.1" {status[at]} {sizes[at]} "-" "Mozilla/5.0 (X11; Linux x86_64)" {took[at]:.3f}'
        )


def payments(moment: Moment) -> Iterator[str]:
    """A service that writes logfmt: what decides stands in fields beside the message."""
    result = moment.chosen({"ok": 98.0, "skipped": 1.5, "failed": 0.5})
    result[moment.wrong("failed")] = "failed"
    took, method = moment.durations(0.06), moment.chosen({"card": 6.0, "invoice": 2.0, "transfer": 1.0})
    order = moment.chance.integers(10_000, 99_999, len(result))
    for at, one in enumerate(_times(moment)):
        stamp = f"{one:%Y-%m-%dT%H:%M:%S}.{one.microsecond // 1000:03}Z"
        yield (
            f'time={stamp} level=info msg="payment settled" order={order[at]} method={method[at]} '
            f"result={result[at]} duration={1000 * took[at]:.1f}ms"
        )


def jobs(moment: Moment) -> Iterator[str]:
    """A worker that says how its jobs ended: of half an outcome, of half the code with which they exit."""
    outcome = moment.chosen({"approved": 90.0, "deferred": 8.0, "declined": 1.0})
    outcome[moment.wrong("declined")] = "declined"
    code = moment.chosen({"0": 98.5, "1": 1.0, "2": 0.3, "137": 0.2})
    code[moment.wrong("exit 137")] = "137"
    kind, took = moment.chance.random(len(code)) < 0.5, moment.durations(0.8)
    number = moment.chance.integers(10_000, 99_999, len(code))
    for at, one in enumerate(_times(moment)):
        head = f"{one:%Y-%m-%d %H:%M:%S},{one.microsecond // 1000:03} INFO"
        if kind[at]:
            yield f"{head} approval: request {number[at]} outcome {outcome[at]} in {1000 * took[at]:.0f} ms"
        else:
            yield f"{head} runner: job resize-{number[at]} exited with code {code[at]} after {took[at]:.2f} s"


def _times(moment: Moment) -> Iterator[datetime]:
    return (START + timedelta(seconds=second) for second in moment.seconds.tolist())


LOGS: Mapping[str, Callable[[Moment], Iterator[str]]] = {"access": access, "payments": payments, "jobs": jobs}


def make(folder: Path, seed: int, faults: tuple[Fault, ...] = FULL, rate: float = 20.0) -> Made:
    """Write the logs, their configuration and labels into a folder: of the same seed always the same."""
    chance = np.random.default_rng(seed)
    order = chance.permutation(len(faults)).tolist()
    first = START + HISTORY + timedelta(hours=2, minutes=int(chance.integers(60)))
    planted = tuple(
        Planted(faults[one], first + EVERY * place, first + EVERY * place + LASTS) for place, one in enumerate(order)
    )
    for name, write in LOGS.items():
        moment = Moment(name, planted, rate, chance)
        with (folder / f"{name}.log").open("w") as file:
            file.writelines(f"{line}\n" for line in write(moment))
    sources = [{"name": name, "type": "file", "path": str(folder / f"{name}.log"), "service": name} for name in LOGS]
    config = folder / "exporter.json"
    config.write_text(json.dumps({"state": str(folder / "s.db"), "warmup": {"history": "1d"}, "sources": sources}))
    labels = folder / "labels.csv"
    rows = [f"{one.start.isoformat()},{one.end.isoformat()},{one.fault.log},{one.fault.kind}" for one in planted]
    labels.write_text("\n".join(["start,end,service,kind", *rows, ""]))
    end = planted[-1].end + timedelta(hours=1)
    return Made(config, labels, START + HISTORY, end.replace(second=0, microsecond=0), planted)
