"""Judge the made logs with the backtest of a checkout, also of one that does not count openings itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.field.__main__ import driven
from tests.values.logs import Made, Planted

TOLERANCE = timedelta(minutes=2)


@dataclass(frozen=True)
class Told:
    """What was found of the planted faults, and what was told where nothing was."""

    found: tuple[Planted, ...]
    missed: tuple[Planted, ...]
    false: tuple[datetime, ...]
    metrics: Mapping[str, Any]
    """As the checkout itself counts them."""


def backtested(made: Made, checkout: Path) -> Told:
    """What the command line of a checkout finds."""
    span = ["--start", made.start.isoformat(), "--end", made.end.isoformat()]
    command = ["backtest", "-c", str(made.config), *span, "--labels", str(made.labels), "--format", "json"]
    (answer,) = driven(checkout, [{"run": command}])
    if answer["code"]:
        raise SystemExit(f"{checkout}: {answer['err'][-2000:]}")
    result = json.loads(answer["out"])
    return _told(made.planted, sorted(_openings(result["incidents"])), result["metrics"])


def _openings(incidents: Sequence[Mapping[str, Any]]) -> Iterator[datetime]:
    """When incidents opened and reopened, as their timelines say: every checkout writes that."""
    for incident in incidents:
        for entry in incident["timeline"]:
            if entry["text"] in ("incident opened", "incident reopened"):
                yield datetime.fromisoformat(entry["at"].replace("Z", "+00:00"))


def _told(planted: Sequence[Planted], openings: Sequence[datetime], metrics: Mapping[str, Any]) -> Told:
    def around(at: datetime) -> list[Planted]:
        return [one for one in planted if one.start - TOLERANCE <= at < one.end + TOLERANCE]

    found = {one for at in openings for one in around(at)}
    return Told(
        found=tuple(one for one in planted if one in found),
        missed=tuple(one for one in planted if one not in found),
        false=tuple(at for at in openings if not around(at)),
        metrics=metrics,
    )
