"""What an installation watches and has learnt, what came near to an incident, and what was left out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from exporter.detection import packing
from exporter.model import TimeRange
from exporter.model.questions import LeftOut, Overview, Watched
from exporter.model.times import moment, seconds
from exporter.run.assembly import Assembly
from exporter.state.incidents import calibration, grouped_through, near_misses
from exporter.state.windows import kinds_of_lines, scores_now, services_seen
from exporter.telemetry import PrometheusTelemetry

HOURS = 24
HOUR = timedelta(hours=1)

NEAR = 10
"""Near misses that are shown, the nearest first."""

LEFT_OUT: Mapping[str, str] = {
    "source_lines_dropped": "lines that were read and not judged",
    "source_unusable_lines": "lines at the source that are in no range",
    "mining_limited": "times that a limit of templates acted",
    "detection_limited": "times that a limit of detection acted",
    "incidents_suppressed": "anomalies that became no incident",
    "llm_claims_dropped": "sentences of the model that cited nothing real",
    "web_refused": "requests that were refused",
}
"""Counters of what is dropped, with their words."""


async def overview(assembly: Assembly, telemetry: PrometheusTelemetry) -> Overview:
    """As of now; numbers of what was left out are since the process began."""
    state = assembly.state
    known, through = await calibration(state), await grouped_through(state)
    kinds = await kinds_of_lines(state)
    strongest = await asyncio.to_thread(_strongest, assembly, through) if through else {}

    def of(source: str, service: str) -> tuple[float, ...]:
        return strongest.get((source, service), (0.0,) * HOURS)

    return Overview(
        until=through,
        threshold=known.threshold if known else None,
        budget=assembly.config.alarm_budget,
        watched=tuple(
            Watched(source, service, kinds.get((source, service), 0), lines, first, last, of(source, service))
            for source, service, lines, first, last in await services_seen(state)
        ),
        near=tuple(await near_misses(state, NEAR)),
        left_out=tuple(await asyncio.to_thread(lambda: list(_left_out(telemetry)))),
    )


def _strongest(assembly: Assembly, through: datetime) -> dict[tuple[str, str], tuple[float, ...]]:
    """How strongly each service stood out in each of the last hours, the oldest first."""
    first = moment((seconds(through) // 3600 - HOURS + 1) * 3600)
    found: dict[tuple[str, str], list[float]] = {}
    for pipeline in assembly.pipelines:
        for number in range(HOURS):
            start = first + number * HOUR
            rows = scores_now(assembly.state, pipeline.name, TimeRange(start - timedelta(seconds=1), start + HOUR))
            for _, body in rows:
                frame = packing.unpack(body)
                for service, strength in zip(frame["service"].to_list(), frame["strength"].to_list(), strict=True):
                    hours = found.setdefault((pipeline.name, service), [0.0] * HOURS)
                    hours[number] = max(hours[number], strength)
    return {key: tuple(hours) for key, hours in found.items()}


def _left_out(telemetry: PrometheusTelemetry) -> Iterator[LeftOut]:
    for family in telemetry.collect():
        name = family.name.removeprefix("log_anomaly_exporter_")
        if what := LEFT_OUT.get(name):
            for one in family.samples:
                if one.value and not one.name.endswith("_created"):
                    yield LeftOut(what, one.labels.get("source", ""), one.labels.get("reason", ""), int(one.value))
