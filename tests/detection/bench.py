"""One source's miner and detector, driven window by window over lines of a little shop."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import polars as pl

from exporter.detection import Detection, DetectionSettings, Detector, tables
from exporter.detection.observation import Observation, observe
from exporter.detection.view import View
from exporter.ingest.reduction import empty, merge, reduce, windows
from exporter.ingest.settings import ReductionSettings
from exporter.mining.miner import Miner
from exporter.mining.settings import MiningSettings
from exporter.mining.templates import Mined
from exporter.model import Anomaly, Notice, Reduced, SqlValue, Write
from tests.memory_source import START, at, page

MINUTE = timedelta(minutes=1)
FIRST = int(START.timestamp())
LATE = timedelta(minutes=2)
QUICK = DetectionSettings(min_present_windows=12, min_sessions=120, refit_windows=20)

Row = dict[str, Any]


V = TypeVar("V", bound=View)
Twist = Callable[[Observation], Observation]


class Bench:
    """Rows are kept as the state file would keep them.

    twist: changes each observation before it is judged.
    curious: looks at each window before it is judged.
    """

    def __init__(self, chosen: DetectionSettings = QUICK, idle: timedelta = timedelta(minutes=2)) -> None:
        self.chosen, self.idle = chosen, idle
        self.rows = sqlite3.connect(":memory:", isolation_level=None)
        self.rows.executescript(tables())
        self.miner = Miner("shop", MiningSettings())
        self.detector = self._new()
        self.found: list[Anomaly] = []
        self.noticed: list[Notice] = []
        self.verdicts: dict[str, bool] = {}
        self.scores: dict[int, pl.DataFrame] = {}
        self.twist: Twist = lambda observation: observation
        self.curious = False

    def _new(self) -> Detector:
        return Detector("shop", self.chosen, MINUTE, LATE, idle=self.idle)

    def fork(self) -> Bench:
        """Another one that knows the same."""
        other = Bench(self.chosen, self.idle)
        self.rows.backup(other.rows)
        other.miner, other.detector = deepcopy((self.miner, self.detector))
        return other

    def run(self, lines: Sequence[Row], start: int, end: int, restarts: Iterable[int] = ()) -> Bench:
        """Take the windows from minute `start` to minute `end`."""
        parts = windows(merge([reduce(page(lines), ReductionSettings())]), MINUTE) if lines else {}
        for minute in range(start, end):
            if minute in set(restarts):
                self.restart()
            window = FIRST + 60 * minute
            part = parts.get(window, empty())
            if self.curious:
                self.preview(window, part)
            seen, mined = self.observe(window, part)
            judged = self.detector.judge(seen, mined, part.exemplars)
            self.scores[minute] = judged.scores
            self.keep(judged)
            self.keep(self.detector.settle(window - int(LATE.total_seconds())))
        return self

    def observe(self, window: int, part: Reduced, learn: bool = True) -> tuple[Observation, Mined]:
        """A window as the detector is given it."""
        mined = self.miner.mine(window, part, learn=learn)
        return self.twist(observe("shop", window, MINUTE, part, mined)), mined

    def preview(self, window: int, part: Reduced) -> Detection:
        """What would be found, without learning."""
        seen, mined = self.observe(window, part, learn=False)
        return self.detector.judge(seen, mined, part.exemplars, learn=False)

    def keep(self, detection: Detection) -> None:
        self.found += detection.anomalies
        self.noticed += detection.notices
        self.verdicts |= dict(detection.sessions.select("session", "anomalous").rows())
        self.write(detection.writes)

    def write(self, writes: Iterable[Write]) -> None:
        for write in writes:
            self.rows.executemany(_statement(write), write.rows)

    def restart(self) -> None:
        self.detector = self._new()
        self.detector.load(self.tables(), self.miner.texts())

    def tables(self) -> dict[str, list[tuple[SqlValue, ...]]]:
        names = [name for (name,) in self.rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: self.rows.execute(f"SELECT * FROM {name}").fetchall() for name in names}

    def about(self, service: str, kind: str = "window") -> list[Anomaly]:
        return [anomaly for anomaly in self.found if anomaly.service == service and anomaly.kind == kind]

    def view(self, kind: type[V]) -> V:
        """A view of the detector, to see what it remembers."""
        return next(view for view in self.detector.views if isinstance(view, kind))


def _statement(write: Write) -> str:
    if write.delete:
        return f"DELETE FROM {write.table} WHERE " + " AND ".join(f"{name} = ?" for name in write.columns)
    marks = ", ".join("?" * len(write.columns))
    return f"INSERT OR REPLACE INTO {write.table} ({', '.join(write.columns)}) VALUES ({marks})"


def shop(minutes: range, skip: Iterable[str] = (), traces: bool = True) -> list[Row]:
    """Three services that handle orders each minute, a few more or less, always in the same steps."""
    lines: list[Row] = []
    chance = np.random.default_rng(7)
    for minute in minutes:
        for number in range(int(chance.integers(8, 13))):
            trace = f"t{minute}-{number}"
            begin = 60 * minute + 4 * number + float(chance.random())
            for offset, service, body in (
                (0.00, "gateway", "order received"),
                (0.05, "orders", "order stored"),
                (0.10, "payments", "charging card"),
                (0.20, "payments", "card charged"),
                (0.25, "orders", "order confirmed"),
                (0.30, "gateway", "answer sent"),
            ):
                if service not in skip:
                    when = at(begin + offset * float(chance.uniform(0.9, 1.1)))
                    line = {"timestamp": when, "service": service, "body": body, "severity": 9, "stream": service}
                    lines.append({**line, "trace": trace if traces else None, "id": f"{trace}/{service}/{body}"})
    return lines


def failing(minutes: range, traces: bool = True) -> list[Row]:
    """Payments stop charging: an error stands in the place of the last step."""
    out = []
    for row in shop(minutes, traces=traces):
        if row["body"] == "card charged":
            row = {**row, "body": "connection pool exhausted, card not charged", "severity": 17}
        out.append(row)
    return out


def blocks(count: int, bad: Iterable[int] = (), begin: int = 0) -> list[Row]:
    """Sessions of three steps, four a minute; the bad ones fail at the last."""
    lines: list[Row] = []
    for number in range(count):
        second = begin * 60 + number * 15
        steps = ["receiving block", "block stored", "block verified"]
        if number in set(bad):
            steps[2] = "checksum error, block corrupt"
        if number % 10 == 0:
            steps.insert(2, "block moved")
        for place, body in enumerate(steps):
            key = f"b{begin}-{number}"
            lines.append(
                {
                    "timestamp": at(second + place),
                    "service": "store",
                    "body": body,
                    "session": key,
                    "id": f"{key}/{place}",
                }
            )
    return lines
