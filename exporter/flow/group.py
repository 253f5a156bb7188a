"""Over all sources: anomalies in the order of event time become incidents."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from exporter.incidents.ahead import taken_back
from exporter.incidents.clusters import MIN_STRENGTH, Cluster
from exporter.incidents.settings import IncidentSettings
from exporter.incidents.threshold import alarm_threshold
from exporter.incidents.tracker import RELEASE_BEFORE, Localise, Pasts, Told, advance
from exporter.model import EPOCH, NearMiss, NoTelemetry, Past, Telemetry, TimeRange, Write, floor
from exporter.state.checkpoints import learnt_from, releases, starts
from exporter.state.file import State
from exporter.state.incidents import (
    Calibration,
    calibration,
    calibration_rows,
    clusters_of,
    grouped_row,
    grouped_through,
    incident_row,
    near_miss_row,
    pending_row,
    without_cluster,
)
from exporter.state.news import news_row
from exporter.state.outages import last_outage, outage_row
from exporter.state.windows import anomalies_of_warmup, anomalies_reached, services_known

log = logging.getLogger(__name__)

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)

COLD_SHARE = 1 / 3
"""Share of warm-up in which so much is new that its anomalies say nothing about the days to come."""

FEW_SERVICES = 10
"""Services that a source is taken to have until warm-up has seen more."""


class Grouper:
    """Anomalies of all sources to incidents, in order of event time."""

    def __init__(
        self,
        state: State,
        settings: IncidentSettings,
        labels: Mapping[str, str],
        windows: Mapping[str, timedelta],
        settling: Mapping[str, timedelta],
        localise: Localise | None = None,
        lock: asyncio.Lock | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._state = state
        self._settings = settings
        self._windows = windows
        self._settling = settling
        self._labels = labels
        self._localise = localise
        self._lock = lock or asyncio.Lock()
        self._telemetry = telemetry or NoTelemetry()

    async def notice_outage(self, now: datetime, after: timedelta) -> None:
        """Put on record that what is grouped next happened long ago: it waits for its end before anybody is paged."""
        since = await grouped_through(self._state)
        known = await last_outage(self._state)
        if since is not None and now - since > after and (known is None or known.end <= since):
            await self._state.write([outage_row(TimeRange(since, now))])
            log.warning("nothing was grouped since %s: what came and went since then is told as a digest", since)

    async def group(self, horizon: datetime) -> list[Told]:
        """Take in all that has become known up to `horizon`, and commit. Returns what there is to tell."""
        async with self._lock:
            since = await grouped_through(self._state)
            if since is not None and horizon <= since:
                return []
            anomalies = await anomalies_reached(self._state, since, horizon)
            clusters = {cluster.id: cluster for cluster in await clusters_of(self._state, Cluster)}
            begun, unreal = taken_back(clusters.values(), horizon)
            first = min([horizon, *(c.starts_at for c in begun.values()), *(a.window for a in anomalies)])
            found = await calibration(self._state)
            missed: list[NearMiss] = []
            alive, told = await asyncio.to_thread(
                advance,
                begun.values(),
                anomalies,
                horizon,
                self._settings,
                found.threshold if found else MIN_STRENGTH,
                self._labels,
                self._localise,
                await releases(self._state, TimeRange(first - RELEASE_BEFORE, horizon)),
                found.services if found else 1,
                await self._pasts(),
                missed.append,
            )
            told = [*unreal, *told]
            news = [news_row(item.incident, item.change, item.at) for item in told]
            rows = [*cluster_rows(clusters, alive, told), *news, *map(near_miss_row, missed)]
            await self._state.write([*rows, grouped_row(horizon)])
        for near in missed:
            self._telemetry.count("incidents_suppressed", reason=near.reason)
        for item in told:
            self._count(item.change, item.incident.severity)
            log.info("incident %s %s: %s", item.incident.id, item.change, item.incident.service)
        return told

    async def _pasts(self) -> Pasts:
        """What a source is compared with at a moment: from where it was begun to what had settled by then.

        Of event time alone: not of how far anything had been read when it was grouped.
        """
        began = await starts(self._state)

        def past(source: str, at: datetime) -> Past | None:
            settled = at - self._settling.get(source, timedelta(0))
            return Past(source, began[source], max(settled, began[source])) if source in began else None

        return past

    def _count(self, change: str, severity: str) -> None:
        if change == "opened":
            self._telemetry.count("incidents_opened", severity=severity)
        elif change in ("resolved", "reopened"):
            self._telemetry.count(f"incidents_{change}")

    async def has_threshold(self) -> bool:
        """Whether warm-up has set the threshold of incidents."""
        return await calibration(self._state) is not None

    async def set_threshold(self, budget: float) -> None:
        """Set it once warm-up is over, and anew from what warm-up found when another budget is configured."""
        known = await calibration(self._state)
        if known is None or known.budget not in ("", repr(budget)):
            await self.calibrate(budget)

    async def calibrate(self, budget: float) -> float:
        """Set the threshold of incidents from what warm-up would have opened, at most `budget` a day.

        Its first part says nothing about later: there everything was still new.
        """
        cold_until, days = await self._representative()
        quiet = await anomalies_of_warmup(self._state, cold_until)
        known = await self._known_services()
        tests = sum(services * (timedelta(days=1) / self._windows[name]) for name, services in known.items())
        services = sum(known.values())
        threshold = alarm_threshold(quiet, days, budget, self._settings, tests, services)
        await self._state.write(calibration_rows(Calibration(threshold, services, repr(budget))))
        return threshold

    async def _representative(self) -> tuple[datetime, float]:
        """From when on warm-up shows what is usual, and how many days of it were read."""
        cold_until, longest = EPOCH, timedelta(0)
        for spans in (await learnt_from(self._state)).values():
            total = sum((span.duration for span in spans), timedelta(0))
            left = total * COLD_SHARE
            for span in spans:
                if span.duration >= left:
                    cold_until = max(cold_until, floor(span.start + left, SECOND))
                    break
                left -= span.duration
            longest = max(longest, total * (1 - COLD_SHARE))
        return cold_until, longest / DAY

    async def _known_services(self) -> dict[str, int]:
        """Services of each source, as far as warm-up has seen them."""
        known = await services_known(self._state)
        return {name: max(known.get(name, 0), FEW_SERVICES) for name in self._windows}


def cluster_rows(before: Mapping[str, Cluster], after: Mapping[str, Cluster], told: Sequence[Told]) -> list[Write]:
    """Rows of the clusters that changed; one that became no incident leaves no trace, an incident stays.

    What began and ended, or only ended, in one step is in `after` no more: its last revision is what was told last.
    """
    writes = [_cluster_row(cluster) for key, cluster in after.items() if before.get(key) != cluster]
    last = {item.incident.id: item.incident for item in told}
    for key in sorted((before.keys() | last.keys()) - after.keys()):
        incident = last.get(key) or before[key].incident
        writes.append(incident_row(incident, incident.last_seen) if incident else without_cluster(key))
    return writes


def _cluster_row(cluster: Cluster) -> Write:
    if cluster.incident:
        return incident_row(cluster.incident, cluster.last_seen, cluster)
    return pending_row(cluster.id, cluster.members[0].service, cluster.starts_at, cluster.last_seen, cluster)
