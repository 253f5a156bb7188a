"""Tell stories with the code of any checkout, in processes of their own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from exporter.model import TimeRange
from tests.checkouts import REPOSITORY, answers
from tests.story.cases import EXPECTED, Case

DRIVER = Path(__file__).parent / "driver.py"
STEP = timedelta(hours=2)


@dataclass(frozen=True)
class Played:
    """What was told of a case, in order, and all lines of its shop from the first failure on."""

    case: Case
    told: Sequence[Mapping[str, Any]]
    lines: pl.DataFrame


def play(case: Case, checkout: Path = REPOSITORY) -> Played:
    """Tell a case."""
    shop = case.shop
    warm = min(failure.start for failure in shop.failures) - timedelta(minutes=30)
    lines = _lines(case)
    fixes = [
        {"start": f.start.timestamp(), "end": f.end.timestamp(), "fix": EXPECTED[f.kind].fix} for f in shop.failures
    ]
    with tempfile.TemporaryDirectory() as folder:
        lines.write_parquet(Path(folder, "lines.parquet"))
        task = {
            "begin": shop.start.timestamp(),
            "warm": warm.timestamp() // 60 * 60,
            "split": case.split.timestamp(),
            "end": shop.end.timestamp(),
            "lines": str(Path(folder, "lines.parquet")),
            "folder": folder,
            "fixes": fixes,
        }
        told = asked(task, checkout)
    kept = lines.filter(pl.col("timestamp") >= int((warm - timedelta(hours=3)).timestamp()) * 10**9)
    return Played(case, told, kept)


def asked(task: Mapping[str, Any], checkout: Path) -> list[Mapping[str, Any]]:
    """What the driver answers, with the code of a checkout."""
    found: list[Mapping[str, Any]] = json.loads(answers(DRIVER, [task], checkout)[-1])
    return found


def _lines(case: Case) -> pl.DataFrame:
    shop, parts, start = case.shop, [], case.shop.start
    while start < shop.end:
        parts.append(shop.page(TimeRange(start, min(start + STEP, shop.end))))
        start += STEP
    columns = ("timestamp", "service", "severity", "body", "trace", "host")
    return pl.concat([part.select(columns) for part in parts])
